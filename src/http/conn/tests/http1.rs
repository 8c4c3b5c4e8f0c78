//! HTTP/1 as it should be, at every speed.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::*;
use crate::http::{
    conn::{Arrival, Protocol},
    crowd::Listened,
};

const PIPELINE: &str = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfirst\
    POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nsec\r\n3\r\nond\r\n0\r\nT: u\r\n\r\n\
    GET /third HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn bodies(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 200 OK\r\n").skip(1).map(|answer| answer.split_once("\r\n\r\n").expect("a head").1).collect()
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    assert_eq!(bodies(&server.raw(PIPELINE).await), ["first", "second", "/third"]);
}

#[tokio::test]
async fn requests_may_be_split_anywhere() {
    let server = Server::start().await;
    for size in [1, 2, 7, 64] {
        let mut client = server.connect().await;
        client.0.set_nodelay(true).unwrap();
        for piece in PIPELINE.as_bytes().chunks(size) {
            client.send(piece).await;
            // Lets the server read just this piece.
            tokio::task::yield_now().await;
        }
        assert_eq!(bodies(&client.rest().await), ["first", "second", "/third"], "{size} bytes at a time");
    }
}

#[tokio::test]
async fn large_bodies_arrive_whole_both_ways() {
    let server = Server::start().await;
    let body: String = (0..300_000).map(|number| format!("{number},")).collect();
    let chunked: String = body
        .as_bytes()
        .chunks(70_001)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()))
        .collect();
    let with_length = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let chunked = format!("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}0\r\n\r\n");
    let mut client = server.connect().await;
    for request in [with_length, chunked] {
        client.send(request).await;
        let (_, answer) = client.answer().await;
        assert!(answer == body);
    }
}

#[tokio::test]
async fn head_has_a_length_and_no_body() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("HEAD /four HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.head().await.contains("content-length: 5\r\n"));
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.1, "/next");
}

#[tokio::test]
async fn a_client_that_stops_sending_is_served() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").await;
    client.0.shutdown().await.unwrap();
    server.app.entered.notified().await;
    server.app.release.notify_one();
    assert!(client.rest().await.ends_with("waited"));
}

#[tokio::test]
async fn continue_is_sent_when_the_body_is_wanted() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("ok").await;
    assert_eq!(client.answer().await.1, "ok");
}

#[tokio::test]
async fn an_answer_before_the_body_is_seen_by_who_still_sends_it() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n").await;
    for _ in 0..40 {
        client.send(vec![0; 100_000]).await;
    }
    assert!(client.rest().await.ends_with("ignored"));
}

#[tokio::test]
async fn the_last_of_keepalive_requests_says_close() {
    let server = Server::with(|config| config.keepalive_requests = 2).await;
    let mut client = server.connect().await;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!client.answer().await.0.contains("connection: close"));
    client.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.rest().await.contains("connection: close\r\n"));
}

#[tokio::test]
async fn a_slow_head_is_told_so() {
    let server = Server::with(|config| config.header_timeout = Duration::from_millis(50)).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET").await;
    assert_eq!(client.answer().await.1, "/");
    let started = Instant::now();
    assert!(client.rest().await.starts_with("HTTP/1.1 408 "));
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(server.drain.snapshot().head_timeouts, 1);
}

#[tokio::test]
async fn a_head_that_trickles_gets_no_more_time() {
    let server = Server::with(|config| config.header_timeout = Duration::from_millis(60)).await;
    let mut client = server.connect().await;
    for byte in b"GET / HTTP/1.1\r\nA: bbbbbbbbbbbbbbbbbbbbbbbbb" {
        if client.0.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.drain.snapshot().head_timeouts, 1);
}

#[tokio::test]
async fn silent_connections_are_closed() {
    let server = Server::with(|config| {
        config.header_timeout = Duration::from_millis(30);
        config.keepalive_timeout = Duration::from_millis(60);
    })
    .await;
    assert_eq!(server.raw("").await, "", "nothing was ever sent");
    let answer = server.raw("GET /idle HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.ends_with("/idle"), "closed without a word after the answer: {answer}");
    let figures = server.drain.snapshot();
    assert_eq!((figures.first_timeouts, figures.idle_timeouts), (1, 1));
}

#[tokio::test]
async fn who_takes_nothing_is_dropped() {
    let server = Server::with(|config| config.write_timeout = Duration::from_millis(50)).await;
    let mut client = server.connect().await;
    client.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.0.readable().await.unwrap();
    assert!(server.finished().await);
    assert_eq!(server.drain.snapshot().write_timeouts, 1);
}

#[tokio::test]
async fn connections_over_the_limit_wait() {
    let server = Server::with(|config| config.max_connections = 1).await;
    let mut first = server.connect().await;
    // One that has nothing to do would have to leave.
    first.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.app.entered.notified().await;
    let mut second = server.connect().await;
    second.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let early = tokio::time::timeout(Duration::from_millis(30), second.0.readable()).await;
    assert!(early.is_err(), "served beside the first");
    server.app.release.notify_one();
    assert_eq!(first.answer().await.1, "waited");
    drop(first);
    assert_eq!(second.answer().await.1, "/2");
    assert!(server.drain.snapshot().paused >= 1);
}

#[tokio::test]
async fn unix_sockets_are_served() {
    #[derive(Clone)]
    struct Anonymous;
    impl Handler for Anonymous {
        async fn handle(&self, _: Request<Incoming>, peer: Peer) -> Response<Body> {
            assert!(peer.remote.is_none());
            status(204)
        }
    }
    let path = std::env::temp_dir().join(format!("rr-conn-{}.sock", std::process::id()));
    let listeners = listen_on(listen::Address::unix(&path));
    let serving = tokio::spawn(async move { serve(&plain(&listeners), Arc::new(config()), Anonymous, Drain::new()).await });
    let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 204 "), "{answer}");
    serving.abort();
    assert!(serving.await.is_err());
    assert!(!path.exists());
}

/// A socket whose goodbye finds no room, as TLS's may.
#[derive(Debug)]
struct Full(DuplexStream);

impl crate::http::accept::SendFile for Full {}

impl AsyncRead for Full {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, out)
    }
}

impl AsyncWrite for Full {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_goodbye_has_the_time_of_a_write() {
    let drain = Drain::new();
    let config = Config { write_timeout: Duration::from_millis(40), ..config() };
    let server = crate::http::conn::Server::new(Arc::new(config), App::default(), drain.clone());
    let (ours, mut client) = tokio::io::duplex(64 * 1024);
    client.write_all(b"GET /1 HTTP/1.0\r\n\r\n").await.unwrap();
    let address = Some("127.0.0.1:1".parse().unwrap());
    let peer = Peer { remote: address, local: address, ..Peer::default() };
    let served = server.connection(Full(ours), Arrival { peer, protocol: Protocol::Http1, listened: Listened::default() });
    tokio::time::timeout(Duration::from_secs(10), served).await.expect("an end");
    assert_eq!(drain.snapshot().write_timeouts, 1);
}
