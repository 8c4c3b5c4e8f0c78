//! HTTP/3.

use std::{fs, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    has_curl,
    metrics::{page, value},
    with,
};
use crate::{
    harness::{
        Office, PATIENCE, Server, Setup, free_port,
        h3::{Answer, Http3, Outcome, Pending, control_stream, raw, request, without_credit},
        reference, server, wait_until,
    },
    supervisor::has_stopped,
};

fn site(office: &Office) -> Setup {
    with(server(), &office.options())
        .option(&format!("http.http3.address={}", office.port))
        .php("pid.php", "echo getmypid();")
        .php("echo.php", "$in = file_get_contents('php://input'); header('X-Length: ' . strlen($in)); echo $in;")
        .php("slow.php", "file_put_contents($_GET['began'], '1'); usleep((int) $_GET['ms'] * 1000); echo 'finished';")
}

pub(crate) fn pid(connection: &mut Http3) -> Pid {
    Pid::from_raw(connection.get("/pid.php").text().parse().unwrap())
}

/// A client that finds the server well.
fn is_well(office: &Office) {
    assert_eq!(Http3::connect(office).get("/pid.php").status, 200);
}

fn reload(server: &Server, office: &Office, old: Pid) {
    server.signal(Signal::SIGHUP);
    let is_new = |answer: Answer| answer.text() != old.to_string();
    // One that the old engine had no more time for is rejected, and sent again.
    let asked = || Http3::connect(office).try_fetch(request("GET", "/pid.php"), b"").is_ok_and(is_new);
    assert!(wait_until(PATIENCE, asked), "{}", server.log.text());
}

/// Asks for what takes so many milliseconds, and waits until its script runs.
pub(crate) fn begin(server: &Server, client: &mut Http3, ms: u32) -> Pending {
    let began = server.dir().join("began");
    _ = std::fs::remove_file(&began);
    let target = format!("/slow.php?ms={ms}&began={}", began.display());
    let pending = client.send(request("GET", &target), b"").unwrap();
    assert!(wait_until(PATIENCE, || began.exists()));
    pending
}

#[test]
fn scripts_see_an_encrypted_request() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let _server = site(&office).start();
    let mut client = Http3::connect(&office);
    let answer = client.get("/server.php?a=1");
    let of = |name| answer.server(name).unwrap_or_else(|| panic!("no {name}: {}", answer.text()));
    assert_eq!((of("HTTPS"), of("REQUEST_SCHEME"), of("SERVER_PROTOCOL")), ("on".into(), "https".into(), "HTTP/3.0".into()));
    assert_eq!((of("SERVER_NAME"), of("SERVER_PORT")), ("server.test".into(), office.port.port().to_string()));
    assert_eq!(
        (of("SSL_PROTOCOL"), of("SSL_TLS_SNI"), of("REMOTE_ADDR")),
        ("TLSv1.3".into(), "server.test".into(), "127.0.0.1".into())
    );
    assert_eq!(
        (of("HTTP_HOST"), of("QUERY_STRING"), of("SERVER_ADDR")),
        ("server.test".into(), "a=1".into(), "127.0.0.1".into())
    );
    assert!(answer.header("date").is_some());
    assert_eq!(answer.header("alt-svc"), None, "it is there already");
    let port = of("REMOTE_PORT");
    client.move_away();
    let moved = client.get("/server.php").server("REMOTE_PORT").unwrap();
    assert_ne!(moved, port, "the connection goes on from elsewhere");
}

#[test]
fn clients_over_tcp_are_told_of_it() {
    if reference().is_some() || !has_curl() {
        return;
    }
    let office = Office::new();
    let server = site(&office).option("http.http3.alt_svc=1h").start();
    let expected = format!("h3=\":{}\"; ma=3600", office.port.port());
    for argument in ["--http1.1", "--http2"] {
        assert_eq!(office.fetch("/pid.php", &[argument]).unwrap().header("alt-svc"), Some(expected.as_str()), "{argument}");
    }
    assert_eq!(server.get("/pid.php").send().header("alt-svc"), None, "not without TLS");
}

#[test]
fn packets_that_find_no_room_are_counted() {
    if reference().is_some() {
        return;
    }
    let (office, figures) = (Office::new(), free_port());
    let setup = site(&office).option(&format!("metrics.address={figures}")).option("http.http3.socket_buffer=64K");
    let _server = setup.start();
    let engine = pid(&mut Http3::connect(&office));
    let dropped = || value(&page(figures).text(), "rr_http_quic_packets_dropped_total").unwrap();
    assert_eq!(dropped(), 0.0);
    // Nobody reads meanwhile.
    kill(engine, Signal::SIGSTOP).unwrap();
    assert!(wait_until(PATIENCE, || has_stopped(engine)));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..2000 {
        socket.send_to(&[0x40; 1000], office.port).unwrap();
    }
    kill(engine, Signal::SIGCONT).unwrap();
    assert!(wait_until(PATIENCE, || dropped() > 1000.0), "{}", dropped());
    is_well(&office);
}

#[test]
fn large_bodies_go_both_ways_and_many_at_once() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let _server = site(&office).file("file.txt", "0123456789").start();
    let mut client = Http3::connect(&office);
    let sent = "0123456789abcdef".repeat(256 * 1024);
    let answer = client.fetch(request("POST", "/echo.php"), sent.as_bytes());
    assert_eq!(answer.header("x-length"), Some("4194304"));
    assert!(answer.body == sent.as_bytes(), "{} bytes came back", answer.body.len());
    let requests: Vec<_> =
        (0..100).map(|number| client.send(request("POST", "/echo.php"), format!("body {number}").as_bytes()).unwrap()).collect();
    for (number, pending) in requests.into_iter().enumerate() {
        assert_eq!(client.finish(pending).unwrap().text(), format!("body {number}"));
    }
    let head = client.fetch(request("HEAD", "/file.txt"), b"");
    assert_eq!((head.header("content-length"), head.body.len()), (Some("10"), 0));
    let mut part = request("GET", "/file.txt");
    part.headers_mut().insert("range", "bytes=2-4".parse().unwrap());
    let part = client.fetch(part, b"");
    assert_eq!((part.status.as_u16(), part.text()), (206, "234"));
}

#[test]
fn answers_stream_and_hints_come_before_them() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let _server = site(&office)
        .php("hints.php", "header('Link: </a.css>; rel=preload'); headers_send(103); header_remove('Link'); echo 'done';")
        .php("stream.php", "for ($i = 0; $i < 200; $i++) { echo str_repeat(chr(65 + $i % 26), 65536); flush(); }")
        .start();
    let mut client = Http3::connect(&office);
    let hinted = client.get("/hints.php");
    assert_eq!((hinted.text(), hinted.hints.len()), ("done", 1));
    assert_eq!(hinted.hints[0].get("link").unwrap(), "</a.css>; rel=preload");
    assert_eq!(hinted.header("link"), None);
    let streamed = client.get("/stream.php");
    assert_eq!(streamed.body.len(), 200 * 65536);
    assert!(streamed.body.chunks(65536).enumerate().all(|(at, chunk)| chunk.iter().all(|&byte| byte == b'A' + (at % 26) as u8)));
}

#[test]
fn requests_have_the_limits_of_other_protocols() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let _server = site(&office)
        .option("http.max_request_size=1")
        .option("http.limits.max_uri=1000")
        .option("http.limits.max_header_bytes=4000")
        .option("http.limits.max_headers=20")
        .start();
    let mut client = Http3::connect(&office);
    let with = |names: usize, length: usize| {
        let mut request = request("GET", "/pid.php");
        for number in 0..names {
            let name: http::HeaderName = format!("x-{number}").parse().unwrap();
            request.headers_mut().insert(name, "a".repeat(length).parse().unwrap());
        }
        request
    };
    assert_eq!(client.get(&format!("/{}", "a".repeat(1000))).status, 414);
    assert_eq!(client.fetch(with(21, 1), b"").status, 431);
    let too_long = client.try_fetch(with(1, 8000), b"");
    assert!(too_long.is_err() || too_long.is_ok_and(|answer| answer.status == 431), "the h3 crate may not even send it");
    assert_eq!(client.fetch(request("POST", "/echo.php"), &vec![b'x'; 2 << 20]).status, 413);
    assert_eq!(client.fetch(with(19, 10), b"").status, 200, "the connection goes on");
}

#[test]
fn whoever_breaks_the_rules_is_told_which_and_the_server_is_well() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = site(&office).start();
    // :method GET, :scheme https, :authority server.test, :path /
    let good = b"\x00\x00\xd1\xd7\x50\x0bserver.test\xc1";
    let head = |more: &[u8]| [&[1, (good.len() + more.len()) as u8][..], good, more].concat();
    let settings = [0, 4, 0];
    let closed = |code| Outcome::Closed(code);
    for (what, control, bytes, expected) in [
        ("two paths", vec![], head(b"\xc1"), Outcome::Reset(0x10e)),
        ("a status", vec![], head(b"\xd9"), Outcome::Reset(0x10e)),
        ("chunked", vec![], head(b"\x27\x0atransfer-encoding\x07chunked"), Outcome::Reset(0x10e)),
        ("a dynamic table", vec![], head(b"\x80"), closed(0x200)),
        ("a long head", vec![], [&b"\x01\x80\x10\x00\x00"[..], &[0; 1000]].concat(), Outcome::Bytes(Vec::new())),
        ("no head", vec![], vec![0, 1, b'x'], closed(0x105)),
        ("settings in a request", vec![], vec![4, 0], closed(0x105)),
        ("a frame of HTTP/2", vec![], vec![6, 1, 0], closed(0x105)),
        ("half a frame", vec![], vec![1, 50, 0, 0], closed(0x106)),
        ("less than half", vec![], vec![0x40], closed(0x106)),
        ("a long unknown frame", vec![], vec![0x21, 0xc0, 0, 0, 0xff, 0, 0, 0, 0], closed(0x107)),
        ("nothing but grease", vec![], [0x21, 0].repeat(200), closed(0x107)),
        (
            "nothing but empty data",
            vec![],
            [&b"\x01\x1b\x00\x00\xd1\xd7\x50\x0bserver.test\x51\x08/pid.php"[..], &[0, 0].repeat(200)].concat(),
            closed(0x107),
        ),
        ("no settings", vec![0, 7, 1, 0], vec![], closed(0x10a)),
        ("settings twice", vec![0, 4, 0, 4, 0], vec![], closed(0x105)),
        ("the same setting twice", vec![0, 4, 4, 6, 1, 6, 1], vec![], closed(0x109)),
        ("settings of HTTP/2", vec![0, 4, 2, 2, 1], vec![], closed(0x109)),
        ("data on a control stream", [&settings[..], &[0, 1, b'x']].concat(), vec![], closed(0x105)),
        ("a promise", vec![1], vec![], closed(0x103)),
        ("an entry for a table", vec![2, 0xc1, 1, b'x'], vec![], closed(0x201)),
        ("nothing but priorities", [&settings[..], &[0x80, 0x0f, 0x07, 0x00, 1, 0].repeat(200)].concat(), vec![], closed(0x107)),
    ] {
        let outcome = raw(&office, &control, &bytes);
        match (&outcome, &expected) {
            // 431, in whatever encoding.
            (Outcome::Bytes(bytes), Outcome::Bytes(_)) => {
                assert!(bytes.windows(3).any(|part| part == b"431"), "{what}: {bytes:?}")
            }
            _ => assert_eq!(outcome, expected, "{what}"),
        }
        is_well(&office);
    }
    // What looks odd, and is allowed.
    for (what, control, bytes) in [
        ("grease before the head", vec![], [&[0x21, 3, 1, 2, 3][..], &head(b"")].concat()),
        ("an empty frame in the body", vec![], [&head(b"")[..], &[0, 0, 0, 1, b'x', 0, 0]].concat()),
        ("trailers", vec![], [&head(b"")[..], &[0, 1, b'x', 1, 2, 0, 0]].concat()),
        ("an unknown stream", vec![0x21, 1, 2, 3], head(b"")),
        ("priorities", [&settings[..], &[0x80, 0x0f, 0x07, 0x00, 1, 0]].concat(), head(b"")),
    ] {
        assert!(matches!(raw(&office, &control, &bytes), Outcome::Bytes(_)), "{what}");
    }
    assert!(!server.log.text().contains("panicked"), "{}", server.log.text());
}

#[test]
fn requests_that_are_left_before_their_answer_end_the_connection_some_time() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = site(&office).start();
    let began = server.dir().join("began");
    let mut client = Http3::connect(&office);
    // Each is dropped, which resets it.
    for _ in 0..300 {
        if client.send(request("GET", &format!("/slow.php?ms=50&began={}", began.display())), b"").is_err() {
            break;
        }
    }
    assert_eq!(client.closed(), Ok(0x107));
    is_well(&office);
}

#[test]
fn connections_that_ask_nothing_are_closed() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let _server = site(&office).option("http.limits.keepalive_timeout=100ms").option("http.limits.header_timeout=100ms").start();
    assert_eq!(Http3::connect(&office).closed(), Ok(0x100), "it has asked nothing");
    let mut client = Http3::connect(&office);
    assert_eq!(client.get("/pid.php").status, 200);
    assert_eq!(client.closed(), Ok(0x100), "it asks nothing more");
}

#[test]
fn a_server_that_stops_finishes_what_it_has_begun() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = site(&office).start();
    let mut client = Http3::connect(&office);
    let pending = begin(&server, &mut client, 500);
    server.signal(Signal::SIGTERM);
    assert_eq!(client.finish(pending).unwrap().text(), "finished");
    assert_eq!(client.closed(), Ok(0x100));
    assert!(server.ended_within(PATIENCE).is_some());
}

#[test]
fn a_client_that_has_vanished_does_not_keep_the_server_from_ending() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = site(&office).option("http.http3.idle_timeout=10m").option("engine.grace_period=10m").start();
    let mut client = Http3::connect(&office);
    let pending = begin(&server, &mut client, 500);
    client.vanish();
    server.signal(Signal::SIGTERM);
    assert!(server.ended_within(PATIENCE).is_some(), "{}", server.log.text());
    drop(pending);
}

#[test]
fn an_end_is_announced_before_requests_are_turned_away() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = site(&office).start();
    let said = control_stream(&office, || server.signal(Signal::SIGTERM));
    let all = [0x07, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc];
    let exact = [0x07, 1, 4];
    let words = [&all[..], &exact].concat();
    assert!(said.ends_with(&words), "first that no request is lost, then that those after the first are: {said:x?}");
    assert!(server.ended_within(PATIENCE).is_some());
}

#[test]
fn a_client_that_takes_no_words_leaves_all_the_same() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = site(&office).option("engine.grace_period=10m").start();
    let ended = without_credit(&office, || server.signal(Signal::SIGTERM));
    assert_eq!(ended, Ok(0x100));
    assert!(server.ended_within(PATIENCE).is_some(), "{}", server.log.text());
}

#[test]
fn connections_go_on_over_a_reload_and_new_ones_find_the_new_engine() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = site(&office).threads(4).option("engine.grace_period=20s").start();
    // More than two: the halves of the port are used again.
    for _ in 0..3 {
        let mut client = Http3::connect(&office);
        let old = pid(&mut client);
        let pending = begin(&server, &mut client, 1500);
        reload(&server, &office, old);
        assert_eq!(client.finish(pending).unwrap().text(), "finished", "what was begun before is finished by the old engine");
        assert!(client.try_fetch(request("GET", "/pid.php"), b"").is_err(), "it takes nothing more");
        assert!(wait_until(PATIENCE, || kill(old, None::<Signal>).is_err()), "{}", server.log.text());
        assert_ne!(pid(&mut Http3::connect(&office)), old);
    }
    assert!(!server.log.text().contains("the engine died"), "{}", server.log.text());
}

#[test]
fn clients_of_an_engine_that_has_died_are_told() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = site(&office).start();
    let mut client = Http3::connect(&office);
    let old = pid(&mut client);
    kill(old, Signal::SIGKILL).unwrap();
    assert!(wait_until(PATIENCE, || Http3::try_connect(&office, office.port).is_ok_and(|mut other| pid(&mut other) != old)));
    assert!(client.try_fetch(request("GET", "/pid.php"), b"").is_err());
    let told = matches!(client.closed(), Err(quinn::ConnectionError::Reset));
    assert!(told, "not by waiting until it is tired of it: {:?}; {}", client.closed(), server.log.text());
}

#[test]
fn new_certificates_are_taken_up() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let _server = site(&office).start();
    let shown = || {
        let client = Http3::connect(&office);
        let identity = client.connection.peer_identity().unwrap();
        identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap()[0].to_vec()
    };
    let first = shown();
    office.sign("server", &["server.test"]);
    assert!(wait_until(PATIENCE, || shown() != first));
    is_well(&office);
}

#[test]
fn addresses_are_proven_when_asked_for() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let _server = site(&office).option("http.http3.retry_above=0").start();
    let mut client = Http3::connect(&office);
    assert_eq!(client.get("/pid.php").status, 200);
}

#[test]
fn a_port_that_another_server_has_is_refused() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let _taken = std::net::UdpSocket::bind(office.port).unwrap();
    let setup = site(&office);
    let output = crate::harness::finish(setup.command(crate::harness::free_port(), None), b"");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("http.http3.address: cannot listen on") && text.contains("address in use"), "{text}");
}

#[test]
fn who_is_refused_for_a_certificate_is_told_of() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = site(&office)
        .option(&format!("http.ssl.root_ca={}", office.path("ca.pem").display()))
        .option("http.ssl.client_auth_type=require_and_verify_client_cert")
        .start();
    // It may take itself for connected before the server has seen that it shows none.
    let asked = Http3::try_connect(&office, office.port).and_then(|mut client| client.try_fetch(request("GET", "/pid.php"), b""));
    assert!(asked.is_err());
    assert!(server.logs("a client was refused for its certificate"), "{}", server.log.text());
}

#[test]
fn certificates_of_its_own_need_no_other_tls() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let _server = server()
        .php("pid.php", "echo getmypid();")
        .option(&format!("http.http3.address={}", office.port))
        .option(&format!("http.http3.cert={}", office.path("server.pem").display()))
        .option(&format!("http.http3.key={}", office.path("server.key").display()))
        .start();
    is_well(&office);
}

#[test]
fn a_client_that_reads_nothing_is_cut() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = site(&office)
        .option("http.limits.write_timeout=300ms")
        .php("big.php", "file_put_contents($_GET['began'], '1'); for ($i = 0; $i < 400; $i++) { echo str_repeat('x', 65536); }")
        .start();
    let mut client = Http3::connect(&office);
    let began = server.dir().join("began");
    let pending = client.send(request("GET", &format!("/big.php?began={}", began.display())), b"").unwrap();
    assert!(wait_until(PATIENCE, || fs::exists(&began).unwrap()));
    // For as long as nobody takes it from there, the connection has no room for more.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(client.finish(pending).is_err(), "the answer was given up");
    is_well(&office);
}

#[test]
fn one_of_several_engines_serves_it_and_another_follows_when_that_ends() {
    if reference().is_some() || !has_curl() {
        return;
    }
    let office = Office::new();
    let server = site(&office).threads(2).option("engine.processes=2").option("engine.grace_period=20s").start();
    let expected = format!("h3=\":{}\"; ma=86400", office.port.port());
    let mut seen = std::collections::HashSet::new();
    let both_tell = wait_until(PATIENCE, || {
        let fetched = office.fetch("/pid.php", &["--http2"]).unwrap();
        assert_eq!(fetched.header("alt-svc"), Some(expected.as_str()));
        seen.insert(fetched.body);
        seen.len() == 2
    });
    assert!(both_tell, "{seen:?}");
    let reader = pid(&mut Http3::connect(&office));
    for _ in 0..8 {
        assert_eq!(pid(&mut Http3::connect(&office)), reader);
    }
    let other = seen.iter().map(|pid| Pid::from_raw(pid.parse().unwrap())).find(|pid| *pid != reader).unwrap();
    for dead in [other, reader] {
        kill(dead, Signal::SIGKILL).unwrap();
        assert!(wait_until(PATIENCE, || kill(dead, None::<Signal>).is_err()));
        let mut next = None;
        let asked = || {
            let answer =
                Http3::try_connect(&office, office.port).and_then(|mut client| client.try_fetch(request("GET", "/pid.php"), b""));
            next = answer.ok().map(|answer| answer.text().to_owned());
            next.is_some()
        };
        assert!(wait_until(PATIENCE, asked), "{}", server.log.text());
        assert_eq!(next == Some(reader.to_string()), dead == other, "{next:?}");
    }
    for _ in 0..3 {
        let mut client = Http3::connect(&office);
        let old = pid(&mut client);
        let pending = begin(&server, &mut client, 1500);
        reload(&server, &office, old);
        assert_eq!(client.finish(pending).unwrap().text(), "finished", "what was begun before is finished by the old engine");
        assert!(wait_until(PATIENCE, || kill(old, None::<Signal>).is_err()), "{}", server.log.text());
        assert_ne!(pid(&mut Http3::connect(&office)), old);
    }
    server.stop();
}
