//! The contexts that workers answer with.

use http::{HeaderValue, StatusCode};
use prost::Message;

use super::super::{Answer, answer::ResponseMessage, context::HeaderValues, decode};

fn fields(answer: &Answer) -> Vec<(&str, Vec<&[u8]>)> {
    answer.fields.iter().map(|(name, values)| (name.as_str(), values.iter().map(AsRef::as_ref).collect())).collect()
}

#[test]
fn an_answer_is_json_or_protobuf_and_says_which_by_itself() {
    let json = decode(br#"{"status":201,"headers":{"X-A":["1","2"],"x-b":"3","X-N":[4]}}"#).unwrap();
    assert_eq!(json.status, StatusCode::CREATED);
    assert_eq!(fields(&json), [("X-A", vec![&b"1"[..], b"2"]), ("x-b", vec![b"3"]), ("X-N", vec![b"4"])]);
    let values = |all: &[&[u8]]| HeaderValues { value: all.iter().map(|one| one.to_vec()).collect() };
    let message = ResponseMessage { status: 404, headers: [("X-A".into(), values(&[b"1", b"caf\xe9"]))].into() };
    let proto = decode(&message.encode_to_vec()).unwrap();
    assert_eq!((proto.status, fields(&proto)), (StatusCode::NOT_FOUND, vec![("X-A", vec![&b"1"[..], b"caf\xe9"])]));
    assert_eq!(decode(b"\x08\xc8\x01").unwrap().status, StatusCode::OK, "field 1, varint 200");
    assert_eq!(decode(b"").unwrap().status, StatusCode::OK);
    for empty in [
        r#"{"status":200,"headers":{}}"#,
        r#"{"status":200,"headers":[]}"#,
        r#"{"status":200,"headers":null}"#,
        r#" {"status":200}"#,
    ] {
        assert_eq!(decode(empty.as_bytes()).unwrap().fields, [], "{empty}");
    }
}

#[test]
fn the_head_is_one_that_http_can_carry() {
    let answer = decode(
        br#"{"status":200,"headers":{"Set-Cookie":["a=1","b=2"],"X-Line":["a\r\nEvil: 1"],"bad name":["x"],"X-Nul":["\u0000"],"Http2-Push":["/a.css"]}}"#,
    );
    let answer = answer.unwrap();
    assert_eq!(answer.lines(), b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Line: a  Evil: 1\r\n");
    let (head, trailers) = answer.into_head();
    let shown: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(shown, [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-line", "a  Evil: 1")]);
    assert!(trailers.is_empty());
}

#[test]
fn trailers_are_taken_out_of_the_head() {
    let answer =
        decode(br#"{"status":200,"headers":{"Trailer":["X-Sum, X-Time","X-None"],"X-Sum":["1"],"X-Time":["2"],"X-Head":["3"]}}"#);
    let (head, trailers) = answer.unwrap().into_head();
    assert_eq!((head.headers.len(), &head.headers["x-head"]), (1, &HeaderValue::from_static("3")));
    assert_eq!(
        (trailers.len(), &trailers["x-sum"], &trailers["x-time"]),
        (2, &HeaderValue::from_static("1"), &HeaderValue::from_static("2"))
    );
}

#[test]
fn statuses_are_those_of_http() {
    assert!(decode(br#"{"status":103,"headers":{"Link":["</a>"]}}"#).unwrap().is_interim());
    assert!(!decode(br#"{"status":200}"#).unwrap().is_interim());
    for status in [-1, 0, 99, 600, 1000, 70_000] {
        let error = decode(format!(r#"{{"status":{status}}}"#).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("unknown status code from worker: {status}"));
    }
    assert_eq!(decode(b"{}").unwrap_err().to_string(), "unknown status code from worker: 0");
}

#[test]
fn what_is_no_answer_is_told() {
    for context in [
        &br#"{"status":"200"}"#[..],
        b"{",
        br#"{"status":200,"headers":["x"]}"#,
        br#"{"status":200,"headers":{"a":{"b":null}}}"#,
        b"\xff\xff",
        b"hello",
    ] {
        let error = decode(context).unwrap_err().to_string();
        assert!(error.starts_with("worker's answer: unreadable context"), "{error}");
    }
}
