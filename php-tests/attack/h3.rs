//! HTTP/3's heads and bodies byte by byte. What breaks its framing is in `edge::http3`.

use super::{
    fields::{Field, Head},
    target,
};
use crate::harness::{
    h3::{Outcome, frame, raw, section, status},
    reference,
};

const GOOD: Head = Head([(":method", "POST"), (":scheme", "https"), (":authority", "server.test"), (":path", "/smuggled.php")]);

/// H3_MESSAGE_ERROR.
const MESSAGE: u64 = 0x10e;

#[test]
fn heads_that_break_a_rule_reach_no_script() {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| setup);
    let first = |field: Field| [&[field], &GOOD.0[..]].concat();
    let hosts = ["", "x@server.test", "x/y", "[::1", "x:y", "x:99999", "x..y", "x%00y", "x\r\nA: b"];
    let of_hosts = hosts.map(|host| (GOOD.changed(":authority", host), 400));
    let others = [
        (GOOD.with(&[(":path", "/other")]), 0),
        (GOOD.with(&[(":method", "GET")]), 0),
        (GOOD.with(&[(":scheme", "http")]), 0),
        (GOOD.with(&[(":authority", "y")]), 0),
        (GOOD.with(&[(":status", "200")]), 0),
        (GOOD.with(&[(":protocol", "websocket")]), 0),
        (first(("a", "b")), 0),
        (GOOD.without(":method"), 0),
        (GOOD.without(":scheme"), 0),
        (GOOD.without(":path"), 0),
        (GOOD.without(":authority"), 400),
        (GOOD.changed(":method", ""), 0),
        (GOOD.changed(":method", "POST\r\nA: b"), 0),
        (GOOD.changed(":method", "CONNECT"), 405),
        (GOOD.changed(":scheme", "ftp"), 400),
        (GOOD.changed(":path", ""), 0),
        (GOOD.changed(":path", "smuggled.php"), 0),
        (GOOD.changed(":path", "https://y/smuggled.php"), 0),
        (GOOD.changed(":path", "*"), 400),
        (GOOD.changed(":path", "/smuggled.php HTTP/1.1"), 0),
        (GOOD.changed(":path", "/smuggled.php\r\nA: b"), 0),
        (GOOD.changed(":path", "/smuggled.php\0"), 0),
        (GOOD.changed(":path", "/smuggled.php\u{7f}"), 0),
        (GOOD.with(&[("host", "y")]), 400),
        (GOOD.with(&[("host", "server.test"), ("host", "server.test")]), 400),
        (GOOD.with(&[("host", "")]), 400),
        (GOOD.with(&[("A", "b")]), 0),
        (GOOD.with(&[("", "b")]), 0),
        (GOOD.with(&[("a b", "c")]), 0),
        (GOOD.with(&[("a\r\nb", "c")]), 0),
        (GOOD.with(&[("a", "b\r\nc: d")]), 0),
        (GOOD.with(&[("a", "b\nc")]), 0),
        (GOOD.with(&[("a", "b\0c")]), 0),
        (GOOD.with(&[("a", " b")]), 0),
        (GOOD.with(&[("connection", "close")]), 0),
        (GOOD.with(&[("keep-alive", "5")]), 0),
        (GOOD.with(&[("proxy-connection", "close")]), 0),
        (GOOD.with(&[("transfer-encoding", "chunked")]), 0),
        (GOOD.with(&[("upgrade", "h2c")]), 0),
        (GOOD.with(&[("te", "gzip")]), 0),
        (GOOD.with(&[("content-length", "+0")]), 0),
        (GOOD.with(&[("content-length", "0, 0")]), 0),
        (GOOD.with(&[("content-length", "0"), ("content-length", "5")]), 0),
        (GOOD.with(&[("content-length", "99999999999999999999")]), 0),
        (GOOD.with(&[("content-length", "5")]), MESSAGE),
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
        let head = frame(1, &section(&GOOD.with(&[("content-length", length)])));
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
    let echo = frame(1, &section(&GOOD.changed(":path", "/echo.php")));
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
