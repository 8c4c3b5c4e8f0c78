//! HTTP/1 byte by byte: what two servers could read in two ways is refused, and nothing after it is a request.

use super::{Target, target};
use crate::harness::{Reply, reference};

const SMUGGLED: &str = "GET /smuggled.php HTTP/1.1\r\nHost: x\r\n\r\n";

/// The statuses of all answers to these bytes, with a request behind them that must not be one. The server must close.
fn statuses(target: &Target, bytes: &str) -> Vec<u16> {
    let mut connection = target.server.connect();
    connection.write(format!("{bytes}{SMUGGLED}"));
    let answers = connection.read_to_end().unwrap_or_else(|error| panic!("{bytes:?}: {error}"));
    let mut rest = answers.as_slice();
    let mut statuses = Vec::new();
    while !rest.is_empty() {
        let reply = Reply::read(&mut rest, "GET").unwrap_or_else(|error| panic!("{bytes:?}: {error} in {rest:?}"));
        statuses.push(reply.status);
    }
    assert!(!target.is_smuggled(), "{bytes:?}: {}", String::from_utf8_lossy(&answers));
    statuses
}

/// One answer, of these statuses.
fn is_refused(target: &Target, bytes: &str, expected: &[u16]) {
    let statuses = statuses(target, bytes);
    assert!(statuses.len() == 1 && expected.contains(&statuses[0]), "{bytes:?}: {statuses:?}, not {expected:?}");
}

#[test]
fn every_combination_of_lengths_and_encodings_has_one_meaning_or_none() {
    if reference().is_some() {
        return; // nginx forgives some of them
    }
    let target = target(|setup| setup);
    let lengths = [
        None,
        Some("5"),
        Some("0"),
        Some("+5"),
        Some("-5"),
        Some("0x5"),
        Some("5 5"),
        Some("5, 5"),
        Some("5,6"),
        Some("5;"),
        Some("5.0"),
        Some("1e1"),
        Some(""),
        Some("five"),
        Some("\u{665}"),
        Some("99999999999999999999"),
        Some("18446744073709551621"),
    ];
    let encodings = [
        None,
        Some("chunked"),
        Some("CHUNKED"),
        Some("xchunked"),
        Some("chunked, identity"),
        Some("identity"),
        Some("identity, chunked"),
        Some("gzip, chunked"),
        Some("chunked, chunked"),
        Some("chunked,"),
        Some("chunked;q=1"),
        Some("\"chunked\""),
        Some("chunked\u{a0}"),
        Some(""),
    ];
    for version in ["1.0", "1.1"] {
        for length in lengths {
            for encoding in encodings {
                let is_good = matches!((length, encoding, version), (None | Some("5" | "0"), None, _))
                    || matches!((length, encoding, version), (None, Some("chunked" | "CHUNKED"), "1.1"));
                if is_good {
                    continue;
                }
                let length = length.map(|value| format!("Content-Length: {value}\r\n")).unwrap_or_default();
                let encoding = encoding.map(|value| format!("Transfer-Encoding: {value}\r\n")).unwrap_or_default();
                for (first, second) in [(&length, &encoding), (&encoding, &length)] {
                    let head = format!("POST /echo.php HTTP/{version}\r\nHost: x\r\n{first}{second}\r\n0\r\n\r\n");
                    is_refused(&target, &head, &[400, 501]);
                }
            }
        }
    }
    target.is_well();
}

/// A head with these lines.
fn lines(lines: &str) -> String {
    format!("POST /echo.php HTTP/1.1\r\n{lines}\r\n")
}

/// Heads whose lines end or go on in odd ways.
fn odd_lines() -> Vec<(String, u16)> {
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        // Line ends.
        ("POST /echo.php HTTP/1.1\nHost: x\n\n".into(), 400),
        ("POST /echo.php HTTP/1.1\r\nHost: x\n\r\n".into(), 400),
        (lines("Host: x\r\nA: b\nC: d\r\n"), 400),
        (lines("Host: x\r\nA: b\rC: d\r\n"), 400),
        (lines("Host: x\r\nA: b\r\r\n"), 400),
        (lines(&format!("Host: x\r\nA: b\n{chunked}")), 400),
        (lines(&format!("Host: x\r\nA: b\r{chunked}")), 400),
        ("POST /echo.php HTTP/1.1\r\nHost: x\r\n\n".into(), 400),
        ("\nPOST /echo.php HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        // Folded lines.
        (lines("Host: x\r\nA: b\r\n c\r\n"), 400),
        (lines("Host: x\r\nA: b\r\n\tc\r\n"), 400),
        (lines("Host: x\r\nContent-Length: \r\n 5\r\n"), 400),
        (lines("Host: x\r\nTransfer-Encoding:\r\n chunked\r\n"), 501),
        (lines(&format!(" {chunked}Host: x\r\n")), 400),
    ]
}

/// Heads with fields that are none, or come twice.
fn odd_fields() -> Vec<(String, u16)> {
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        // Names.
        (lines("Host: x\r\nTransfer-Encoding : chunked\r\n"), 400),
        (lines("Host: x\r\nTransfer-Encoding\t: chunked\r\n"), 400),
        (lines("Host: x\r\nTransfer-Encoding\0: chunked\r\n"), 400),
        (lines("Host: x\r\nTransfer\u{2010}Encoding: chunked\r\n"), 400),
        (lines("Host: x\r\nContent-Length : 5\r\n"), 400),
        (lines("Host: x\r\n: b\r\n"), 400),
        (lines("Host: x\r\nno colon\r\n"), 400),
        (lines("Host: x\r\nA(b): c\r\n"), 400),
        (lines("Host: x\r\n\"A\": c\r\n"), 400),
        // Values.
        (lines("Host: x\r\nA: b\0c\r\n"), 400),
        (lines("Host: x\r\nA: b\u{b}c\r\n"), 400),
        (lines("Host: x\r\nA: b\u{7f}\r\n"), 400),
        (lines("Host: x\r\nTransfer-Encoding: \u{b}chunked\r\n"), 400),
        (lines("Host: x\r\nTransfer-Encoding: chunked\u{c}\r\n"), 400),
        // Twice.
        (lines("Host: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n"), 400),
        (lines("Host: x\r\nContent-Length: 5\r\nContent-length: 05x\r\n"), 400),
        (lines(&format!("Host: x\r\n{chunked}{chunked}")), 400),
        (lines(&format!("Host: x\r\n{chunked}Transfer-Encoding: identity\r\n")), 400),
        (lines(&format!("Host: x\r\nTransfer-Encoding: identity\r\n{chunked}")), 501),
    ]
}

/// Heads that name no host, or two.
fn odd_hosts() -> Vec<(String, u16)> {
    vec![
        // Hosts.
        (lines(""), 400),
        (lines("Host: x\r\nHost: y\r\n"), 400),
        (lines("Host: x\r\nHost: x\r\n"), 400),
        (lines("Host: x, y\r\n"), 400),
        (lines("Host: x y\r\n"), 400),
        (lines("Host: x/y\r\n"), 400),
        (lines("Host: x@y\r\n"), 400),
        (lines("Host: x?y\r\n"), 400),
        (lines("Host: x#y\r\n"), 400),
        (lines("Host: x\\y\r\n"), 400),
        (lines("Host: [::1\r\n"), 400),
        (lines("Host: [::1]x\r\n"), 400),
        (lines("Host: x:y\r\n"), 400),
        (lines("Host: x:99999\r\n"), 400),
        (lines("Host: x:80:80\r\n"), 400),
        (lines("Host: :80\r\n"), 400),
        (lines("Host: x..y\r\n"), 400),
        (lines("Host: x%00y\r\n"), 400),
        ("POST http://x:y/echo.php HTTP/1.1\r\nHost: x:y\r\n\r\n".into(), 400),
        (lines("Host: x\u{e9}\r\n"), 400),
        ("POST http://y/echo.php HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("POST http://x/echo.php HTTP/1.1\r\n\r\n".into(), 400),
        ("POST http://x@y/echo.php HTTP/1.1\r\nHost: y\r\n\r\n".into(), 400),
        ("POST http://x:80/echo.php HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("POST http:///echo.php HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
    ]
}

/// What is no request line.
fn odd_requests() -> Vec<(String, u16)> {
    vec![
        // Request lines.
        ("POST  /echo.php HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        (" POST /echo.php HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("POST\t/echo.php HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("POST /echo.php  HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("POST /echo.php HTTP/1.1 \r\nHost: x\r\n\r\n".into(), 400),
        ("POST /echo.php a HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("POST /echo.php\0 HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("POST /echo.php\u{7f} HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("POST echo.php HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("POST * HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("PO\u{1}ST /echo.php HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("POST /echo.php HTTP/1.1\0\r\nHost: x\r\n\r\n".into(), 400),
        ("POST /echo.php HTTP/1.2\r\nHost: x\r\n\r\n".into(), 505),
        ("POST /echo.php HTTP/2.0\r\nHost: x\r\n\r\n".into(), 505),
        ("POST /echo.php HTTP/0.9\r\n\r\n".into(), 505),
        ("GET /echo.php\r\n".into(), 400),
        ("GET\r\n".into(), 400),
        ("POST /echo.php http/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("POST /echo.php HTTP/1.1,HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n".into(), 405),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03\r\n".into(), 400),
    ]
}

#[test]
fn heads_that_could_mean_two_things_are_refused() {
    if reference().is_some() {
        return; // nginx forgives some of them
    }
    let target = target(|setup| setup);
    for (head, expected) in [odd_lines(), odd_fields(), odd_hosts(), odd_requests()].concat() {
        is_refused(&target, &head, &[expected]);
    }
    target.is_well();
}

#[test]
fn chunks_that_could_end_in_two_places_end_the_connection() {
    if reference().is_some() {
        return; // nginx forgives some of them
    }
    let target = target(|setup| setup);
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "0\r\n\n",
        "0\n\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\nA: b\r\n c\r\n\r\n",
        "0\r\n A: b\r\n\r\n",
        "0\r\nA: b\0\r\n\r\n",
        "zz\r\n",
    ] {
        let head = "POST /echo.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        is_refused(&target, &format!("{head}{body}"), &[400]);
    }
    target.is_well();
}

/// Each is right, however odd, and the next request begins right after it.
#[test]
fn what_is_odd_and_has_one_meaning_is_served_in_step() {
    if reference().is_some() {
        return; // nginx has its own mind about some of them
    }
    let target = target(|setup| setup);
    let chunked = "POST /echo.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n";
    for (request, expected) in [
        ("POST /echo.php HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello".to_owned(), "POST 5 "),
        ("POST /echo.php HTTP/1.1\r\nHost: x\r\nContent-Length:005\r\n\r\nhello".into(), "POST 5 "),
        ("POST /echo.php HTTP/1.1\r\nHost: x\r\nContent-Length: \t5\t \r\n\r\nhello".into(), "POST 5 "),
        ("POST http://X/echo.php?a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".into(), "POST 5 a"),
        (format!("GET /echo.php HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len()), "GET 39 "),
        (format!("{chunked}\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len()), "POST 39 "),
        (format!("{chunked}\r\n5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n"), "POST 5 "),
        (format!("{chunked}\r\n00005 \r\nhello\r\n0\r\n\r\n"), "POST 5 "),
        (format!("{chunked}\r\n5\r\nhello\r\n0\r\nContent-Length: 50\r\nTransfer-Encoding: x\r\nHost: y\r\n\r\n"), "POST 5 "),
        (format!("{chunked}Trailer: A\r\nTE: trailers\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n"), "POST 5 "),
        (
            format!("{chunked}Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            "POST 5 ",
        ),
        (format!("{chunked}Connection: Transfer-Encoding\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "POST 5 "),
        ("\r\n\r\nGET /echo.php HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n\r\n".into(), "GET 0 "),
    ] {
        let mut connection = target.server.connect();
        connection.write(format!("{request}GET /well.php HTTP/1.1\r\nHost: x\r\n\r\n"));
        let reply = connection.read().unwrap_or_else(|error| panic!("{request:?}: {error}"));
        assert_eq!((reply.status, reply.text().as_str()), (200, expected), "{request:?}");
        assert_eq!(connection.read().unwrap().text(), "well", "{request:?}");
    }
    target.is_well();
}

/// What stands before the error was a request, what stands after it never is one.
#[test]
fn a_poisoned_pipeline_ends_where_the_poison_is() {
    if reference().is_some() {
        return; // nginx forgives some of them
    }
    let target = target(|setup| setup);
    let good = "GET /well.php HTTP/1.1\r\nHost: x\r\n\r\n";
    for (poison, expected) in [
        ("GET /echo.php HTTP/1.1\r\n\r\n", 400),
        ("POST /echo.php HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST /echo.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        ("\0", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ] {
        let statuses = statuses(&target, &format!("{good}{good}{poison}"));
        assert_eq!(statuses, [200, 200, expected], "{poison:?}");
    }
    // A body that was announced and is not wanted is no request either.
    let refused = format!("GET /nowhere.php HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", SMUGGLED.len());
    let mut connection = target.server.connect();
    connection.write(format!("{refused}{SMUGGLED}"));
    assert_eq!(connection.read().unwrap().status, 404);
    connection.write(good);
    let next = connection.read().map(|reply| reply.text());
    assert!(next.as_ref().is_ok_and(|text| text == "well") || next.is_err(), "{next:?}");
    drop(connection);
    target.is_well();
}
