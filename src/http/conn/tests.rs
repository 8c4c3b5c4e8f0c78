use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::LINK};
use http_body_util::{BodyExt, Empty};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
};

use super::{Config, EarlyHints, Entry, Handler, serve};
use crate::http::{
    Body, Drain, Incoming, Peer,
    listen::{self, Listeners},
};

mod crowd;
mod draining;
mod http1;
mod http2;
mod interim;
mod strict;

/// Answers what the path says.
#[derive(Clone, Default)]
struct App {
    entered: Arc<Notify>,
    release: Arc<Notify>,
}

/// A server on a free port, with its accept loop.
struct Server {
    address: SocketAddr,
    drain: Drain,
    app: App,
    running: JoinHandle<()>,
    _listeners: Listeners,
}

/// A client that sees bytes.
struct Client(TcpStream);

impl Handler for App {
    async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        self.handle_hinted(request, peer, None).await
    }

    async fn handle_hinted(&self, request: Request<Incoming>, peer: Peer, hints: Option<EarlyHints>) -> Response<Body> {
        assert!(peer.remote.is_some() && peer.local.is_some());
        let (head, mut body) = request.into_parts();
        match head.uri.path() {
            "/echo" => {
                let mut all = Vec::new();
                loop {
                    match body.data().await {
                        Ok(Some(data)) => all.extend_from_slice(&data),
                        Ok(None) => break Response::new(Bytes::from(all).into()),
                        Err(_) => break status(400),
                    }
                }
            }
            "/ignore" => Response::new(Bytes::from_static(b"ignored").into()),
            "/wait" => {
                self.entered.notify_one();
                self.release.notified().await;
                Response::new(Bytes::from_static(b"waited").into())
            }
            "/hints" => {
                let sent = match hints {
                    Some(hints) => std::thread::spawn(move || hints.send(&link())).join().unwrap(),
                    None => false,
                };
                self.entered.notify_one();
                self.release.notified().await;
                Response::new(Bytes::from(sent.to_string()).into())
            }
            "/big" => Response::new(Bytes::from(vec![b'x'; 64 << 20]).into()),
            path => Response::new(Bytes::from(path.to_owned()).into()),
        }
    }
}

fn status(code: u16) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn link() -> HeaderMap {
    HeaderMap::from_iter([(LINK, HeaderValue::from_static("</a.css>; rel=preload"))])
}

fn config() -> Config {
    Config {
        max_header_bytes: 32 * 1024,
        max_headers: 100,
        max_uri: 16 * 1024,
        header_timeout: Duration::from_secs(10),
        keepalive_timeout: Duration::from_secs(75),
        write_timeout: Duration::from_secs(60),
        keepalive_requests: 1000,
        max_connections: 10_000,
        max_per_listener: usize::MAX,
        max_per_client: usize::MAX,
        exempt: crate::http::subnet::Subnets::default(),
        max_age: None,
        heads_make_room: false,
        h2c: false,
        max_concurrent_streams: 100,
        drain_idle: Duration::from_secs(2),
    }
}

fn plain(listeners: &Listeners) -> [Entry; 1] {
    [Entry { listeners: listeners.clone(), proxies: Vec::new(), tls: None }]
}

fn listen_on(address: listen::Address) -> listen::Listeners {
    address.listen(128, listen::Scope::Any).unwrap()
}

impl Server {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        let listeners = listen_on("127.0.0.1:0".parse().unwrap());
        let (drain, app) = (Drain::new(), App::default());
        let running = tokio::spawn({
            let (entries, app, drain) = (plain(&listeners), app.clone(), drain.clone());
            async move { serve(&entries, Arc::new(config), app, drain).await.unwrap() }
        });
        Self { address: listeners.addresses()[0], drain, app, running, _listeners: listeners }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// All that comes back for `input` until the server closes.
    async fn raw(&self, input: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(input).await;
        client.rest().await
    }

    /// Waits until no connection is left.
    async fn finished(&self) -> bool {
        self.drain.wait(Instant::now() + Duration::from_secs(5)).await
    }
}

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// One answer with a Content-Length: its head and its body.
    async fn answer(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse::<usize>().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("a whole head"));
        }
        String::from_utf8(head).unwrap()
    }

    /// Everything until the server closes; a reset is an error.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let reading = self.0.read_to_end(&mut bytes);
        tokio::time::timeout(Duration::from_secs(10), reading).await.expect("a close").expect("no reset");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A client that speaks HTTP/2 over TCP.
async fn h2_client(server: &Server) -> (hyper::client::conn::http2::SendRequest<Empty<Bytes>>, JoinHandle<()>) {
    let stream = hyper_util::rt::TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
    (sender, tokio::spawn(async move { drop(connection.await) }))
}
