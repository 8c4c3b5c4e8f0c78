//! Why connections are closed, each reason with its count.

use std::{net::SocketAddr, thread, time::Duration};

use rustls::version::TLS13;

use super::metrics::{page, value};
use crate::harness::{
    Connection, Office, PATIENCE, Request, Server, Setup, free_port,
    h3::{Http3, Outcome, raw},
    reference, server, wait_until,
};

/// A server that has little time, a second port where proxies speak first, and its page of figures.
struct Watched {
    server: Server,
    office: Office,
    proxied: SocketAddr,
    figures: SocketAddr,
}

impl Watched {
    fn start(change: impl FnOnce(Setup) -> Setup) -> Self {
        let (office, proxied, figures, plain) = (Office::new(), free_port(), free_port(), free_port());
        let setup = office
            .over_http3(server().at(plain))
            .option(&format!("http.address={plain},{proxied}"))
            .option(&format!("http.proxy_protocol.address={proxied}"))
            .option("http.proxy_protocol.trusted=127.0.0.1")
            .option(&format!("metrics.address={figures}"))
            .php("echo.php", "echo file_get_contents('php://input');");
        Self { server: change(setup).start(), office, proxied, figures }
    }

    fn count(&self, sample: &str) -> f64 {
        let text = page(self.figures).text();
        value(&text, &format!("rr_http_{sample}")).unwrap_or_else(|| panic!("no {sample} in {text}"))
    }

    fn timeouts(&self, reason: &str) -> f64 {
        self.count(&format!("connection_timeouts_total{{reason=\"{reason}\"}}"))
    }

    fn closed(&self, reason: &str) -> f64 {
        self.count(&format!("connections_closed_total{{reason=\"{reason}\"}}"))
    }

    /// A client that a proxy speaks for.
    fn through_proxy(&self, client: &str) -> Connection {
        let mut connection = Connection::open(self.proxied).unwrap();
        connection.write(format!("PROXY TCP6 {client} ::1 1 2\r\n"));
        connection
    }
}

fn ask(connection: &mut Connection) -> bool {
    connection.write(b"GET /server.php HTTP/1.1\r\nHost: server.test\r\n\r\n");
    connection.read().is_ok_and(|reply| reply.status == 200)
}

#[test]
fn whoever_takes_too_long_is_counted_by_what_took_so_long() {
    if reference().is_some() {
        return;
    }
    let watched = Watched::start(|setup| {
        let limits = ["header_timeout", "keepalive_timeout", "body_timeout", "write_timeout"];
        let setup = limits.iter().fold(setup, |setup, limit| setup.option(&format!("http.limits.{limit}=300ms")));
        setup.option("http.ssl.handshake_timeout=300ms").option("http.proxy_protocol.timeout=300ms")
    });
    let plain = || watched.server.connect();
    let after = |mut connection: Connection, said: &[u8]| {
        connection.write(said);
        String::from_utf8_lossy(&connection.read_to_end().unwrap()).into_owned()
    };
    assert_eq!(after(plain(), b""), "");
    assert_eq!(watched.timeouts("first"), 1.0);
    assert!(after(plain(), b"GET / HTTP/1.1\r\nHo").starts_with("HTTP/1.1 408 "));
    assert_eq!(watched.timeouts("head"), 1.0);
    let answer = after(plain(), b"GET /server.php HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(watched.timeouts("idle"), 1.0);
    let answer = after(plain(), b"POST /echo.php HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(watched.timeouts("body"), 1.0);
    assert!(Connection::open(watched.office.port).unwrap().closed_within(PATIENCE));
    // It is counted when the connection is closed already.
    assert!(wait_until(PATIENCE, || watched.timeouts("handshake") == 1.0));
    assert!(Connection::open(watched.proxied).unwrap().closed_within(PATIENCE));
    assert!(wait_until(PATIENCE, || watched.timeouts("proxy") == 1.0));
    assert_eq!(Http3::connect(&watched.office).closed(), Ok(0x100));
    assert!(wait_until(PATIENCE, || watched.timeouts("first") == 2.0), "one over HTTP/3");
    assert_eq!(watched.timeouts("write"), 0.0);
}

#[test]
fn a_body_that_dribbles_is_given_up() {
    if reference().is_some() {
        return;
    }
    let watched =
        Watched::start(|setup| setup.option("http.limits.body_timeout=500ms").option("http.limits.min_body_rate=1000000"));
    let mut connection = watched.server.connect();
    connection.write(b"POST /echo.php HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    let stream = connection.stream().try_clone().unwrap();
    let dribbling = thread::spawn(move || {
        // Each byte comes in time.
        while std::io::Write::write_all(&mut &stream, b"x").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(connection.read().unwrap().status, 408);
    assert_eq!(watched.timeouts("body"), 1.0);
    drop(connection.stream().shutdown(std::net::Shutdown::Both));
    dribbling.join().unwrap();
}

#[test]
fn those_who_cannot_be_understood_are_counted_and_handshakes_are_timed() {
    if reference().is_some() {
        return;
    }
    let watched = Watched::start(|setup| setup);
    let closed = |address: SocketAddr, said: &[u8]| {
        let mut connection = Connection::open(address).unwrap();
        connection.write(said);
        // With an alert or without, by an end or a reset.
        drop(connection.read_to_end());
    };
    closed(watched.office.port, b"GET / HTTP/1.1\r\n\r\n");
    closed(watched.proxied, b"GET / HTTP/1.1\r\n\r\n");
    let counted = || (watched.closed("tls"), watched.closed("proxy_header")) == (1.0, 1.0);
    assert!(wait_until(PATIENCE, counted), "{}", page(watched.figures).text());
    let client = watched.office.resumer(&TLS13, None);
    assert!(!client.resumes() && client.resumes() && client.resumes());
    assert_eq!(Http3::connect(&watched.office).get("/server.php").status, 200);
    for (kind, expected) in [("full", 1.0), ("resumed", 2.0), ("quic", 1.0)] {
        assert_eq!(watched.count(&format!("tls_handshake_seconds_count{{kind=\"{kind}\"}}")), expected, "{kind}");
    }
}

#[test]
fn a_client_has_no_more_connections_than_it_may_whoever_brings_them() {
    if reference().is_some() {
        return;
    }
    let watched = Watched::start(|setup| setup.option("http.limits.max_connections_per_client=1"));
    let mut first = watched.through_proxy("2001:db8::1");
    assert!(ask(&mut first));
    assert!(!ask(&mut watched.through_proxy("2001:db8::2")), "a neighbour in the same network");
    assert_eq!(watched.closed("client_limit"), 1.0);
    assert!(ask(&mut watched.through_proxy("2001:db8:0:1::1")) && ask(&mut first));
    drop(first);
    assert!(wait_until(PATIENCE, || ask(&mut watched.through_proxy("2001:db8::2"))));
    // Over TCP and QUIC together, each of which sees the client itself.
    let mut quic = Http3::connect(&watched.office);
    assert_eq!(quic.get("/server.php").status, 200);
    assert!(watched.office.resumer(&TLS13, None).fetch("/server.php").is_err());
    // Closed before a client of HTTP/3 is ready, perhaps.
    assert_eq!(raw(&watched.office, b"", b""), Outcome::Closed(0x107));
    assert!(Request::new(watched.figures, "GET", "/").try_send().is_ok(), "not for readers of figures");
}

#[test]
fn a_full_listener_leaves_room_on_the_others() {
    if reference().is_some() {
        return;
    }
    let watched = Watched::start(|setup| setup.option("http.limits.max_connections_per_listener=1"));
    let mut silent = watched.server.connect();
    let mut other = watched.through_proxy("2001:db8::1");
    assert!(ask(&mut other));
    assert_eq!(Http3::connect(&watched.office).get("/server.php").status, 200);
    assert!(ask(&mut watched.server.connect()), "the silent one leaves for it");
    assert!(silent.closed_within(PATIENCE));
    assert_eq!(watched.closed("room"), 1.0);
    assert!(ask(&mut other));
}

#[test]
fn old_connections_are_closed() {
    if reference().is_some() {
        return;
    }
    let watched = Watched::start(|setup| setup.option("http.limits.max_connection_age=1ms"));
    let mut connection = watched.server.connect();
    let mut is_last = || {
        let reply = connection.send(&watched.server.get("/server.php")).unwrap();
        assert_eq!(reply.status, 200);
        reply.header("connection") == Some("close")
    };
    assert!(wait_until(PATIENCE, &mut is_last));
    assert_eq!(Http3::connect(&watched.office).closed(), Ok(0x100));
    assert!(wait_until(PATIENCE, || watched.closed("age") == 2.0), "{}", page(watched.figures).text());
}
