//! Middleware that goes by what is answered, error pages, and rules.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
};

use crate::harness::{
    H2, Office, PATIENCE, Reply, Request, Server, Setup, command, finish, free_port, reference, server, wait_until,
};

const ASK: &str = "header('X-Own: kept'); header('Content-Disposition: attachment'); header('X-Sendremotefile: ' . $_GET['url']);
    if (isset($_GET['type'])) header('Content-Type: ' . $_GET['type']);
    echo 'never';";

/// A server whose scripts name files of `hosts`, on this machine.
fn asking(hosts: &str, options: &[String]) -> Server {
    let setup = server()
        .php("ask.php", ASK)
        .option("http.middleware=sendremotefile")
        .option(&format!("http.sendremotefile.hosts={hosts}"))
        .option("http.sendremotefile.networks=127.0.0.0/8,::1");
    options.iter().fold(setup, |setup, option| setup.option(option)).start()
}

fn ask(server: &Server, url: &str) -> Request {
    server.get(&format!("/ask.php?url={}", url.replace('?', "%3F").replace('&', "%26")))
}

/// One that is closed once it has answered a connection with these bytes, and what it was sent.
fn answering(bytes: &'static [u8], stays: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = [0; 4096];
            _ = stream.read(&mut head);
            _ = stream.write_all(bytes);
            if stays {
                // Until the other end has had enough.
                while stream.read(&mut head).is_ok_and(|read| read > 0) {}
            }
        }
    });
    address
}

#[test]
fn a_file_of_another_server_is_sent_in_place_of_a_body() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    office.sign("server", &["localhost"]);
    let origin = server().bare().preset("files").file("a.bin", "0123456789").file("large.bin", vec![b'x'; 3_000_000]);
    let origin = office.options().iter().fold(origin, |setup, option| setup.option(option)).start();
    let plain = origin.address.port();
    let options = [format!("http.sendremotefile.root_ca={}", office.path("ca.pem").display())];
    let server = asking(&format!("127.0.0.1:{plain},localhost:{}", office.port.port()), &options);
    for origin in [format!("http://127.0.0.1:{plain}"), format!("https://localhost:{}", office.port.port())] {
        let url = format!("{origin}/a.bin");
        let reply = ask(&server, &url).send();
        assert_eq!((reply.status, reply.text().as_str()), (200, "0123456789"), "{url}: {}", server.log.text());
        assert_eq!((reply.header("x-own"), reply.header("content-type")), (Some("kept"), Some("application/octet-stream")));
        assert_eq!((reply.header("content-length"), reply.header("x-sendremotefile")), (Some("10"), None));
        let etag = reply.header("etag").unwrap().to_owned();
        let part = ask(&server, &url).header("Range", "bytes=2-4").send();
        assert_eq!((part.status, part.text().as_str(), part.header("content-range")), (206, "234", Some("bytes 2-4/10")));
        let known = ask(&server, &url).header("If-None-Match", &etag).send();
        assert_eq!((known.status, known.text().as_str()), (304, ""));
        let large = ask(&server, &format!("{origin}/large.bin")).send();
        assert_eq!((large.status, large.body.len()), (200, 3_000_000));
        assert_eq!(ask(&server, &format!("{origin}/nowhere")).send().status, 404);
    }
    let url = format!("http://127.0.0.1:{plain}/a.bin");
    let head = server.request("HEAD", &format!("/ask.php?url={url}")).send();
    assert_eq!((head.status, head.header("content-length"), head.text().as_str()), (200, Some("10"), ""));
    let typed = server.get(&format!("/ask.php?type=video/mp4&url={url}")).send();
    assert_eq!((typed.status, typed.header("content-type")), (200, Some("video/mp4")));
    assert_eq!(server.get("/server.php").send().status, 200, "others are left alone");
}

#[test]
fn nothing_comes_from_where_it_may_not() {
    if reference().is_some() {
        return;
    }
    let origin = server().bare().preset("files").file("a.bin", "secret").start();
    let port = origin.address.port();
    let away: &'static [u8] =
        format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2:{port}/a.bin\r\nContent-Length: 0\r\n\r\n").leak().as_bytes();
    let redirect = answering(away, false).port();
    let server = asking(&format!("127.0.0.1:{port},127.0.0.1:{redirect}"), &[]);
    let status = |server: &Server, url: &str| ask(server, url).send().status;
    assert_eq!(status(&server, &format!("http://127.0.0.1:{port}/a.bin")), 200);
    assert_eq!(status(&server, &format!("http://127.0.0.2:{port}/a.bin")), 403, "not listed");
    assert!(server.logs("127.0.0.2"), "{}", server.log.text());
    assert_eq!(status(&server, &format!("http://127.0.0.1:{redirect}/")), 403, "nor by a redirect");
    assert_eq!(status(&server, &format!("http://127.0.0.1:{}/", free_port().port())), 403, "nor at another port");
    for url in ["file:///etc/passwd", "/etc/passwd", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/"] {
        assert_eq!(status(&server, url), 500, "{url}");
    }
    // A name that is listed, and leads inside.
    let careful = asking(&format!("localhost:{port}"), &["http.sendremotefile.networks=192.0.2.0/24".to_owned()]);
    assert_eq!(status(&careful, &format!("http://localhost:{port}/a.bin")), 403);
    assert!(careful.logs("which is no public address"), "{}", careful.log.text());
}

#[test]
fn another_servers_faults_are_told_apart_and_end() {
    if reference().is_some() {
        return;
    }
    let silent = answering(b"", true).port();
    let stalls = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", true).port();
    let huge = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", true).port();
    let endless = answering(b"HTTP/1.1 200 OK\r\n\r\n0123456789012345678901234567890123456789", false).port();
    let broken = answering(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", false).port();
    let loops = answering(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", false).port();
    let options = ["http.sendremotefile.timeout=3s", "http.sendremotefile.max_size=20"];
    let ports = [silent, stalls, huge, endless, broken, loops].map(|port| format!("127.0.0.1:{port}")).join(",");
    let server = asking(&ports, &options.map(str::to_owned));
    let send = |port: u16| ask(&server, &format!("http://127.0.0.1:{port}/")).try_send();
    let status = |port: u16| send(port).unwrap().status;
    assert_eq!((status(silent), status(huge), status(broken), status(loops)), (504, 502, 502, 502));
    assert!(send(stalls).is_err(), "broken off in the middle");
    assert!(send(endless).is_err(), "the client can tell that it has not all of it");
    assert!(server.logs("larger than http.sendremotefile.max_size"), "{}", server.log.text());
}

#[test]
fn so_many_files_come_at_once_and_no_more() {
    if reference().is_some() {
        return;
    }
    let stalls = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", true).port();
    let broken = answering(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", false).port();
    let options = ["http.sendremotefile.timeout=10s", "http.sendremotefile.max_fetches=1"].map(str::to_owned);
    let server = asking(&format!("127.0.0.1:{stalls},127.0.0.1:{broken}"), &options);
    let mut waiting = ask(&server, &format!("http://127.0.0.1:{stalls}/")).fire();
    assert_eq!(waiting.read_head().unwrap().status, 200);
    let status = || ask(&server, &format!("http://127.0.0.1:{broken}/")).send().status;
    assert_eq!(status(), 503);
    // Whoever leaves meanwhile is not missed before there is something to send.
    drop(waiting);
    assert!(wait_until(PATIENCE, || status() == 502), "and then the next");
}

#[test]
fn while_too_many_answers_are_errors_requests_are_turned_away() {
    if reference().is_some() {
        return;
    }
    let metrics = free_port();
    let server = server()
        .php("code.php", "http_response_code((int) $_GET['code']); echo 'ran';")
        .config(
            ".rr.yaml",
            // RoadRunner's names, which are ours too.
            "version: '3'\nhttp: { middleware: [circuitbreaker] }\ncircuitbreaker: { max_error_rate: 0.5, error_codes: [502, 503] }\n",
        )
        .option("http.circuit_breaker.min_requests=4")
        .option("http.circuit_breaker.time_to_halfopen=5s")
        .option("http.circuit_breaker.time_to_closed=100ms")
        .option(&format!("metrics.address={metrics}"))
        .start();
    let reply = |code: u16| server.get(&format!("/code.php?code={code}")).send();
    assert_eq!([200, 500, 502, 502].map(|code| reply(code).status), [200, 500, 502, 502]);
    let turned_away = reply(200);
    assert_eq!((turned_away.status, turned_away.text().as_str()), (503, "503 Service Unavailable\n"));
    let seconds: u64 = turned_away.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&seconds), "{seconds}");
    let figures = Request::new(metrics, "GET", "/").send().text();
    assert!(
        figures.contains("\nrr_http_circuit_open 1\n") && figures.contains("\nrr_http_circuit_refused_total 1\n"),
        "{figures}"
    );
    assert!(wait_until(PATIENCE, || reply(200).status == 200), "half-open, and closed");
    assert!(
        server.logs("all is well again")
            || wait_until(PATIENCE, || reply(200).status == 200 && server.log.text().contains("all is well again"))
    );
}

fn with_pages(setup: Setup) -> Setup {
    setup
        .php("code.php", "http_response_code((int) $_GET['code']); header('X-Own: kept'); echo 'of the script';")
        .php("dies.php", "exit_of_no_name();")
        .php("gone.php", "echo 'script for ', http_response_code();")
        .file("403.html", "<p>not you")
        .file("413.html", "<p>too much")
        .file("429.html", "<p>not so fast")
        .file("404.html", "<p>not here")
        .file("500.html", "<p>sorry")
        .file("503.html", "<p>later")
        .config(
            ".rr.yaml",
            "version: '3'\nhttp:\n  error_pages: { 403: /403.html, 404: /404.html, 410: /gone.php, 413: /413.html, 429: /429.html, 500: /500.html, 503: /503.html }\n  \
             rewrite: [ { from: /closed, status: 410 }, { regex: '^/p(\\d+)/?$', to: '/server.php?id=$1' }, { regex: '\\.bak$', status: 403 } ]\n  \
             max_request_size: 1\n  rate_limit: { requests: 1, period: 1h, burst: 1, paths: [/slow.php] }\n",
        )
}

fn told(reply: &Reply) -> (u16, String, Option<&str>) {
    (reply.status, reply.text(), reply.header("content-type"))
}

#[test]
fn a_site_has_pages_of_its_own_for_what_the_server_says() {
    if reference().is_some() {
        return;
    }
    const HTML: Option<&str> = Some("text/html; charset=utf-8");
    let server = with_pages(server()).option("http.middleware=rate_limit").start();
    assert_eq!(told(&server.get("/nowhere").send()), (404, "<p>not here".into(), HTML));
    assert_eq!(told(&server.get("/a.bak").send()), (403, "<p>not you".into(), HTML));
    let large = server.post("/code.php?code=200", "text/plain", vec![b'x'; 1_100_000]).send();
    assert_eq!((told(&large), large.header("connection")), ((413, "<p>too much".into(), HTML), Some("close")));
    let slow = [0; 2].map(|_| server.get("/slow.php").send());
    assert_eq!(told(&slow[1]), (429, "<p>not so fast".into(), HTML));
    assert!(slow[1].header("retry-after").is_some(), "its headers stay");
    let head = server.request("HEAD", "/nowhere").send();
    assert_eq!((head.status, head.header("content-length")), (404, Some("11")));
    let gone = server.get("/closed").send();
    assert_eq!((gone.status, gone.text().as_str()), (410, "script for 200"));
    let own = server.get("/code.php?code=404").send();
    assert_eq!((own.status, own.text().as_str()), (404, "of the script"), "a script has its own words");
}

#[test]
fn answers_to_head_have_no_body_over_http2() {
    if reference().is_some() {
        return;
    }
    let server = with_pages(server()).option("http.http2.h2c=true").start();
    let mut client = H2::open(server.address).unwrap();
    for (path, status) in [("/nowhere", 404), ("/a.bak", 403), ("/closed", 410), ("/code.php?code=200", 200), ("/404.html", 200)]
    {
        // A client takes a body there for a fault of the connection.
        assert_eq!(client.send("HEAD", path, Vec::new()).unwrap(), (status, Vec::new()), "{path}");
        assert!(!client.send("GET", path, Vec::new()).unwrap().1.is_empty(), "{path}");
    }
}

#[test]
fn pages_take_the_place_of_what_scripts_say_if_they_are_to() {
    if reference().is_some() {
        return;
    }
    let server = with_pages(server()).option("http.intercept_errors=true").ini("display_errors", "0").start();
    let reply = server.get("/code.php?code=404").send();
    assert_eq!((reply.status, reply.text().as_str(), reply.header("x-own")), (404, "<p>not here", Some("kept")));
    assert_eq!(server.get("/dies.php").send().text(), "<p>sorry");
    assert_eq!(server.get("/code.php?code=402").send().text(), "of the script", "there is none for this one");
    assert_eq!(server.get("/code.php?code=200").send().text(), "of the script");
    assert_eq!(server.get("/p17").send().json()["server"]["QUERY_STRING"], "id=17", "a rule by a regular expression");
}

#[test]
fn what_means_nothing_is_refused() {
    if reference().is_some() {
        return;
    }
    for (options, expected) in [
        (&["http.middleware=sendremotefile"][..], "http.sendremotefile.hosts: missing, while http.middleware has sendremotefile"),
        (
            &["http.middleware=circuit_breaker"],
            "http.circuit_breaker.error_codes: missing, while http.middleware has circuit_breaker",
        ),
        (
            &["http.circuit_breaker.max_error_rate=2"],
            "http.circuit_breaker.max_error_rate: expected a number above 0 and up to 1",
        ),
        (
            &["http.middleware=sendremotefile", "http.sendremotefile.hosts=a.test", "http.sendremotefile.root_ca=/nowhere"],
            "http.sendremotefile.root_ca: /nowhere: ",
        ),
    ] {
        let arguments: Vec<_> = ["serve"].into_iter().chain(options.iter().flat_map(|option| ["-o", option])).collect();
        let output = finish(command(&arguments), b"");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(78) && text.contains(expected), "{options:?}: {text}");
    }
}

#[test]
fn pages_that_nothing_could_find_are_refused() {
    if reference().is_some() {
        return;
    }
    let setup = server().bare().php("worker.php", "");
    let worker = format!("http.worker={}", setup.document_root().join("worker.php").display());
    let output = finish(command(&["serve", "-o", &worker, "-o", "http.error_pages.404=/404.html"]), b"");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(78) && text.contains("error_pages are files below its root"), "{text}");
}

#[test]
fn processes_that_rotate_one_access_log_lose_no_line() {
    if reference().is_some() {
        return;
    }
    let setup = server().bare().php("ok.php", "echo 'ok';");
    let directory = setup.scratch().join("logs");
    std::fs::create_dir(&directory).unwrap();
    let log = directory.join("access.log");
    let options = [
        "engine.processes=2".into(),
        format!("http.access_log.output={}", log.display()),
        "http.access_log.format=combined".into(),
        "http.access_log.max_size=1K".into(),
        "http.access_log.max_backups=0".into(),
        "http.access_log.compress=true".into(),
    ];
    let server = options.iter().fold(setup, |setup, option: &String| setup.option(option)).start();
    for number in 0..300 {
        assert_eq!(server.text(&format!("/ok.php?{number:03}")), "ok");
    }
    let text = || {
        let mut all = String::new();
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            // What is being compressed is gone the next moment.
            let Ok(mut file) = std::fs::File::open(&path) else { continue };
            _ = match path.extension().is_some_and(|end| end == "gz") {
                true => flate2::read::GzDecoder::new(file).read_to_string(&mut all),
                false => file.read_to_string(&mut all),
            };
        }
        all
    };
    let missing = || {
        let text = text();
        (0..300).filter(|number| !text.contains(&format!("/ok.php?{number:03} "))).collect::<Vec<_>>()
    };
    assert!(wait_until(PATIENCE, || missing().is_empty()), "{:?}", missing());
    let names = || std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names().any(|name| name.ends_with(".gz")), "{:?}", names().collect::<Vec<_>>());
}

#[test]
fn no_more_redirects_are_followed_than_may_be() {
    if reference().is_some() {
        return;
    }
    let end = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend", false);
    let hop: &'static str = format!("HTTP/1.1 302 Found\r\nLocation: http://{end}/\r\nContent-Length: 0\r\n\r\n").leak();
    let hop = answering(hop.as_bytes(), false);
    for (most, status) in [(1, 200), (0, 502)] {
        let server = asking(&format!("{end},{hop}"), &[format!("http.sendremotefile.max_redirects={most}")]);
        assert_eq!(ask(&server, &format!("http://{hop}/")).send().status, status, "{most}: {}", server.log.text());
    }
}
