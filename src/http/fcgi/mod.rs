//! A FastCGI listener: php-fpm's place behind nginx, Apache or Caddy.
//!
//! A connection is one task: it reads a request's parameters, finds the script by php-fpm's rules, spools the body, hands
//! the work to the pool and writes the reply. A client that goes away while it waits drops the reply's receiver.

mod body;
mod connection;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod ini;
mod page;
mod params;
mod path;
mod record;
mod reply;
mod request;
mod status;

pub use page::render;
pub use status::{Format, FpmStatus, ProcessState, ProcessStatus, StatusSource, Syntax};

use std::{
    fmt, io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::HeaderValue;
use tokio::task::JoinSet;

use self::connection::Connection;
use super::{
    Drain, Peer,
    accept::{Acceptor, Stream, accept},
    crowd::Room,
    drain::OpenConnection,
    listen::Listeners,
    spool::Place,
};
use crate::worker::{Pool, doorbell};

/// The listener's settings (`http.fcgi`), named as php-fpm names them where it has them.
#[derive(Clone, Debug)]
pub struct Config {
    /// The clients that may connect by TCP; any if empty.
    pub allowed_clients: Vec<IpAddr>,
    /// Connections at once; more wait in the backlog.
    pub max_connections: usize,
    /// Ends that a script's name must have one of; any if empty.
    pub limit_extensions: Vec<String>,
    /// The status page's path.
    pub status_path: Option<String>,
    /// The ping page's path.
    pub ping_path: Option<String>,
    /// What the ping page says.
    pub ping_response: String,
    /// `X-Powered-By` of the pages made here (`expose_php`).
    pub powered_by: Option<HeaderValue>,
    /// Bytes of the names and values of a request's header fields.
    pub max_header_bytes: usize,
    /// How many fields there may be.
    pub max_headers: usize,
    /// Bytes of a request's target.
    pub max_uri: usize,
    /// Bytes of the largest body.
    pub max_request_size: u64,
    /// Where bodies are kept.
    pub place: Place,
    /// How long a client may take for the next record of a request.
    pub body_timeout: Duration,
    /// How long a client may take nothing of a reply.
    pub write_timeout: Duration,
    /// How long a kept connection may be idle.
    pub idle_timeout: Duration,
    /// `cgi.fix_pathinfo`.
    pub fix_pathinfo: bool,
    /// The source of request ids, shared with the other fronts.
    pub request_ids: Arc<AtomicU64>,
}

/// The listener. Every runtime that is to serve it calls [`serve`](Self::serve).
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    shared: Arc<Shared>,
}

/// The listener's figures at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// Connections now.
    pub connections: usize,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Connections refused since the start because of `allowed_clients`.
    pub disallowed: u64,
    /// Requests since the start.
    pub requests: u64,
}

struct Shared {
    settings: Config,
    pool: Pool,
    status: Arc<dyn StatusSource>,
    drain: Drain,
    disallowed: AtomicU64,
    requests: AtomicU64,
}

// === impl Config ===

impl Config {
    /// Takes sockets that listen already.
    pub fn build(mut self, listeners: Listeners, pool: Pool, status: Arc<dyn StatusSource>) -> Server {
        self.allowed_clients.iter_mut().for_each(|client| *client = client.to_canonical());
        if self.allowed_clients.is_empty()
            && listeners.addresses().iter().any(|address| !address.ip().to_canonical().is_loopback())
        {
            tracing::warn!("the FastCGI port is open to other hosts: whoever reaches it runs any code; see allowed_clients");
        }
        let shared = Shared {
            settings: self,
            pool,
            status,
            drain: Drain::new(),
            disallowed: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        };
        Server { listeners, shared: Arc::new(shared) }
    }
}

// === impl Server ===

impl Server {
    /// Accepts connections on the calling runtime until [`stop`](Self::stop). They are served by tasks of the runtime;
    /// [`wait`](Self::wait) tells when they are done.
    pub async fn serve(&self) -> io::Result<()> {
        let mut loops = JoinSet::new();
        for acceptor in Acceptor::register(&self.listeners)? {
            let shared = self.shared.clone();
            loops.spawn(async move {
                let room = Room::of_all(shared.settings.max_connections);
                accept(acceptor, &shared.drain, room, |stream, peer, open| shared.connection(stream, peer, open)).await;
            });
        }
        while let Some(ended) = loops.join_next().await {
            ended?;
        }
        Ok(())
    }

    /// Accepts no more; requests under way end in peace, and idle connections are closed, at once or after `idle`.
    pub fn stop(&self, idle: Option<Duration>) {
        match idle {
            Some(idle) => self.shared.drain.start_patiently(idle),
            None => self.shared.drain.start(),
        }
        self.shared.drain.stop_accepting();
    }

    /// Waits until no connection is open and no loop accepts, but no longer than `deadline`. True if all finished.
    pub async fn wait(&self, deadline: Instant) -> bool {
        self.shared.drain.wait(deadline).await
    }

    /// Its figures now.
    pub fn snapshot(&self) -> Snapshot {
        let (connections, disallowed) = (self.shared.drain.snapshot(), self.shared.disallowed.load(Relaxed));
        Snapshot {
            connections: connections.open,
            accepted: connections.accepted.saturating_sub(disallowed),
            disallowed,
            requests: self.shared.requests.load(Relaxed),
        }
    }
}

// === impl Shared ===

impl Shared {
    fn connection(self: &Arc<Self>, stream: Stream, peer: Peer, open: OpenConnection) {
        let allowed = &self.settings.allowed_clients;
        if let Some(client) = peer.remote.map(|address| address.ip())
            && !allowed.is_empty()
            && !allowed.contains(&client)
        {
            self.disallowed.fetch_add(1, Relaxed);
            tracing::warn!(%client, "connection disallowed: see allowed_clients");
            return;
        }
        tokio::spawn(doorbell::heeding(Connection::new(stream, self.clone(), open).run()));
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("settings", &self.settings).field("pool", &self.pool).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
