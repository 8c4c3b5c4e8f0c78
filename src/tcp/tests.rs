//! Real sockets, and a worker that is a closure.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use serde_json::Value;

use super::*;
use crate::{
    http::listen,
    worker::{self, Body, Next, Pool, Reply, ReplyBody, Script, Work},
};

/// An event as the worker was told of it: its name, the connection and the body.
type Event = (String, String, String);

const PATIENCE: Duration = Duration::from_secs(30);

/// A running server of one endpoint, whose events can be read.
struct Running {
    server: Arc<Server>,
    port: u16,
    events: Receiver<Event>,
    pool: Pool,
    threads: Vec<thread::JoinHandle<()>>,
}

/// Starts a server; `answer` says a command and a body for an event and its body.
fn running(config: Config, answer: impl Fn(&str, &str) -> (&'static str, String) + Send + 'static) -> Running {
    running_at("127.0.0.1:0", config, answer)
}

fn running_at(address: &str, config: Config, answer: impl Fn(&str, &str) -> (&'static str, String) + Send + 'static) -> Running {
    let listeners = address.parse::<listen::Address>().unwrap().listen(16, listen::Scope::Any).unwrap();
    let port = listeners.addresses().first().map_or(0, |address| address.port());
    let (server, pool) = server(listeners, config);
    let (tell, events) = channel();
    let worker = thread::spawn({
        let pool = pool.clone();
        move || work(&pool, &tell, answer)
    });
    let io = thread::spawn({
        let server = server.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                server.serve().await.unwrap();
                assert!(server.wait(Instant::now() + PATIENCE).await);
            });
        }
    });
    Running { server, port, events, pool, threads: vec![worker, io] }
}

/// A server of one endpoint, and the pool of its workers.
fn server(listeners: Listeners, config: Config) -> (Arc<Server>, Pool) {
    let pool = Pool::new(worker::Config { num_workers: 1, max_queue_size: 100, allocate_timeout: PATIENCE });
    let script = Script { filename: "".into(), name: "".into(), path_info: "".into(), document_root: "".into() };
    let endpoint = Endpoint { name: "echo".into(), delimiter: b"\r\n".to_vec(), listeners };
    (Arc::new(config.build(vec![endpoint], Tasks::new(pool.clone(), script, Arc::default()))), pool)
}

fn work(pool: &Pool, tell: &Sender<Event>, answer: impl Fn(&str, &str) -> (&'static str, String)) {
    let seat = pool.seat();
    while let Next::Work(Work { request, responder, .. }) = seat.next() {
        let context: Value = serde_json::from_slice(&request.task().unwrap().context).unwrap();
        assert_eq!(context["server"], "echo");
        assert!(["127.0.0.1:", "unix:"].iter().any(|known| context["remote_addr"].as_str().unwrap().starts_with(known)));
        let text = |key: &str| context[key].as_str().unwrap().to_owned();
        let body = match request.body {
            Body::Memory(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            _ => String::new(),
        };
        let (command, said) = answer(&text("event"), &body);
        // A test that has seen enough does not listen any more.
        drop(tell.send((text("event"), text("uuid"), body)));
        responder.send(Ok(match command {
            "ERROR" => Reply::task_error(said.as_bytes()),
            "DIE" => continue,
            command => Reply::of_task(command.as_bytes(), ReplyBody::Whole(said.into())),
        }));
    }
}

// === impl Running ===

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The next event but for its connection, which is returned too.
    fn event(&self) -> ((String, String), String) {
        let (event, uuid, body) = self.events.recv_timeout(PATIENCE).unwrap();
        ((event, body), uuid)
    }

    fn expect(&self, event: &str, body: &str) -> String {
        let (seen, uuid) = self.event();
        assert_eq!(seen, (event.to_owned(), body.to_owned()));
        uuid
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.stop(false);
        self.pool.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() && !thread::panicking() {
                panic!("a thread of the server has panicked");
            }
        }
    }
}

fn all(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn echo(event: &str, body: &str) -> (&'static str, String) {
    match (event, body) {
        ("CONNECTED", _) => ("WRITE", "hello\r\n".into()),
        (_, "quiet\r\n") => ("CONTINUE", "unseen".into()),
        (_, "bye\r\n") => ("WRITECLOSE", "bye\r\n".into()),
        (_, "cut\r\n") => ("CLOSE", "unseen".into()),
        (_, "nonsense\r\n") => ("WHAT", "unseen".into()),
        (_, "error\r\n") => ("ERROR", "it broke".into()),
        _ => ("WRITE", body.to_uppercase()),
    }
}

#[test]
fn messages_are_told_and_commands_are_obeyed() {
    let running = running(Config::default(), echo);
    let mut client = running.connect();
    // Two and a half messages in one piece; the rest comes when the first has been answered.
    client.write_all(b"one\r\nquiet\r\ntw").unwrap();
    let uuid = running.expect("CONNECTED", "");
    running.expect("DATA", "one\r\n");
    running.expect("DATA", "quiet\r\n");
    client.write_all(b"o\r\nbye\r\nnever\r\n").unwrap();
    assert_eq!(all(client), "hello\r\nONE\r\nTWO\r\nbye\r\n");
    running.expect("DATA", "two\r\n");
    running.expect("DATA", "bye\r\n");
    assert_eq!(running.expect("CLOSE", ""), uuid);
}

#[test]
fn whatever_is_no_command_closes() {
    let running = running(Config::default(), echo);
    for last in ["cut\r\n", "nonsense\r\n", "error\r\n"] {
        let mut client = running.connect();
        client.write_all(last.as_bytes()).unwrap();
        assert_eq!(all(client), "hello\r\n");
        running.expect("CONNECTED", "");
        running.expect("DATA", last);
        running.expect("CLOSE", "");
    }
}

#[test]
fn a_worker_that_fails_at_the_greeting_is_told_of_the_close() {
    for failure in ["ERROR", "DIE"] {
        let running =
            running(Config::default(), move |event, _| (if event == "CONNECTED" { failure } else { "CONTINUE" }, "no".into()));
        let client = running.connect();
        let uuid = running.expect("CONNECTED", "");
        assert_eq!(running.expect("CLOSE", ""), uuid, "{failure}");
        assert_eq!(all(client), "");
    }
}

#[test]
fn what_no_worker_has_heard_of_is_not_closed_for_it() {
    let running = running(Config::default(), echo);
    running.pool.close();
    assert_eq!(all(running.connect()), "");
    assert!(running.events.recv().is_err(), "the worker has left without an event");
}

#[test]
fn what_a_client_says_last_is_told_before_its_leaving() {
    let running = running(Config::default(), echo);
    let mut client = running.connect();
    client.write_all(b"one\r\nrest").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(all(client), "hello\r\nONE\r\nREST");
    let told: Vec<_> = (0..4).map(|_| running.event().0.0).collect();
    assert_eq!(told, ["CONNECTED", "DATA", "DATA", "CLOSE"]);
}

#[test]
fn a_connection_can_be_closed_from_elsewhere() {
    let running = running(Config::default(), echo);
    let client = running.connect();
    let uuid = running.expect("CONNECTED", "");
    assert!(!running.server.close("another"));
    assert!(running.server.close(&uuid));
    assert_eq!(running.expect("CLOSE", ""), uuid);
    // It is cut, perhaps before the greeting.
    let mut text = Vec::new();
    drop((&client).read_to_end(&mut text));
    assert!(b"hello\r\n".starts_with(&text));
}

#[test]
fn bounds_close_connections() {
    let small = Config { max_message: 10, read_size: 4, idle_timeout: PATIENCE, ..Config::default() };
    let running_small = running(small, echo);
    for long in ["0123456789a", "012345678\r\n"] {
        let mut client = running_small.connect();
        running_small.expect("CONNECTED", "");
        client.write_all(long.as_bytes()).unwrap();
        running_small.expect("CLOSE", "");
        assert_eq!(all(client), "hello\r\n");
    }
    let silent = running(Config { idle_timeout: Duration::from_millis(20), ..Config::default() }, echo);
    assert_eq!(all(silent.connect()), "hello\r\n");
    silent.expect("CONNECTED", "");
    silent.expect("CLOSE", "");
    // Nobody reads the answer, which is larger than any socket's buffer.
    let answer = |event: &str, _: &str| (if event == "DATA" { "WRITE" } else { "CONTINUE" }, "x".repeat(64 << 20));
    let stuck = running(Config { write_timeout: Duration::from_millis(50), ..Config::default() }, answer);
    let mut client = stuck.connect();
    client.write_all(b"go\r\n").unwrap();
    assert_eq!(stuck.event().0.0, "CONNECTED");
    assert_eq!(stuck.event().0.0, "DATA");
    assert_eq!(stuck.event().0.0, "CLOSE");
}

#[test]
fn long_messages_share_memory_and_short_ones_pass() {
    let config = Config { read_size: 4096, max_message: 200 << 10, max_memory: 1, ..Config::default() };
    let (half, whole) = ("x".repeat(150 << 10), format!("{}\r\n", "x".repeat(150 << 10)));
    let running = running(config, |event, body| match event {
        "DATA" => ("WRITE", format!("{}\r\n", body.len())),
        _ => ("CONTINUE", String::new()),
    });
    let free = || running.server.shared.memory.free();
    let wait_until = |done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "{} bytes are free", free());
            thread::yield_now();
        }
    };
    let mut first = running.connect();
    running.expect("CONNECTED", "");
    first.write_all(half.as_bytes()).unwrap();
    wait_until(&|| free() == 54 << 10);
    let mut second = running.connect();
    let uuid = running.expect("CONNECTED", "");
    // The server stops reading at its bound, so that the client may find its connection broken.
    drop(second.write_all(half.as_bytes()));
    assert_eq!(running.expect("CLOSE", ""), uuid);
    wait_until(&|| free() == 54 << 10);
    let mut third = running.connect();
    running.expect("CONNECTED", "");
    third.write_all(b"short\r\n").unwrap();
    running.expect("DATA", "short\r\n");
    first.write_all(b"\r\n").unwrap();
    running.expect("DATA", &whole);
    wait_until(&|| free() == 204 << 10);
    third.write_all(whole.as_bytes()).unwrap();
    running.expect("DATA", &whole);
    third.shutdown(Shutdown::Write).unwrap();
    assert_eq!(all(third), "7\r\n153602\r\n");
}

#[test]
fn a_stop_closes_what_waits_and_tells_of_it() {
    let running = running(Config::default(), echo);
    let mut client = running.connect();
    client.write_all(b"one\r\n").unwrap();
    running.expect("CONNECTED", "");
    running.expect("DATA", "one\r\n");
    running.server.stop(false);
    running.expect("CLOSE", "");
    assert_eq!(all(client), "hello\r\nONE\r\n");
    assert_eq!(running.server.snapshot().accepted, 1);
}

#[test]
fn a_stop_finishes_what_has_arrived_and_nothing_more() {
    stopped_while_at_work(|client| client.write_all(b"late\r\n").unwrap(), &[]);
}

#[test]
fn a_stop_finishes_the_last_words_of_a_client_that_has_left() {
    stopped_while_at_work(|_| (), &["rest"]);
}

/// A stop while the first of many messages is at work, of which all others have arrived, `last` and the end too if there are
/// any. Then the client does `after`.
fn stopped_while_at_work(after: impl Fn(&mut UnixStream), last: &[&str]) {
    // What is written to a unix socket has arrived.
    let path = std::env::temp_dir().join(format!("rr-tcp-{}-{}.sock", std::process::id(), last.len()));
    let (begun, begins) = channel();
    let (go, gate) = channel::<()>();
    let answer = move |event: &str, body: &str| {
        if event == "DATA" {
            begun.send(()).unwrap();
            gate.recv().unwrap();
        }
        echo(event, body)
    };
    // A read for each message.
    let config = Config { read_size: 5, ..Config::default() };
    let running = running_at(&format!("unix:{}", path.display()), config, answer);
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"one\r\n").unwrap();
    begins.recv_timeout(PATIENCE).unwrap();
    let messages: Vec<_> = ["two\r\n"; 20].iter().chain(last).copied().collect();
    client.write_all(messages.concat().as_bytes()).unwrap();
    if !last.is_empty() {
        client.shutdown(Shutdown::Write).unwrap();
    }
    running.server.stop(false);
    go.send(()).unwrap();
    begins.recv_timeout(PATIENCE).unwrap();
    after(&mut client);
    messages.iter().for_each(|_| go.send(()).unwrap());
    running.expect("CONNECTED", "");
    running.expect("DATA", "one\r\n");
    for message in &messages {
        running.expect("DATA", message);
    }
    running.expect("CLOSE", "");
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, format!("hello\r\nONE\r\n{}", messages.concat().to_uppercase()));
}

#[tokio::test]
async fn a_hand_over_leaves_whom_nobody_has_accepted_to_the_next() {
    let listeners = "127.0.0.1:0".parse::<listen::Address>().unwrap().listen(16, listen::Scope::Any).unwrap();
    let address = listeners.addresses()[0];
    let (server, _pool) = server(listeners.clone(), Config::default());
    let serving = tokio::spawn({
        let server = server.clone();
        async move { server.serve().await }
    });
    tokio::task::yield_now().await;
    // On a current-thread runtime the accept loop cannot run between these lines.
    let client = TcpStream::connect(address).unwrap();
    server.stop(true);
    assert!(server.wait(Instant::now() + PATIENCE).await);
    serving.await.unwrap().unwrap();
    assert_eq!(server.snapshot().accepted, 0);
    let (next, _) = listeners.duplicates().unwrap().remove(0);
    let next = std::net::TcpListener::from(next);
    next.set_nonblocking(false).unwrap();
    assert_eq!(next.accept().unwrap().1, client.local_addr().unwrap());
}

#[test]
fn names_are_uuids_of_version_4() {
    assert_eq!(uuid([0, 0]), "00000000-0000-4000-8000-000000000000");
    assert_eq!(uuid([u64::MAX, u64::MAX]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_eq!(uuid([0x0123_4567_89ab_cdef, 0x3edc_ba98_7654_3210]), "01234567-89ab-4def-bedc-ba9876543210");
}
