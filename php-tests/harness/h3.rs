//! A client that speaks HTTP/3: well, by the h3 crate, and badly, byte by byte.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, StatusCode};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, ReadError, RecvStream, SendStream, TransportConfig, VarInt,
    crypto::rustls::QuicClientConfig,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{runtime::Handle, sync::oneshot, task::JoinHandle};

use super::{Office, PATIENCE};

pub(crate) mod site;

/// A connection to the server of an office.
pub(crate) struct Http3 {
    runtime: Handle,
    endpoint: Endpoint,
    pub(crate) connection: Connection,
    requests: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    driver: JoinHandle<()>,
    /// Ends what drives it; none once it has vanished.
    done: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Of interim responses.
    pub(crate) hints: Vec<HeaderMap>,
    /// What came after the body.
    pub(crate) trailers: Option<HeaderMap>,
}

/// A request whose answer was not taken yet.
pub(crate) struct Pending(h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>);

/// What became of bytes that are no proper request.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// The stream was answered, with these bytes.
    Bytes(Vec<u8>),
    /// It was reset with this code.
    Reset(u64),
    /// The connection was closed with this code.
    Closed(u64),
}

impl Http3 {
    pub(crate) fn connect(office: &Office) -> Self {
        Self::try_connect(office, office.port).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_connect(office: &Office, address: SocketAddr) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (handle, (done, until)) = (runtime.handle().clone(), oneshot::channel::<()>());
        // Driven by a thread of its own: the client goes on while the test does something else.
        let thread = std::thread::spawn(move || drop(runtime.block_on(until)));
        let runtime = handle;
        let (endpoint, connection) = runtime.block_on(greet(office, address))?;
        let (requests, driver) = runtime.block_on(async {
            let quic = h3_quinn::Connection::new(connection.clone());
            let (mut driver, requests) = h3::client::new(quic).await.map_err(|error| error.to_string())?;
            let driver = tokio::spawn(async move { _ = std::future::poll_fn(|context| driver.poll_close(context)).await });
            Ok::<_, String>((requests, driver))
        })?;
        Ok(Self { runtime, endpoint, connection, requests, driver, done: Some((done, thread)) })
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.fetch(request("GET", path), b"")
    }

    pub(crate) fn fetch(&mut self, request: Request<()>, body: &[u8]) -> Answer {
        self.try_fetch(request, body).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_fetch(&mut self, request: Request<()>, body: &[u8]) -> Result<Answer, String> {
        let pending = self.send(request, body)?;
        self.finish(pending)
    }

    /// Sends a request and does not wait.
    pub(crate) fn send(&mut self, request: Request<()>, body: &[u8]) -> Result<Pending, String> {
        let body = Bytes::copy_from_slice(body);
        let requests = &mut self.requests;
        within(&self.runtime, async {
            let mut stream = requests.send_request(request).await.map_err(|error| format!("request: {error}"))?;
            // An answer may come before all was sent.
            if !body.is_empty() {
                _ = stream.send_data(body).await;
            }
            _ = stream.finish().await;
            Ok(Pending(stream))
        })
    }

    pub(crate) fn finish(&mut self, pending: Pending) -> Result<Answer, String> {
        let mut stream = pending.0;
        within(&self.runtime, async {
            let mut hints = Vec::new();
            let head = loop {
                let head = stream.recv_response().await.map_err(|error| format!("answer: {error}"))?;
                if !head.status().is_informational() {
                    break head;
                }
                hints.push(head.headers().clone());
            };
            let mut body = Vec::new();
            while let Some(mut data) = stream.recv_data().await.map_err(|error| format!("body: {error}"))? {
                body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
            }
            let trailers = stream.recv_trailers().await.map_err(|error| format!("trailers: {error}"))?;
            Ok(Answer { status: head.status(), headers: head.headers().clone(), body, hints, trailers })
        })
    }

    /// Goes on from another port.
    pub(crate) fn move_away(&self) {
        let _entered = self.runtime.enter();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        self.endpoint.rebind(socket).unwrap();
    }

    /// Is gone from one moment to the next, without a word to the server.
    pub(crate) fn vanish(mut self) {
        if let Some((done, thread)) = self.done.take() {
            drop(done);
            // Nothing drives it when its parts are dropped, else they would say that they go.
            thread.join().unwrap();
        }
    }

    /// The code that the server closed the connection with; none if it was lost otherwise.
    pub(crate) fn closed(&self) -> Result<u64, ConnectionError> {
        within(&self.runtime, async { Ok(self.connection.closed().await) }).map_or(Err(ConnectionError::TimedOut), code_of)
    }
}

impl Drop for Http3 {
    fn drop(&mut self) {
        if self.done.is_none() {
            return;
        }
        self.driver.abort();
        self.connection.close(VarInt::from_u32(0x100), b"");
        // So that the server is told.
        let told = async { tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await };
        _ = self.runtime.block_on(told);
    }
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// One of `$_SERVER`, of what `server.php` tells.
    pub(crate) fn server(&self, name: &str) -> Option<String> {
        let told: serde_json::Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()));
        told["server"].get(name).map(|value| value.as_str().unwrap().to_owned())
    }
}

/// A request to `server.test`.
pub(crate) fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("https://server.test{path}")).body(()).unwrap()
}

/// What becomes of a connection of its own on which `control` is sent on a stream that goes one way, unless it is empty, and then
/// `bytes` as a request.
pub(crate) fn raw(office: &Office, control: &[u8], bytes: &[u8]) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let exchange = async {
        let (_endpoint, connection) = greet(office, office.port).await?;
        // Kept open: some of them must last.
        let mut one_way = None;
        if !control.is_empty() {
            let stream = one_way.insert(connection.open_uni().await.map_err(|error| error.to_string())?);
            _ = stream.write_all(control).await;
        }
        if bytes.is_empty() {
            return Ok(ended(&connection, connection.closed().await));
        }
        let (send, receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
        let outcome = exchanged(&connection, (send, receive), bytes).await;
        drop(one_way);
        Ok(outcome)
    };
    let outcome = runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange).await });
    outcome.expect("in time").unwrap_or_else(|error: String| panic!("{error}"))
}

/// What the server says on its control stream to a client that has had one answer, from before `act` to the end.
pub(crate) fn control_stream(office: &Office, act: impl FnOnce()) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listen = async {
        let (_endpoint, connection) = greet(office, office.port).await.unwrap();
        let mut control = connection.accept_uni().await.unwrap();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        // :method GET, :scheme https, :authority server.test, :path /pid.php
        send.write_all(b"\x01\x1b\x00\x00\xd1\xd7\x50\x0bserver.test\x51\x08/pid.php").await.unwrap();
        send.finish().unwrap();
        receive.read_to_end(1 << 20).await.unwrap();
        act();
        let mut said = Vec::new();
        while let Ok(Some(chunk)) = control.read_chunk(1024, true).await {
            said.extend_from_slice(&chunk.bytes);
        }
        said
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, listen).await }).expect("in time")
}

/// How a connection ends whose client gives the server's control stream no credit but for its first words, once `act` is done.
pub(crate) fn without_credit(office: &Office, act: impl FnOnce()) -> Result<u64, ConnectionError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let run = async {
        let mut config = config(office);
        let mut transport = TransportConfig::default();
        transport.stream_receive_window(VarInt::from_u32(12)).max_idle_timeout(Some((PATIENCE * 10).try_into().unwrap()));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connection = endpoint.connect_with(config, office.port, "server.test").unwrap().await.unwrap();
        let _control = connection.accept_uni().await.unwrap();
        act();
        code_of(connection.closed().await)
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, run).await }).expect("in time")
}

async fn exchanged(connection: &Connection, (mut send, mut receive): (SendStream, RecvStream), bytes: &[u8]) -> Outcome {
    _ = send.write_all(bytes).await;
    _ = send.finish();
    match receive.read_to_end(1 << 20).await {
        Ok(bytes) => Outcome::Bytes(bytes),
        Err(quinn::ReadToEndError::Read(ReadError::Reset(code))) => Outcome::Reset(code.into_inner()),
        Err(error) => match connection.close_reason() {
            Some(reason) => ended(connection, reason),
            None => panic!("{error}"),
        },
    }
}

fn ended(_: &Connection, reason: ConnectionError) -> Outcome {
    Outcome::Closed(code_of(reason).unwrap_or_else(|error| panic!("{error}")))
}

fn code_of(reason: ConnectionError) -> Result<u64, ConnectionError> {
    match reason {
        ConnectionError::ApplicationClosed(close) => Ok(close.error_code.into_inner()),
        other => Err(other),
    }
}

/// How an office's server is greeted; nobody gives up before a test does.
pub(crate) fn config(office: &Office) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(office.path("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some((PATIENCE * 10).try_into().unwrap()));
    config.transport_config(Arc::new(transport));
    config
}

async fn greet(office: &Office, address: SocketAddr) -> Result<(Endpoint, Connection), String> {
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).map_err(|error| error.to_string())?;
    endpoint.set_default_client_config(config(office));
    let connecting = endpoint.connect(address, "server.test").map_err(|error| error.to_string())?;
    let connection = connecting.await.map_err(|error| format!("connection: {error}"))?;
    Ok((endpoint, connection))
}

fn within<T>(runtime: &Handle, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let limit = PATIENCE + Duration::from_secs(5);
    runtime.block_on(async { tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err("it takes too long".into())) })
}

// === bytes ===

/// One frame, of a kind below 64.
pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap() | 0x8000_0000;
    [&[kind][..], &length.to_be_bytes(), payload].concat()
}

/// Header fields as they are, each a literal.
pub(crate) fn section<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    for (name, value) in fields {
        integer(&mut bytes, 0x20, 7, name.as_ref().len());
        bytes.extend_from_slice(name.as_ref());
        integer(&mut bytes, 0, 127, value.as_ref().len());
        bytes.extend_from_slice(value.as_ref());
    }
    bytes
}

/// An integer whose prefix holds no more than `most`, and has `start` before it.
fn integer(bytes: &mut Vec<u8>, start: u8, most: u8, mut value: usize) {
    if value < usize::from(most) {
        return bytes.push(start | value as u8);
    }
    bytes.push(start | most);
    value -= usize::from(most);
    while value >= 128 {
        bytes.push((value % 128) as u8 | 128);
        value /= 128;
    }
    bytes.push(value as u8);
}

/// The status that an answer's frames begin with.
pub(crate) fn status(frames: &[u8]) -> Option<u16> {
    // A frame of headers, its length in one byte or two, and the two bytes before its fields.
    let start = if *frames.get(1)? < 0x40 { 4 } else { 5 };
    match frames.get(start..)? {
        [0xd8, ..] => Some(103),
        [0xd9, ..] => Some(200),
        [0xda, ..] => Some(304),
        [0xdb, ..] => Some(404),
        [0xdc, ..] => Some(503),
        [0xff, more, ..] => [100, 204, 206, 302, 400, 403, 421, 425, 500].get(usize::from(*more)).copied(),
        [start, _, 0x03, a, b, c, ..] if start >> 6 == 1 => std::str::from_utf8(&[*a, *b, *c]).ok()?.parse().ok(),
        _ => None,
    }
}
