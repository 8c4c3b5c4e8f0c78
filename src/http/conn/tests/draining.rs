//! Nothing that a client may count on is lost.

use super::*;

#[tokio::test]
async fn an_idle_connection_gets_one_more_answer() {
    let server = Server::with(|config| config.drain_idle = Duration::from_secs(60)).await;
    let mut client = server.connect().await;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.1, "/1");
    server.drain.start();
    assert!(!server.drain.wait(Instant::now() + Duration::from_millis(30)).await, "not cut");
    client.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (head, body) = client.answer().await;
    assert!(head.contains("connection: close\r\n") && body == "/2", "{head}{body}");
    assert_eq!(client.rest().await, "");
    assert!(server.finished().await);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_drain_idle() {
    let server = Server::with(|config| config.drain_idle = Duration::from_millis(30)).await;
    let mut client = server.connect().await;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.1, "/1");
    server.drain.start();
    assert_eq!(client.rest().await, "");
    assert!(server.finished().await);
    assert_eq!(server.drain.snapshot().idle_timeouts, 1);
}

#[tokio::test]
async fn a_request_that_runs_is_finished() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.app.entered.notified().await;
    server.drain.start();
    server.app.release.notify_one();
    let answer = client.rest().await;
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("waited"), "{answer}");
}

#[tokio::test]
async fn a_connection_nobody_has_accepted_yet_is_served() {
    let server = Server::start().await;
    assert!(server.raw("GET /early HTTP/1.0\r\n\r\n").await.ends_with("/early"));
    // On a current-thread runtime the accept loop cannot run between these lines.
    let mut client = std::net::TcpStream::connect(server.address).unwrap();
    std::io::Write::write_all(&mut client, b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    server.drain.start();
    server.drain.stop_accepting();
    assert!(server.finished().await);
    server.running.await.unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut client, &mut answer).unwrap();
    assert!(answer.ends_with("/late"), "{answer}");
}

#[tokio::test]
async fn new_connections_are_accepted_until_told_otherwise() {
    let server = Server::start().await;
    server.drain.start();
    let answer = server.raw("GET /new HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("/new"), "{answer}");
}

#[tokio::test]
async fn several_runtimes_share_the_listeners() {
    let listeners = listen_on("127.0.0.1:0".parse().unwrap());
    let (drain, app) = (Drain::new(), App::default());
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (listeners, drain, app) = (listeners.clone(), drain.clone(), app.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    serve(&plain(&listeners), Arc::new(config()), app, drain.clone()).await.unwrap();
                    assert!(drain.wait(Instant::now() + Duration::from_secs(5)).await);
                });
            })
        })
        .collect();
    for number in 0..20 {
        let mut client = Client(TcpStream::connect(listeners.addresses()[0]).await.unwrap());
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(client.answer().await.1, format!("/{number}"));
    }
    drain.start();
    drain.stop_accepting();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(drain.snapshot().accepted, 20);
}
