//! Middleware that lets requests pass, or not, and what the access log says of them.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{PATIENCE, Server, Setup, command, finish, is_sanitized, reference, server, wait_until};

fn site(middleware: &str, options: &[&str]) -> Setup {
    let setup = server().option(&format!("http.middleware={middleware}"));
    options.iter().fold(setup, |setup, option| setup.option(option))
}

/// `$_SERVER[name]` for a request with `headers`.
fn seen(server: &Server, headers: &[(&str, &str)], name: &str) -> Option<String> {
    let request = headers.iter().fold(server.get("/server.php"), |request, (name, value)| request.header(name, value));
    request.send().json()["server"].get(name).map(|value| value.as_str().unwrap().to_owned())
}

#[test]
fn a_request_has_one_name_for_client_script_and_log() {
    if reference().is_some() {
        return;
    }
    let server = site("request_id", &["http.request_id.trust=true"]).php("id.php", "echo $_SERVER['HTTP_X_REQUEST_ID'];").start();
    let given = server.get("/id.php").header("X-Request-Id", "from-the-proxy").send();
    assert_eq!((given.header("x-request-id"), given.text().as_str()), (Some("from-the-proxy"), "from-the-proxy"));
    assert!(server.logs("id=from-the-proxy"), "{}", server.log.text());
    let made = server.get("/id.php").send();
    assert_eq!(made.header("x-request-id"), Some(made.text().as_str()));
    assert_eq!(made.text().len(), 36);
    let wary = site("request_id", &[]).start();
    assert_ne!(seen(&wary, &[("X-Request-Id", "mine")], "HTTP_X_REQUEST_ID").as_deref(), Some("mine"));
}

#[test]
fn paths_lead_elsewhere() {
    if reference().is_some() {
        return;
    }
    let config = "version: '3'\nhttp:\n  redirect:\n    - { from: /old/*, to: '/new/$1', status: 302 }\n    \
                  - { from: /far/*, to: 'https://there.test/$1' }\n";
    let server = site("redirect", &[]).config(".rr.yaml", config).start();
    for (target, status, location) in [
        ("/old/a%20b?c=d", 302, Some("/new/a%20b?c=d")),
        ("/far/x", 301, Some("https://there.test/x")),
        ("/server.php", 200, None),
    ] {
        let reply = server.get(target).send();
        assert_eq!((reply.status, reply.header("location")), (status, location), "{target}");
    }
}

#[test]
fn large_bodies_are_refused_where_they_are_not_wanted() {
    if reference().is_some() {
        return;
    }
    let config = "version: '3'\nhttp: { body_limit: { /large.php: 1M, '/*': 100 } }";
    let length = "echo strlen(file_get_contents('php://input'));";
    let server = site("body_limit", &[]).php("large.php", length).php("small.php", length).config(".rr.yaml", config).start();
    let status = |target: &str, bytes: usize, chunked: bool| {
        let request = server.post(target, "text/plain", vec![b'x'; bytes]);
        let reply = if chunked { request.chunked() } else { request }.send();
        (reply.status, if reply.status == 200 { reply.text() } else { String::new() })
    };
    for chunked in [false, true] {
        assert_eq!(status("/small.php", 100, chunked), (200, "100".into()));
        assert_eq!(status("/small.php", 101, chunked).0, 413);
        assert_eq!(status("/large.php", 100_000, chunked), (200, "100000".into()));
    }
}

#[test]
fn addresses_are_let_in_or_not_as_the_proxy_tells_them() {
    if reference().is_some() {
        return;
    }
    let options = ["http.trusted_subnets=127.0.0.0/8", "http.ip_filter.allow=192.0.2.0/24", "http.ip_filter.paths=/server.php"];
    let server = site("ip_filter,proxy_ip_parser", &options).php("free.php", "echo 'free';").start();
    let status = |client: &str| server.get("/server.php").header("X-Forwarded-For", client).send().status;
    assert_eq!((status("192.0.2.7"), status("198.51.100.1")), (200, 403));
    assert_eq!(server.get("/server.php").send().status, 403, "the proxy itself");
    assert_eq!(server.text("/free.php"), "free");
}

#[test]
fn a_password_is_asked_for() {
    if reference().is_some() {
        return;
    }
    let setup = site("basic_auth", &["http.basic_auth.paths=/secret/*"]).php("secret/a.php", "echo $_SERVER['PHP_AUTH_USER'];");
    let file = setup.scratch().join("htpasswd");
    // Cost 4, of "opensesame".
    std::fs::write(&file, format!("ali:{}\n", bcrypt::hash("opensesame", 4).unwrap())).unwrap();
    let server = setup.option(&format!("http.basic_auth.file={}", file.display())).start();
    let reply = server.get("/secret/a.php").send();
    assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some("Basic realm=\"Restricted\", charset=\"UTF-8\"")));
    let ask = |credentials: &str| {
        use base64::Engine as _;
        let coded = base64::engine::general_purpose::STANDARD.encode(credentials);
        server.get("/secret/a.php").header("Authorization", &format!("Basic {coded}")).send()
    };
    for _ in 0..2 {
        let reply = ask("ali:opensesame");
        assert_eq!((reply.status, reply.text().as_str()), (200, "ali"));
    }
    assert_eq!((ask("ali:opensesam").status, ask("baba:opensesame").status), (401, 401));
    assert_eq!(server.get("/server.php").send().status, 200, "another path");
}

#[test]
fn who_asks_too_often_is_told_to_wait() {
    if reference().is_some() {
        return;
    }
    let options = ["http.rate_limit.requests=1", "http.rate_limit.period=1h", "http.rate_limit.burst=3"];
    let server = site("rate_limit", &options).start();
    let replies: Vec<_> = (0..5).map(|_| server.get("/server.php").send()).collect();
    assert_eq!(replies.iter().map(|reply| reply.status).collect::<Vec<_>>(), [200, 200, 200, 429, 429]);
    let seconds: u64 = replies[4].header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&seconds), "{seconds}");
}

#[test]
fn a_file_sends_clients_away_and_its_end_lets_them_come_back() {
    if reference().is_some() {
        return;
    }
    let setup = site("maintenance,proxy_ip_parser", &["http.trusted_subnets=127.0.0.0/8", "http.maintenance.allow=192.0.2.1"]);
    let (flag, page) = (setup.scratch().join("down"), setup.scratch().join("page.html"));
    std::fs::write(&page, "<p>back soon").unwrap();
    let setup = setup.option(&format!("http.maintenance.file={}", flag.display()));
    let server = setup.option(&format!("http.maintenance.page={}", page.display())).start();
    let status = || server.get("/server.php").send().status;
    assert_eq!(status(), 200);
    std::fs::write(&flag, "").unwrap();
    assert!(wait_until(PATIENCE, || status() == 503));
    let reply = server.get("/server.php").send();
    assert_eq!((reply.header("retry-after"), reply.text().as_str()), (Some("300"), "<p>back soon"));
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(server.get("/server.php").header("X-Forwarded-For", "192.0.2.1").send().status, 200, "the operator");
    std::fs::remove_file(&flag).unwrap();
    assert!(wait_until(PATIENCE, || status() == 200));
}

#[test]
fn the_access_log_is_a_file_in_any_form_and_is_opened_anew() {
    if reference().is_some() {
        return;
    }
    let setup = server();
    let (path, moved) = (setup.scratch().join("access.log"), setup.scratch().join("moved"));
    let server = setup
        .option(&format!("http.access_log.output={}", path.display()))
        .option("http.access_log.format=%R %m %r%Q%q %s %{X-Own}i %{Content-Type}o")
        .start();
    let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    server.get("/server.php?a=b").header("X-Own", "own").send();
    let line = "127.0.0.1 GET /server.php?a=b 200 own application/json\n";
    assert!(wait_until(PATIENCE, || text(&path) == line), "{}", text(&path));
    std::fs::rename(&path, &moved).unwrap();
    server.signal(Signal::SIGUSR1);
    let is_reopened = || {
        server.get("/server.php?a=b").header("X-Own", "own").send();
        path.exists()
    };
    assert!(wait_until(PATIENCE, is_reopened), "{}", server.log.text());
    assert!(text(&moved).starts_with(line));
    let combined = crate::harness::server().option("http.access_log.format=combined").start();
    combined.get("/server.php").header("User-Agent", "me \"too\"").send();
    assert!(combined.log.contains("\"GET /server.php HTTP/1.1\" 200 ", Duration::from_secs(10)), "{}", combined.log.text());
    assert!(combined.logs("\"-\" \"me \\\"too\\\"\""));
}

#[test]
fn what_is_missing_or_means_nothing_is_refused() {
    if reference().is_some() {
        return;
    }
    for (options, expected) in [
        (&["http.middleware=basic_auth"][..], "http.basic_auth.file: missing, while http.middleware has basic_auth"),
        (&["http.middleware=basic_auth", "http.basic_auth.file=/nowhere"], "http.basic_auth.file: /nowhere: "),
        (&["http.middleware=maintenance"], "http.maintenance.file: missing, while http.middleware has maintenance"),
        (&["http.middleware=sendfile", "http.sendfile.roots=/nowhere"], "http.sendfile: /nowhere: "),
        (&["http.access_log.format=%x"], "http.access_log.format: %x means nothing"),
    ] {
        let arguments: Vec<_> = ["serve"].into_iter().chain(options.iter().flat_map(|option| ["-o", option])).collect();
        let output = finish(command(&arguments), b"");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(78) && text.contains(expected), "{options:?}: {text}");
    }
}

#[test]
fn what_would_go_by_the_proxys_address_is_warned_of() {
    if reference().is_some() {
        return;
    }
    let warning = "rate_limit is listed after proxy_ip_parser";
    let start = |order: &str| site(order, &["http.trusted_subnets=127.0.0.0/8"]).start();
    assert!(start("proxy_ip_parser,rate_limit").logs(warning));
    let well = start("rate_limit,proxy_ip_parser");
    assert_eq!(well.get("/server.php").send().status, 200);
    assert!(!well.log.text().contains(warning));
}

#[test]
fn the_access_log_says_which_script_ran_and_what_it_took() {
    if reference().is_some() {
        return;
    }
    let setup = server().php("fat.php", "$fat = str_repeat('x', 20 << 20); echo strlen($fat);").file("a.txt", "a");
    let path = setup.scratch().join("access.log");
    let server = setup
        .option(&format!("http.access_log.output={}", path.display()))
        .option("http.access_log.format=%n|%f|%{mega}M|%C|%P|%{REQUEST_URI}e|%{HTTP_X_OWN}e")
        .start();
    let lines = || std::fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    server.get("/fat.php?q").header("X-Own", "own").send();
    server.get("/a.txt").send();
    assert!(wait_until(PATIENCE, || lines().len() == 2), "{:?}", lines());
    let (script, file) = (lines()[0].clone(), lines()[1].clone());
    let parts: Vec<_> = script.split('|').collect();
    let root = server.root().canonicalize().unwrap();
    assert_eq!([parts[0], parts[1]], ["http", root.join("fat.php").to_str().unwrap()]);
    // Under the sanitizer PHP's memory is the system's, which it does not count.
    assert!(is_sanitized() || (20..64).contains(&parts[2].parse::<u64>().unwrap()), "{script}");
    assert!(parts[3].parse::<f64>().unwrap() > 0.0, "{script}");
    assert_eq!(parts[4], server.pid().to_string(), "the supervisor");
    assert_eq!([parts[5], parts[6]], ["/fat.php?q", "own"]);
    assert_eq!(file, format!("-|-|0|0.00|{}|/a.txt|-", server.pid()));
}

#[test]
fn guards_that_do_not_hold_for_fastcgi_are_told_of() {
    if reference().is_some() {
        return;
    }
    let options = ["http.circuit_breaker.error_codes=502"];
    let server = site("headers,rate_limit,circuit_breaker,ip_filter", &options).with_fcgi().start();
    assert!(
        server.logs("http.middleware: rate_limit, circuit_breaker, ip_filter do not hold for requests by http.fcgi.address"),
        "{}",
        server.log.text()
    );
    let without = site("headers", &[]).with_fcgi().start();
    assert_eq!(without.get("/server.php").send().status, 200);
    assert!(!without.log.text().contains("do not hold"));
}

#[test]
fn a_rate_holds_for_its_paths_alone() {
    if reference().is_some() {
        return;
    }
    let options = [
        "http.rate_limit.requests=1",
        "http.rate_limit.period=1h",
        "http.rate_limit.burst=1",
        "http.rate_limit.paths=/limited/*",
    ];
    let server = site("rate_limit", &options).file("limited/a.txt", "a").start();
    let statuses = |target: &str| [(); 3].map(|()| server.get(target).send().status);
    assert_eq!(statuses("/server.php"), [200; 3]);
    assert_eq!(statuses("/limited/a.txt"), [200, 429, 429]);
}
