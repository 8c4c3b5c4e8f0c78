//! Request heads that are refused, and those that others refuse.

use super::metrics::{page, value};
use crate::harness::{
    Office, PATIENCE,
    frames::{END_HEADERS, END_STREAM, Frames, HEADERS, Outcome, fields, frame},
    free_port,
    h3::Http3,
    reference, server, wait_until,
};

#[test]
fn refused_heads_are_recorded_and_counted() {
    if reference().is_some() {
        return;
    }
    let (office, figures) = (Office::new(), free_port());
    let setup = office.over_http3(server());
    let path = setup.scratch().join("access.log");
    let setup = setup.option(&format!("metrics.address={figures}"));
    let setup = setup.option(&format!("http.access_log.output={}", path.display()));
    let server = setup.option("http.access_log.format=%R %m %{REQUEST_URI}e %s").start();
    let lines = || std::fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    let long = "a".repeat(100_000);
    let mut expected = Vec::new();
    for (head, target, status) in [
        ("GET /one?a=b HTTP/1.1\r\n\r\n".to_owned(), "/one?a=b", 400),
        ("GET /two words HTTP/1.1\r\nHost: x\r\n\r\n".into(), "/two", 400),
        ("GET /\u{1} HTTP/1.1\r\nHost: x\r\n\r\n".into(), "/%01", 400),
        ("\x16\x03\x01\r\n".into(), "%16%03%01", 400),
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), &format!("/{}...", &long[..199]), 414),
        (format!("GET /big HTTP/1.1\r\nHost: x\r\nA: {long}\r\n\r\n"), "/big", 431),
        ("GET /new HTTP/1.9\r\nHost: x\r\n\r\n".into(), "/new", 505),
    ] {
        let answer = server.raw(&head);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head:.100}: {answer}");
        expected.push(format!("127.0.0.1 - {target} {status}"));
        assert!(wait_until(PATIENCE, || lines() == expected), "{:?}, expected {expected:?}", lines());
    }
    let mut client = Frames::open(server.address);
    let head = fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "x@y"), (":path", "/second")]);
    client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &head));
    assert!(matches!(client.outcome(1), Outcome::Answer(400, _)));
    expected.push("127.0.0.1 - /second 400".to_owned());
    assert!(wait_until(PATIENCE, || lines() == expected), "{:?}, expected {expected:?}", lines());
    // Kept until all is counted: as it goes, its control stream may be gone before it has said so, which is a fault.
    let mut three = Http3::connect(&office);
    assert_eq!(three.get(&format!("/{}", &long[..20_000])).status, 414);
    expected.push(format!("127.0.0.1 - /{}... 414", &long[..199]));
    assert!(wait_until(PATIENCE, || lines() == expected), "{:?}, expected {expected:?}", lines());
    let count = || value(&page(figures).text(), "rr_http_refused_total");
    assert!(wait_until(PATIENCE, || count() == Some(expected.len() as f64)), "{:?}", count());
}

#[test]
fn targets_with_bytes_that_no_url_has_reach_scripts() {
    if reference().is_some() {
        return;
    }
    let tell = "echo bin2hex(rawurldecode($_SERVER['REQUEST_URI'])), ' ', file_get_contents('php://input');";
    let server = server().bare().preset("front-controller").php("index.php", tell).start();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let bytes: Vec<u8> = (0x21..0x7f).chain(0x80..=0xff).filter(|byte| !b"%#".contains(byte)).collect();
    let mut connection = server.connect();
    for byte in bytes {
        for target in [[b"/x", &[byte][..], b"y"].concat(), [b"/?a=", &[byte][..]].concat()] {
            let head = [b"POST ", &target[..], b" HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"].concat();
            connection.write(&head);
            let reply = connection.read().unwrap();
            assert_eq!((reply.status, reply.text()), (200, format!("{} body", hex(&target))), "{byte:#x}");
        }
    }
    // As it comes, two at once, and longer than what is read at once.
    let long = [b"/<", &[b'a'; 8000][..], b">\xff"].concat();
    let head = [b"POST ", &long[..], b" HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"].concat();
    for piece in [&head[..3], &head[3..7], &head[7..5000], &head[5000..], b"bo", b"dyGET /<next> HTTP/1.1\r\nHost: x\r\n\r\n"] {
        connection.write(piece);
    }
    assert_eq!(connection.read().unwrap().text(), format!("{} body", hex(&long)));
    assert_eq!(connection.read().unwrap().text(), format!("{} ", hex(b"/<next>")));
}
