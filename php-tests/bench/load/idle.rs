//! Connections that have asked once and only stay.

use std::{
    io::{self, Read},
    net::SocketAddr,
    sync::Arc,
    thread,
};

use bytes::Bytes;
use http::{Request, header::HOST};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::oneshot,
};
use tokio_rustls::TlsConnector;

use super::{
    connect::{self, NAME},
    http3,
};

type Body = Empty<Bytes>;

/// Whatever keeps a connection open.
enum Kept {
    Http1(#[expect(dead_code, reason = "kept")] hyper::client::conn::http1::SendRequest<Body>),
    Http2(#[expect(dead_code, reason = "kept")] hyper::client::conn::http2::SendRequest<Body>),
    Http3(#[expect(dead_code, reason = "kept")] http3::Requests),
}

/// Opens the connections, says `ready`, and keeps them until nobody listens any more.
pub(crate) async fn hold(protocol: &str, address: SocketAddr, path: &str, connections: u64) {
    let endpoint = connect::endpoint();
    let alpn: &[u8] = if protocol == "h2" { b"h2" } else { b"http/1.1" };
    let connector = TlsConnector::from(Arc::new(connect::tls(alpn, false)));
    let mut kept = Vec::new();
    for _ in 0..connections {
        kept.push(match protocol {
            "plain" => {
                let stream = TcpStream::connect(address).await.expect("a connection");
                http1(stream, path).await
            }
            "tls" => http1(connect::greet(&connector, address).await.expect("a connection"), path).await,
            "h2" => http2(connect::greet(&connector, address).await.expect("a connection"), address, path).await,
            "h3" => {
                let mut requests = http3::connect(&endpoint, address).await.expect("a connection");
                http3::ask(&mut requests, address, path).await.expect("an answer");
                Kept::Http3(requests)
            }
            other => panic!("{other}: plain, tls, h2 or h3"),
        });
    }
    println!("ready");
    let (over, is_over) = oneshot::channel();
    // Not in the runtime, which keeps the connections alive meanwhile.
    thread::spawn(move || {
        drop(io::stdin().read_to_end(&mut Vec::new()));
        over.send(())
    });
    drop(is_over.await);
    drop(kept);
}

async fn http1(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, path: &str) -> Kept {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1");
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, NAME).body(Body::new()).expect("a path");
    let answer = sender.send_request(request).await.expect("an answer");
    answer.into_body().collect().await.expect("a body");
    Kept::Http1(sender)
}

async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, address: SocketAddr, path: &str) -> Kept {
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    let uri = format!("https://{NAME}:{}{path}", address.port());
    let answer = sender.send_request(Request::get(uri).body(Body::new()).expect("a path")).await.expect("an answer");
    answer.into_body().collect().await.expect("a body");
    Kept::Http2(sender)
}
