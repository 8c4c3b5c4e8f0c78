//! What clients are told whose heads are refused before anybody has seen a request.

use crate::harness::{
    H2, Office, Server, Setup,
    h3::{Http3, request},
    reference, server,
};

/// A site with a page for most of it, one of them too long, and one that is not there.
fn site() -> Setup {
    server()
        .file("400.html", "<p>what?")
        .file("408.html", "<p>too slow")
        .file("414.html", "<p>too long")
        .file("431.txt", "too much")
        .file("405.html", vec![b'x'; 100_000])
        .php("501.php", "echo 'never';")
        .config(
            ".rr.yaml",
            "version: '3'\nhttp:\n  error_pages: { 400: /400.html, 405: /405.html, 408: /408.html, 414: /414.html, 431: /431.txt, 501: /501.php, 505: /none.html }\n",
        )
        .option("http.limits.max_uri=1000")
        .option("http.limits.max_headers=20")
        .option("http.limits.header_timeout=500ms")
        .option("http.http2.h2c=true")
}

/// Status, type and body of the answer to these bytes, which is the last on its connection.
fn told(server: &Server, bytes: &str) -> (u16, String, String) {
    let text = server.raw(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
    let field = |name: &str| {
        let value = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_else(|| panic!("no {name}: {head}")).to_owned()
    };
    assert_eq!((field("content-length"), field("connection").as_str()), (body.len().to_string(), "close"), "{head}");
    assert!(field("date").ends_with(" GMT"), "{head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), field("content-type"), body.to_owned())
}

fn long() -> String {
    format!("/{}", "a".repeat(2000))
}

#[test]
fn heads_that_are_refused_have_the_pages_of_the_site() {
    if reference().is_some() {
        return;
    }
    let server = site().start();
    let html = |status, body: &str| (status, "text/html; charset=utf-8".to_owned(), body.to_owned());
    let plain = |status, body: &str| (status, "text/plain; charset=utf-8".to_owned(), body.to_owned());
    let many = "A: b\r\n".repeat(30);
    for (head, expected) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), html(400, "<p>what?")),
        (format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", long()), html(414, "<p>too long")),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), plain(431, "too much")),
        ("GET / HTTP/1.1\r\nHo".to_owned(), html(408, "<p>too slow")),
        // Not those: a script, one that is not there, and one that is too long for somebody who gets it wrong.
        ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(), plain(501, "501 Not Implemented\n")),
        ("GET / HTTP/2.5\r\nHost: x\r\n\r\n".to_owned(), plain(505, "505 HTTP Version Not Supported\n")),
        ("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), plain(405, "405 Method Not Allowed\n")),
    ] {
        assert_eq!(told(&server, &head), expected, "{head}");
    }
    // After an answer that was still on its way, and with more behind it.
    let text = server.raw("GET /431.txt HTTP/1.1\r\nHost: x\r\n\r\nGET\r\n\r\nGET / HTTP/1.1\r\n");
    let answers: Vec<_> = text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert!(answers == ["200", "400"] && text.ends_with("\r\n\r\n<p>what?"), "{text}");
}

#[test]
fn so_they_have_over_http2_and_3() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = office.over_http3(site()).start();
    let mut two = H2::open(server.address).unwrap();
    assert_eq!(two.send("GET", &long(), Vec::new()).unwrap(), (414, b"<p>too long".to_vec()));
    assert_eq!(two.send("HEAD", &long(), Vec::new()).unwrap(), (414, Vec::new()));
    let mut three = Http3::connect(&office);
    let answer = three.get(&long());
    assert_eq!((answer.status.as_u16(), answer.text()), (414, "<p>too long"));
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    let answer = three.fetch(request("HEAD", &long()), b"");
    assert_eq!((answer.status.as_u16(), answer.header("content-length"), answer.text()), (414, Some("11"), ""));
    let mut many = request("GET", "/");
    for number in 0..30 {
        many.headers_mut().append("x-many", number.into());
    }
    let answer = three.fetch(many, b"");
    assert_eq!((answer.status.as_u16(), answer.text()), (431, "too much"));
}

#[test]
fn who_has_no_pages_says_it_in_its_own_words() {
    if reference().is_some() {
        return;
    }
    let server = server().start();
    assert_eq!(told(&server, "GET\r\n\r\n"), (400, "text/plain; charset=utf-8".into(), "400 Bad Request\n".into()));
}
