//! Fuzz target: a web server's records, up to what scripts are told of its requests.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::Notify,
};

use super::{Config, Connection, FpmStatus, Shared, StatusSource, record};
use crate::{
    fuzz::finish,
    http::{Drain, accept::Stream, crowd::Listened, spool::Place},
    worker::{self, Head, Next, Pool, Reply, ReplyBody, Seat, Source, Variables, Work},
};

struct Nothing;

/// All that comes over a connection. Files that a script may be are those of the system; `/etc/passwd` is there.
pub(crate) fn fastcgi(input: &[u8]) {
    let pool = Pool::new(worker::Config { num_workers: 1, max_queue_size: 10, allocate_timeout: Duration::from_secs(10) });
    let drain = Drain::new();
    let shared = Arc::new(Shared {
        settings: config(),
        pool: pool.clone(),
        status: Arc::new(Nothing),
        drain: drain.clone(),
        disallowed: AtomicU64::new(0),
        requests: AtomicU64::new(0),
    });
    finish(async {
        let (server, mut client) = UnixStream::pair().expect("a pair");
        let (mut reading, mut writing) = client.split();
        let write = async {
            // A server that has had enough closes.
            drop(writing.write_all(input).await);
            drop(writing.shutdown().await);
        };
        let mut answers = Vec::new();
        let talk = async {
            let connection = Connection::new(Stream::Unix(server), shared, drain.open(&Listened::default())).run();
            // A server that closes with bytes unread resets the connection.
            tokio::join!(write, connection, async { drop(reading.read_to_end(&mut answers).await) });
        };
        let seat = pool.seat();
        tokio::select! {
            () = talk => {}
            () = work(&seat) => {}
        }
        let mut answers = BytesMut::from(&answers[..]);
        while let Some(record) = record::decode(&mut answers).expect("records come back") {
            let kinds = [record::STDOUT, record::STDERR, record::END_REQUEST, record::GET_VALUES_RESULT, record::UNKNOWN_TYPE];
            assert!(kinds.contains(&record.kind), "{record:?}");
        }
    });
}

async fn work(seat: &Seat) {
    let bell = Arc::new(Notify::new());
    loop {
        let ring = bell.clone();
        match seat.poll(move || ring.notify_one()) {
            Some(Next::Work(work)) => answer(work),
            Some(_) => {}
            None => bell.notified().await,
        }
    }
}

fn answer(work: Work) {
    let request = &work.request;
    let path = &request.script.filename;
    assert!(!path.split(|byte| *byte == b'/').any(|part| part == b".."), "{}", path.escape_ascii());
    let Source::FastCgi(params) = &request.source else { panic!("not of FastCGI: {request:?}") };
    assert!(params.iter().all(|(name, _)| name != "HTTP_PROXY"));
    assert!(request.ini.iter().all(|value| !value.name.is_empty() && !value.value.contains('\n')));
    let mut variables = Variables::default();
    variables.fill_server(request);
    // Header fields of odd names are not shown.
    assert!(variables.iter().all(|(name, value)| params.iter().any(|(given, told)| given == name && told == value)));
    variables.fill_headers(request);
    request.cookies(&mut Vec::new());
    let body = Bytes::from(request.body.len().to_string());
    let head = Head { status: StatusCode::OK, reason: None, headers: HeaderMap::new(), lines: Vec::new() };
    work.responder.send(Ok(Reply { head, body: ReplyBody::Whole(body), log: String::new(), request: None }));
}

fn config() -> Config {
    Config {
        allowed_clients: Vec::new(),
        max_connections: 10,
        limit_extensions: Vec::new(),
        status_path: None,
        ping_path: Some("/ping".into()),
        ping_response: "pong".into(),
        powered_by: None,
        max_request_size: 64 * 1024,
        max_header_bytes: 64 << 10,
        max_headers: 100,
        max_uri: 16 << 10,
        place: Place::new(1 << 20, 0, PathBuf::from("/proc/none")),
        body_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(10),
        fix_pathinfo: true,
        request_ids: Arc::default(),
    }
}

// === impl Nothing ===

impl StatusSource for Nothing {
    fn snapshot(&self, _full: bool) -> FpmStatus {
        unreachable!("there is no status page")
    }
}
