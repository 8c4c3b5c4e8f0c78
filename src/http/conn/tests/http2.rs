//! HTTP/2 without TLS.

use super::*;

fn get(server: &Server, path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://{}{path}", server.address)).body(Empty::new()).unwrap()
}

async fn h2c() -> Server {
    Server::with(|config| config.h2c = true).await
}

async fn text(response: Response<Incoming>) -> Bytes {
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
    assert_eq!((figures.head_timeouts, figures.idle_timeouts), (1, 1));
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
