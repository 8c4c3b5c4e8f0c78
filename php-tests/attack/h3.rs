//! HTTP/3's heads and bodies byte by byte. What breaks its framing is in `edge::http3`.

use super::target;
use crate::harness::{
    h3::{Outcome, frame, raw, section, status},
    reference,
};

type Field = (&'static str, &'static str);

const GOOD: [Field; 4] = [(":method", "POST"), (":scheme", "https"), (":authority", "server.test"), (":path", "/smuggled.php")];

/// H3_MESSAGE_ERROR.
const MESSAGE: u64 = 0x10e;

fn changed(name: &str, value: &'static str) -> Vec<Field> {
    GOOD.iter().map(|&(known, is)| (known, if known == name { value } else { is })).collect()
}

fn without(name: &str) -> Vec<Field> {
    GOOD.into_iter().filter(|(known, _)| *known != name).collect()
}

fn with(more: &[Field]) -> Vec<Field> {
    [&GOOD[..], more].concat()
}

#[test]
fn heads_that_break_a_rule_reach_no_script() {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| setup);
    let first = |field: Field| [&[field], &GOOD[..]].concat();
    let hosts = ["", "x@server.test", "x/y", "[::1", "x:y", "x:99999", "x..y", "x%00y", "x\r\nA: b"];
    let of_hosts = hosts.map(|host| (changed(":authority", host), 400));
    let others = [
        (with(&[(":path", "/other")]), 0),
        (with(&[(":method", "GET")]), 0),
        (with(&[(":scheme", "http")]), 0),
        (with(&[(":authority", "y")]), 0),
        (with(&[(":status", "200")]), 0),
        (with(&[(":protocol", "websocket")]), 0),
        (first(("a", "b")), 0),
        (without(":method"), 0),
        (without(":scheme"), 0),
        (without(":path"), 0),
        (without(":authority"), 400),
        (changed(":method", ""), 0),
        (changed(":method", "POST\r\nA: b"), 0),
        (changed(":method", "CONNECT"), 405),
        (changed(":scheme", "ftp"), 400),
        (changed(":path", ""), 0),
        (changed(":path", "smuggled.php"), 0),
        (changed(":path", "https://y/smuggled.php"), 0),
        (changed(":path", "*"), 400),
        (changed(":path", "/smuggled.php HTTP/1.1"), 0),
        (changed(":path", "/smuggled.php\r\nA: b"), 0),
        (changed(":path", "/smuggled.php\0"), 0),
        (changed(":path", "/smuggled.php\u{7f}"), 0),
        (with(&[("host", "y")]), 400),
        (with(&[("host", "server.test"), ("host", "server.test")]), 400),
        (with(&[("host", "")]), 400),
        (with(&[("A", "b")]), 0),
        (with(&[("", "b")]), 0),
        (with(&[("a b", "c")]), 0),
        (with(&[("a\r\nb", "c")]), 0),
        (with(&[("a", "b\r\nc: d")]), 0),
        (with(&[("a", "b\nc")]), 0),
        (with(&[("a", "b\0c")]), 0),
        (with(&[("a", " b")]), 0),
        (with(&[("connection", "close")]), 0),
        (with(&[("keep-alive", "5")]), 0),
        (with(&[("proxy-connection", "close")]), 0),
        (with(&[("transfer-encoding", "chunked")]), 0),
        (with(&[("upgrade", "h2c")]), 0),
        (with(&[("te", "gzip")]), 0),
        (with(&[("content-length", "+0")]), 0),
        (with(&[("content-length", "0, 0")]), 0),
        (with(&[("content-length", "0"), ("content-length", "5")]), 0),
        (with(&[("content-length", "99999999999999999999")]), 0),
        (with(&[("content-length", "5")]), MESSAGE),
    ];
    for (head, expected) in of_hosts.into_iter().chain(others) {
        let outcome = raw(&target.office, &[], &frame(1, &section(&head)));
        let is_refused = match (&outcome, expected) {
            (Outcome::Reset(code), 0 | MESSAGE) => *code == MESSAGE,
            (Outcome::Bytes(bytes), MESSAGE) => status(bytes) == Some(400),
            (Outcome::Bytes(bytes), expected) => status(bytes).map(u64::from) == Some(expected),
            _ => false,
        };
        assert!(is_refused && !target.is_smuggled(), "{head:?}: {outcome:?}, not {expected}");
    }
    target.is_well();
}

#[test]
fn a_body_is_as_long_as_it_says() {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| setup);
    for (length, parts) in [
        ("5", &["hell"][..]),
        ("5", &["helloo"]),
        ("5", &["hello", "o"]),
        ("0", &["h"]),
        ("5", &[]),
        ("999999", &["GET /smuggled.php HTTP/1.1\r\nHost: x\r\n\r\n"]),
    ] {
        let head = frame(1, &section(&with(&[("content-length", length)])));
        let body: Vec<u8> = parts.iter().flat_map(|part| frame(0, part.as_bytes())).collect();
        let outcome = raw(&target.office, &[], &[head, body].concat());
        let is_refused = match &outcome {
            Outcome::Bytes(bytes) => status(bytes) == Some(400),
            Outcome::Reset(code) => *code == MESSAGE,
            Outcome::Closed(_) => false,
        };
        assert!(is_refused && !target.is_smuggled(), "{length} {parts:?}: {outcome:?}");
    }
    // Bytes of a body, whatever they spell; and trailers, whatever they claim.
    let echo = frame(1, &section(&changed(":path", "/echo.php")));
    let body = frame(0, b"0\r\n\r\nGET /smuggled.php HTTP/1.1\r\nHost: x\r\n\r\n");
    let trailers = frame(1, &section(&[("content-length", "500"), ("host", "y")]));
    for bytes in [[echo.clone(), body.clone()].concat(), [echo, body, trailers].concat()] {
        let outcome = raw(&target.office, &[], &bytes);
        let Outcome::Bytes(bytes) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(status(bytes), Some(200));
        assert!(bytes.ends_with(b"POST 44 "), "{bytes:?}");
    }
    target.is_well();
}
