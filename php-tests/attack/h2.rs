//! HTTP/2 frame by frame: heads that HTTP/1 or a script would read as something else.

use super::{
    fields::{Field, Head},
    target,
};
use crate::harness::{
    frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, Outcome, fields, frame, get},
    reference,
};

const GOOD: Head = Head([(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/smuggled.php")]);

const PROTOCOL_ERROR: u32 = 1;

/// Heads whose pseudo-header fields are wrong.
fn odd_requests() -> Vec<Vec<Field>> {
    let first = |field: Field| [&[field], &GOOD.0[..]].concat();
    let split = |field: Field| [&GOOD.0[..2], &[field], &GOOD.0[2..]].concat();
    vec![
        GOOD.with(&[(":path", "/other")]),
        GOOD.with(&[(":path", "/smuggled.php")]),
        GOOD.with(&[(":method", "GET")]),
        GOOD.with(&[(":scheme", "https")]),
        GOOD.with(&[(":authority", "y")]),
        GOOD.with(&[(":authority", "x")]),
        GOOD.with(&[(":status", "200")]),
        GOOD.with(&[(":protocol", "websocket")]),
        GOOD.with(&[(":unknown", "a")]),
        first(("a", "b")),
        split(("a", "b")),
        GOOD.without(":method"),
        GOOD.without(":scheme"),
        GOOD.without(":path"),
        [&GOOD.without(":path")[..], &[("a", "b"), (":path", "/smuggled.php")]].concat(),
        [&[("host", "x")], &GOOD.without(":authority")[..]].concat(),
        [&GOOD.without(":path").into_iter().filter(|(name, _)| *name != ":authority").collect::<Vec<_>>()[..], &[("host", "x")]]
            .concat(),
        GOOD.changed(":method", ""),
        GOOD.changed(":method", "PO ST"),
        GOOD.changed(":method", "POST\r\nA: b"),
        GOOD.changed(":method", "POST / HTTP/1.1\r\nHost: x\r\n\r\n"),
        GOOD.changed(":method", "CONNECT"),
        GOOD.changed(":scheme", ""),
        GOOD.changed(":scheme", "ftp"),
        GOOD.changed(":scheme", "http://x/ HTTP/1.1\r\nA: b"),
        GOOD.changed(":path", ""),
        GOOD.changed(":path", "smuggled.php"),
        GOOD.changed(":path", "x/../smuggled.php"),
        GOOD.changed(":path", "http://y/smuggled.php"),
        GOOD.changed(":path", "*"),
        GOOD.changed(":path", "/smuggled.php HTTP/1.1"),
        GOOD.changed(":path", "/smuggled.php\r\nA: b"),
        GOOD.changed(":path", "/smuggled.php\0"),
        GOOD.changed(":path", "/smuggled.php\u{7f}"),
        GOOD.changed(":path", "/smuggled.php\t"),
        GOOD.changed(":authority", ""),
        GOOD.changed(":authority", "x@y"),
        GOOD.changed(":authority", "x/y"),
        GOOD.changed(":authority", "[::1"),
        GOOD.changed(":authority", "x:y"),
        GOOD.changed(":authority", "x:99999"),
        GOOD.changed(":authority", "x..y"),
        GOOD.changed(":authority", "x%00y"),
        GOOD.changed(":authority", "x y"),
        GOOD.changed(":authority", "x, y"),
        GOOD.changed(":authority", "x\r\nA: b"),
        GOOD.changed(":authority", "x\\y"),
        GOOD.with(&[("host", "y")]),
        GOOD.with(&[("host", "x"), ("host", "y")]),
        GOOD.with(&[("host", "x"), ("host", "x")]),
        GOOD.with(&[("host", "")]),
    ]
}

/// Heads whose other fields are.
fn odd_fields() -> Vec<Vec<Field>> {
    vec![
        // Names.
        GOOD.with(&[("A", "b")]),
        GOOD.with(&[("", "b")]),
        GOOD.with(&[("a b", "c")]),
        GOOD.with(&[("a:", "c")]),
        GOOD.with(&[("a\r\nb", "c")]),
        GOOD.with(&[("a\0", "c")]),
        GOOD.with(&[("a\u{e9}", "c")]),
        GOOD.with(&[("transfer-encoding\u{b}", "chunked")]),
        // Values.
        GOOD.with(&[("a", "b\r\nc: d")]),
        GOOD.with(&[("a", "b\nc: d")]),
        GOOD.with(&[("a", "b\rc")]),
        GOOD.with(&[("a", "b\0c")]),
        GOOD.with(&[("a", "b\u{7f}")]),
        GOOD.with(&[("a", " b")]),
        GOOD.with(&[("a", "b\t")]),
        // Of connections, not of requests.
        GOOD.with(&[("connection", "close")]),
        GOOD.with(&[("keep-alive", "5")]),
        GOOD.with(&[("proxy-connection", "keep-alive")]),
        GOOD.with(&[("transfer-encoding", "chunked")]),
        GOOD.with(&[("transfer-encoding", "identity")]),
        GOOD.with(&[("upgrade", "h2c")]),
        GOOD.with(&[("te", "gzip")]),
        GOOD.with(&[("te", "trailers, deflate;q=0.5")]),
        // Lengths.
        GOOD.with(&[("content-length", "5")]),
        GOOD.with(&[("content-length", "+0")]),
        GOOD.with(&[("content-length", "-1")]),
        GOOD.with(&[("content-length", "0, 0")]),
        GOOD.with(&[("content-length", "")]),
        GOOD.with(&[("content-length", "0x0")]),
        GOOD.with(&[("content-length", " 0")]),
        GOOD.with(&[("content-length", "0"), ("content-length", "5")]),
        GOOD.with(&[("content-length", "99999999999999999999")]),
    ]
}

#[test]
fn heads_that_break_a_rule_reach_no_script() {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| setup);
    for head in [odd_requests(), odd_fields()].concat() {
        let mut client = Frames::open(target.server.address);
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&head)));
        let outcome = client.outcome(1);
        let is_refused = matches!(
            outcome,
            Outcome::Answer(400 | 405, _) | Outcome::Reset(PROTOCOL_ERROR) | Outcome::Closed(Some(PROTOCOL_ERROR))
        );
        assert!(is_refused && !target.is_smuggled(), "{head:?}: {outcome:?}");
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
        ("5", &[""]),
        ("999999", &["GET /smuggled.php HTTP/1.1\r\nHost: x\r\n\r\n"]),
    ] {
        let mut client = Frames::open(target.server.address);
        client.send(frame(HEADERS, END_HEADERS, 1, &fields(&GOOD.with(&[("content-length", length)]))));
        for (at, part) in parts.iter().enumerate() {
            client.send(frame(DATA, if at + 1 == parts.len() { END_STREAM } else { 0 }, 1, part.as_bytes()));
        }
        let outcome = client.outcome(1);
        assert!(matches!(outcome, Outcome::Reset(PROTOCOL_ERROR) | Outcome::Answer(400, _)), "{length} {parts:?}: {outcome:?}");
        // The connection goes on, and in step.
        client.send(get(3, "/well.php"));
        assert_eq!(client.outcome(3), Outcome::Answer(200, b"well".to_vec()), "{length} {parts:?}");
    }
    target.is_well();
}

#[test]
fn what_only_looks_odd_is_served() {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| setup);
    let echo = |more: &[Field]| [&GOOD.changed(":path", "/echo.php?a=b")[..], more].concat();
    for (head, body, expected) in [
        (echo(&[]), "", "POST 0 a=b"),
        (echo(&[("host", "X"), ("te", "trailers")]), "hello", "POST 5 a=b"),
        (echo(&[("content-length", "5"), ("content-length", "5")]), "hello", "POST 5 a=b"),
        (echo(&[("content-length", "0")]), "", "POST 0 a=b"),
        // Bytes of a body, whatever they spell.
        (echo(&[]), "0\r\n\r\nGET /smuggled.php HTTP/1.1\r\nHost: x\r\n\r\n", "POST 44 a=b"),
        (echo(&[("a", "")]), "", "POST 0 a=b"),
        (echo(&[("cookie", "a=b"), ("cookie", "c=d")]), "", "POST 0 a=b"),
    ] {
        let mut client = Frames::open(target.server.address);
        // In two frames, and padded.
        let head = fields(&head);
        client.send(frame(HEADERS, 0x8, 1, &[&[3], &head[..7], &[0; 3]].concat()));
        client.send(frame(CONTINUATION, END_HEADERS, 1, &head[7..]));
        client.send(frame(DATA, END_STREAM, 1, body.as_bytes()));
        assert_eq!(client.outcome(1), Outcome::Answer(200, expected.into()), "{body:?}");
    }
    // Trailers are dropped, whatever they claim.
    let mut client = Frames::open(target.server.address);
    client.send(frame(HEADERS, END_HEADERS, 1, &fields(&echo(&[]))));
    client.send(frame(DATA, 0, 1, b"hello"));
    let trailers = [("content-length", "500"), ("host", "y"), ("x-forwarded-for", "z")];
    client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&trailers)));
    let outcome = client.outcome(1);
    assert!(
        matches!(&outcome, Outcome::Answer(200, body) if body == b"POST 5 a=b") || outcome == Outcome::Reset(PROTOCOL_ERROR),
        "{outcome:?}"
    );
    drop(client);
    target.is_well();
}

/// Frames that have no place where they come, and others that are no frames.
#[test]
fn connections_that_break_the_rules_are_told_which_and_closed() {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| setup);
    let open = get(1, "/well.php");
    let head = fields(&GOOD.0);
    const FRAME_SIZE: u32 = 6;
    const COMPRESSION: u32 = 9;
    const FLOW_CONTROL: u32 = 3;
    const CLOSED: u32 = 5;
    // What h2 does not tell apart is a PROTOCOL_ERROR too.
    for (what, bytes, codes) in [
        ("data on no stream", frame(DATA, 0, 0, b"x"), &[PROTOCOL_ERROR][..]),
        ("data on an idle stream", frame(DATA, 0, 5, b"x"), &[PROTOCOL_ERROR]),
        ("a head on no stream", frame(HEADERS, 5, 0, &head), &[PROTOCOL_ERROR]),
        ("a head on a stream of ours", frame(HEADERS, 5, 2, &head), &[PROTOCOL_ERROR]),
        ("a stream that is behind", [get(5, "/well.php"), frame(HEADERS, 5, 3, &head)].concat(), &[PROTOCOL_ERROR, CLOSED]),
        ("a continuation of nothing", frame(CONTINUATION, 4, 1, &head), &[PROTOCOL_ERROR]),
        (
            "something between a head's frames",
            [frame(HEADERS, 1, 1, &head[..5]), frame(6, 0, 0, &[0; 8])].concat(),
            &[PROTOCOL_ERROR],
        ),
        (
            "another stream's continuation",
            [frame(HEADERS, 1, 1, &head[..5]), frame(CONTINUATION, 4, 3, &head[5..])].concat(),
            &[PROTOCOL_ERROR],
        ),
        ("a promise", frame(5, 4, 1, &[&[0, 0, 0, 2], &head[..]].concat()), &[PROTOCOL_ERROR]),
        ("a table that is not there", frame(HEADERS, 5, 1, &[0xff, 0xff, 0xff, 0xff, 0x0f]), &[COMPRESSION]),
        ("half a field", frame(HEADERS, 5, 1, &head[..head.len() - 3]), &[COMPRESSION]),
        ("padding longer than its frame", frame(HEADERS, 0xd, 1, &[&[200], &head[..]].concat()), &[PROTOCOL_ERROR]),
        ("a window of nothing", frame(8, 0, 0, &[0; 4]), &[PROTOCOL_ERROR]),
        ("a window past its end", frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), &[FLOW_CONTROL]),
        ("half a window", frame(8, 0, 0, &[0, 1]), &[FRAME_SIZE]),
        ("a short ping", frame(6, 0, 0, &[0; 7]), &[FRAME_SIZE]),
        ("settings on a stream", frame(4, 0, 1, &[]), &[PROTOCOL_ERROR]),
        ("half a setting", frame(4, 0, 0, &[0; 5]), &[FRAME_SIZE]),
        ("a window that is no window", frame(4, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]), &[FLOW_CONTROL]),
        ("frames too small to be any", frame(4, 0, 0, &[0, 5, 0, 0, 0, 1]), &[PROTOCOL_ERROR]),
        ("a reset of no stream", frame(3, 0, 0, &[0; 4]), &[PROTOCOL_ERROR]),
        ("a reset of an idle stream", frame(3, 0, 9, &[0; 4]), &[PROTOCOL_ERROR]),
        ("a frame that is too long", [&[0x10, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 70_000]].concat(), &[FRAME_SIZE]),
    ] {
        let mut client = Frames::open(target.server.address);
        client.send([&open[..if bytes[8] == 1 && !what.contains("data") { 0 } else { open.len() }], &bytes].concat());
        let outcome = client.outcome(u32::MAX);
        let is_told = matches!(outcome, Outcome::Closed(Some(code)) if code == PROTOCOL_ERROR || codes.contains(&code));
        assert!(is_told && !target.is_smuggled(), "{what}: {outcome:?}, not {codes:?}");
    }
    // Not HTTP/2 at all, or its preface with something else behind.
    for bytes in
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"[..], b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\nGET /smuggled.php HTTP/1.1\r\nHost: x\r\n\r\n"]
    {
        let mut connection = target.server.connect();
        connection.write(bytes);
        connection.stream().shutdown(std::net::Shutdown::Write).unwrap();
        _ = connection.read_to_end();
        assert!(!target.is_smuggled(), "{bytes:?}");
    }
    target.is_well();
}
