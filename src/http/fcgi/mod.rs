//! A FastCGI listener: php-fpm's place behind nginx, Apache or Caddy.
//!
//! A connection is one task: it reads a request's parameters, finds the script by php-fpm's rules, spools the body, hands
//! the work to the pool and writes the reply. A client that goes away while it waits drops the reply's receiver.

mod body;
mod connection;
mod ini;
mod listen;
mod page;
mod params;
mod path;
mod record;
mod reply;
mod request;
mod status;

pub use listen::{Address, InvalidAddress, Listener, Permissions};
pub use page::render;
pub use status::{Format, FpmStatus, ProcessState, ProcessStatus, StatusSource, Syntax};

use std::{
    fmt, io,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::HeaderValue;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use self::{
    connection::Connection,
    listen::{Accepted, Registered},
};
use crate::worker::{Pool, doorbell};

/// The listener's settings (`http.fcgi`), named as php-fpm names them where it has them.
///
/// # Defaults
/// No address. Any client; 1000 connections; a backlog of 511; scripts end in `.php` or `.phar`; no status page, no ping page
/// (its response is `pong`); no limit of body size, 1 MiB of it in memory; time-outs of 60 s, of 10 min between the requests
/// of a kept connection; `fix_pathinfo` on.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub addresses: Vec<Address>,
    /// Connections that the kernel keeps until they are accepted.
    pub backlog: i32,
    /// Who may connect to the unix sockets.
    pub permissions: Permissions,
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
    /// Bytes of the largest body.
    pub max_request_size: Option<u64>,
    /// Bytes of a body kept in memory; a larger one goes to a temporary file.
    pub body_memory: usize,
    /// How long a client may take for the next record of a request.
    pub body_timeout: Duration,
    /// How long a client may take nothing of a reply.
    pub write_timeout: Duration,
    /// How long a kept connection may be idle.
    pub idle_timeout: Duration,
    /// Where temporary files are made.
    pub temp_dir: PathBuf,
    /// `cgi.fix_pathinfo`.
    pub fix_pathinfo: bool,
    /// The source of request ids, shared with the other fronts.
    pub request_ids: Arc<AtomicU64>,
}

/// The listener. Every runtime that is to serve it calls [`serve`](Self::serve).
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
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
    permits: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    connections: AtomicUsize,
    accepted: AtomicU64,
    disallowed: AtomicU64,
    requests: AtomicU64,
}

/// Counts a connection as long as it lives.
struct Place {
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

const ACCEPT_RETRY: Duration = Duration::from_millis(100);

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            backlog: 511,
            permissions: Permissions::default(),
            allowed_clients: Vec::new(),
            max_connections: 1000,
            limit_extensions: vec![".php".to_owned(), ".phar".to_owned()],
            status_path: None,
            ping_path: None,
            ping_response: "pong".to_owned(),
            powered_by: None,
            max_request_size: None,
            body_memory: 1 << 20,
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(600),
            temp_dir: std::env::temp_dir(),
            fix_pathinfo: true,
            request_ids: Arc::default(),
        }
    }
}

impl Config {
    /// Binds the addresses.
    pub fn build(self, pool: Pool, status: Arc<dyn StatusSource>) -> io::Result<Server> {
        let bind = |address| Listener::bind(address, &self.permissions, self.backlog);
        let listeners = self.addresses.iter().map(bind).collect::<io::Result<_>>()?;
        Ok(self.build_on(listeners, pool, status))
    }

    /// Takes sockets that listen already: a supervisor's.
    pub fn build_on(mut self, listeners: Vec<Listener>, pool: Pool, status: Arc<dyn StatusSource>) -> Server {
        self.allowed_clients.iter_mut().for_each(|client| *client = client.to_canonical());
        if self.allowed_clients.is_empty() && listeners.iter().any(Listener::is_open) {
            tracing::warn!("the FastCGI port is open to other hosts: whoever reaches it runs any code; see allowed_clients");
        }
        let shared = Shared {
            permits: Arc::new(Semaphore::new(self.max_connections.clamp(1, Semaphore::MAX_PERMITS))),
            settings: self,
            pool,
            status,
            stop: watch::Sender::new(false),
            connections: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            disallowed: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        };
        Server { listeners, shared: Arc::new(shared) }
    }
}

// === impl Server ===

impl Server {
    /// Accepts and serves connections on the calling runtime until [`stop`](Self::stop), and then until the last of them has
    /// ended. Dropped, it cuts them.
    pub async fn serve(&self) -> io::Result<()> {
        let mut tasks = JoinSet::new();
        for listener in &self.listeners {
            tasks.spawn(accept(listener.register()?, self.shared.clone()));
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }

    /// Accepts no more; requests under way end in peace, idle connections are closed.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }

    /// The sockets.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Its figures now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            connections: self.shared.connections.load(Relaxed),
            accepted: self.shared.accepted.load(Relaxed),
            disallowed: self.shared.disallowed.load(Relaxed),
            requests: self.shared.requests.load(Relaxed),
        }
    }
}

async fn accept(listener: Registered, shared: Arc<Shared>) {
    let mut stop = shared.stop.subscribe();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                // Out of descriptors, as a rule: they come back when connections end.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        if let Accepted::Tcp(_, client) = &accepted
            && !shared.is_allowed(*client)
        {
            shared.disallowed.fetch_add(1, Relaxed);
            tracing::warn!(%client, "connection disallowed: see allowed_clients");
            continue;
        }
        let place = shared.place().await;
        match accepted {
            Accepted::Tcp(stream, _) => connections.spawn(doorbell::heeding(Connection::new(stream, place).run())),
            Accepted::Unix(stream) => connections.spawn(doorbell::heeding(Connection::new(stream, place).run())),
        };
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

// === impl Shared ===

impl Shared {
    fn is_allowed(&self, client: IpAddr) -> bool {
        let allowed = &self.settings.allowed_clients;
        allowed.is_empty() || allowed.contains(&client)
    }

    async fn place(self: &Arc<Self>) -> Place {
        let permit = self.permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        self.connections.fetch_add(1, Relaxed);
        self.accepted.fetch_add(1, Relaxed);
        Place { shared: self.clone(), _permit: permit }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("settings", &self.settings).field("pool", &self.pool).finish_non_exhaustive()
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests;
