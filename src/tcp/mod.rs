//! TCP servers whose protocol is a PHP script's, as RoadRunner's plugin `tcp` has them.
//!
//! A worker is told of three events, each a task: `CONNECTED`, `DATA` (a message, which ends in the server's delimiter) and `CLOSE`.
//! The context of each is JSON: `remote_addr`, `server` (its name), `uuid` (the connection's) and `event`. The context of the
//! answer is a command: `CONTINUE` (read on), `WRITE` (write the body, read on), `WRITECLOSE` (write it and close), `CLOSE`, and
//! anything else closes too.
//!
//! A connection has one task at a time: the next message is given when the last one has been answered, and meanwhile the client's
//! bytes wait in its socket. Works of several connections are done at once, by any worker.
//!
//! # What differs from RoadRunner, and why
//! - A message ends at its delimiter, wherever the network has cut the bytes: several that came at once are several tasks.
//!   RoadRunner looks for the delimiter at the end of each read alone, so that what a worker gets depends on timing; and it closes
//!   the connection when a read is shorter than the delimiter.
//! - What a client sends last without a delimiter, before it shuts its side down, is a `DATA` before the `CLOSE`, not after it.
//! - `CLOSE` comes once for every connection of which a worker has been told, also after an error.
//! - There are bounds: see [`Config`].
//!
//! # Reload and stop
//! Messages that have come wholly are still done, answers written, then connections are closed and workers told. The listening
//! sockets stay open throughout a reload; connections do not, for their state is the worker's.

mod connection;
mod memory;
mod message;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    http::{Acceptor, Drain, DrainSnapshot, Room, accept, listen::Listeners},
    worker::{Tasks, doorbell},
};
use connection::Connection;
use memory::Memory;

/// The bounds of all servers.
///
/// # Defaults
/// 1 MiB a read, 16 MiB a message, an hour of silence, a minute of an unread answer, 10 000 connections, 256 MiB of long messages.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes read at once, at most.
    pub read_size: usize,
    /// Bytes of the longest message; a connection with a longer one is closed.
    pub max_message: usize,
    /// How long a client may say nothing; then its connection is closed.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub write_timeout: Duration,
    /// Connections at once, of all servers; more wait in the backlog.
    pub max_connections: usize,
    /// Bytes of what has come on connections that hold more than 64 KiB, until the worker has answered, of all servers; a connection
    /// without room is closed. One message of the largest size always has room.
    pub max_memory: usize,
}

/// One server.
#[derive(Debug)]
pub struct Endpoint {
    /// What workers know it by.
    pub name: String,
    /// What ends a message; not empty.
    pub delimiter: Vec<u8>,
    /// The sockets that it listens on.
    pub listeners: Listeners,
}

/// The servers at work. Every runtime that is to serve them calls [`serve`](Self::serve).
#[derive(Debug)]
pub struct Server {
    endpoints: Vec<Arc<Endpoint>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    memory: Memory,
    tasks: Tasks,
    drain: Drain,
    /// By the connections' names; told when one is to be closed.
    open: Mutex<HashMap<String, Arc<Notify>>>,
    names: RandomState,
    named: AtomicU64,
}

/// A connection's entry in [`Shared::open`], for as long as it is open.
#[derive(Debug)]
struct Entry {
    shared: Arc<Shared>,
    uuid: String,
    close: Arc<Notify>,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            read_size: 1 << 20,
            max_message: 16 << 20,
            idle_timeout: Duration::from_secs(3600),
            write_timeout: Duration::from_secs(60),
            max_connections: 10_000,
            max_memory: 256 << 20,
        }
    }
}

impl Config {
    /// Takes sockets that listen already; `tasks` does the work.
    pub fn build(self, endpoints: Vec<Endpoint>, tasks: Tasks) -> Server {
        let largest = self.max_message.saturating_add(self.read_size);
        let shared = Shared {
            memory: Memory::new(self.max_memory.max(largest)),
            config: self,
            tasks,
            drain: Drain::new(),
            open: Mutex::default(),
            names: RandomState::new(),
            named: AtomicU64::new(0),
        };
        Server { endpoints: endpoints.into_iter().map(Arc::new).collect(), shared: Arc::new(shared) }
    }
}

// === impl Server ===

impl Server {
    /// Accepts connections on the calling runtime until [`stop`](Self::stop). They are served by tasks of the runtime;
    /// [`wait`](Self::wait) tells when they are done.
    pub async fn serve(&self) -> io::Result<()> {
        let mut loops = JoinSet::new();
        for endpoint in &self.endpoints {
            for acceptor in Acceptor::register(&endpoint.listeners)? {
                let (shared, endpoint) = (self.shared.clone(), endpoint.clone());
                loops.spawn(async move {
                    let room = Room::of_all(shared.config.max_connections);
                    let serve = |stream, peer, open| {
                        let connection = Connection::new(stream, peer, open, (shared.clone(), endpoint.clone()));
                        tokio::spawn(doorbell::heeding(connection.run()));
                    };
                    accept(acceptor, &shared.drain, room, serve).await;
                });
            }
        }
        while let Some(ended) = loops.join_next().await {
            ended?;
        }
        Ok(())
    }

    /// Accepts no more; what has come wholly is done, then connections are closed. At a hand-over those that nobody has accepted
    /// yet are left to the next process, which may keep them.
    pub fn stop(&self, is_hand_over: bool) {
        self.shared.drain.start();
        if is_hand_over {
            self.shared.drain.leave_accepting();
        } else {
            self.shared.drain.stop_accepting();
        }
    }

    /// Waits until no connection is open and no loop accepts, but no longer than `deadline`. True if all finished.
    pub async fn wait(&self, deadline: Instant) -> bool {
        self.shared.drain.wait(deadline).await
    }

    /// Closes the connection that workers know by `uuid`; false if there is none.
    pub fn close(&self, uuid: &str) -> bool {
        let close = self.shared.open.lock().get(uuid).cloned();
        close.as_ref().inspect(|close| close.notify_one()).is_some()
    }

    /// The servers, each with its name and where it listens.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().map(AsRef::as_ref)
    }

    /// Its figures now.
    pub fn snapshot(&self) -> DrainSnapshot {
        self.shared.drain.snapshot()
    }
}

// === impl Shared ===

impl Shared {
    /// A name for a connection that is open from now on.
    fn enter(self: &Arc<Self>) -> Entry {
        let number = self.named.fetch_add(1, Relaxed);
        // Keyed with the system's randomness: nobody guesses the next one.
        let uuid = uuid([self.names.hash_one((number, 0)), self.names.hash_one((number, 1))]);
        let close = Arc::new(Notify::new());
        self.open.lock().insert(uuid.clone(), close.clone());
        Entry { shared: self.clone(), uuid, close }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.open.lock().remove(&self.uuid);
    }
}

/// These bits as a UUID of version 4.
fn uuid([high, low]: [u64; 2]) -> String {
    let (high, low) = (high & !0xf000 | 0x4000, low & !(0b11 << 62) | 0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests;
