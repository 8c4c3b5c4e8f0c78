//! HTTP/2 without TLS.

use super::*;

pub(super) fn get(server: &Server, path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://{}{path}", server.address)).body(Empty::new()).unwrap()
}

async fn h2c() -> Server {
    Server::with(|config| config.h2c = true).await
}

pub(super) async fn text(response: Response<hyper::body::Incoming>) -> Bytes {
    response.collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn is_known_by_its_preface() {
    let server = h2c().await;
    let (mut client, _connection) = h2_client(&server).await;
    for path in ["/one", "/two"] {
        let response = client.send_request(get(&server, path)).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(text(response).await, path);
    }
    assert!(server.raw("GET /1 HTTP/1.0\r\n\r\n").await.ends_with("/1"), "HTTP/1 on the same listener");
    assert!(server.raw("PRI / HTTP/1.0\r\n\r\n").await.ends_with('/'), "a method that only begins like the preface");
}

#[tokio::test]
async fn a_preface_that_never_ends_times_out() {
    let server = Server::with(|config| {
        config.h2c = true;
        config.header_timeout = Duration::from_millis(40);
        config.drain_idle = Duration::from_millis(10);
    })
    .await;
    assert_eq!(server.raw("PRI * HT").await, "");
    // A whole preface, but no request.
    server.raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let figures = server.drain.snapshot();
    assert_eq!((figures.head_timeouts, figures.first_timeouts), (1, 1));
}

#[tokio::test]
async fn has_the_limits_of_http1() {
    let server = h2c().await;
    let (mut client, _connection) = h2_client(&server).await;
    let mut status = async |request| client.send_request(request).await.unwrap().status().as_u16();
    assert_eq!(status(get(&server, &format!("/{}", "a".repeat(16 * 1024)))).await, 414);
    let mut request = get(&server, "/");
    request.headers_mut().insert("host", HeaderValue::from_static("other"));
    assert_eq!(status(request).await, 400);
    let mut request = get(&server, "/");
    for _ in 0..101 {
        request.headers_mut().append("a", HeaderValue::from_static("b"));
    }
    assert_eq!(status(request).await, 431);
    let mut request = get(&server, "/");
    request.headers_mut().insert("a", "b".repeat(33 * 1024).parse().unwrap());
    assert_eq!(status(request).await, 431);
    assert_eq!(status(get(&server, "/good")).await, 200);
}

#[tokio::test]
async fn a_host_is_what_it_may_be_in_http1() {
    let server = h2c().await;
    let (mut client, _connection) = h2_client(&server).await;
    let mut status = async |authority: &str, host: Option<&str>| {
        let mut request = Request::get(format!("http://{authority}/")).body(Empty::new()).unwrap();
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        client.send_request(request).await.unwrap().status().as_u16()
    };
    assert_eq!(status("shop.example:x@evil.test", None).await, 400, "a name before the host");
    assert_eq!(status("user@evil.test", Some("user@evil.test")).await, 400);
    assert_eq!(status("shop.example:80", Some("Shop.example:80")).await, 200);
    // A host field alone, without a dynamic table: index 38 is its name.
    let head = |host: &str| [b"\x82\x86\x84\x66".as_slice(), &[u8::try_from(host.len()).unwrap()], host.as_bytes()].concat();
    for (host, index) in [("a.test/x", 0x8c), ("a b", 0x8c), ("a.test", 0x88)] {
        let mut client = begun(&server).await;
        client.send(frame(1, 5, 1, &head(host))).await;
        assert_eq!(answered(&mut client).await, index, "{host}: the status's index in the static table");
    }
}

/// The first byte of the first answer's head.
async fn answered(client: &mut Client) -> u8 {
    loop {
        let mut start = [0; 9];
        client.0.read_exact(&mut start).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, start[0], start[1], start[2]]) as usize];
        client.0.read_exact(&mut payload).await.unwrap();
        if start[3] == 1 {
            // A change of the table's size may come first.
            return *payload.iter().find(|byte| **byte >= 0x80).unwrap();
        }
    }
}

#[tokio::test]
async fn what_answers_head_is_a_head_and_no_more() {
    let server = h2c().await;
    let mut client = begun(&server).await;
    // The method is no entry of the static table.
    let asked = [b"\x42\x04HEAD".as_slice(), &head("/four")[1..]].concat();
    client.send(frame(1, 5, 1, &asked)).await;
    let flags = loop {
        let mut start = [0; 9];
        client.0.read_exact(&mut start).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, start[0], start[1], start[2]]) as usize];
        client.0.read_exact(&mut payload).await.unwrap();
        assert_ne!(start[3], 0, "DATA");
        if start[3] == 1 {
            break start[4];
        }
    };
    assert_eq!(flags & 1, 1, "the stream ends there");
    let (mut client, _connection) = h2_client(&server).await;
    let mut request = get(&server, "/four");
    *request.method_mut() = http::Method::HEAD;
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let server = Server::with(|config| {
        config.h2c = true;
        config.keepalive_timeout = Duration::from_millis(40);
    })
    .await;
    let (mut client, connection) = h2_client(&server).await;
    assert_eq!(text(client.send_request(get(&server, "/a")).await.unwrap()).await, "/a");
    connection.await.unwrap();
    assert_eq!(server.drain.snapshot().idle_timeouts, 1);
}

#[tokio::test]
async fn a_stream_that_takes_nothing_is_cut() {
    let server = Server::with(|config| {
        config.h2c = true;
        config.write_timeout = Duration::from_millis(60);
    })
    .await;
    let (mut client, connection) = h2_client(&server).await;
    // Held, not read: its window fills up.
    let _response = client.send_request(get(&server, "/big")).await.unwrap();
    connection.await.unwrap();
    assert_eq!(server.drain.snapshot().write_timeouts, 1);
}

#[tokio::test]
async fn drains_by_goaway_and_finishes_what_runs() {
    let server = h2c().await;
    let (mut client, connection) = h2_client(&server).await;
    let running = tokio::spawn(client.send_request(get(&server, "/wait")));
    server.app.entered.notified().await;
    server.drain.start();
    server.app.release.notify_one();
    assert_eq!(text(running.await.unwrap().unwrap()).await, "waited");
    connection.await.unwrap();
    assert!(client.ready().await.is_err(), "no further request is taken");
    assert!(server.finished().await);
}

#[tokio::test]
async fn a_request_may_outlast_drain_idle() {
    let server = Server::with(|config| {
        config.h2c = true;
        config.drain_idle = Duration::from_millis(10);
    })
    .await;
    let (mut client, _connection) = h2_client(&server).await;
    let running = tokio::spawn(client.send_request(get(&server, "/wait")));
    server.app.entered.notified().await;
    server.drain.start();
    assert!(!server.drain.wait(Instant::now() + Duration::from_millis(50)).await);
    server.app.release.notify_one();
    assert_eq!(text(running.await.unwrap().unwrap()).await, "waited");
    assert!(server.finished().await);
}

#[tokio::test]
async fn the_last_of_keepalive_requests_ends_the_connection() {
    let server = Server::with(|config| {
        config.h2c = true;
        config.keepalive_requests = 1;
    })
    .await;
    let (mut client, connection) = h2_client(&server).await;
    assert_eq!(text(client.send_request(get(&server, "/a")).await.unwrap()).await, "/a");
    connection.await.unwrap();
}

// === floods ===

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a GET that ends its stream; `path` is shorter than 127 bytes.
fn head(path: &str) -> Vec<u8> {
    [b"\x82\x86\x41\x01x\x44".as_slice(), &[u8::try_from(path.len()).unwrap()], path.as_bytes()].concat()
}

async fn begun(server: &Server) -> Client {
    let mut client = server.connect().await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send(frame(4, 0, 0, &[])).await;
    client
}

/// Sends until the server has had enough; false if it bears it all.
async fn is_cut(client: Client, flood: &[u8], times: usize) -> bool {
    let (mut reading, mut writing) = client.0.into_split();
    let drained = tokio::spawn(async move { tokio::io::copy(&mut reading, &mut tokio::io::sink()).await });
    for _ in 0..times {
        if writing.write_all(flood).await.is_err() {
            return true;
        }
    }
    // Cut after the last write, if at all: it would stay for longer than this otherwise.
    tokio::time::timeout(Duration::from_secs(2), drained).await.is_ok()
}

#[tokio::test]
async fn floods_of_frames_that_carry_nothing_end_the_connection() {
    let server = h2c().await;
    let opened = frame(1, 0, 1, &head("/1"));
    let floods = [
        ("ping", vec![], frame(6, 0, 0, &[0; 8])),
        ("settings", vec![], frame(4, 0, 0, &[])),
        ("window updates", vec![], frame(8, 0, 0, &[0, 0, 0, 1])),
        ("priorities", vec![], frame(2, 0, 3, &[0, 0, 0, 0, 9])),
        ("empty data", [opened.clone(), frame(9, 4, 1, &[])].concat(), frame(0, 0, 1, &[])),
        ("continuation", opened, frame(9, 0, 1, &[])),
    ];
    for (name, start, flood) in floods {
        let mut client = begun(&server).await;
        client.send(&start).await;
        assert!(is_cut(client, &flood.repeat(100), 1000).await, "{name}");
    }
    let (mut client, _connection) = h2_client(&server).await;
    assert_eq!(text(client.send_request(get(&server, "/well")).await.unwrap()).await, "/well");
}

#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let server = h2c().await;
    let mut client = begun(&server).await;
    let is_cut = || server.drain.snapshot().refused > 0;
    let mut borne = 0;
    for stream in (1..2000).step_by(2) {
        drop(client.0.write_all(&frame(1, 5, stream, &head("/wait"))).await);
        let cut = async {
            while !is_cut() {
                tokio::task::yield_now().await;
            }
        };
        // Each is accepted, and at work, before it is reset: h2 itself sees no harm in that.
        tokio::select! {
            () = server.app.entered.notified() => borne += 1,
            () = cut => break,
        }
        drop(client.0.write_all(&frame(3, 0, stream, &[0, 0, 0, 8])).await);
    }
    assert!(is_cut() && (101..110).contains(&borne), "{borne}");
    assert!(server.finished().await);
}
