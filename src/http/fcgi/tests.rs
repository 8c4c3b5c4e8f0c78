use std::{
    io::{Read, Write},
    iter,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize},
    thread,
    time::{Instant, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use super::{record::Protocol, *};
use crate::{
    http::listen,
    worker::{self, Head, Next, OutputBudget, OutputLimits, OutputWriter, Reply, ReplyBody, Work},
};

/// A server on a port of its own, an echo for a worker, and a directory with one script.
struct Harness {
    address: SocketAddr,
    server: Arc<Server>,
    pool: Pool,
    root: PathBuf,
    abandoned: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// What a request got.
#[derive(Debug, Default)]
struct Response {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    protocol: Option<u8>,
}

struct Client(TcpStream, BytesMut);

struct Nothing;

fn config() -> Config {
    Config {
        allowed_clients: Vec::new(),
        max_connections: 1000,
        limit_extensions: vec![".php".to_owned(), ".phar".to_owned()],
        status_path: None,
        ping_path: None,
        ping_response: "pong".to_owned(),
        powered_by: None,
        max_request_size: u64::MAX,
        max_header_bytes: 64 << 10,
        max_headers: 100,
        max_uri: 16 << 10,
        place: Place::new(1 << 20, 0, std::env::temp_dir()),
        body_timeout: Duration::from_secs(60),
        write_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(600),
        fix_pathinfo: true,
        request_ids: Arc::default(),
    }
}

const WORKERS: worker::Config = worker::Config { num_workers: 2, max_queue_size: 100, allocate_timeout: Duration::from_secs(5) };

// === impl Harness ===

impl Harness {
    fn start() -> Self {
        Self::with(|_| {}, WORKERS)
    }

    fn with(change: impl FnOnce(&mut Config), pool: worker::Config) -> Self {
        Self::on(None, change, pool)
    }

    fn on(unix: Option<&Path>, change: impl FnOnce(&mut Config), pool: worker::Config) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let root = std::env::temp_dir().join(format!("rr-fcgi-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed)));
        std::fs::create_dir_all(&root).expect("a directory");
        std::fs::write(root.join("x.php"), "<?php").expect("a script");
        std::fs::write(root.join("x.txt"), "text").expect("no script");
        let workers = pool.num_workers;
        let pool = Pool::new(pool);
        let abandoned = Arc::new(AtomicBool::new(false));
        let mut threads: Vec<_> = (0..workers)
            .map(|_| {
                let (pool, abandoned) = (pool.clone(), abandoned.clone());
                thread::spawn(move || {
                    let seat = pool.seat();
                    while let Next::Work(work) = seat.next() {
                        answer(work, &abandoned);
                    }
                })
            })
            .collect();
        while pool.snapshot().idle < workers {
            thread::yield_now();
        }
        let addresses = iter::once("tcp://127.0.0.1:0".parse().expect("valid")).chain(unix.map(listen::Address::unix));
        let each = addresses.map(|address| address.listen(128, listen::Scope::Any).expect("free"));
        let listeners = listen::Listeners::together(each);
        let address = listeners.addresses()[0];
        let mut config = config();
        change(&mut config);
        let server = Arc::new(config.build(listeners, pool.clone(), Arc::new(Nothing)));
        for _ in 0..2 {
            let (server, pool) = (server.clone(), pool.clone());
            threads.push(thread::spawn(move || {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                let runtime = builder
                    .enable_all()
                    .on_thread_park(move || pool.wake_if_waiting(std::time::Duration::ZERO))
                    .build()
                    .expect("a runtime");
                runtime.block_on(async {
                    server.serve().await.expect("served");
                    assert!(server.wait(Instant::now() + Duration::from_secs(10)).await, "a connection is still open");
                });
            }));
        }
        Self { address, server, pool, root, abandoned, threads }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).expect("listening");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        stream.set_nodelay(true).expect("set");
        Client(stream, BytesMut::new())
    }

    /// A whole request for the script, as records.
    fn request(&self, flags: u8, query: &str, body: &[u8]) -> BytesMut {
        let length = body.len().to_string();
        let mut records = self.head(flags, query, &[("CONTENT_LENGTH", &length)]);
        record::put_stream(&mut records, record::STDIN, 1, body);
        record::put(&mut records, record::STDIN, 1, b"");
        records
    }

    /// The beginning and the parameters.
    fn head(&self, flags: u8, query: &str, more: &[(&str, &str)]) -> BytesMut {
        let filename = self.root.join("x.php").display().to_string();
        let mut pairs = BytesMut::new();
        for (name, value) in [
            ("SCRIPT_FILENAME", filename.as_str()),
            ("SCRIPT_NAME", "/x.php"),
            ("REQUEST_METHOD", "POST"),
            ("QUERY_STRING", query),
            ("HTTP_PROXY", "evil"),
        ]
        .iter()
        .chain(more)
        {
            params::put_pair(&mut pairs, name.as_bytes(), value.as_bytes());
        }
        let mut records = begin(1, 1, flags);
        record::put_stream(&mut records, record::PARAMS, 1, &pairs);
        record::put(&mut records, record::PARAMS, 1, b"");
        records
    }

    fn ask(&self, flags: u8, query: &str, body: &[u8]) -> Response {
        let mut client = self.connect();
        client.send(&self.request(flags, query, body));
        client.response()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.server.stop(None);
        self.pool.close();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking());
        }
        drop(std::fs::remove_dir_all(&self.root));
    }
}

fn with_unix_socket(name: &str) -> (Harness, PathBuf) {
    let path = std::env::temp_dir().join(format!("rr-fcgi-{name}-{}.sock", std::process::id()));
    (Harness::on(Some(&path), |_| {}, WORKERS), path)
}

fn begin(id: u16, role: u8, flags: u8) -> BytesMut {
    let mut records = BytesMut::new();
    record::put(&mut records, record::BEGIN_REQUEST, id, &[0, role, flags, 0, 0, 0, 0, 0]);
    records
}

fn answer(work: Work, abandoned: &AtomicBool) {
    let query = String::from_utf8_lossy(work.request.query()).into_owned();
    let head = Head { status: StatusCode::OK, reason: None, headers: HeaderMap::new(), lines: Vec::new() };
    match query.as_str() {
        "lost" => {}
        "slow" => {
            thread::sleep(Duration::from_millis(50));
            assert!(!work.responder.is_abandoned());
            work.responder.send(Ok(Reply { head, body: ReplyBody::Whole("slow".into()), log: String::new(), request: None }));
        }
        "big" => work.responder.send(Ok(Reply {
            head,
            body: ReplyBody::Whole(vec![b'b'; 300_001].into()),
            log: String::new(),
            request: None,
        })),
        "stream" | "broken" => {
            let limits = OutputLimits {
                memory: 1 << 20,
                file: 0,
                write_timeout: Duration::from_secs(5),
                directory: std::env::temp_dir(),
                budget: OutputBudget::unlimited(),
            };
            let (writer, reader) = OutputWriter::new(Arc::new(limits));
            work.responder.send(Ok(Reply { head, body: ReplyBody::Stream(reader), log: String::new(), request: None }));
            for number in 0..100 {
                writer.write(Bytes::from(format!("{number},").repeat(200))).expect("taken");
                if number % 40 == 0 {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            if query == "stream" {
                writer.finish(Ok(()));
            }
        }
        "wait" => {
            let end = Instant::now() + Duration::from_secs(5);
            while !work.responder.is_abandoned() && Instant::now() < end {
                thread::sleep(Duration::from_millis(1));
            }
            abandoned.store(work.responder.is_abandoned(), Relaxed);
        }
        _ => {
            let name = String::from_utf8_lossy(&work.request.script.name);
            let mut said = format!("{query}|{name:?}|{:?}|", work.request.param(b"HTTP_PROXY"));
            said.push_str(&work.request.ini.iter().map(|ini| format!("{}={};", ini.name, ini.value)).collect::<String>());
            if let Some(large) = work.request.param(b"LARGE") {
                said.push_str(&large.len().to_string());
            }
            let in_file = matches!(work.request.body, worker::Body::File { .. });
            let mut body = Vec::new();
            work.request.body.into_reader().read_to_end(&mut body).expect("readable");
            let sum: u64 = body.iter().map(|&byte| u64::from(byte)).sum();
            said.push_str(&format!("|{}|{sum}|{in_file}", body.len()));
            work.responder.send(Ok(Reply { head, body: ReplyBody::Whole(said.into()), log: String::new(), request: None }));
        }
    }
}

// === impl Client ===

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("taken");
    }

    fn record(&mut self) -> Option<record::Record> {
        loop {
            if let Some(record) = record::decode(&mut self.1).expect("version 1") {
                return Some(record);
            }
            let mut buffer = [0; 65536];
            match self.0.read(&mut buffer).expect("no error") {
                0 => return None,
                count => self.1.extend_from_slice(&buffer[..count]),
            }
        }
    }

    fn response(&mut self) -> Response {
        let mut response = Response::default();
        while let Some(record) = self.record() {
            match record.kind {
                record::STDOUT => response.stdout.extend_from_slice(&record.content),
                record::STDERR => response.stderr.extend_from_slice(&record.content),
                record::END_REQUEST => {
                    response.protocol = Some(record.content[4]);
                    break;
                }
                kind => panic!("a record of type {kind}"),
            }
        }
        response
    }
}

// === impl Response ===

impl Response {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl StatusSource for Nothing {
    fn snapshot(&self, _full: bool) -> FpmStatus {
        FpmStatus {
            pool: "www".to_owned(),
            process_manager: "static",
            start_time: SystemTime::now(),
            accepted_conn: 0,
            listen_queue: 0,
            max_listen_queue: 0,
            listen_queue_len: 0,
            idle_processes: 0,
            active_processes: 0,
            max_active_processes: 0,
            max_children_reached: 0,
            slow_requests: 0,
            memory_peak: 0,
            processes: Vec::new(),
        }
    }
}

#[test]
fn a_request_reaches_a_worker_and_comes_back_in_one_write() {
    let harness = Harness::start();
    let mut client = harness.connect();
    client.send(&harness.request(0, "q", b"abc"));
    let mut buffer = [0; 4096];
    let count = client.0.read(&mut buffer).expect("an answer");
    client.1.extend_from_slice(&buffer[..count]);
    let response = client.response();
    assert_eq!(response.text(), "\r\nq|\"/x.php\"|None||3|294|false");
    assert_eq!(response.protocol, Some(Protocol::Complete as u8));
    assert!(client.record().is_none(), "closed without FCGI_KEEP_CONN");
}

#[test]
fn records_may_be_split_anywhere() {
    let harness = Harness::start();
    let request = harness.request(1, "q", b"abc");
    let mut client = harness.connect();
    for cut in 1..request.len() {
        client.send(&request[..cut]);
        if cut % 16 == 0 {
            thread::sleep(Duration::from_micros(300));
        }
        client.send(&request[cut..]);
        assert!(client.response().text().ends_with("|3|294|false"), "{cut}");
    }
    for byte in &request {
        client.send(std::slice::from_ref(byte));
    }
    assert!(client.response().text().ends_with("|3|294|false"));
    assert_eq!(harness.server.snapshot().accepted, 1);
}

#[test]
fn large_parameters_and_ini_values_arrive() {
    let harness = Harness::start();
    let large = "v".repeat(200_000);
    let mut client = harness.connect();
    client.send(&harness.head(1, "q", &[("LARGE", &large), ("PHP_ADMIN_VALUE", "a=on"), ("PHP_VALUE", "b=2\nextension=x")]));
    assert_eq!(client.response().text(), "\r\nq|\"/x.php\"|None|b=2;a=1;200000|0|0|false");
    client.send(&harness.head(1, "q", &[("LARGE", &"v".repeat(2_000_000))]));
    assert!(client.response().text().starts_with("Status: 431 "));
    assert!(client.record().is_none(), "closed");
}

#[test]
fn a_head_is_bounded_as_one_of_http_is() {
    let harness = Harness::start();
    let ask = |pairs: &[(&str, &str)]| {
        let mut client = harness.connect();
        client.send(&harness.head(1, "q", pairs));
        client.response().text()
    };
    let (uri, fields) = ("/".repeat(16 << 10), "v".repeat((64 << 10) - 6));
    assert!(!ask(&[("REQUEST_URI", &uri)]).contains("Status:"));
    assert!(ask(&[("REQUEST_URI", &format!("{uri}/"))]).starts_with("Status: 414 "));
    assert!(!ask(&[("HTTP_A", &fields)]).contains("Status:"));
    assert!(ask(&[("HTTP_A", &format!("{fields}v"))]).starts_with("Status: 431 "));
    let names: Vec<_> = (0..=100).map(|number| format!("HTTP_{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (&**name, "v")).collect();
    assert!(!ask(&many[..100]).contains("Status:"));
    assert!(ask(&many).starts_with("Status: 431 "));
}

#[test]
fn a_large_body_goes_through_a_file() {
    let harness = Harness::start();
    let body = vec![3; 10_000_000];
    assert!(harness.ask(0, "q", &body).text().ends_with("|10000000|30000000|true"));
}

#[test]
fn the_body_is_the_stream_up_to_content_length() {
    let harness = Harness::start();
    let mut client = harness.connect();
    let sent: [(&str, &[&[u8]], &str); 4] = [
        ("5", &[b"abc", b""], "|3|294|false"),
        ("2", &[b"abc", b"def", b""], "|2|195|false"),
        ("0", &[b"abc", b""], "|0|0|false"),
        // Nothing ends the stream: it is not waited for.
        ("3", &[b"ab", b"c"], "|3|294|false"),
    ];
    for (length, parts, expected) in sent {
        let mut records = harness.head(1, "q", &[("CONTENT_LENGTH", length)]);
        parts.iter().for_each(|part| record::put(&mut records, record::STDIN, 1, part));
        client.send(&records);
        assert!(client.response().text().ends_with(expected), "{length}");
    }
}

#[test]
fn a_body_too_large_is_refused_and_the_connection_kept() {
    let harness = Harness::with(|config| config.max_request_size = 10, WORKERS);
    let mut client = harness.connect();
    client.send(&harness.request(1, "q", &[b'x'; 100_000]));
    assert!(client.response().text().starts_with("Status: 413 "));
    client.send(&harness.request(1, "q", b"abc"));
    assert!(client.response().text().ends_with("|3|294|false"));
}

#[test]
fn long_replies_are_cut_into_records() {
    let harness = Harness::start();
    let mut client = harness.connect();
    client.send(&harness.request(1, "big", b""));
    assert_eq!(client.response().stdout.len(), 2 + 300_001);
    client.send(&harness.request(1, "stream", b""));
    let expected: String = (0..100).map(|number| format!("{number},").repeat(200)).collect();
    assert_eq!(client.response().text(), format!("\r\n{expected}"));
}

#[test]
fn a_reply_that_breaks_off_has_no_end() {
    let harness = Harness::start();
    let mut client = harness.connect();
    client.send(&harness.request(1, "broken", b""));
    assert_eq!(client.response().protocol, None);
}

#[test]
fn abort_ends_the_request_and_tells_the_worker() {
    let harness = Harness::start();
    let mut client = harness.connect();
    client.send(&harness.request(1, "wait", b""));
    let mut abort = BytesMut::new();
    record::put(&mut abort, record::ABORT_REQUEST, 1, b"");
    client.send(&abort);
    let response = client.response();
    assert_eq!((response.stdout.len(), response.protocol), (0, Some(0)));
    client.send(&harness.request(1, "q", b""));
    assert!(client.response().text().ends_with("|0|0|false"));
    wait_for(|| harness.abandoned.load(Relaxed));
}

#[test]
fn a_client_that_leaves_is_noticed() {
    let (harness, path) = with_unix_socket("leave");
    let mut client = std::os::unix::net::UnixStream::connect(&path).expect("listening");
    client.write_all(&harness.request(1, "wait", b"")).expect("taken");
    wait_for(|| harness.pool.snapshot().taken == 1);
    drop(client);
    wait_for(|| harness.abandoned.load(Relaxed));
    wait_for(|| harness.server.snapshot().connections == 0);
}

#[test]
fn a_client_that_closes_its_half_is_answered() {
    let (harness, path) = with_unix_socket("half");
    for query in ["slow", "stream"] {
        let mut client = harness.connect();
        client.send(&harness.request(1, query, b""));
        client.0.shutdown(std::net::Shutdown::Write).expect("open");
        assert_eq!(client.response().protocol, Some(0), "{query}");
        assert!(client.record().is_none(), "closed, though it was to be kept");

        let mut client = std::os::unix::net::UnixStream::connect(&path).expect("listening");
        client.write_all(&harness.request(1, query, b"")).expect("taken");
        client.shutdown(std::net::Shutdown::Write).expect("open");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("an answer");
        assert!(answer.ends_with(&[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "{query}");
    }
}

#[test]
fn a_slow_client_hears_of_it() {
    let short = |config: &mut Config| {
        config.body_timeout = Duration::from_millis(30);
        config.idle_timeout = Duration::from_millis(30);
    };
    let harness = Harness::with(short, WORKERS);
    let mut client = harness.connect();
    client.send(&harness.head(1, "q", &[("CONTENT_LENGTH", "3")]));
    assert!(client.response().text().starts_with("Status: 408 "));
    assert!(client.record().is_none(), "closed");
    let mut idle = harness.connect();
    idle.send(&harness.request(1, "q", b""));
    assert!(idle.response().text().ends_with("|0|0|false"));
    assert!(idle.record().is_none(), "closed");
}

#[test]
fn a_unix_socket_serves_too_and_a_body_may_be_in_a_file() {
    let (harness, path) = with_unix_socket("serve");
    let body = harness.root.join("x.txt").display().to_string();
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("listening");
    let records = harness.head(0, "q", &[("CONTENT_LENGTH", "4"), ("REQUEST_BODY_FILE", &body)]);
    stream.write_all(&records).expect("taken");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    assert!(String::from_utf8_lossy(&answer).contains("|4|453|true"));
}

#[test]
fn damaged_input_harms_nobody_else() {
    let harness = Harness::start();
    let request = harness.request(0, "q", b"abc");
    for position in 0..request.len() {
        let mut damaged = request.to_vec();
        damaged[position] ^= 0xa5;
        let mut client = harness.connect();
        client.send(&damaged);
        client.0.shutdown(std::net::Shutdown::Write).expect("open");
    }
    assert!(harness.ask(0, "q", b"abc").text().ends_with("|3|294|false"));
    wait_for(|| harness.server.snapshot().connections == 0);
}

#[test]
fn multiplexing_is_refused_politely() {
    let harness = Harness::start();
    let mut client = harness.connect();
    client.send(&harness.head(1, "q", &[("CONTENT_LENGTH", "3")]));
    client.send(&begin(2, 1, 1));
    let refusal = client.record().expect("an answer");
    assert_eq!((refusal.kind, refusal.id, refusal.content[4]), (record::END_REQUEST, 2, Protocol::CannotMultiplex as u8));
    let mut body = BytesMut::new();
    record::put(&mut body, record::STDIN, 2, b"not mine");
    record::put(&mut body, record::STDIN, 1, b"abc");
    client.send(&body);
    assert!(client.response().text().ends_with("|3|294|false"));
}

#[test]
fn only_responders_are_known() {
    let harness = Harness::start();
    let mut client = harness.connect();
    client.send(&begin(1, 2, 1));
    assert_eq!(client.response().protocol, Some(Protocol::UnknownRole as u8));
    client.send(&harness.request(1, "q", b""));
    assert!(client.response().text().ends_with("|0|0|false"));
    client.send(&begin(1, 3, 0));
    assert_eq!(client.response().protocol, Some(Protocol::UnknownRole as u8));
    assert!(client.record().is_none(), "closed");
}

#[test]
fn management_records_are_answered_at_any_time() {
    let harness = Harness::start();
    let mut client = harness.connect();
    let mut asked = BytesMut::new();
    ["FCGI_MAX_CONNS", "FCGI_MPXS_CONNS", "OTHER"].iter().for_each(|name| params::put_pair(&mut asked, name.as_bytes(), b""));
    let mut management = BytesMut::new();
    record::put(&mut management, record::GET_VALUES, 0, &asked);
    record::put(&mut management, 77, 0, b"");
    client.send(&management);
    for within_a_request in [false, true] {
        if within_a_request {
            client.send(&harness.request(1, "wait", b""));
            client.send(&management);
        }
        let values = client.record().expect("values");
        assert_eq!((values.kind, values.id), (record::GET_VALUES_RESULT, 0));
        let values = params::Params::decode(values.content).expect("pairs").into_inner();
        assert_eq!(values, [("FCGI_MAX_CONNS".into(), "1000".into()), ("FCGI_MPXS_CONNS".into(), "0".into())]);
        let unknown = client.record().expect("an answer");
        assert_eq!((unknown.kind, unknown.content[0]), (record::UNKNOWN_TYPE, 77));
    }
}

#[test]
fn another_version_cuts_the_connection() {
    let harness = Harness::start();
    let mut client = harness.connect();
    client.send(b"GET / HTTP/1.0\r\n\r\n");
    assert!(matches!(client.0.read(&mut [0; 8]), Ok(0) | Err(_)));
}

#[test]
fn what_cannot_run_is_answered_as_php_fpm_does() {
    let harness = Harness::start();
    let root = harness.root.display().to_string();
    for (filename, status, body, log) in [
        ("/no.php", "404 Not Found", "File not found.\n", "Primary script unknown"),
        ("/x.txt", "403 Forbidden", "Access denied.\n", "(see security.limit_extensions)"),
    ] {
        let mut client = harness.connect();
        client.send(&harness.head(0, "", &[("SCRIPT_FILENAME", &format!("{root}{filename}"))]));
        let response = client.response();
        assert_eq!(response.text(), format!("Status: {status}\r\nContent-type: text/html; charset=UTF-8\r\n\r\n{body}"));
        assert!(String::from_utf8_lossy(&response.stderr).contains(log), "{filename}");
    }
}

#[test]
fn failures_have_a_status() {
    let harness = Harness::with(|_| {}, worker::Config { num_workers: 1, max_queue_size: 0, ..WORKERS });
    assert!(harness.ask(0, "lost", b"").text().starts_with("Status: 500 "));
    wait_for(|| harness.pool.snapshot().idle == 1);
    let mut busy = harness.connect();
    busy.send(&harness.request(0, "wait", b""));
    wait_for(|| harness.pool.snapshot().taken == 2);
    assert!(harness.ask(0, "q", b"").text().starts_with("Status: 503 Service Unavailable\r\n"));
    assert!(harness.ask(0, "q", b"").text().contains("Retry-After: 1\r\n"));
}

#[test]
fn monitoring_pages_need_no_worker() {
    let paths = |config: &mut Config| {
        config.status_path = Some("/status".to_owned());
        config.ping_path = Some("/ping".to_owned());
    };
    let harness = Harness::with(paths, worker::Config { num_workers: 0, ..WORKERS });
    let ask = |path: &str, method: &str| {
        let mut client = harness.connect();
        client.send(&harness.head(0, "json", &[("SCRIPT_FILENAME", path), ("SCRIPT_NAME", path), ("REQUEST_METHOD", method)]));
        client.response().text()
    };
    let ping = ask("/ping", "GET");
    assert!(ping.contains("Content-type: text/plain;charset=UTF-8\r\n") && ping.ends_with("\r\n\r\npong"), "{ping}");
    assert!(ask("/status", "GET").contains("\r\n\r\n{\"pool\":\"www\","));
    assert!(ask("/status", "HEAD").ends_with("\r\n\r\n"));
}

#[test]
fn clients_that_are_not_allowed_are_dropped() {
    let harness = Harness::with(|config| config.allowed_clients = vec!["192.0.2.1".parse().expect("an address")], WORKERS);
    assert!(matches!(harness.connect().0.read(&mut [0; 8]), Ok(0) | Err(_)));
    assert_eq!(harness.server.snapshot().disallowed, 1);
}

#[test]
fn a_stop_lets_requests_end_and_closes_idle_connections() {
    let harness = Harness::start();
    let mut idle = harness.connect();
    idle.send(&harness.request(1, "q", b""));
    idle.response();
    let mut busy = harness.connect();
    busy.send(&harness.head(1, "q", &[("CONTENT_LENGTH", "3")]));
    wait_for(|| harness.server.snapshot().requests == 2);
    harness.server.stop(None);
    assert!(idle.record().is_none(), "closed");
    let mut body = BytesMut::new();
    record::put(&mut body, record::STDIN, 1, b"abc");
    busy.send(&body);
    assert!(busy.response().text().ends_with("|3|294|false"));
    assert!(busy.record().is_none(), "closed after it");
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < end, "it did not come about");
        thread::sleep(Duration::from_millis(1));
    }
}
