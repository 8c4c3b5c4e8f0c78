//! The listener, spoken to in frames.

mod refusals;
mod services;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinHandle,
};

use super::*;
use crate::worker::{
    Control, Controls, CurrentWork, Done, WorkerRow, WorkerStatus,
    goridge::{Decoder, Flags, Frame},
};

/// A service that does what its method says.
struct Test {
    gate: Arc<Semaphore>,
    done: Arc<AtomicUsize>,
}

impl Service for Test {
    fn name(&self) -> &str {
        "test"
    }

    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
        Box::pin(async move {
            match method {
                "Echo" => Ok(argument),
                "Wait" => {
                    self.gate.acquire().await.expect("never closed").forget();
                    self.done.fetch_add(1, SeqCst);
                    Ok(argument)
                }
                "Big" => argument.reply_bytes(&vec![b'x'; 3 << 20]),
                "Panic" => panic!("as asked"),
                _ => Err(Error::UnknownMethod),
            }
        })
    }
}

/// A pool of two workers that can be reset but not resized.
#[derive(Default)]
struct Pool(AtomicUsize);

impl Control for Pool {
    fn name(&self) -> &str {
        "http"
    }

    fn workers(&self) -> Vec<WorkerRow> {
        let created = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_001);
        let row = WorkerRow {
            pid: 7,
            status: WorkerStatus::Ready,
            executions: 3,
            created,
            memory: 1 << 20,
            cpu_percent: 1.5,
            command: String::new(),
            current: None,
        };
        let current = Some(CurrentWork { name: "GET /slow".into(), since: created });
        vec![row.clone(), WorkerRow { pid: 8, status: WorkerStatus::Working, current, ..row }]
    }

    fn reset(&self) -> Done<'_> {
        Box::pin(async {
            self.0.fetch_add(1, SeqCst);
            Ok(())
        })
    }
}

struct Running {
    address: SocketAddr,
    server: Arc<Server>,
    serving: JoinHandle<io::Result<()>>,
    gate: Arc<Semaphore>,
    done: Arc<AtomicUsize>,
    pool: Arc<Pool>,
}

fn start(config: Config) -> Running {
    let (gate, done, pool) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Pool::default()));
    let test = Test { gate: gate.clone(), done: done.clone() };
    let pools = Controls::new(vec![pool.clone()]);
    let about = About { version: "2026.1.0".into(), config: r#"{"a":1}"#.into() };
    let services: Vec<Arc<dyn Service>> =
        vec![Arc::new(test), Arc::new(about), Arc::new(Informer::new(pools.clone())), Arc::new(Resetter::new(pools))];
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(config.build(vec![Socket::Tcp(listener)], Services::new(services)));
    let serving = tokio::spawn({
        let server = server.clone();
        async move { server.serve().await }
    });
    Running { address, server, serving, gate, done, pool }
}

fn call(sequence: u32, method: &str, flags: Flags, argument: impl AsRef<[u8]>) -> Frame {
    let payload = [method.as_bytes(), argument.as_ref()].concat();
    Frame::new(flags, payload).with_options(&[sequence, u32::try_from(method.len()).unwrap()])
}

struct Caller {
    stream: TcpStream,
    decoder: Decoder,
}

impl Caller {
    async fn connect(running: &Running) -> Self {
        Self { stream: TcpStream::connect(running.address).await.unwrap(), decoder: Decoder::new(16 << 20) }
    }

    async fn send(&mut self, frame: &Frame) {
        self.stream.write_all(&frame.to_bytes().unwrap()).await.unwrap();
    }

    /// The next answer; none once the server has closed.
    async fn read(&mut self) -> Option<Frame> {
        let next = async {
            loop {
                if let Some(frame) = self.decoder.next().unwrap() {
                    return Some(frame);
                }
                match self.stream.read_buf(self.decoder.room()).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), next).await.expect("an answer or an end")
    }

    /// Calls and gives the flags and what follows the method's name.
    async fn ask(&mut self, method: &str, flags: Flags, argument: impl AsRef<[u8]>) -> (Flags, Bytes) {
        self.send(&call(9, method, flags, argument)).await;
        let frame = self.read().await.expect("an answer");
        let options = frame.header.options;
        assert_eq!((options[0], &frame.payload[..options[1] as usize]), (9, method.as_bytes()));
        (frame.header.flags, frame.payload.slice(options[1] as usize..))
    }

    async fn json(&mut self, method: &str, argument: Value) -> Result<Value, String> {
        let (flags, body) = self.ask(method, Flags::JSON, argument.to_string()).await;
        match flags {
            Flags::JSON => Ok(serde_json::from_slice(&body).unwrap()),
            flags => {
                assert_eq!(flags, Flags::JSON | Flags::ERROR);
                Err(String::from_utf8(body.to_vec()).unwrap())
            }
        }
    }
}

// === calls ===

#[tokio::test]
async fn a_call_is_answered_in_its_codec() {
    let running = start(Config::default());
    let mut caller = Caller::connect(&running).await;
    for (flags, argument) in [
        (Flags::JSON, &b"[1]"[..]),
        (Flags::RAW, b"\0\xff"),
        (Flags::MSGPACK, b"\x91\x01"),
        (Flags::PROTO, b"\x08\x01"),
        (Flags::PROTO, b""),
    ] {
        assert_eq!(caller.ask("test.Echo", flags, argument).await, (flags, Bytes::copy_from_slice(argument)));
    }
}

#[tokio::test]
async fn errors_are_gos() {
    let running = start(Config::default());
    let mut caller = Caller::connect(&running).await;
    for (method, expected) in [
        ("nodot", "rpc: service/method request ill-formed: nodot"),
        ("", "rpc: service/method request ill-formed: "),
        ("nobody.List", "rpc: can't find service nobody.List"),
        ("informer.Fire", "rpc: can't find method informer.Fire"),
        ("informer.list", "rpc: can't find method informer.list"),
    ] {
        assert_eq!(caller.json(method, json!(true)).await.unwrap_err(), expected);
    }
    let wrong = caller.json("informer.Workers", json!(5)).await.unwrap_err();
    assert!(wrong.starts_with("json argument: invalid type: integer `5`"), "{wrong}");
    let (flags, text) = caller.ask("informer.List", Flags::GOB, "").await;
    assert!(flags == Flags::GOB | Flags::ERROR && text.starts_with(b"gob is not spoken here"), "{text:?}");
    let (flags, text) = caller.ask("informer.List", Flags::default(), "").await;
    assert!(flags == Flags::ERROR && text.starts_with(b"no codec flag is set"), "{text:?}");
    let (flags, text) = caller.ask("rpc.Version", Flags::PROTO, "").await;
    assert_eq!((flags, &text[..]), (Flags::PROTO | Flags::ERROR, &b"message type is not a proto"[..]));
    let (_, text) = caller.ask("informer.List", Flags::RAW, "").await;
    assert_eq!(&text[..], b"unknown Raw payload type");
    // The connection has lived through all of it.
    assert_eq!(caller.json("rpc.Version", json!(true)).await, Ok(json!("2026.1.0")));
}

#[tokio::test]
async fn answers_come_in_the_order_of_completion() {
    let running = start(Config::default());
    let mut caller = Caller::connect(&running).await;
    caller.send(&call(1, "test.Wait", Flags::JSON, "1")).await;
    for sequence in 2..20 {
        caller.send(&call(sequence, "test.Echo", Flags::JSON, "1")).await;
    }
    let mut answered = Vec::new();
    for _ in 2..20 {
        answered.push(caller.read().await.unwrap().header.options[0]);
    }
    answered.sort_unstable();
    assert_eq!(answered, (2..20).collect::<Vec<_>>());
    running.gate.add_permits(1);
    assert_eq!(caller.read().await.unwrap().header.options[..], [1, 9]);
}

#[tokio::test]
async fn more_calls_than_may_be_in_progress_wait_their_turn() {
    let running = start(Config { max_calls: 3, ..Config::default() });
    let mut caller = Caller::connect(&running).await;
    for sequence in 0..50 {
        caller.send(&call(sequence, "test.Wait", Flags::JSON, "1")).await;
    }
    // The rest of what was asked is served though the client has no more to say.
    caller.stream.shutdown().await.unwrap();
    running.gate.add_permits(50);
    let mut answered = Vec::new();
    while let Some(frame) = caller.read().await {
        answered.push(frame.header.options[0]);
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn large_results_and_small_pieces_are_no_trouble() {
    let running = start(Config::default());
    let mut caller = Caller::connect(&running).await;
    let (_, body) = caller.ask("test.Big", Flags::RAW, "").await;
    assert_eq!(body.len(), 3 << 20);
    let bytes = call(5, "test.Echo", Flags::JSON, "\"slowly\"").to_bytes().unwrap();
    for byte in bytes {
        caller.stream.write_all(&[byte]).await.unwrap();
        caller.stream.flush().await.unwrap();
    }
    assert_eq!(caller.read().await.unwrap().payload, "test.Echo\"slowly\"");
}

#[tokio::test]
async fn what_was_asked_is_done_though_the_client_has_gone() {
    let running = start(Config::default());
    let mut caller = Caller::connect(&running).await;
    caller.send(&call(1, "test.Wait", Flags::JSON, "1")).await;
    caller.send(&call(2, "test.Echo", Flags::JSON, "1")).await;
    caller.read().await.unwrap();
    drop(caller);
    running.gate.add_permits(1);
    while running.done.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    running.server.stop();
    running.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_answers_calls_and_closes_idle_connections() {
    let running = start(Config::default());
    let (mut busy, mut idle) = (Caller::connect(&running).await, Caller::connect(&running).await);
    idle.json("rpc.Version", json!(true)).await.unwrap();
    busy.send(&call(1, "test.Wait", Flags::JSON, "1")).await;
    busy.json("rpc.Version", json!(true)).await.unwrap();
    running.server.stop();
    assert_eq!(idle.read().await, None);
    assert!(!running.serving.is_finished());
    running.gate.add_permits(1);
    assert_eq!(busy.read().await.unwrap().header.options[0], 1);
    assert_eq!(busy.read().await, None);
    running.serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_ok(), "the socket belongs to others, who may hand it on");
}

#[tokio::test]
async fn a_service_that_panics_costs_its_caller_the_connection_and_nobody_else() {
    let running = start(Config::default());
    let (mut caller, mut other) = (Caller::connect(&running).await, Caller::connect(&running).await);
    caller.send(&call(1, "test.Panic", Flags::JSON, "1")).await;
    assert_eq!(caller.read().await, None);
    assert!(other.json("rpc.Version", json!(true)).await.is_ok());
}
