//! What the tests of all parts need, and what all parts do together.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::worker::{Answer, Body, Failure, Head, Reply, ReplyBody, Request, Responder, Script, Source};

pub(super) fn work(id: u64) -> (Work, Answer) {
    let (responder, answer) = Responder::new();
    let script = Script { filename: "/x.php".into(), name: "/x.php".into(), path_info: "".into(), document_root: "/".into() };
    let request = Box::new(Request {
        id,
        received: std::time::SystemTime::now(),
        script,
        source: Source::FastCgi(Vec::new()),
        body: Body::Empty,
        ini: Vec::new(),
        interim: None,
        phases: None,
    });
    (Work { request, responder, submitted: Instant::now() }, answer)
}

pub(super) fn pool(max_queue_size: usize) -> Pool {
    Pool::new(Config { num_workers: 2, max_queue_size, allocate_timeout: Duration::from_millis(50) })
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

/// What was answered: the body, or why there is none.
pub(super) fn answered(answer: Answer) -> Result<String, Failure> {
    let ReplyBody::Whole(body) = runtime().block_on(answer)?.body else { panic!("a whole body was sent") };
    Ok(String::from_utf8(body.to_vec()).expect("text"))
}

pub(super) fn echo(work: Work) {
    let body = bytes::Bytes::from(work.request.id.to_string());
    let head = Head { status: http::StatusCode::OK, reason: None, headers: http::HeaderMap::new(), lines: Vec::new() };
    work.responder.send(Ok(Reply { head, body: ReplyBody::Whole(body), log: String::new(), request: None }));
}

#[test]
fn every_work_is_answered_once_by_many_workers() {
    let pool = pool(10_000);
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            thread::spawn(move || {
                let seat = pool.seat();
                while let Next::Work(work) = seat.next() {
                    echo(work);
                }
            })
        })
        .collect();
    let answers: Vec<_> = (0..5_000)
        .map(|id| {
            let (work, answer) = work(id);
            pool.submit(work, if id % 2 == 0 { Wake::Now } else { Wake::WhenParked }).expect("the queue is large enough");
            pool.wake_if_waiting(Duration::ZERO);
            (id, answer)
        })
        .collect();
    pool.close();
    let runtime = runtime();
    for (id, answer) in answers {
        let reply = runtime.block_on(answer).expect("no failure");
        let ReplyBody::Whole(body) = reply.body else { panic!("a whole body was sent") };
        assert_eq!(body, id.to_string());
    }
    for worker in workers {
        worker.join().expect("no panic");
    }
    assert_eq!(pool.snapshot().workers, 0);
}
