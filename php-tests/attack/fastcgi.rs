//! FastCGI records that contradict each other. Who connects may run any script, so this is about mistakes of web servers, and about
//! clients of theirs who want to be two requests.

use super::{Target, target};
use crate::harness::{
    Fcgi,
    fastcgi::{BEGIN, PARAMS, STDIN},
    params, reference,
};

fn connect(target: &Target) -> Fcgi {
    Fcgi::connect(target.server.fcgi.unwrap()).unwrap()
}

fn script(target: &Target, name: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let file = target.server.root().join(name);
    let pairs = [("REQUEST_METHOD", "POST"), ("SCRIPT_FILENAME", file.to_str().unwrap()), ("REQUEST_URI", "/")];
    params(&[&pairs, more].concat())
}

/// A record that says what it likes of its length.
fn record(kind: u8, id: u8, length: u16, padding: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    [&[1, kind, 0, id, high, low, padding, 0], content].concat()
}

const BEGUN: [u8; 8] = [0, 1, 1, 0, 0, 0, 0, 0];

/// A web server that lets every header pass (nginx's `ignore_invalid_headers off`) makes such names.
#[test]
fn a_parameter_cannot_pose_as_a_header_by_its_spelling() {
    if reference().is_some() {
        return;
    }
    let seen = "echo json_encode([$_SERVER['HTTP_X_AUTH_USER'], $_SERVER['OWN_NAME'], getallheaders()]);";
    let target = target(|setup| setup.php("seen.php", seen));
    let odd = [("HTTP_X_AUTH_USER", "proxy"), ("HTTP_X.AUTH.USER", "admin"), ("HTTP_X AUTH_USER", "admin"), ("OWN.NAME", "own")];
    let reply = connect(&target).request(false, &script(&target, "seen.php", &odd), &[]).unwrap();
    assert_eq!(reply.body(), r#"["proxy","own",{"X-Auth-User":"proxy"}]"#);
    target.is_well();
}

#[test]
fn a_body_ends_where_length_or_stream_do_and_nothing_of_it_is_a_request() {
    let target = target(|setup| setup);
    // A whole request for another script, as a client may put into a body.
    let smuggled = [
        record(BEGIN, 1, 8, 0, &BEGUN),
        record(PARAMS, 1, script(&target, "smuggled.php", &[]).len() as u16, 0, &script(&target, "smuggled.php", &[])),
        record(PARAMS, 1, 0, 0, &[]),
        record(STDIN, 1, 0, 0, &[]),
    ]
    .concat();
    let all = smuggled.len().to_string();
    for (length, body, expected) in [
        (&[][..], &b"hello"[..], "POST 0 "),
        (&["5"], b"hello", "POST 5 "),
        (&["3"], b"hello", "POST 3 "),
        (&["500"], b"hello", "POST 5 "),
        (&["0"], b"hello", "POST 0 "),
        (&["-1"], b"hello", "POST 0 "),
        (&["+5"], b"hello", "POST 0 "),
        (&["0x5"], b"hello", "POST 0 "),
        (&["5, 3"], b"hello", "POST 5 "),
        (&["five"], b"hello", "POST 0 "),
        // The last one counts, as under php-fpm.
        (&["5", "3"], b"hello", "POST 3 "),
        (&["3", "5"], b"hello", "POST 5 "),
        (&[all.as_str()], &smuggled, &format!("POST {all} ")),
        (&["8"], &smuggled, "POST 8 "),
    ] {
        let lengths: Vec<_> = length.iter().map(|length| ("CONTENT_LENGTH", *length)).collect();
        let mut client = connect(&target);
        for round in 0..2 {
            let reply = client.request(true, &script(&target, "echo.php", &lengths), body);
            let reply = reply.unwrap_or_else(|error| panic!("{length:?}, round {round}: {error}"));
            assert_eq!(reply.body(), expected, "{length:?}, round {round}");
        }
        assert!(!target.is_smuggled(), "{length:?}");
    }
    target.is_well();
}

#[test]
fn of_parameters_that_come_twice_the_last_counts_and_none_is_a_proxy() {
    let target = target(|setup| {
        setup.php("seen.php", "echo json_encode([basename($_SERVER['SCRIPT_FILENAME']), $_SERVER['A'], $_SERVER['HTTP_PROXY'] ?? null, getenv('HTTP_PROXY'), ini_get('precision')]);")
    });
    let seen = target.server.root().join("seen.php");
    let more = [
        ("SCRIPT_FILENAME", seen.to_str().unwrap()),
        ("A", "1"),
        ("A", "2"),
        ("HTTP_PROXY", "http://evil.test"),
        ("HTTP_PROXY", "http://evil.test"),
        ("HTTP_PHP_VALUE", "precision=3"),
        ("PHP_VALUE\0", "precision=3"),
    ];
    let reply = connect(&target).request(false, &script(&target, "smuggled.php", &more), &[]).unwrap();
    assert_eq!(reply.body(), r#"["seen.php","2",null,false,"14"]"#, "{}", reply.text());
    target.is_well();
}

#[test]
fn records_that_make_no_sense_end_the_connection_and_run_nothing() {
    if reference().is_some() {
        return; // php-fpm has its own mind about some of them
    }
    let target = target(|setup| setup);
    let run = script(&target, "smuggled.php", &[("CONTENT_LENGTH", "5")]);
    let params = |content: &[u8]| record(PARAMS, 1, content.len() as u16, 0, content);
    let begin = record(BEGIN, 1, 8, 0, &BEGUN);
    let end = params(&[]);
    for (what, bytes) in [
        ("another version", [&[2][..], &begin[1..]].concat()),
        ("a short beginning", record(BEGIN, 1, 2, 0, &BEGUN[..2])),
        ("request 0", record(BEGIN, 0, 8, 0, &BEGUN)),
        ("the same request twice", [&begin[..], &params(&run), &begin].concat()),
        ("a body before the parameters end", [&begin[..], &params(&run), &record(STDIN, 1, 5, 0, b"hello")].concat()),
        ("parameters after their end", [&begin[..], &params(&run), &end, &params(b"\x01\x01AB")].concat()),
        ("half a parameter", [&begin[..], &params(&run[..run.len() - 3]), &end].concat()),
        (
            "a name longer than all",
            [&begin[..], &params(&[&run[..], &[0xff, 0xff, 0xff, 0xff, 1, b'A']].concat()), &end].concat(),
        ),
        ("lengths whose sum is small", [&begin[..], &params(&[&run[..], &[0xff; 8]].concat()), &end].concat()),
        ("a value longer than all", [&begin[..], &params(&[&run[..], &[1, 0x80, 1, 0, 0, b'A']].concat()), &end].concat()),
        ("parameters that never end", [&begin[..], &params(&run)[..], &params(&[0; 65_000]).repeat(20)].concat()),
    ] {
        let mut client = connect(&target);
        client.raw(&bytes);
        // Whatever is answered, the connection is closed, and nothing ran.
        while client.read().is_ok() {}
        assert!(!target.is_smuggled(), "{what}");
    }
    // Cut off anywhere, there is no request.
    let whole = [&begin[..], &params(&run), &end, &record(STDIN, 1, 5, 3, b"hello\0\0\0")].concat();
    for length in (1..whole.len()).step_by(7) {
        let mut client = connect(&target);
        client.raw(&whole[..length]).close_half();
        while client.read().is_ok() {}
        assert!(!target.is_smuggled(), "{length} of {} bytes", whole.len());
    }
    target.is_well();
}
