//! What is refused, and that the client gets to see it.

use super::*;

/// A request to `target` with these lines after the request line.
fn request(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\n{lines}\r\n")
}

#[tokio::test]
async fn smuggling_is_refused_and_the_connection_closed() {
    let server = Server::start().await;
    let cases: &[(u16, &str, String)] = &[
        (400, "bare LF", "GET / HTTP/1.1\nHost: a\n\n".into()),
        (400, "bare LF in a field", request("Host: a\r\nA: b\nC: d\r\n")),
        (400, "bare CR", request("Host: a\r\nA: b\rC: d\r\n")),
        (400, "NUL", request("Host: a\r\nA: b\0\r\n")),
        (400, "folded", request("Host: a\r\nA: b\r\n c\r\n")),
        (400, "folded at once", request(" A: b\r\nHost: a\r\n")),
        (400, "no Host", request("")),
        (400, "two Host", request("Host: a\r\nHost: a\r\n")),
        (400, "a list of hosts", request("Host: a, b\r\n")),
        (400, "a path as Host", request("Host: a/b\r\n")),
        (400, "space before the colon", request("Host : a\r\n")),
        (400, "space before the colon of a length", request("Host: a\r\nContent-Length : 5\r\n")),
        (400, "no colon", request("Host: a\r\nA\r\n")),
        (400, "no name", request("Host: a\r\n: b\r\n")),
        (400, "no token", request("Host: a\r\nA(b): c\r\n")),
        (400, "length and chunked", request("Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
        (400, "chunked and length", request("Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
        (400, "two lengths", request("Host: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n")),
        (400, "a list of lengths", request("Host: a\r\nContent-Length: 5, 5\r\n")),
        (400, "a signed length", request("Host: a\r\nContent-Length: +5\r\n")),
        (400, "a huge length", request("Host: a\r\nContent-Length: 99999999999999999999\r\n")),
        (400, "an empty length", request("Host: a\r\nContent-Length: \r\n")),
        (501, "xchunked", request("Host: a\r\nTransfer-Encoding: xchunked\r\n")),
        (501, "gzip, chunked", request("Host: a\r\nTransfer-Encoding: gzip, chunked\r\n")),
        (501, "chunked, identity", request("Host: a\r\nTransfer-Encoding: chunked, identity\r\n")),
        (400, "chunked twice", request("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
        (400, "chunked on 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()),
        (400, "another authority", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (400, "HTTP/0.9", "GET /\r\n".into()),
        (505, "HTTP/2.0 as text", "GET / HTTP/2.0\r\nHost: a\r\n\r\n".into()),
        (505, "an h2 preface without h2c", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        (405, "CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n".into()),
        (414, "a long URI", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(16 * 1024))),
        (414, "an endless URI", format!("GET /{}", "a".repeat(17 * 1024))),
        (431, "a large field", request(&format!("Host: a\r\nA: {}\r\n", "b".repeat(32 * 1024)))),
        (431, "an endless field", request(&format!("Host: a\r\nA: {}", "b".repeat(64 * 1024)))),
        (431, "many fields", request(&format!("Host: a\r\n{}", "A: b\r\n".repeat(100)))),
    ];
    for (expected, name, input) in cases {
        // What follows must not be answered, whatever it is taken for.
        let answer = server.raw(format!("{input}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{name}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{name}: {answer}");
    }
    assert!(server.finished().await);
    assert_eq!(server.drain.snapshot().refused, cases.len() as u64);
}

#[tokio::test]
async fn what_looks_odd_but_is_right_is_served() {
    let server = Server::start().await;
    for input in [
        request("Host:\r\nConnection: close\r\n"),
        request("hOST: \t a:80 \t\r\nConnection: close\r\n"),
        request("Host: [::1]:80\r\nA:\r\nB: \u{e9}\r\nConnection: close\r\n"),
        request("Host: a\r\nContent-Length: 0\r\nContent-Length: 0\r\nConnection: close\r\n"),
        request(&format!("Host: a\r\nConnection: close\r\nA: {}\r\n", "b".repeat(31 * 1024))),
        format!("\r\nGET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "a".repeat(16 * 1024 - 1)),
        "GET / HTTP/1.0\r\n\r\n".into(),
        "GET http://A.b:80/ HTTP/1.1\r\nHost: a.B:80\r\nConnection: close\r\n\r\n".into(),
        "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(),
    ] {
        let answer = server.raw(&input).await;
        assert!(answer.contains(" 200 OK\r\n"), "{input}: {answer}");
    }
}

#[tokio::test]
async fn a_refused_client_that_goes_on_sending_still_sees_why() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("POST / HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n").await;
    for _ in 0..40 {
        client.send(vec![0; 100_000]).await;
    }
    client.0.shutdown().await.unwrap();
    assert!(client.rest().await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_malformed_chunk_ends_the_connection() {
    let server = Server::start().await;
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["5\nhello\n0\n\n", "+5\r\nhello\r\n0\r\n\r\n", "5\r\nhelloGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let answer = server.raw(format!("{head}{body}")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{body}: {answer}");
    }
}

#[tokio::test]
async fn a_violation_after_a_good_request_comes_after_its_answer() {
    let server = Server::start().await;
    let answer = server.raw("GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n").await;
    let (good, bad) = answer.split_once("/first").expect("the first answer");
    assert!(good.starts_with("HTTP/1.1 200 ") && bad.starts_with("HTTP/1.1 400 "), "{answer}");
}
