//! Limits on connections: of all, of a socket, of a client, and on their age.

use super::{
    http2::{get, text},
    *,
};
use crate::http::{drain::Closed, subnet::Subnets};

fn closed(server: &Server, reason: Closed) -> u64 {
    server.drain.snapshot().closed[reason as usize]
}

/// A connection that has had an answer.
async fn served(server: &Server) -> Client {
    let mut client = server.connect().await;
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.1, "/a");
    // Who has been idle longest is known to the millisecond.
    tokio::time::sleep(Duration::from_millis(5)).await;
    client
}

#[tokio::test]
async fn who_has_been_idle_longest_leaves_for_others() {
    for is_here in [false, true] {
        let server = Server::with(|config| {
            let limit = if is_here { &mut config.max_per_listener } else { &mut config.max_connections };
            *limit = 3;
            config.h2c = true;
        })
        .await;
        let mut busy = server.connect().await;
        busy.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
        server.app.entered.notified().await;
        let mut idle = served(&server).await;
        let (mut later, h2) = h2_client(&server).await;
        let response = later.send_request(get(&server, "/h2")).await.unwrap();
        assert_eq!(text(response).await, "/h2");
        tokio::time::sleep(Duration::from_millis(5)).await;
        let mut fourth = served(&server).await;
        assert_eq!(idle.rest().await, "", "it was the first to have nothing to do");
        // Nobody says a word from here on, and the next to leave is the one over HTTP/2.
        let _fifth = served(&server).await;
        h2.await.unwrap();
        assert_eq!(closed(&server, Closed::Room), 2);
        server.app.release.notify_one();
        assert_eq!(busy.answer().await.1, "waited");
        fourth.send("GET /still HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(fourth.answer().await.1, "/still");
    }
}

#[tokio::test]
async fn a_silent_connection_is_the_first_to_leave() {
    for h2c in [false, true] {
        let server = Server::with(|config| (config.max_connections, config.h2c) = (2, h2c)).await;
        let mut silent = server.connect().await;
        while server.drain.snapshot().open == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _first = served(&server).await;
        let _second = served(&server).await;
        assert_eq!(silent.rest().await, "");
        assert_eq!((closed(&server, Closed::Room), server.drain.snapshot().first_timeouts), (1, 0));
    }
}

#[tokio::test]
async fn one_client_has_no_more_than_its_share() {
    let with = async |exempt: Subnets| {
        let share = |config: &mut Config| (config.max_per_client, config.exempt) = (2, exempt);
        Server::with(share).await
    };
    let server = with(Subnets::default()).await;
    let (first, _second) = (served(&server).await, served(&server).await);
    // Whether it gets an end or a reset depends on whether it has sent something by then.
    let third = server.connect().await;
    third.0.readable().await.unwrap();
    assert!(matches!(third.0.try_read(&mut [0; 8]), Ok(0) | Err(_)), "closed without an answer");
    assert_eq!(closed(&server, Closed::Client), 1);
    drop(first);
    // As soon as the server has seen that.
    loop {
        let mut client = server.connect().await;
        client.send("GET /b HTTP/1.0\r\n\r\n").await;
        let mut bytes = Vec::new();
        if client.0.read_to_end(&mut bytes).await.is_ok() && bytes.ends_with(b"/b") {
            break;
        }
    }
    let server = with(Subnets::new([("127.0.0.0".parse().unwrap(), 8)])).await;
    let many = [served(&server).await, served(&server).await, served(&server).await];
    assert_eq!((many.len(), closed(&server, Closed::Client)), (3, 0), "who speaks for others");
}

#[tokio::test]
async fn a_connection_that_is_old_leaves_after_its_answer() {
    let server = Server::with(|config| {
        config.max_age = Some(Duration::from_millis(1));
        config.h2c = true;
    })
    .await;
    let mut client = server.connect().await;
    client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.app.entered.notified().await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    server.app.release.notify_one();
    let (head, body) = client.answer().await;
    assert!(head.contains("connection: close\r\n") && body == "waited", "{head}{body}");
    assert_eq!(client.rest().await, "");
    let (mut client, connection) = h2_client(&server).await;
    // It may be old before it has asked for anything.
    drop(client.send_request(get(&server, "/h2")).await);
    connection.await.unwrap();
    assert_eq!(closed(&server, Closed::Age), 2);
}
