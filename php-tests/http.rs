//! The HTTP/1.1 side: framing, limits, time-outs, the queue.

use std::{
    io::Read as _,
    thread,
    time::{Duration, Instant},
};

use crate::harness::{Server, Setup, reference, server, wait_until};

fn echo() -> Setup {
    server()
        .php("echo.php", "echo $_SERVER['REQUEST_METHOD'], ' ', strlen($in = file_get_contents('php://input')), ' ', md5($in);")
        .php("ok.php", "echo 'ok';")
        .php("slow.php", "usleep((int) ($_GET['ms'] ?? 1000) * 1000); echo 'slow';")
}

/// The status line's number, or 0 if the server just closed.
fn status_of(server: &Server, bytes: impl AsRef<[u8]>) -> u16 {
    let mut connection = server.connect();
    connection.write(bytes);
    connection.read().map_or(0, |reply| reply.status)
}

#[test]
fn a_connection_serves_many_requests() {
    let server = echo().start();
    let mut connection = server.connect();
    for _ in 0..50 {
        let reply = connection.send(&server.get("/ok.php")).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
        let reply = connection.send(&server.post("/echo.php", "text/plain", "abc")).unwrap();
        assert_eq!(reply.text(), "POST 3 900150983cd24fb0d6963f7d28e17f72");
    }
}

#[test]
fn connection_close_and_http_1_0_are_honoured() {
    let server = echo().start();
    let mut connection = server.connect();
    connection.write("GET /ok.php HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(connection.read().unwrap().text(), "ok");
    assert!(connection.closed_within(Duration::from_secs(5)));
    let reply = server.raw("GET /ok.php HTTP/1.0\r\n\r\n");
    assert!(reply.contains(" 200 ") && reply.ends_with("ok") && !reply.to_lowercase().contains("chunked"), "{reply}");
}

#[test]
fn http_1_0_gets_no_chunks_even_when_streaming() {
    let server = server().php("s.php", "echo 'a'; flush(); echo 'b'; flush();").start();
    let reply = server.raw("GET /s.php HTTP/1.0\r\n\r\n");
    assert!(reply.ends_with("\r\n\r\nab"), "{reply}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = echo().start();
    let mut connection = server.connect();
    connection.write("GET /slow.php?ms=200 HTTP/1.1\r\nHost: x\r\n\r\nGET /ok.php HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(connection.read().unwrap().text(), "slow");
    assert_eq!(connection.read().unwrap().text(), "ok");
}

#[test]
fn chunked_bodies_arrive_and_trailers_are_dropped() {
    let server = echo().php("h.php", "echo json_encode([file_get_contents('php://input'), $_SERVER['HTTP_X_TRAILER'] ?? null, $_SERVER['HTTP_TRANSFER_ENCODING'] ?? null, $_POST]);").start();
    let reply = server.post("/echo.php", "text/plain", vec![b'x'; 10_500]).chunked().send();
    assert!(reply.text().starts_with("POST 10500 "), "{}", reply.text());
    let mut connection = server.connect();
    connection.write("POST /h.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\nTrailer: X-Trailer\r\n\r\n3;ext=1\r\na=1\r\n0\r\nX-Trailer: smuggled\r\n\r\n");
    let seen = connection.read().unwrap().json();
    assert_eq!((&seen[0], &seen[1], &seen[3]["a"]), (&"a=1".into(), &serde_json::Value::Null, &"1".into()), "{seen}");
    assert_eq!(connection.send(&server.get("/ok.php")).unwrap().text(), "ok", "still in step");
}

#[test]
fn a_chunked_body_has_its_length_told_to_php() {
    let server = echo().php("l.php", "echo $_SERVER['CONTENT_LENGTH'] ?? 'none';").start();
    assert_eq!(server.post("/l.php", "text/plain", "12345").chunked().send().text(), "5");
}

#[test]
fn expect_100_continue_is_answered_before_the_body() {
    let server = echo().start();
    let mut connection = server.connect();
    connection.write("POST /echo.php HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(connection.read_head().unwrap().status, 100);
    connection.write("abc");
    assert!(connection.read().unwrap().text().starts_with("POST 3 "));
}

#[test]
fn expect_100_continue_is_not_sent_for_a_body_that_is_refused() {
    let server = echo().option("http.max_request_size=1").start();
    let mut connection = server.connect();
    connection.write("POST /echo.php HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(connection.read_head().unwrap().status, 413);
}

#[test]
fn head_runs_the_script_and_sends_no_body() {
    let server = echo()
        .php("h.php", "header('X-Method: ' . $_SERVER['REQUEST_METHOD']); echo str_repeat('x', 100);")
        .file("f.txt", "12345")
        .start();
    let mut connection = server.connect();
    let reply = connection.send(&server.request("HEAD", "/h.php")).unwrap();
    assert_eq!((reply.status, reply.header("x-method"), reply.body.len()), (200, Some("HEAD"), 0));
    let reply = connection.send(&server.request("HEAD", "/f.txt")).unwrap();
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("5")));
    assert_eq!(connection.send(&server.get("/ok.php")).unwrap().text(), "ok", "still in step");
}

#[test]
fn a_body_past_max_request_size_is_a_413_before_it_is_read() {
    let server = echo().option("http.max_request_size=1").start();
    assert_eq!(status_of(&server, "POST /echo.php HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"), 413);
    let reply = server.post("/echo.php", "text/plain", vec![b'x'; 3_000_000]).chunked().try_send();
    assert!(reply.is_err() || reply.is_ok_and(|reply| reply.status == 413));
    assert!(server.post("/echo.php", "text/plain", vec![b'x'; 1_000_000]).send().text().starts_with("POST 1000000 "));
}

#[test]
fn a_long_uri_is_a_414() {
    if reference().is_some() {
        return; // nginx's limit is another
    }
    let server = echo().option("http.limits.max_uri=1000").start();
    assert_eq!(server.get(&format!("/ok.php?{}", "q".repeat(2000))).send().status, 414);
    assert_eq!(server.get(&format!("/ok.php?{}", "q".repeat(900))).send().text(), "ok");
}

#[test]
fn long_or_many_headers_are_a_431() {
    if reference().is_some() {
        return; // nginx says 400
    }
    let server = echo().option("http.limits.max_header_bytes=8192").option("http.limits.max_headers=20").start();
    assert_eq!(server.get("/ok.php").header("X-Long", &"x".repeat(10_000)).send().status, 431);
    let mut request = server.get("/ok.php");
    for n in 0..30 {
        request = request.header(&format!("X-{n}"), "1");
    }
    assert_eq!(request.send().status, 431);
    assert_eq!(server.get("/ok.php").header("X-Short", &"x".repeat(6000)).send().text(), "ok");
}

#[test]
fn large_bodies_pass_both_ways() {
    let server =
        server().php("copy.php", "header('Content-Type: x/y'); readfile('php://input');").ini("post_max_size", "0").start();
    let body: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert!(server.post("/copy.php", "application/octet-stream", body.clone()).send().body == body);
}

#[test]
fn odd_methods_reach_the_script_or_are_refused_cleanly() {
    let server = echo().start();
    for method in ["PROPFIND", "REPORT", "PURGE", "LOCK"] {
        assert!(server.request(method, "/echo.php").send().text().starts_with(method));
    }
    for method in ["TRACE", "CONNECT"] {
        assert!(matches!(
            status_of(&server, format!("{method} /echo.php HTTP/1.1\r\nHost: x\r\n\r\n")),
            0 | 200 | 400 | 405 | 501
        ));
    }
    assert_eq!(server.text("/ok.php"), "ok");
}

#[test]
fn a_full_queue_is_a_503_with_retry_after() {
    if reference().is_some() {
        return;
    }
    let server = echo()
        .threads(1)
        .option("http.pool.max_queue_size=1")
        .php("began.php", "touch($_GET['to']); usleep(1500000); echo 'slow';")
        .start();
    let began = server.dir().join("began");
    let mut running = server.get(&format!("/began.php?to={}", began.display())).fire();
    assert!(wait_until(Duration::from_secs(10), || began.exists()));
    thread::scope(|scope| {
        let replies: Vec<_> = (0..5).map(|_| scope.spawn(|| server.get("/ok.php").send())).collect();
        let replies: Vec<_> = replies.into_iter().map(|reply| reply.join().unwrap()).collect();
        let refused: Vec<_> = replies.iter().filter(|reply| reply.status == 503).collect();
        assert_eq!(refused.len(), 4, "one waits: {:?}", replies.iter().map(|reply| reply.status).collect::<Vec<_>>());
        assert!(refused.iter().all(|reply| reply.header("retry-after").is_some()));
    });
    assert_eq!(running.read().unwrap().text(), "slow");
    assert_eq!(server.text("/ok.php"), "ok");
}

#[test]
fn waiting_too_long_is_a_503() {
    if reference().is_some() {
        return;
    }
    let server = echo().threads(1).option("http.pool.allocate_timeout=300ms").start();
    let busy = server.get("/slow.php?ms=2000").fire();
    thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    let reply = server.get("/ok.php").send();
    assert_eq!(reply.status, 503);
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    drop(busy);
}

#[test]
fn a_slow_upload_holds_no_php_thread() {
    let server = echo().threads(1).start();
    let mut slow = server.connect();
    slow.write("POST /echo.php HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc");
    for _ in 0..5 {
        assert_eq!(server.text("/ok.php"), "ok");
    }
    slow.write("def");
    assert!(slow.read().unwrap().text().starts_with("POST 6 "));
}

#[test]
fn a_slow_reader_holds_no_php_thread() {
    let server = echo().threads(1).php("big.php", "for ($i = 0; $i < 300; $i++) echo str_repeat('x', 10000);").start();
    let slow = server.get("/big.php").fire();
    let begun = Instant::now();
    assert_eq!(server.text("/ok.php"), "ok");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut slow = slow;
    assert_eq!(slow.read().unwrap().body.len(), 3_000_000);
}

#[test]
fn headers_that_never_end_are_cut() {
    if reference().is_some() {
        return;
    }
    let server = echo().option("http.limits.header_timeout=500ms").option("http.limits.keepalive_timeout=500ms").start();
    for start in ["", "G", "GET /ok.php HTTP/1.1\r\nHost: x\r\n", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut connection = server.connect();
        connection.write(start);
        let begun = Instant::now();
        connection.read_timeout(Duration::from_secs(10));
        let mut rest = Vec::new();
        let ended = connection.stream().read_to_end(&mut rest);
        assert!(ended.is_ok() && begun.elapsed() < Duration::from_secs(8), "{start:?}: {ended:?} after {:?}", begun.elapsed());
    }
}

#[test]
fn an_idle_connection_is_closed() {
    if reference().is_some() {
        return;
    }
    let server = echo().option("http.limits.keepalive_timeout=400ms").start();
    let mut connection = server.connect();
    assert_eq!(connection.send(&server.get("/ok.php")).unwrap().text(), "ok");
    assert!(connection.closed_within(Duration::from_secs(8)));
}

#[test]
fn a_body_that_stalls_is_cut() {
    if reference().is_some() {
        return;
    }
    let server = echo().option("http.limits.body_timeout=500ms").start();
    let mut connection = server.connect();
    connection.write("POST /echo.php HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    connection.read_timeout(Duration::from_secs(10));
    let reply = connection.read();
    assert!(reply.is_err() || reply.is_ok_and(|reply| reply.status == 408));
    assert_eq!(server.text("/ok.php"), "ok");
}

#[test]
fn a_fatal_error_after_streaming_began_breaks_the_body() {
    let server = server().ini("display_errors", "0").php("f.php", "header('X-Accel-Buffering: no'); echo 'partly'; flush(); ini_set('memory_limit', '4M'); $x = str_repeat('x', 64 << 20);").start();
    let mut connection = server.get("/f.php").fire();
    assert_eq!(connection.read_head().unwrap().status, 200);
    assert_eq!(connection.read_chunk().unwrap().unwrap(), b"partly");
    if reference().is_none() {
        assert!(connection.read_chunk().is_err(), "a clean end would say that all is well");
    }
}

#[test]
fn hundreds_of_connections_share_few_threads() {
    let server = echo().threads(2).start();
    thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                let mut connection = server.connect();
                for _ in 0..5 {
                    assert_eq!(connection.send(&server.get("/ok.php")).unwrap().text(), "ok");
                }
            });
        }
    });
}

#[test]
fn the_server_listens_on_a_unix_socket_and_on_ipv6() {
    if reference().is_some() {
        return;
    }
    use std::{io::Write as _, os::unix::net::UnixStream};
    let setup = echo();
    let socket = setup.scratch().join("rr.sock");
    let mut command = crate::harness::rr();
    command.arg("serve").arg(setup.document_root()).args(["-o", &format!("http.address=unix://{}", socket.display())]);
    command.args(["-o", "http.pool.num_workers=1"]).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut reply = String::new();
    let connected = wait_until(Duration::from_secs(10), || UnixStream::connect(&socket).is_ok());
    if connected {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"GET /ok.php HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        stream.read_to_string(&mut reply).unwrap();
    }
    _ = child.kill();
    _ = child.wait();
    assert!(reply.ends_with("ok"), "connected {connected}: {reply}");
    let mut address = crate::harness::free_port();
    address.set_ip(std::net::Ipv6Addr::LOCALHOST.into());
    if std::net::TcpListener::bind(address).is_err() {
        return crate::harness::not_run("IPv6", "no ::1 here");
    }
    let mut command = crate::harness::rr();
    command.arg("serve").arg(setup.document_root()).args([
        "-o",
        &format!("http.address={address}"),
        "-o",
        "http.pool.num_workers=1",
    ]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    wait_until(Duration::from_secs(10), || std::net::TcpStream::connect(address).is_ok());
    let reply = crate::harness::Request::new(address, "GET", "/ok.php").try_send();
    _ = child.kill();
    _ = child.wait();
    assert_eq!(reply.unwrap().text(), "ok");
}

#[test]
fn nodelay_keeps_small_replies_quick() {
    let server = echo().start();
    let mut connection = server.connect();
    connection.send(&server.get("/ok.php")).unwrap();
    let begun = Instant::now();
    for _ in 0..20 {
        connection.send(&server.get("/ok.php")).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_millis(600), "a delayed segment costs 40 ms each: {:?}", begun.elapsed());
}

#[test]
fn plain_http_2_works_by_prior_knowledge() {
    if reference().is_some() {
        return;
    }
    let server = echo().start();
    let mut curl = std::process::Command::new("curl");
    curl.args(["-s", "--http2-prior-knowledge", "-w", " %{http_version}", &format!("http://{}/ok.php", server.address)]);
    match curl.output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "ok 2"),
        Err(error) => crate::harness::not_run("curl", &error.to_string()),
    }
}
