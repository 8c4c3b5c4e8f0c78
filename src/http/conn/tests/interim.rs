//! 103 Early Hints.

use super::*;

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";

#[tokio::test]
async fn are_sent_before_the_answer() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.send("GET /hints HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.head().await, HINTS, "while the handler still works");
        server.app.entered.notified().await;
        server.app.release.notify_one();
        let (head, body) = client.answer().await;
        assert!(head.starts_with("HTTP/1.1 200 ") && body == "true", "{head}{body}");
    }
}

#[tokio::test]
async fn go_with_the_answer_if_it_is_there_at_once() {
    let server = Server::start().await;
    server.app.release.notify_one();
    let answer = server.raw("GET /hints HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with(HINTS) && answer.ends_with("true"), "{answer}");
}

#[tokio::test]
async fn wait_for_the_answer_before() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\nGET /hints HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    server.app.release.notify_one();
    let answers = client.rest().await;
    let hints = answers.find(HINTS).expect("hints");
    assert!(hints > 64 << 20, "inside the first answer, at {hints}");
    assert!(answers.ends_with("true"));
}

#[tokio::test]
async fn follow_a_continue() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    server.app.release.notify_one();
    client.send("POST /hints HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.head().await, HINTS);
    assert_eq!(client.answer().await.1, "true");
}

#[tokio::test]
async fn are_not_sent_to_http10() {
    let server = Server::start().await;
    server.app.release.notify_one();
    let answer = server.raw("GET /hints HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains(" 200 OK") && !answer.contains("103") && answer.ends_with("false"), "{answer}");
}

#[tokio::test]
async fn are_refused_once_the_answer_has_begun() {
    #[derive(Clone)]
    struct Late(Arc<parking_lot::Mutex<Option<EarlyHints>>>);
    impl Handler for Late {
        async fn handle(&self, _: Request<Incoming>, _: Peer) -> Response<Body> {
            status(500)
        }

        async fn handle_hinted(&self, _: Request<Incoming>, _: Peer, hints: Option<EarlyHints>) -> Response<Body> {
            *self.0.lock() = hints;
            status(204)
        }
    }
    let kept = Late(Arc::default());
    let listeners = listen_on("127.0.0.1:0".parse().unwrap());
    let address = listeners.addresses()[0];
    let handler = kept.clone();
    tokio::spawn(async move { serve(&plain(&listeners), Arc::new(config()), handler, Drain::new()).await });
    let mut client = Client(TcpStream::connect(address).await.unwrap());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.answer().await;
    let hints = kept.0.lock().take().expect("a handle");
    assert!(!hints.send(&link()));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204 "), "no late hint before the next answer");
    assert!(!hints.send(&link()), "the next request has its own");
}
