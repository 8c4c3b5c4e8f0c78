//! Static files.

use crate::harness::{Setup, reference, server};

fn site() -> Setup {
    server()
        .bare()
        .preset("files")
        .file("a.txt", "0123456789")
        .file("style.css", "body { color: red }")
        .file("app.js", "let a = 1;")
        .file("page.html", "<p>page")
        .file("pic.svg", "<svg/>")
        .file("data.json", "{}")
        .file("font.woff2", "font")
        .file("mod.mjs", "export {}")
        .file("wasm.wasm", "wasm")
        .file("unknown.qqq", "?")
        .file("empty.txt", "")
        .file("big.bin", (0..5_000_000_u32).map(|n| (n >> 8) as u8).collect::<Vec<_>>())
}

#[test]
fn types_are_those_browsers_want() {
    let server = site().start();
    for (target, kind) in [
        ("/a.txt", "text/plain"),
        ("/style.css", "text/css"),
        ("/page.html", "text/html"),
        ("/pic.svg", "image/svg+xml"),
        ("/data.json", "application/json"),
        ("/font.woff2", "font/woff2"),
        ("/wasm.wasm", "application/wasm"),
    ] {
        let reply = server.get(target).send();
        assert!(reply.header("content-type").is_some_and(|value| value.starts_with(kind)), "{target}: {:?}", reply.headers);
    }
    for target in ["/app.js", "/mod.mjs"] {
        let reply = server.get(target).send();
        assert!(
            reference().is_some() || reply.header("content-type").unwrap().contains("javascript"),
            "{target}: {:?}",
            reply.headers
        );
    }
    let unknown = server.get("/unknown.qqq").send();
    assert!(unknown.header("content-type").is_none_or(|value| value == "application/octet-stream" || value == "text/plain"));
}

#[test]
fn validators_answer_with_304() {
    let server = site().start();
    let first = server.get("/a.txt").send();
    let (etag, modified) = (first.header("etag").unwrap(), first.header("last-modified").unwrap());
    for (name, value) in [("If-None-Match", etag), ("If-None-Match", "*"), ("If-Modified-Since", modified)] {
        let reply = server.get("/a.txt").header(name, value).send();
        assert_eq!((reply.status, reply.body.len()), (304, 0), "{name}: {value}");
        assert!(reply.header("etag").is_some());
    }
    for (name, value) in [("If-None-Match", "\"other\""), ("If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT")] {
        assert_eq!(server.get("/a.txt").header(name, value).send().status, 200, "{name}: {value}");
    }
    let list = server.get("/a.txt").header("If-None-Match", &format!("\"x\", W/{}, \"y\"", etag.trim_start_matches("W/"))).send();
    assert_eq!(list.status, 304, "a list, compared weakly");
    let both = server.get("/a.txt").header("If-None-Match", "\"other\"").header("If-Modified-Since", modified).send();
    assert_eq!(both.status, 200, "the ETag goes before the date");
    assert_eq!(server.get("/a.txt").header("If-Match", "\"other\"").send().status, 412);
}

#[test]
fn ranges_are_served() {
    let server = site().start();
    for (range, body, content_range) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=5-", "56789", "bytes 5-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=8-100", "89", "bytes 8-9/10"),
        ("bytes=-100", "0123456789", "bytes 0-9/10"),
    ] {
        let reply = server.get("/a.txt").header("Range", range).send();
        assert_eq!(
            (reply.status, reply.text().as_str(), reply.header("content-range")),
            (206, body, Some(content_range)),
            "{range}"
        );
    }
    let reply = server.get("/a.txt").header("Range", "bytes=10-").send();
    assert_eq!((reply.status, reply.header("content-range")), (416, Some("bytes */10")));
    for ignored in ["lines=0-3", "bytes=a-b", "bytes=3-1", "nonsense"] {
        let reply = server.get("/a.txt").header("Range", ignored).send();
        assert!(matches!(reply.status, 200 | 416), "{ignored}: {}", reply.status);
    }
    let plain = server.get("/a.txt").send();
    assert_eq!(plain.header("accept-ranges"), Some("bytes"));
}

#[test]
fn if_range_guards_a_range() {
    let server = site().start();
    let etag = server.get("/a.txt").send().header("etag").unwrap().to_owned();
    let same = server.get("/a.txt").header("Range", "bytes=0-1").header("If-Range", &etag).send();
    let strong = !etag.starts_with("W/");
    assert_eq!(same.status, if strong { 206 } else { 200 });
    let other = server.get("/a.txt").header("Range", "bytes=0-1").header("If-Range", "\"other\"").send();
    assert_eq!((other.status, other.body.len()), (200, 10));
}

#[test]
fn many_ranges_are_bounded() {
    let server = site().start();
    let ranges: Vec<_> = (0..1000).map(|_| "0-".to_owned()).collect();
    let reply = server.get("/big.bin").header("Range", &format!("bytes={}", ranges.join(","))).send();
    assert!(reply.body.len() < 20_000_000, "{}", reply.body.len());
}

#[test]
fn large_files_arrive_whole() {
    let server = site().start();
    let reply = server.get("/big.bin").send();
    assert_eq!(reply.header("content-length"), Some("5000000"));
    assert!(reply.body.iter().enumerate().all(|(n, byte)| *byte == (n >> 8) as u8));
    let part = server.get("/big.bin").header("Range", "bytes=4000000-4999999").send();
    assert!(part.body.len() == 1_000_000 && part.body.iter().enumerate().all(|(n, byte)| *byte == ((n + 4_000_000) >> 8) as u8));
    assert_eq!(server.get("/empty.txt").send().body.len(), 0);
}

#[test]
fn large_files_asked_for_at_once_come_in_their_order() {
    let text: String = (0..400_000).map(|number| format!("{number:07}\n")).collect();
    let server = site().file("big.txt", &text).start();
    let ask = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{more}\r\n");
    let all = [
        ask("/big.txt", ""),
        ask("/a.txt", ""),
        ask("/big.txt", "Range: bytes=1600000-3199999\r\n"),
        ask("/big.txt", "Connection: close\r\n"),
    ];
    let answers = server.raw(all.concat());
    let bodies: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| answer.split_once("\r\n\r\n").unwrap().1).collect();
    let expected = [text.as_str(), "0123456789", &text[1_600_000..3_200_000], &text];
    assert!(bodies == expected, "{:?}", bodies.iter().map(|body| body.len()).collect::<Vec<_>>());
}

#[test]
fn precompressed_siblings_are_preferred() {
    if reference().is_some() {
        return;
    }
    let server = site().file("app.js.gz", "GZIPPED").file("app.js.br", "BROTLI").start();
    let reply = server.get("/app.js").header("Accept-Encoding", "gzip, deflate, br").send();
    assert_eq!((reply.text().as_str(), reply.header("content-encoding")), ("BROTLI", Some("br")));
    assert!(reply.header("content-type").unwrap().contains("javascript"));
    assert!(reply.header("vary").is_some_and(|vary| vary.eq_ignore_ascii_case("accept-encoding")));
    let reply = server.get("/app.js").header("Accept-Encoding", "gzip").send();
    assert_eq!((reply.text().as_str(), reply.header("content-encoding")), ("GZIPPED", Some("gzip")));
    for refused in ["", "br;q=0, gzip;q=0", "identity"] {
        let reply = server.get("/app.js").header("Accept-Encoding", refused).send();
        assert_eq!((reply.text().as_str(), reply.header("content-encoding")), ("let a = 1;", None), "{refused}");
    }
}

#[test]
fn a_changed_file_is_seen() {
    let server = site().start();
    let first = server.get("/a.txt").send();
    std::fs::write(server.root().join("a.txt"), "changed, and longer").unwrap();
    assert!(crate::harness::wait_until(std::time::Duration::from_secs(5), || server.text("/a.txt") == "changed, and longer"));
    let second = server.get("/a.txt").send();
    assert_ne!(first.header("etag"), second.header("etag"));
    std::fs::remove_file(server.root().join("a.txt")).unwrap();
    assert!(crate::harness::wait_until(std::time::Duration::from_secs(5), || server.get("/a.txt").send().status == 404));
}

#[test]
fn other_methods_on_files_are_refused() {
    let server = site().start();
    for method in ["POST", "PUT", "DELETE"] {
        let reply = server.request(method, "/a.txt").body("text/plain", "x").send();
        assert_eq!(reply.status, 405, "{method}");
    }
    assert_eq!(server.text("/a.txt"), "0123456789");
}

#[test]
fn files_of_hundreds_of_clients_do_not_wait_for_php() {
    let server = site().threads(1).php("busy.php", "sleep(2); echo 1;").start();
    let busy = server.get("/busy.php").fire();
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(server.text("/a.txt"), "0123456789");
    }
    assert!(begun.elapsed() < std::time::Duration::from_millis(1800));
    drop(busy);
}

#[test]
fn special_files_are_not_opened() {
    let setup = site();
    nix::unistd::mkfifo(&setup.document_root().join("pipe.txt"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let server = setup.start();
    if reference().is_none() {
        assert!(matches!(server.get("/pipe.txt").send().status, 403 | 404));
    }
    assert_eq!(server.text("/a.txt"), "0123456789");
}
