//! Fuzz target: a client's bytes, up to what scripts and workers are told of its requests.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Arrival, Config, Handler, Protocol, Server};
use crate::{
    fuzz::finish,
    http::{
        Body, Drain, Incoming, Peer,
        crowd::Listened,
        request::Limits,
        route,
        service::{head, host_of},
        spool::Place,
        subnet::Subnets,
    },
    worker::{self, Script, Source, Variables, roadrunner},
};

/// Keeps what requests become.
#[derive(Clone, Default)]
struct Keep(Arc<Mutex<Vec<worker::Request>>>);

/// A connection of HTTP/1 or HTTP/2; the first byte says in which pieces it comes.
pub(crate) fn http(input: &[u8]) {
    let Some((&piece, bytes)) = input.split_first() else { return };
    let keep = Keep::default();
    finish(async {
        let (ours, mut client) = tokio::io::duplex(if piece == 0 { 64 * 1024 } else { usize::from(piece) });
        let server = Server::new(Arc::new(config()), keep.clone(), Drain::new());
        let peer = Peer { remote: "192.0.2.1:4711".parse().ok(), local: "192.0.2.2:80".parse().ok(), ..Peer::default() };
        let (mut reading, mut writing) = tokio::io::split(&mut client);
        let mut answers = Vec::new();
        let write = async {
            // A server that has had enough closes.
            drop(writing.write_all(bytes).await);
            drop(writing.shutdown().await);
        };
        let (_, read, ()) = tokio::join!(write, reading.read_to_end(&mut answers), server.connection(ours, arrival(peer)));
        read.expect("its end");
    });
    let mut requests = keep.0.lock().expect("nobody has panicked");
    requests.iter_mut().for_each(told);
}

/// What scripts see of `request`, by themselves and as RoadRunner's workers.
fn told(request: &mut worker::Request) {
    let mut variables = Variables::default();
    variables.fill_server(request);
    let mut names = HashSet::new();
    for (name, value) in variables.iter() {
        assert!(names.insert(name), "{} is there twice", name.escape_ascii());
        assert!(name != b"HTTP_PROXY");
        assert!(!value.iter().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n')), "{} breaks its line", name.escape_ascii());
    }
    variables.fill_headers(request);
    variables.fill_header_lines(request);
    request.cookies(&mut Vec::new());
    let settings = roadrunner::Settings { uploads: "/proc/none".into(), ..roadrunner::Settings::default() };
    if let Ok(encoded) = roadrunner::encode(request, &[], &settings) {
        serde_json::from_slice::<serde_json::Value>(&encoded.context).expect("a context is JSON");
    }
}

// === impl Keep ===

impl Handler for Keep {
    async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let (raw, query) = target.split_once('?').unwrap_or((&target, ""));
        let name = match route::decode(raw) {
            Some(path) => path.into_owned(),
            None => "/".to_owned(),
        };
        let limits = Limits {
            max_size: 64 * 1024,
            idle_timeout: Duration::from_secs(10),
            min_rate: 0,
            drain: Drain::new(),
            place: Place::new(1 << 20, 0, "/proc/none".into()),
        };
        let Ok(body) = limits.receive(body).await else {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        };
        let (query, host) = (query.to_owned(), host_of(&parts, &peer));
        let head = head(parts, target, query, host, &body, peer);
        self.0.lock().expect("nobody has panicked").push(worker::Request {
            id: 1,
            received: SystemTime::UNIX_EPOCH,
            script: Script {
                filename: "/x.php".into(),
                name: "/x.php".into(),
                path_info: name.into(),
                document_root: "/".into(),
            },
            source: Source::Http(head),
            body,
            ini: Vec::new(),
            interim: None,
            phases: None,
        });
        Response::new(Body::Empty)
    }
}

fn arrival(peer: Peer) -> Arrival {
    Arrival { peer, protocol: Protocol::Sniff, listened: Listened::default() }
}

fn config() -> Config {
    Config {
        max_header_bytes: 4 * 1024,
        max_headers: 20,
        max_uri: 1024,
        header_timeout: Duration::from_secs(10),
        keepalive_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(10),
        keepalive_requests: 10,
        max_connections: 1,
        max_per_listener: usize::MAX,
        max_per_client: usize::MAX,
        exempt: Subnets::default(),
        max_age: None,
        heads_make_room: false,
        h2c: true,
        max_concurrent_streams: 10,
        drain_idle: Duration::from_secs(1),
    }
}
