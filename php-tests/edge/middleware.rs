//! What requests and answers pass.

use std::{io::Read, time::Duration};

use crate::harness::{PATIENCE, Server, Setup, command, finish, reference, server, wait_until};

fn site(middleware: &str) -> Setup {
    server()
        .php("long.php", "header('ETag: \"x\"'); echo str_repeat('All work and no play. ', 1000);")
        .php("stream.php", "echo 'first'; flush(); while (!file_exists($_GET['go'])) usleep(1000); echo 'second';")
        .option(&format!("http.middleware={middleware}"))
}

/// What `$_SERVER` has for a client behind a proxy that sends these headers.
fn seen(server: &Server, lines: &[(&str, &str)], names: &[&str]) -> Vec<String> {
    let request = lines.iter().fold(server.get("/server.php"), |request, (name, value)| request.header(name, value));
    let told: serde_json::Value = serde_json::from_str(&request.send().text()).unwrap();
    names.iter().map(|name| told["server"].get(*name).map_or("-".into(), |value| value.as_str().unwrap().to_owned())).collect()
}

#[test]
fn answers_are_compressed_for_those_who_take_it() {
    if reference().is_some() {
        return;
    }
    let server = site("compress").file("big.css", "a{color:red}".repeat(50_000)).start();
    let plain = "All work and no play. ".repeat(1000);
    for (accept, coding) in [("gzip, br, zstd", "zstd"), ("br, gzip", "br"), ("gzip", "gzip")] {
        let reply = server.get("/long.php").header("Accept-Encoding", accept).send();
        assert_eq!(reply.header("content-encoding"), Some(coding));
        assert_eq!((reply.header("vary"), reply.header("etag")), (Some("accept-encoding"), Some("W/\"x\"")));
        assert!(reply.body.len() < 1000, "{coding}: {} bytes", reply.body.len());
    }
    let reply = server.get("/long.php").send();
    assert_eq!((reply.header("content-encoding"), reply.header("etag")), (None, Some("\"x\"")));
    assert_eq!(reply.text(), plain);
    let reply = server.get("/big.css").header("Accept-Encoding", "gzip").send();
    assert_eq!(reply.header("content-encoding"), Some("gzip"), "a file, and not a small one");
    assert!(reply.body.len() < 60_000, "{} bytes", reply.body.len());
    let tag = reply.header("etag").unwrap().to_owned();
    assert!(tag.starts_with("W/"), "{tag}");
    let again = server.get("/big.css").header("Accept-Encoding", "gzip").header("If-None-Match", &tag).send();
    assert_eq!(again.status, 304, "the weak tag is known");
    let part = server.get("/big.css").header("Accept-Encoding", "gzip").header("Range", "bytes=0-1").send();
    assert_eq!((part.status, part.header("content-encoding"), part.text().as_str()), (206, None, "a{"));
}

#[test]
fn what_was_compressed_of_a_file_is_sent_again_and_not_after_it_has_changed() {
    if reference().is_some() {
        return;
    }
    let server = site("compress").option("http.files.revalidate=0s").file("a.css", "a{color:red}".repeat(5000)).start();
    for coding in ["gzip", "br", "zstd"] {
        let ask = || server.get("/a.css").header("Accept-Encoding", coding).send();
        let first = ask();
        assert_eq!((first.header("content-encoding"), first.header("content-length")), (Some(coding), None));
        // A file that was just written is read anew each time, for it may still change within a tick of its clock.
        assert!(wait_until(PATIENCE, || ask().header("content-length").is_some()), "{coding}");
        let again = ask();
        assert_eq!((again.header("content-encoding"), again.body == first.body), (Some(coding), true), "{coding}");
        assert_eq!(again.header("content-length").unwrap(), again.body.len().to_string());
        assert_eq!(again.header("etag"), first.header("etag"));
    }
    assert_eq!(server.get("/a.css").send().text(), "a{color:red}".repeat(5000));
    std::fs::write(server.root().join("a.css"), "b{color:blue}".repeat(5000)).unwrap();
    let changed = server.get("/a.css").header("Accept-Encoding", "gzip").send();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&changed.body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, "b{color:blue}".repeat(5000));
}

#[test]
fn gzip_is_gzip_alone() {
    if reference().is_some() {
        return;
    }
    let server = site("gzip").start();
    let reply = server.get("/long.php").header("Accept-Encoding", "br, zstd").send();
    assert_eq!(reply.header("content-encoding"), None);
    let reply = server.get("/long.php").header("Accept-Encoding", "br, gzip;q=0.1").send();
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
}

#[test]
fn what_is_flushed_arrives_though_it_is_compressed() {
    if reference().is_some() {
        return;
    }
    let server = site("compress").start();
    let go = server.dir().join("go");
    for coding in ["gzip", "br", "zstd"] {
        _ = std::fs::remove_file(&go);
        let request = server.get(&format!("/stream.php?go={}", go.display())).header("Accept-Encoding", coding);
        let mut connection = request.fire();
        let head = connection.read_head().unwrap();
        assert_eq!(head.header("content-encoding"), Some(coding));
        // The script goes on only when this has come.
        let mut bytes = connection.read_chunk().unwrap().unwrap();
        std::fs::write(&go, "").unwrap();
        while let Some(chunk) = connection.read_chunk().unwrap() {
            bytes.extend(chunk);
        }
        assert!(bytes.len() > 12, "{coding}: {} bytes", bytes.len());
    }
}

#[test]
fn headers_are_added_to_requests_and_answers() {
    if reference().is_some() {
        return;
    }
    let config = "version: '3'\nhttp:\n  middleware: [headers]\n  headers:\n    request: { X-Asked: 'by the server' }\n    \
                  response: { X-Answered: 1, Content-Type: text/x-ours }\n";
    let server = server().config(".rr.yaml", config).start();
    assert_eq!(seen(&server, &[], &["HTTP_X_ASKED"]), ["by the server"]);
    let reply = server.get("/server.php").send();
    assert_eq!((reply.header("x-answered"), reply.header("content-type")), (Some("1"), Some("application/json")));
    assert_eq!(server.get("/nowhere").send().header("x-answered"), Some("1"), "on errors too");
}

#[test]
fn other_sites_may_ask_what_cors_allows() {
    if reference().is_some() {
        return;
    }
    let server = site("headers")
        .option("http.headers.cors.allowed_origin=https://*.a.test,https://b.test")
        .option("http.headers.cors.allowed_methods=GET,PUT")
        .option("http.headers.cors.allowed_headers=X-One,Content-Type")
        .option("http.headers.cors.exposed_headers=X-Two,X-Three")
        .option("http.headers.cors.allow_credentials=true")
        .option("http.headers.cors.max_age=600")
        .start();
    let preflight = |origin: &str, method: &str, headers: &str| {
        let request = server.request("OPTIONS", "/server.php").header("Origin", origin);
        request.header("Access-Control-Request-Method", method).header("Access-Control-Request-Headers", headers).send()
    };
    let reply = preflight("https://www.a.test", "PUT", "x-one,content-type");
    assert_eq!((reply.status, reply.text().as_str()), (200, ""), "no script has been asked");
    let of = |name| reply.header(name);
    assert_eq!(of("access-control-allow-origin"), Some("https://www.a.test"));
    assert_eq!(
        (of("access-control-allow-methods"), of("access-control-allow-headers")),
        (Some("PUT"), Some("x-one,content-type"))
    );
    assert_eq!((of("access-control-allow-credentials"), of("access-control-max-age")), (Some("true"), Some("600")));
    for (origin, method, headers) in [
        ("https://a.test", "GET", ""),
        ("http://b.test", "GET", ""),
        ("https://b.test.evil", "GET", ""),
        ("https://b.test", "DELETE", ""),
        ("https://b.test", "GET", "x-other"),
    ] {
        let reply = preflight(origin, method, headers);
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, None), "{origin} {method} {headers}");
    }
    let reply = server.get("/server.php").header("Origin", "https://b.test").send();
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://b.test"));
    assert_eq!((reply.header("access-control-expose-headers"), reply.header("vary")), (Some("X-Two, X-Three"), Some("Origin")));
    assert!(reply.text().contains("REQUEST_URI"), "the script has answered");
    let plain = server.request("OPTIONS", "/server.php").send();
    assert!(plain.text().contains("REQUEST_URI"), "OPTIONS without a question is the script's");
}

#[test]
fn any_site_may_ask_or_those_that_a_pattern_matches() {
    if reference().is_some() {
        return;
    }
    let allowed = |server: &Server, origin: &str| {
        let reply = server.get("/server.php").header("Origin", origin).send();
        reply.header("access-control-allow-origin").map(str::to_owned)
    };
    let any = site("headers").option("http.headers.cors.allowed_origin=*").start();
    assert_eq!(allowed(&any, "https://x.test").as_deref(), Some("*"));
    let some = site("headers")
        .option("http.headers.cors.allowed_origin_regex=^https://\\w+\\.a\\.test$")
        .option("http.headers.cors.options_success_status=204")
        .start();
    assert_eq!(allowed(&some, "https://x.a.test").as_deref(), Some("https://x.a.test"));
    assert_eq!(allowed(&some, "https://x.a.test.evil"), None);
    let preflight = some.request("OPTIONS", "/").header("Access-Control-Request-Method", "GET").send();
    assert_eq!(preflight.status, 204);
}

#[test]
fn a_trusted_proxy_names_the_client() {
    if reference().is_some() {
        return;
    }
    let names = ["REMOTE_ADDR", "HTTPS", "REQUEST_SCHEME", "SERVER_PORT", "HTTP_HOST", "SERVER_NAME"];
    let lines = [
        ("X-Forwarded-For", "1.1.1.1, 192.0.2.1, 127.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "site.test"),
        ("X-Forwarded-Port", "443"),
    ];
    let site = |subnets| site("proxy_ip_parser").option(&format!("http.trusted_subnets={subnets}"));
    let near = || site("10.0.0.0/8,127.0.0.0/8");
    let trusting = near().option("http.proxy_trust=for,proto,host,port").start();
    assert_eq!(seen(&trusting, &lines, &names), ["192.0.2.1", "on", "https", "443", "site.test", "site.test"]);
    assert!(trusting.logs("from=192.0.2.1"), "{}", trusting.log.text());
    let forwarded = [("Forwarded", "for=\"[2001:db8::1]:77\";proto=https;host=other.test")];
    assert_eq!(seen(&trusting, &forwarded, &names[..2]), ["127.0.0.1", "-"], "not what this proxy sets");
    let standard = near().option("http.proxy_headers=forwarded").option("http.proxy_trust=for,proto").start();
    assert_eq!(seen(&standard, &forwarded, &names[..2]), ["2001:db8::1", "on"]);
    let usual = near().start();
    assert_eq!(seen(&usual, &lines, &names[..3]), ["192.0.2.1", "-", "http"]);
    let wary = site("10.0.0.0/8").start();
    assert_eq!(seen(&wary, &lines, &names[..3]), ["127.0.0.1", "-", "http"]);
}

#[test]
fn the_last_listed_is_outermost() {
    if reference().is_some() {
        return;
    }
    // Only from outside is a header seen that makes a difference to what is inside.
    let options = |order: &str| {
        site(order).config(".rr.yaml", "version: '3'\nhttp: { headers: { request: { Accept-Encoding: gzip } } }").start()
    };
    let coding = |server: &Server| server.get("/long.php").send().header("content-encoding").map(str::to_owned);
    assert_eq!(coding(&options("gzip,headers")).as_deref(), Some("gzip"));
    assert_eq!(coding(&options("headers,gzip")), None);
}

#[test]
fn names_and_values_that_mean_nothing_are_refused() {
    if reference().is_some() {
        return;
    }
    let cases = [
        ("http.middleware=headers,gzap", "http.middleware: no middleware is called \"gzap\", there are basic_auth, body_limit,"),
        ("http.middleware=proxy_ip_parser", "http.trusted_subnets: expected the proxies that proxy_ip_parser is to believe"),
    ];
    for (option, expected) in cases {
        let output = finish(command(&["config", "-o", option]), b"");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(78) && text.contains(expected), "{option}: {text}");
    }
    let serve = ["serve", "-o", "http.middleware=headers", "-o", "http.headers.cors.allowed_origin_regex=("];
    let output = finish(command(&serve), b"");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(78) && text.contains("http.headers.cors.allowed_origin_regex: "), "{text}");
}

#[test]
fn cors_says_why_if_it_is_to() {
    if reference().is_some() {
        return;
    }
    for debug in [true, false] {
        let server = site("headers")
            .option("http.headers.cors.allowed_origin=https://a.test")
            .option(&format!("http.headers.cors.debug={debug}"))
            .start();
        let ask = server.request("OPTIONS", "/server.php").header("Origin", "https://b.test");
        assert_eq!(ask.header("Access-Control-Request-Method", "GET").send().status, 200);
        assert_eq!(server.log.contains("CORS: ", if debug { PATIENCE } else { Duration::ZERO }), debug, "{}", server.log.text());
    }
}

#[test]
fn streams_at_once_on_a_connection_are_bounded_as_told() {
    if reference().is_some() {
        return;
    }
    let server = server().option("http.http2.max_concurrent_streams=7").start();
    let mut connection = server.connect();
    // The preface, and settings that say nothing.
    connection.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let mut head = [0; 9];
    let mut stream = connection.stream();
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[3], 4, "SETTINGS come first");
    let mut settings = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut settings).unwrap();
    let streams =
        settings.chunks(6).find(|pair| pair[..2] == [0, 3]).map(|pair| u32::from_be_bytes(pair[2..].try_into().unwrap()));
    assert_eq!(streams, Some(7));
}

#[test]
fn a_higher_level_makes_answers_smaller() {
    if reference().is_some() {
        return;
    }
    let words: String = (0..40_000u32).map(|number| format!("{:x} ", number.wrapping_mul(2_654_435_761) % 5000)).collect();
    let size = |coding: &str, option: &str| {
        let server = site("compress").option(option).file("words.txt", words.clone()).start();
        let reply = server.get("/words.txt").header("Accept-Encoding", coding).send();
        assert_eq!(reply.header("content-encoding"), Some(coding));
        reply.body.len()
    };
    for (coding, key, low, high) in [("br", "brotli", 0, 9), ("zstd", "zstd", 1, 19), ("gzip", "gzip", 1, 9)] {
        let [low, high] = [low, high].map(|level| size(coding, &format!("http.compress.{key}_level={level}")));
        assert!(high < low, "{coding}: {high} is no less than {low}");
    }
}
