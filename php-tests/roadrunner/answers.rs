//! What a worker answers, and what the client gets.

use std::{thread, time::Duration};

use super::{both_carriers, setup};

both_carriers! {
    fn heads_may_be_json_or_protobuf(carrier: Carrier) {
        let server = setup(carrier).start();
        let reply = server.get("/proto").send();
        assert_eq!((reply.status, reply.text().as_str()), (201, "proto"));
        let raw = server.raw("GET /proto HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(raw.contains("x-proto: caf"), "{raw}");
    }

    fn parts_are_streamed(carrier: Carrier) {
        let server = setup(carrier).start();
        let reply = server.get("/stream").send();
        assert_eq!((reply.status, reply.header("x-stream")), (201, Some("yes")));
        assert_eq!(reply.text(), (0..20).map(|part| format!("{part},")).collect::<String>() + "end");
        // A part arrives while the next is not there yet.
        let mut connection = server.get("/slow-stream").fire();
        let head = connection.read_head().unwrap();
        assert_eq!((head.status, connection.read_chunk().unwrap()), (200, Some(b"first".to_vec())));
        assert_eq!(server.post("/release", "text/plain", "").send().status, 200);
        assert_eq!(connection.read_chunk().unwrap(), Some(b"second".to_vec()));
        assert_eq!(connection.read_chunk().unwrap(), None);
    }

    fn a_stream_whose_client_leaves_is_stopped(carrier: Carrier) {
        let server = setup(carrier).start();
        for target in ["/endless", "/endless?ping=1"] {
            let mut connection = server.get(target).fire();
            connection.read_head().unwrap();
            connection.read_chunk().unwrap();
            drop(connection);
            assert!(server.logs("the stream was stopped"), "{target}: {}", server.log.text());
        }
        // The workers are as good as before.
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(server.get("/stream").send().body.len(), 53));
            }
        });
        assert!(!server.log.text().contains("is replaced"), "{}", server.log.text());
    }

    fn a_stream_that_cannot_be_stopped_ends_its_worker(carrier: Carrier) {
        let server = setup(carrier).option("http.pool.stream_timeout=300ms").start();
        let mut connection = server.get("/stubborn").fire();
        connection.read_head().unwrap();
        connection.read_chunk().unwrap();
        drop(connection);
        assert!(server.logs("asked to end"), "{}", server.log.text());
        assert_eq!(server.get("/stream").send().body.len(), 53);
    }

    fn early_hints_go_before_the_answer(carrier: Carrier) {
        let server = setup(carrier).start();
        let reply = server.get("/hints").send();
        assert_eq!((reply.status, reply.text().as_str()), (202, "hinted"));
        assert_eq!(reply.interim.len(), 1);
        assert_eq!((reply.interim[0].status, reply.interim[0].header("link")), (103, Some("</a.css>; rel=preload")));
    }

    fn trailers_follow_for_those_who_take_them(carrier: Carrier) {
        let server = setup(carrier).start();
        let raw = server.raw("GET /trailers HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: TE, close\r\n\r\n");
        let (head, body) = raw.split_once("\r\n\r\n").unwrap();
        assert!(!head.to_lowercase().contains("x-sum: 7") && !head.to_lowercase().contains("http2-push"), "{head}");
        assert!(body.to_lowercase().ends_with("0\r\nx-sum: 7\r\n\r\n"), "{raw}");
        let reply = server.get("/trailers").send();
        assert_eq!((reply.text().as_str(), reply.all("x-head").collect::<Vec<_>>()), ("body", vec!["1", "2"]));
    }

    fn head_has_no_body(carrier: Carrier) {
        let server = setup(carrier).start();
        for target in ["/echo", "/stream", "/trailers"] {
            let mut connection = server.connect();
            let reply = connection.send(&server.request("HEAD", target)).unwrap();
            assert!(reply.status < 300 && reply.body.is_empty(), "{target}: {reply:?}");
            // Nothing of it is taken for the next answer.
            assert_eq!(connection.send(&server.get("/nothing")).unwrap().text(), "nothing here", "{target}");
        }
    }

    fn an_error_is_not_told(carrier: Carrier) {
        let server = setup(carrier).threads(1).option("http.internal_error_code=502").start();
        let before = super::worker(&server);
        let reply = server.get("/error").send();
        assert_eq!((reply.status, reply.text().as_str()), (502, ""));
        assert!(server.logs("secret reason"));
        assert_eq!(server.get("/status?status=99").send().status, 502);
        assert_eq!(super::worker(&server)["boot"], before["boot"], "the worker lives on");
    }

    fn a_body_that_was_not_named_is(carrier: Carrier) {
        let server = setup(carrier).start();
        assert_eq!(server.get("/nothing").send().header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(server.get("/request").send().header("content-type"), Some("application/json"));
        assert_eq!(server.post("/echo", "text/plain", "<html>").send().header("content-type"), Some("text/html; charset=utf-8"));
    }

    fn a_slow_client_gets_all(carrier: Carrier) {
        let server = setup(carrier).option("http.output.memory=4K").start();
        let mut connection = server.get("/large?size=3000000").fire();
        connection.read_head().unwrap();
        thread::sleep(Duration::from_millis(200));
        let mut read = 0;
        while let Some(chunk) = connection.read_chunk().unwrap() {
            read += chunk.len();
        }
        assert_eq!(read, 3_000_000);
    }
}
