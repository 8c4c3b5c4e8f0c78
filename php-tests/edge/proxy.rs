//! The PROXY protocol, from the proxy's side.

use std::{io::Write, net::TcpStream};

use super::with;
use crate::harness::{Connection, PATIENCE, Server, Setup, free_port, reference, server};

fn site(trusted: &str) -> Setup {
    let code = "foreach (['REMOTE_ADDR', 'REMOTE_PORT', 'SERVER_ADDR', 'SERVER_PORT', 'HTTPS', 'SSL_CLIENT_S_DN_CN'] as $name)
        echo $_SERVER[$name] ?? '-', ' ';";
    let address = free_port();
    server()
        .php("who.php", code)
        .at(address)
        .option(&format!("http.proxy_protocol.address={address}"))
        .option(&format!("http.proxy_protocol.trusted={trusted}"))
}

/// What the script says to a client for whom `header` speaks.
fn told(server: &Server, header: &[u8]) -> String {
    let mut connection = server.connect();
    connection.write([header, &server.get("/who.php").bytes(false)].concat());
    connection.read().map_or_else(|_| "closed".into(), |reply| reply.text().trim().to_owned())
}

#[test]
fn the_proxy_tells_whose_connection_it_is() {
    if reference().is_some() {
        return;
    }
    let server = site("10.0.0.0/8,127.0.0.1").start();
    assert_eq!(told(&server, b"PROXY TCP4 192.0.2.1 198.51.100.2 51000 8443\r\n"), "192.0.2.1 51000 198.51.100.2 8443 - -");
    assert_eq!(told(&server, b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n"), "2001:db8::1 1 ::1 2 - -");
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x17\xc0\0\x02\x01\xc6\x33\x64\x02\xc7\x38\x01\xbb\x20\0\x08\x01\0\0\0\0\x22\0\0";
    assert_eq!(told(&server, v2), "192.0.2.1 51000 198.51.100.2 443 on", "and that it spoke TLS");
    let own = told(&server, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    assert!(own.starts_with("127.0.0.1 ") && own.ends_with(" - -"), "a health check of the proxy's: {own}");
    assert!(told(&server, b"PROXY UNKNOWN\r\n").starts_with("127.0.0.1 "));
    // In pieces, the last of which comes with the request.
    let mut connection = server.connect();
    for piece in [&b"PRO"[..], b"XY TCP4 192.0.2.9 198", b".51.100.2 1 2\r"] {
        connection.write(piece);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    connection.write([b"\n", &server.get("/who.php").bytes(false)[..]].concat());
    assert!(connection.read().unwrap().text().starts_with("192.0.2.9 1 "));
}

#[test]
fn without_a_header_there_is_no_connection() {
    if reference().is_some() {
        return;
    }
    let server = site("127.0.0.1").option("http.proxy_protocol.timeout=200ms").start();
    for wrong in [&b""[..], b"PROXY TCP4 192.0.2.1\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0", &[b'P'; 200]] {
        assert_eq!(told(&server, wrong), "closed", "{:?}", String::from_utf8_lossy(wrong));
    }
    assert!(server.connect().closed_within(PATIENCE), "one that says nothing");
    assert!(told(&server, b"PROXY TCP4 192.0.2.1 198.51.100.2 51000 8443\r\n").starts_with("192.0.2.1 "), "still well");
}

#[test]
fn strangers_are_not_believed() {
    if reference().is_some() {
        return;
    }
    let server = site("10.0.0.0/8").start();
    assert_eq!(told(&server, b"PROXY TCP4 192.0.2.1 198.51.100.2 51000 8443\r\n"), "closed");
}

#[test]
fn tls_comes_after_the_header() {
    if reference().is_some() || !super::has_curl() {
        return;
    }
    let office = crate::harness::Office::new();
    let server = with(server(), &office.options())
        .option(&format!("http.proxy_protocol.address={}", office.port))
        .option("http.proxy_protocol.trusted=127.0.0.1")
        .start();
    let answer = office.fetch("/server.php", &["--haproxy-protocol"]).unwrap();
    assert_eq!((answer.server("HTTPS").as_deref(), answer.server("REMOTE_ADDR").as_deref()), (Some("on"), Some("127.0.0.1")));
    assert!(office.fetch("/server.php", &[]).is_err());
    let mut stream = TcpStream::connect(office.port).unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.1 198.51.100.2 51000 8443\r\nGET / HTTP/1.1\r\n\r\n").unwrap();
    drop(stream);
    let mut plain = Connection::open(server.address).unwrap();
    assert_eq!(plain.send(&server.get("/server.php")).unwrap().status, 200, "the other listener has no such header");
}
