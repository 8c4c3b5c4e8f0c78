//! HTTP/3.

use std::{fs, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    has_curl,
    metrics::{page, value},
};
use crate::{
    harness::{
        Office, PATIENCE, Setup, free_port,
        h3::{
            Http3, Outcome, control_stream, raw, request,
            site::{Site, pid, setup},
            without_credit,
        },
        reference, server, wait_until,
    },
    supervisor::has_stopped,
};

#[test]
fn scripts_see_an_encrypted_request() {
    let Some(site) = Site::start() else { return };
    let mut client = site.client();
    let answer = client.get("/server.php?a=1");
    let of = |name| answer.server(name).unwrap_or_else(|| panic!("no {name}: {}", answer.text()));
    assert_eq!((of("HTTPS"), of("REQUEST_SCHEME"), of("SERVER_PROTOCOL")), ("on".into(), "https".into(), "HTTP/3.0".into()));
    assert_eq!((of("SERVER_NAME"), of("SERVER_PORT")), ("server.test".into(), site.office.port.port().to_string()));
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
    let Some(site) = Site::with(|setup| setup.option("http.http3.alt_svc=1h")) else { return };
    let expected = format!("h3=\":{}\"; ma=3600", site.office.port.port());
    for argument in ["--http1.1", "--http2"] {
        assert_eq!(site.office.fetch("/pid.php", &[argument]).unwrap().header("alt-svc"), Some(expected.as_str()), "{argument}");
    }
    assert_eq!(site.server.get("/pid.php").send().header("alt-svc"), None, "not without TLS");
}

#[test]
fn packets_that_find_no_room_are_counted() {
    let figures = free_port();
    let change = |setup: Setup| setup.option(&format!("metrics.address={figures}")).option("http.http3.socket_buffer=64K");
    let Some(site) = Site::with(change) else { return };
    let engine = pid(&mut site.client());
    let dropped = || value(&page(figures).text(), "rr_http_quic_packets_dropped_total").unwrap();
    assert_eq!(dropped(), 0.0);
    // Nobody reads meanwhile.
    kill(engine, Signal::SIGSTOP).unwrap();
    assert!(wait_until(PATIENCE, || has_stopped(engine)));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..2000 {
        socket.send_to(&[0x40; 1000], site.office.port).unwrap();
    }
    kill(engine, Signal::SIGCONT).unwrap();
    assert!(wait_until(PATIENCE, || dropped() > 1000.0), "{}", dropped());
    site.is_well();
}

#[test]
fn large_bodies_go_both_ways_and_many_at_once() {
    let Some(site) = Site::with(|setup| setup.file("file.txt", "0123456789")) else { return };
    let mut client = site.client();
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
    let Some(site) = Site::with(|setup| {
        setup
            .php("hints.php", "header('Link: </a.css>; rel=preload'); headers_send(103); header_remove('Link'); echo 'done';")
            .php("stream.php", "for ($i = 0; $i < 200; $i++) { echo str_repeat(chr(65 + $i % 26), 65536); flush(); }")
    }) else {
        return;
    };
    let mut client = site.client();
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
    let Some(site) = Site::with(|setup| {
        setup
            .option("http.max_request_size=1")
            .option("http.limits.max_uri=1000")
            .option("http.limits.max_header_bytes=4000")
            .option("http.limits.max_headers=20")
    }) else {
        return;
    };
    let mut client = site.client();
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
    let Some(site) = Site::start() else { return };
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
        let outcome = raw(&site.office, &control, &bytes);
        match (&outcome, &expected) {
            // 431, in whatever encoding.
            (Outcome::Bytes(bytes), Outcome::Bytes(_)) => {
                assert!(bytes.windows(3).any(|part| part == b"431"), "{what}: {bytes:?}")
            }
            _ => assert_eq!(outcome, expected, "{what}"),
        }
        site.is_well();
    }
    // What looks odd, and is allowed.
    for (what, control, bytes) in [
        ("grease before the head", vec![], [&[0x21, 3, 1, 2, 3][..], &head(b"")].concat()),
        ("an empty frame in the body", vec![], [&head(b"")[..], &[0, 0, 0, 1, b'x', 0, 0]].concat()),
        ("trailers", vec![], [&head(b"")[..], &[0, 1, b'x', 1, 2, 0, 0]].concat()),
        ("an unknown stream", vec![0x21, 1, 2, 3], head(b"")),
        ("priorities", [&settings[..], &[0x80, 0x0f, 0x07, 0x00, 1, 0]].concat(), head(b"")),
    ] {
        assert!(matches!(raw(&site.office, &control, &bytes), Outcome::Bytes(_)), "{what}");
    }
    assert!(!site.server.log.text().contains("panicked"), "{}", site.server.log.text());
}

#[test]
fn requests_that_are_left_before_their_answer_end_the_connection_some_time() {
    let Some(site) = Site::start() else { return };
    let began = site.server.dir().join("began");
    let mut client = site.client();
    // Each is dropped, which resets it.
    for _ in 0..300 {
        if client.send(request("GET", &format!("/slow.php?ms=50&began={}", began.display())), b"").is_err() {
            break;
        }
    }
    assert_eq!(client.closed(), Ok(0x107));
    site.is_well();
}

#[test]
fn connections_that_ask_nothing_are_closed() {
    let Some(site) =
        Site::with(|setup| setup.option("http.limits.keepalive_timeout=100ms").option("http.limits.header_timeout=100ms"))
    else {
        return;
    };
    assert_eq!(site.client().closed(), Ok(0x100), "it has asked nothing");
    let mut client = site.client();
    assert_eq!(client.get("/pid.php").status, 200);
    assert_eq!(client.closed(), Ok(0x100), "it asks nothing more");
}

#[test]
fn a_server_that_stops_finishes_what_it_has_begun() {
    let Some(site) = Site::start() else { return };
    let mut client = site.client();
    let pending = site.begin(&mut client, 500);
    site.server.signal(Signal::SIGTERM);
    assert_eq!(client.finish(pending).unwrap().text(), "finished");
    assert_eq!(client.closed(), Ok(0x100));
    assert!(site.server.ended_within(PATIENCE).is_some());
}

#[test]
fn a_client_that_has_vanished_does_not_keep_the_server_from_ending() {
    let Some(site) = Site::with(|setup| setup.option("http.http3.idle_timeout=10m").option("engine.grace_period=10m")) else {
        return;
    };
    let mut client = site.client();
    let pending = site.begin(&mut client, 500);
    client.vanish();
    site.server.signal(Signal::SIGTERM);
    assert!(site.server.ended_within(PATIENCE).is_some(), "{}", site.server.log.text());
    drop(pending);
}

#[test]
fn an_end_is_announced_before_requests_are_turned_away() {
    let Some(site) = Site::start() else { return };
    let said = control_stream(&site.office, || site.server.signal(Signal::SIGTERM));
    let all = [0x07, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc];
    let exact = [0x07, 1, 4];
    let words = [&all[..], &exact].concat();
    assert!(said.ends_with(&words), "first that no request is lost, then that those after the first are: {said:x?}");
    assert!(site.server.ended_within(PATIENCE).is_some());
}

#[test]
fn a_client_that_takes_no_words_leaves_all_the_same() {
    let Some(site) = Site::with(|setup| setup.option("engine.grace_period=10m")) else { return };
    let ended = without_credit(&site.office, || site.server.signal(Signal::SIGTERM));
    assert_eq!(ended, Ok(0x100));
    assert!(site.server.ended_within(PATIENCE).is_some(), "{}", site.server.log.text());
}

#[test]
fn connections_go_on_over_a_reload_and_new_ones_find_the_new_engine() {
    let Some(site) = Site::with(|setup| setup.threads(4).option("engine.grace_period=20s")) else { return };
    // More than two: the halves of the port are used again.
    for _ in 0..3 {
        site.succeeds();
    }
    assert!(!site.server.log.text().contains("the engine died"), "{}", site.server.log.text());
}

#[test]
fn clients_of_an_engine_that_has_died_are_told() {
    let Some(site) = Site::start() else { return };
    let mut client = site.client();
    let old = pid(&mut client);
    kill(old, Signal::SIGKILL).unwrap();
    assert!(
        wait_until(PATIENCE, || Http3::try_connect(&site.office, site.office.port).is_ok_and(|mut other| pid(&mut other) != old))
    );
    assert!(client.try_fetch(request("GET", "/pid.php"), b"").is_err());
    let told = matches!(client.closed(), Err(quinn::ConnectionError::Reset));
    assert!(told, "not by waiting until it is tired of it: {:?}; {}", client.closed(), site.server.log.text());
}

#[test]
fn new_certificates_are_taken_up() {
    let Some(site) = Site::start() else { return };
    let shown = || {
        let client = site.client();
        let identity = client.connection.peer_identity().unwrap();
        identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap()[0].to_vec()
    };
    let first = shown();
    site.office.sign("server", &["server.test"]);
    assert!(wait_until(PATIENCE, || shown() != first));
    site.is_well();
}

#[test]
fn addresses_are_proven_when_asked_for() {
    let Some(site) = Site::with(|setup| setup.option("http.http3.retry_above=0")) else { return };
    let mut client = site.client();
    assert_eq!(client.get("/pid.php").status, 200);
}

#[test]
fn a_port_that_another_server_has_is_refused() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let _taken = std::net::UdpSocket::bind(office.port).unwrap();
    let output = crate::harness::finish(setup(&office).command(crate::harness::free_port(), None), b"");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("http.http3.address: cannot listen on") && text.contains("address in use"), "{text}");
}

#[test]
fn who_is_refused_for_a_certificate_is_told_of() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = setup(&office)
        .option(&format!("http.ssl.root_ca={}", office.path("ca.pem").display()))
        .option("http.ssl.client_auth_type=require_and_verify_client_cert")
        .start();
    let site = Site { server, office };
    // It may take itself for connected before the server has seen that it shows none.
    assert!(site.try_get("/pid.php").is_err());
    assert!(site.server.logs("a client was refused for its certificate"), "{}", site.server.log.text());
}

#[test]
fn certificates_of_its_own_need_no_other_tls() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = server()
        .php("pid.php", "echo getmypid();")
        .option(&format!("http.http3.address={}", office.port))
        .option(&format!("http.http3.cert={}", office.path("server.pem").display()))
        .option(&format!("http.http3.key={}", office.path("server.key").display()))
        .start();
    Site { server, office }.is_well();
}

#[test]
fn a_client_that_reads_nothing_is_cut() {
    let Some(site) = Site::with(|setup| {
        setup.option("http.limits.write_timeout=300ms").php(
            "big.php",
            "file_put_contents($_GET['began'], '1'); for ($i = 0; $i < 400; $i++) { echo str_repeat('x', 65536); }",
        )
    }) else {
        return;
    };
    let mut client = site.client();
    let began = site.server.dir().join("began");
    let pending = client.send(request("GET", &format!("/big.php?began={}", began.display())), b"").unwrap();
    assert!(wait_until(PATIENCE, || fs::exists(&began).unwrap()));
    // For as long as nobody takes it from there, the connection has no room for more.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(client.finish(pending).is_err(), "the answer was given up");
    site.is_well();
}

#[test]
fn one_of_several_engines_serves_it_and_another_follows_when_that_ends() {
    if reference().is_some() || !has_curl() {
        return;
    }
    let Some(site) = Site::with(|setup| setup.threads(2).option("engine.processes=2").option("engine.grace_period=20s")) else {
        return;
    };
    let expected = format!("h3=\":{}\"; ma=86400", site.office.port.port());
    let mut seen = std::collections::HashSet::new();
    let both_tell = wait_until(PATIENCE, || {
        let fetched = site.office.fetch("/pid.php", &["--http2"]).unwrap();
        assert_eq!(fetched.header("alt-svc"), Some(expected.as_str()));
        seen.insert(fetched.body);
        seen.len() == 2
    });
    assert!(both_tell, "{seen:?}");
    let reader = pid(&mut site.client());
    for _ in 0..8 {
        assert_eq!(pid(&mut site.client()), reader);
    }
    let other = seen.iter().map(|pid| Pid::from_raw(pid.parse().unwrap())).find(|pid| *pid != reader).unwrap();
    for dead in [other, reader] {
        kill(dead, Signal::SIGKILL).unwrap();
        assert!(wait_until(PATIENCE, || kill(dead, None::<Signal>).is_err()));
        let mut next = None;
        let asked = || {
            next = site.try_get("/pid.php").ok().map(|answer| answer.text().to_owned());
            next.is_some()
        };
        assert!(wait_until(PATIENCE, asked), "{}", site.server.log.text());
        assert_eq!(next == Some(reader.to_string()), dead == other, "{next:?}");
    }
    for _ in 0..3 {
        site.succeeds();
    }
    site.server.stop();
}
