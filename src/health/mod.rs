//! Health checks over HTTP: RoadRunner's `status` plugin, and what Kubernetes asks.
//!
//! | path | asks | says no |
//! |---|---|---|
//! | `/livez` | does the server live? | never: also while it drains, or starts another engine, it does |
//! | `/readyz` | should it be given requests? | until every pool has booted, and from the moment it is told to stop |
//! | `/health`, `/ready` | what of each plugin? `?plugin=http&plugin=…` chooses | while one of those asked for has no worker |
//! | `/jobs` | what of each pipeline? | while the server stops |
//!
//! No is `status.unavailable_status_code`. The answers come from the process that outlives engines, so they come also while none
//! lives; what engines know is read off their scoreboard.

mod report;

use std::{collections::VecDeque, convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinSet};

use crate::{net::Socket, telemetry::Seldom, worker::scoreboard::Scoreboard};

use report::Report;

/// What the listener is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The status code that says no.
    pub unavailable: StatusCode,
    /// How long a connection may wait for its request, and an answer for its reader.
    pub timeout: Duration,
    /// Connections at once on each socket; for one more the oldest is closed.
    pub max_connections: usize,
}

/// What is known of the server. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<State>>);

/// Whether the server works.
#[derive(Clone, Debug, Default)]
pub enum State {
    /// No engine serves: the first one boots, or another one does.
    #[default]
    Down,
    /// The engines that write there serve.
    Serving(Vec<Scoreboard>),
    /// It was told to stop.
    Stopping,
}

/// A listener at work; it ends when this is dropped.
#[derive(Debug)]
pub struct Server(AbortHandle);

const RETRY: Duration = Duration::from_millis(100);

// === impl Health ===

impl Health {
    /// From here on this holds.
    pub fn set(&self, state: State) {
        *self.0.lock() = state;
    }

    fn report(&self) -> Report {
        match &*self.0.lock() {
            State::Down => Report::Down,
            State::Serving(boards) => Report::Serving(ready_somewhere(boards)),
            State::Stopping => Report::Stopping,
        }
    }
}

/// Of each plugin, whether one of the engines can do its works.
fn ready_somewhere(boards: &[Scoreboard]) -> Vec<(String, bool)> {
    let mut all: Vec<(String, bool)> = Vec::new();
    for (name, is_ready) in boards.iter().flat_map(|board| board.plugins()) {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, ready)) => *ready |= is_ready,
            None => all.push((name, is_ready)),
        }
    }
    all
}

// === impl Server ===

impl Server {
    /// Answers on `sockets`, in the background of the runtime it is called in.
    pub fn start(sockets: Vec<Socket>, config: Config, health: Health) -> io::Result<Self> {
        let config = Arc::new(config);
        let mut accepting = JoinSet::new();
        for socket in sockets {
            let listener = socket.register()?;
            let (config, health) = (config.clone(), health.clone());
            accepting.spawn(async move {
                // Ends them all with this loop.
                let mut connections = JoinSet::new();
                let mut open = VecDeque::new();
                loop {
                    match listener.accept().await {
                        Ok(stream) => {
                            while connections.try_join_next().is_some() {}
                            open.retain(|connection: &AbortHandle| !connection.is_finished());
                            if open.len() >= config.max_connections
                                && let Some(oldest) = open.pop_front()
                            {
                                // Whoever keeps a place for nothing must not keep a check from being answered.
                                oldest.abort();
                            }
                            let (config, health) = (config.clone(), health.clone());
                            open.push_back(connections.spawn(async move {
                                converse(TokioIo::new(stream), &config, health).await;
                            }));
                        }
                        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                        Err(error) => {
                            // Out of descriptors, as a rule: they come back when connections end.
                            static SELDOM: Seldom = Seldom::new();
                            if let Some(unsaid) = SELDOM.say() {
                                tracing::warn!(%error, unsaid, "status.address: cannot accept connections; they wait");
                            }
                            tokio::time::sleep(RETRY).await;
                        }
                    }
                }
            });
        }
        let all = tokio::spawn(async move { while accepting.join_next().await.is_some() {} });
        Ok(Self(all.abort_handle()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn converse(stream: TokioIo<Box<dyn crate::net::Stream>>, config: &Config, health: Health) {
    let unavailable = config.unavailable;
    let service = service_fn(async |request: Request<Incoming>| Ok::<_, Infallible>(answer(&request, &health, unavailable)));
    let mut http = http1::Builder::new();
    // One request each: a check is rare, and its connection must not keep others from theirs.
    http.timer(TokioTimer::new()).header_read_timeout(config.timeout).keep_alive(false);
    let connection = http.serve_connection(stream, service);
    // A client that goes, or speaks something else, is no concern of ours.
    _ = tokio::time::timeout(config.timeout, connection).await;
}

fn answer<B>(request: &Request<B>, health: &Health, unavailable: StatusCode) -> Response<Full<Bytes>> {
    let (status, body) = if matches!(*request.method(), Method::GET | Method::HEAD) {
        health.report().answer(request.uri(), unavailable)
    } else {
        (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into())
    };
    let kind = if body.starts_with('[') { "application/json" } else { "text/plain; charset=utf-8" };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
