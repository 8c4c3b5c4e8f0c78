//! Tasks: contexts and bodies go both ways as they are.

use super::{
    exchange::{begun, heard, last, more, reply, said, streamed, terms},
    *,
};
use crate::worker::{
    Reply, ReplyBody, Task,
    goridge::{
        Stream,
        message::{self, FromWorker},
    },
};

fn task(streams: bool) -> Request {
    let task = Task { plugin: "tcp", name: "DATA".into(), context: "{\"a\":1}".into(), codec: Flags::JSON, streams };
    with(Source::Task(task), "body")
}

/// Status, context and body.
fn told(reply: Reply) -> (u16, String, String) {
    let ReplyBody::Whole(body) = reply.body else { panic!("a whole body was sent") };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (reply.head.status.as_u16(), text(&reply.head.lines), text(&body))
}

#[test]
fn a_task_s_context_and_body_are_sent_as_they_are() {
    let (exchange, _answer) = begun(task(false), terms());
    let [head, context, body] = exchange.frame().unwrap();
    assert_eq!((context, body), ("{\"a\":1}".into(), "body".into()));
    assert_eq!(&head[..], &message::request(Flags::JSON, b"{\"a\":1}", b"body").unwrap()[..]);
}

#[test]
fn its_answer_is_a_context_and_a_body_whatever_they_say() {
    for (context, body) in [("WRITE", "hello"), ("", "hello"), ("CLOSE", ""), ("{not json", "")] {
        let (mut exchange, answer) = begun(task(false), terms());
        assert!(matches!(exchange.hear(last(context, body)), Step::Done));
        assert_eq!(told(reply(answer)), (200, context.into(), body.into()));
    }
}

#[test]
fn its_error_is_told_whole() {
    let (mut exchange, answer) = begun(task(false), terms());
    assert!(matches!(exchange.hear(FromWorker::Error("it broke".into())), Step::Done));
    assert_eq!(told(reply(answer)), (500, String::new(), "it broke".into()));
}

#[test]
fn a_stream_is_an_error_where_it_was_not_asked_for() {
    let (mut exchange, answer) = begun(task(false), terms());
    assert!(matches!(exchange.hear(more("WRITE", "a")), Step::Tell(frame) if frame == message::stop_stream()));
    assert_eq!(told(reply(answer)), (500, String::new(), "streaming is not supported".into()));
    assert!(exchange.deadline().is_some(), "the worker is waited for");
    assert!(matches!(exchange.hear(last("", "b")), Step::Done));
}

#[test]
fn a_stream_that_was_asked_for_has_the_first_context() {
    let (mut exchange, mut answer) = begun(task(true), terms());
    assert!(heard(&mut answer).is_none());
    assert!(matches!(exchange.hear(more("WRITE", "a")), Step::Listen));
    let reply = reply(answer);
    assert_eq!(reply.head.lines, b"WRITE");
    let ping = said("", "b", Stream::MORE | Stream::PING);
    assert!(matches!(exchange.hear(ping), Step::Tell(frame) if frame == message::pong()));
    assert!(matches!(exchange.hear(last("WRITE", "c")), Step::Done));
    assert_eq!(streamed(reply).0, "abc");
}

#[test]
fn another_worker_gets_what_the_first_has_handed_on() {
    let (mut exchange, answer) = begun(task(false), terms());
    assert!(matches!(exchange.hear(FromWorker::Stop), Step::Renew));
    let work = exchange.into_work().expect("nobody has answered");
    let mut exchange = Exchange::begin(work, &std::sync::Arc::new(terms())).unwrap();
    assert_eq!(exchange.frame().unwrap()[1], "{\"a\":1}");
    assert!(matches!(exchange.hear(last("CONTINUE", "")), Step::Done));
    assert_eq!(told(reply(answer)), (200, "CONTINUE".into(), String::new()));
}
