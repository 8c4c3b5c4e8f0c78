//! What a worker says, and what the client hears of it.

use std::sync::Arc;

use std::time::{Duration, Instant};

use http_body_util::BodyExt;

use super::{super::exchange::*, *};
use crate::worker::{
    Failure, Interim, Reply, ReplyBody, Responder, Work,
    goridge::{
        Frame, Stream,
        message::{self, FromWorker},
    },
};

pub(super) type Heard = crate::worker::Answer;

/// What has been answered by now.
pub(super) fn heard(answer: &mut Heard) -> Option<Result<Reply, Failure>> {
    match std::pin::Pin::new(answer).poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(answer) => Some(answer),
        std::task::Poll::Pending => None,
    }
}

pub(super) fn terms() -> Terms {
    Terms {
        requests: Settings::default(),
        output: Arc::new(crate::worker::OutputLimits {
            memory: 1 << 16,
            file: 1 << 16,
            write_timeout: Duration::from_secs(5),
            directory: std::env::temp_dir(),
            budget: crate::worker::OutputBudget::unlimited(),
        }),
        error_status: StatusCode::BAD_GATEWAY,
        debug: false,
        stream_timeout: Duration::from_secs(3600),
    }
}

fn work(request: Request) -> (Work, Heard) {
    let (responder, answer) = Responder::new();
    (Work { request: Box::new(request), responder, submitted: Instant::now() }, answer)
}

pub(super) fn begun(request: Request, terms: Terms) -> (Exchange, Heard) {
    let (work, answer) = work(request);
    (Exchange::begin(work, &Arc::new(terms)).expect("a plain request"), answer)
}

fn get() -> (Exchange, Heard) {
    begun(request("GET", "/", &[], ""), terms())
}

pub(super) fn said(context: &str, body: &str, stream: Stream) -> FromWorker {
    let payload = format!("{context}{body}");
    let split = u32::try_from(context.len()).unwrap();
    message::read(&Frame::new(Flags::default(), payload).with_options(&[split]).with_stream(stream)).unwrap()
}

pub(super) fn last(context: &str, body: &str) -> FromWorker {
    said(context, body, Stream::default())
}

pub(super) fn more(context: &str, body: &str) -> FromWorker {
    said(context, body, Stream::MORE)
}

pub(super) fn reply(mut answer: Heard) -> Reply {
    heard(&mut answer).expect("answered").expect("no failure")
}

fn whole(reply: Reply) -> (StatusCode, Bytes) {
    let ReplyBody::Whole(body) = reply.body else { panic!("a whole body was expected") };
    (reply.head.status, body)
}

pub(super) fn streamed(reply: Reply) -> (Bytes, HeaderMap) {
    let ReplyBody::Stream(reader) = reply.body else { panic!("a stream was expected") };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let all = runtime.block_on(reader.collect()).expect("it ends well");
    let trailers = all.trailers().cloned().unwrap_or_default();
    (all.to_bytes(), trailers)
}

#[test]
fn a_worker_is_sent_one_frame() {
    let (exchange, _answer) = begun(request("POST", "/a?b=1", &[("content-type", b"text/x")], "body"), terms());
    let mut decoder = decoder();
    exchange.frame().unwrap().iter().for_each(|piece| decoder.extend(piece));
    let frame = decoder.next().unwrap().unwrap();
    let split = frame.header.options[0] as usize;
    assert_eq!((frame.header.flags, &frame.payload[split..]), (Flags::JSON, &b"body"[..]));
    let context: Value = serde_json::from_slice(&frame.payload[..split]).unwrap();
    assert_eq!(context["uri"], "http://app.test:8080/a?b=1");
}

#[test]
fn one_frame_is_a_whole_answer() {
    let (mut exchange, answer) = get();
    assert!(matches!(exchange.hear(FromWorker::Pid(7)), Step::Listen));
    assert!(matches!(exchange.hear(last(r#"{"status":201,"headers":{"X-A":["1"]}}"#, "made")), Step::Done));
    let reply = reply(answer);
    assert_eq!(reply.head.headers["x-a"], "1");
    assert_eq!(whole(reply), (StatusCode::CREATED, "made".into()));
}

#[test]
fn a_body_without_a_head_is_a_200() {
    let (mut exchange, answer) = get();
    assert!(matches!(exchange.hear(last("", "text")), Step::Done));
    assert_eq!(whole(reply(answer)), (StatusCode::OK, "text".into()));
}

#[test]
fn parts_are_streamed_and_later_heads_do_not_count() {
    let (mut exchange, mut answer) = get();
    assert!(matches!(exchange.hear(more("", "")), Step::Listen));
    assert!(heard(&mut answer).is_none(), "nothing is said yet");
    assert!(matches!(exchange.hear(more(r#"{"status":202}"#, "a")), Step::Listen));
    let reply = reply(answer);
    assert_eq!(reply.head.status, StatusCode::ACCEPTED);
    let ping = said(r#"{"status":404}"#, "b", Stream::MORE | Stream::PING);
    assert!(matches!(exchange.hear(ping), Step::Tell(frame) if frame == message::pong()));
    assert!(matches!(exchange.hear(last("", "c")), Step::Done));
    assert_eq!(streamed(reply).0, "abc");
}

#[test]
fn trailers_follow_and_are_announced() {
    let (mut exchange, answer) = get();
    let context = r#"{"status":200,"headers":{"Trailer":["X-Sum"],"X-Sum":["9"]}}"#;
    assert!(matches!(exchange.hear(last(context, "body")), Step::Done));
    let reply = reply(answer);
    assert_eq!(reply.head.headers["trailer"], "x-sum");
    assert!(!reply.head.headers.contains_key("x-sum"));
    let (body, trailers) = streamed(reply);
    assert_eq!((body, &trailers["x-sum"]), ("body".into(), &HeaderValue::from_static("9")));
}

#[test]
fn interim_answers_go_before_the_final_one() {
    let sent = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut asked = request("GET", "/", &[], "");
    let into = sent.clone();
    asked.interim = Some(Interim::new(move |status, headers| {
        into.lock().push((status.as_u16(), headers["link"].clone()));
        true
    }));
    let (mut exchange, answer) = begun(asked, terms());
    assert!(matches!(exchange.hear(more(r#"{"status":103,"headers":{"Link":["</a.css>"]}}"#, "")), Step::Listen));
    assert!(matches!(exchange.hear(last(r#"{"status":203}"#, "end")), Step::Done));
    assert_eq!(*sent.lock(), [(103, HeaderValue::from_static("</a.css>"))]);
    assert_eq!(whole(reply(answer)), (StatusCode::NON_AUTHORITATIVE_INFORMATION, "end".into()));
}

#[test]
fn a_stream_for_head_is_swallowed() {
    let (mut exchange, answer) = begun(request("HEAD", "/", &[], ""), terms());
    assert!(matches!(exchange.hear(more(r#"{"status":200}"#, "a")), Step::Listen));
    assert_eq!(whole(reply(answer)), (StatusCode::OK, Bytes::new()));
    assert!(matches!(exchange.hear(said("", "b", Stream::MORE | Stream::PING)), Step::Tell(frame) if frame == message::pong()));
    assert!(matches!(exchange.hear(last("", "c")), Step::Done));
}

#[test]
fn a_client_that_leaves_stops_the_stream_once() {
    let (mut exchange, answer) = get();
    assert!(matches!(exchange.hear(more(r#"{"status":200}"#, "a")), Step::Listen));
    drop(reply(answer));
    assert_eq!(exchange.deadline(), None);
    let ping = || said("", "b", Stream::MORE | Stream::PING);
    assert!(matches!(exchange.hear(ping()), Step::Tell(frame) if frame == message::stop_stream()));
    assert!(exchange.deadline().is_some());
    assert!(matches!(exchange.hear(ping()), Step::Listen));
    assert!(matches!(exchange.hear(last("", "")), Step::Done));
}

#[test]
fn a_workers_error_is_told_to_clients_only_in_debug() {
    for (debug, body) in [(false, ""), (true, "secret")] {
        let (mut exchange, answer) = begun(request("GET", "/", &[], ""), Terms { debug, ..terms() });
        assert!(matches!(exchange.hear(FromWorker::Error("secret".into())), Step::Done));
        assert_eq!(whole(reply(answer)), (StatusCode::BAD_GATEWAY, body.into()));
    }
}

#[test]
fn an_error_in_a_stream_breaks_it_off() {
    let (mut exchange, answer) = get();
    exchange.hear(more(r#"{"status":200}"#, "a"));
    assert!(matches!(exchange.hear(FromWorker::Error("late".into())), Step::Done));
    let ReplyBody::Stream(reader) = reply(answer).body else { panic!("a stream was expected") };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(reader.collect()).is_err());
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    let (mut exchange, answer) = get();
    assert!(matches!(exchange.hear(last(r#"{"status":1000}"#, "x")), Step::Done));
    assert_eq!(whole(reply(answer)), (StatusCode::BAD_GATEWAY, "unknown status code from worker: 1000".into()));
    let (mut exchange, answer) = get();
    let step = exchange.hear(more("nonsense", "x"));
    assert!(matches!(step, Step::Tell(frame) if frame == message::stop_stream()));
    assert_eq!(reply(answer).head.status, StatusCode::BAD_GATEWAY);
}

#[test]
fn a_worker_that_wants_to_be_replaced_hands_its_work_on() {
    let uploads = Uploads::new("handed-on");
    let body = "--b\r\nContent-Disposition: form-data; name=f; filename=a.txt\r\n\r\nfile\r\n--b--\r\n";
    let (mut first, answer) =
        begun(post("multipart/form-data; boundary=b", body), Terms { requests: uploads.settings(), ..terms() });
    let frame = first.frame().unwrap();
    assert!(matches!(first.hear(FromWorker::Stop), Step::Renew));
    let work = first.into_work().expect("nothing was answered");
    assert_eq!(uploads.count(), 1, "the upload stays");
    let mut second = Exchange::begin(work, &Arc::new(terms())).unwrap();
    assert_eq!(second.frame().unwrap(), frame);
    assert!(matches!(second.hear(last(r#"{"status":200}"#, "done")), Step::Done));
    assert_eq!(whole(reply(answer)), (StatusCode::OK, "done".into()));
    drop(second);
    assert_eq!(uploads.count(), 0);
}

#[test]
fn a_work_that_nobody_wants_is_given_up() {
    let (mut exchange, mut answer) = get();
    for _ in 0..10 {
        assert!(matches!(exchange.hear(FromWorker::Stop), Step::Renew));
        exchange = Exchange::begin(exchange.into_work().expect("another may want it"), &Arc::new(terms())).unwrap();
    }
    assert!(heard(&mut answer).is_none());
    assert!(exchange.into_work().is_none());
    assert_eq!(heard(&mut answer).unwrap().unwrap_err(), Failure::WorkerLost);
}

#[test]
fn what_cannot_be_encoded_is_answered_at_once() {
    let (work, answer) = work(post("application/x-www-form-urlencoded", "a=1&a[b]=2"));
    assert!(Exchange::begin(work, &Arc::new(terms())).is_none());
    let (status, text) = whole(reply(answer));
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text.starts_with(b"form: invalid multiple values"), "{text:?}");
}

#[test]
fn a_lost_worker_is_told() {
    let (mut exchange, mut answer) = get();
    exchange.fail(Failure::RequestTimeout);
    assert_eq!(heard(&mut answer).unwrap().unwrap_err(), Failure::RequestTimeout);
    assert!(exchange.into_work().is_none());
}
