//! Responses as a client sees them.

use std::{fs, thread};

use http_body_util::BodyExt;

use super::*;
use crate::http::route::testing::Tree;

struct Client {
    tree: Tree,
    files: Files,
    runtime: tokio::runtime::Runtime,
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Client {
    fn new(files: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            etag: Etag::Strong,
            cache_control: None,
            cache_memory: 64 << 20,
            cache_max_file: 1 << 20,
            revalidate: Duration::ZERO,
            precompressed: true,
            threads: 2,
        };
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { tree: Tree::new(files), files: config.build().unwrap(), runtime }
    }

    fn response(&self, method: &Method, name: &str, fields: &[(&str, &str)]) -> Response<Body> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let target = Target::new(self.tree.path().join(name), OsStr::new(name));
        self.runtime.block_on(self.files.respond(&target, method, &headers))
    }

    fn send(&self, method: &Method, name: &str, fields: &[(&str, &str)]) -> Reply {
        let (head, body) = self.response(method, name, fields).into_parts();
        let body = self.runtime.block_on(body.collect()).unwrap().to_bytes().to_vec();
        Reply { status: head.status.as_u16(), headers: head.headers, body }
    }

    fn get(&self, name: &str, fields: &[(&str, &str)]) -> Reply {
        self.send(&Method::GET, name, fields)
    }
}

impl Reply {
    fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn large() -> String {
    (0..200_000).map(|number| format!("{number},")).collect()
}

#[test]
fn a_file_is_described_and_sent() {
    let client =
        Client::new(&[("a.css", "body{}"), ("empty.txt", "")], |config| config.cache_control = Some("max-age=60".into()));
    let reply = client.get("a.css", &[]);
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"body{}"[..]));
    assert_eq!(reply.field("content-type"), "text/css; charset=utf-8");
    assert_eq!(reply.field("content-length"), "6");
    assert_eq!(reply.field("accept-ranges"), "bytes");
    assert_eq!(reply.field("cache-control"), "max-age=60");
    assert_eq!(reply.field("vary"), "");
    assert!(reply.field("etag").starts_with('"') && httpdate::parse_http_date(reply.field("last-modified")).is_ok());
    let head = client.send(&Method::HEAD, "a.css", &[("range", "bytes=0-0")]);
    assert_eq!((head.status, head.field("content-length"), head.body.len()), (200, "6", 0));
    let empty = client.get("empty.txt", &[("range", "bytes=0-0")]);
    assert_eq!((empty.status, empty.field("content-range")), (416, "bytes */0"));
    assert_eq!(client.get("empty.txt", &[]).field("content-length"), "0");
    let post = client.send(&Method::POST, "a.css", &[]);
    assert_eq!((post.status, post.field("allow")), (405, "GET, HEAD"));
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    let client = Client::new(&[("a.css", "body{}")], |config| config.cache_control = Some("max-age=60".into()));
    let first = client.get("a.css", &[]);
    for fields in [&[("if-none-match", first.field("etag"))][..], &[("if-modified-since", first.field("last-modified"))]] {
        let reply = client.get("a.css", fields);
        assert_eq!((reply.status, reply.body.len(), reply.field("etag")), (304, 0, first.field("etag")));
        assert_eq!(
            (reply.field("cache-control"), reply.field("content-length"), reply.field("content-type")),
            ("max-age=60", "", "")
        );
    }
    assert_eq!(client.get("a.css", &[("if-match", "\"x\"")]).status, 412);
}

#[test]
fn a_part_is_sent_from_memory_and_from_disk() {
    let text = large();
    for limit in [0, 1 << 30] {
        let client = Client::new(&[("a.txt", &text)], |config| config.cache_max_file = limit);
        for range in [0..1, 5..400_000, 300_000..text.len(), text.len() - 1..text.len()] {
            let reply = client.get("a.txt", &[("range", &format!("bytes={}-{}", range.start, range.end - 1))]);
            assert_eq!((reply.status, reply.field("content-length")), (206, range.len().to_string().as_str()));
            assert_eq!(reply.field("content-range"), format!("bytes {}-{}/{}", range.start, range.end - 1, text.len()));
            assert!(reply.body == text.as_bytes()[range]);
        }
        assert_eq!(client.get("a.txt", &[("range", "bytes=9999999999-")]).status, 416);
        assert!(client.get("a.txt", &[]).body == text.as_bytes());
    }
}

#[test]
fn a_precompressed_sibling_is_sent_while_it_is_current() {
    let client = Client::new(&[("a.js", "plain")], |_| {});
    assert_eq!(client.get("a.js", &[("accept-encoding", "br")]).field("vary"), "");
    client.tree.write("a.js.br", "brotli");
    client.tree.write("a.js.gz", "gzip");
    for (accept, coding, body) in
        [("br, gzip", "br", "brotli"), ("gzip", "gzip", "gzip"), ("zstd", "", "plain"), ("br;q=0", "", "plain")]
    {
        let reply = client.get("a.js", &[("accept-encoding", accept)]);
        assert_eq!((reply.field("content-encoding"), reply.body.as_slice()), (coding, body.as_bytes()), "{accept}");
        assert_eq!((reply.field("vary"), reply.field("content-type")), ("Accept-Encoding", "text/javascript; charset=utf-8"));
    }
    let (plain, coded) = (client.get("a.js", &[]), client.get("a.js", &[("accept-encoding", "br")]));
    assert_ne!(plain.field("etag"), coded.field("etag"));
    thread::sleep(Duration::from_millis(20));
    client.tree.write("a.js", "newer");
    let reply = client.get("a.js", &[("accept-encoding", "br, gzip")]);
    assert_eq!((reply.field("content-encoding"), reply.body.as_slice(), reply.field("vary")), ("", &b"newer"[..], ""));
}

#[test]
fn a_change_is_seen_after_the_time_of_trust() {
    let client = Client::new(&[("a.txt", "one")], |config| config.revalidate = Duration::from_millis(200));
    assert_eq!(client.get("a.txt", &[]).body, b"one");
    client.tree.write("a.txt", "two");
    assert_eq!(client.get("a.txt", &[]).body, b"one");
    thread::sleep(Duration::from_millis(220));
    assert_eq!(client.get("a.txt", &[]).body, b"two");
    fs::remove_file(client.tree.path().join("a.txt")).unwrap();
    thread::sleep(Duration::from_millis(220));
    assert_eq!(client.get("a.txt", &[]).status, 404);
}

#[test]
fn a_large_file_that_was_replaced_is_sent_as_it_is_now() {
    let client = Client::new(&[("a.txt", "before")], |config| {
        config.cache_max_file = 0;
        config.revalidate = Duration::from_secs(60);
    });
    assert_eq!(client.get("a.txt", &[]).body, b"before");
    client.tree.write("a.txt", "afterwards");
    let reply = client.get("a.txt", &[]);
    assert_eq!((reply.status, reply.field("content-length"), reply.body.as_slice()), (200, "10", &b"afterwards"[..]));
}

#[test]
fn only_regular_files_are_opened() {
    let client = Client::new(&[("dir/a.txt", "a")], |_| {});
    client.tree.link("link.txt", "dir/a.txt");
    client.tree.link("link", "dir");
    nix::unistd::mkfifo(&client.tree.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for name in ["dir", "fifo", "link.txt", "link/a.txt", "none", "dir/a.txt/b"] {
        assert_eq!(client.get(name, &[]).status, 404, "{name}");
    }
}

#[test]
fn a_file_cut_short_breaks_the_body() {
    let client = Client::new(&[("a.txt", &large())], |config| config.cache_max_file = 0);
    let response = client.response(&Method::GET, "a.txt", &[]);
    fs::write(client.tree.path().join("a.txt"), "short").unwrap();
    assert!(client.runtime.block_on(response.into_body().collect()).is_err());
}

#[test]
fn without_threads_or_memory_files_are_sent_all_the_same() {
    let text = large();
    let client = Client::new(&[("a.txt", &text), ("b.txt", "b")], |config| {
        (config.threads, config.cache_memory, config.cache_max_file) = (0, 0, 10);
    });
    for _ in 0..2 {
        assert!(client.get("a.txt", &[]).body == text.as_bytes());
        assert_eq!(client.get("b.txt", &[]).body, b"b");
    }
}

#[test]
fn a_dropped_body_stops_the_reader() {
    let client = Client::new(&[("a.txt", &large())], |config| config.cache_max_file = 0);
    let mut body = client.response(&Method::GET, "a.txt", &[]).into_body();
    client.runtime.block_on(body.frame()).unwrap().unwrap();
    let Body::File(stream) = body else { panic!("a large file is streamed") };
    let open = || {
        fs::read_dir("/proc/self/fd")
            .unwrap()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|path| path == client.tree.path().join("a.txt"))
    };
    assert!(open());
    drop(stream);
    while open() {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn memory_is_bounded() {
    let client = Client::new(&[("small.txt", "a"), ("large.txt", &large())], |config| config.cache_memory = 64 * 1024);
    for _ in 0..3 {
        assert_eq!(client.get("small.txt", &[]).status, 200);
        assert_eq!(client.get("large.txt", &[]).status, 200);
    }
    assert!((1..=64 * 1024).contains(&client.files.memory()), "{}", client.files.memory());
}

/// `cargo test --lib -- --ignored --nocapture what_a_file_costs`
#[test]
#[ignore = "a measurement"]
fn what_a_file_costs() {
    let client = Client::new(&[("a.css", "body{}"), ("a.css.br", "br")], |config| config.revalidate = Duration::from_secs(1));
    let target = Target::new(client.tree.path().join("a.css"), OsStr::new("a.css"));
    let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, br, zstd"))]);
    client.runtime.block_on(async {
        let (started, count) = (Instant::now(), 200_000);
        for _ in 0..count {
            std::hint::black_box(client.files.respond(&target, &Method::GET, &headers).await);
        }
        println!("a cached file: {:?}", started.elapsed() / count);
    });
    let client = Client::new(&[("large.txt", &large().repeat(100))], |_| {});
    let (started, count) = (Instant::now(), 10);
    let bytes: usize = (0..count).map(|_| client.get("large.txt", &[]).body.len()).sum();
    println!("a large file: {:.0} MB/s", bytes as f64 / started.elapsed().as_secs_f64() / 1e6);
}
