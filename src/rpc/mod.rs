//! Remote procedure calls as RoadRunner's PHP library makes them: Goridge frames over TCP or a unix socket.
//!
//! A request's options are a sequence number and the length of the method's name; its payload is the name, `service.Method`, and
//! the argument in the codec that a flag names. The answer repeats number, name and codec; an error has the flag ERROR and a
//! text. That is Go's `net/rpc` in other clothes: answers come in the order of completion, so a caller may send several requests
//! before it reads. Whoever connects may call everything.
//!
//! Where several engines serve together, the one that is called makes calls that concern all of them at the others too
//! ([`Concerns`]), over connections that the supervisor gives it.
//!
//! [`Services`] is the table that plugins add to. [`Client`] is the blocking end that the command line uses.
//!
//! # Bounds
//! Connections, requests in progress on each, the size of a request, the memory of all large requests together, and the time
//! that half a request or an unread answer may stand still: see [`Config`]. An idle connection may stay, as a PHP worker keeps
//! its own for life.

mod about;
mod caller;
mod client;
mod connection;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod informer;
mod join;
mod metrics;
mod payload;
mod resetter;
mod service;
mod status;
mod together;

pub use about::About;
pub use caller::Caller;
pub use client::{CallError, Client};
pub use informer::Informer;
pub use join::{agreed, lists};
pub use metrics::Metrics;
pub use payload::{Codec, Error, Payload};
pub use resetter::Resetter;
pub use service::{Answer, Concerns, Join, Service, Services};
pub use status::Status;
pub use together::{Fellow, Fellows, Keeper, Meeting, Met};

use std::{
    io,
    sync::Arc,
    time::{self, Duration},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use connection::Connection;

use crate::{
    net::{Listener, Socket, Stream},
    telemetry::Seldom,
};

/// The bounds of the listener.
///
/// # Defaults
/// 1000 connections, 100 requests in progress on each, 64 MiB a request, 256 MiB of large requests, 30 s of standing still.
#[derive(Clone, Debug)]
pub struct Config {
    /// Connections at once; more wait in the backlog.
    pub max_connections: usize,
    /// Requests in progress on one connection; more wait in its socket.
    pub max_calls: usize,
    /// Bytes of a request's payload.
    pub max_message: usize,
    /// Bytes of the large requests that are being received or worked on, on all connections together.
    pub max_memory: usize,
    /// How long half a request, or an answer that nobody reads, may stand still.
    pub timeout: Duration,
}

/// The listener. Every runtime that is to serve it calls [`serve`](Self::serve).
#[derive(Debug)]
pub struct Server {
    sockets: Vec<Socket>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    services: Services,
    /// Places of `connections`, all of which are free again at the end.
    places: u32,
    connections: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    stop: watch::Sender<Stop>,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Stop {
    Not,
    /// No connections are accepted; those that are there go on.
    Accepting,
    /// No calls are taken.
    Calls,
}

/// What a permit of `Shared::memory` stands for.
const MEMORY_UNIT: usize = 1024;
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 1000,
            max_calls: 100,
            max_message: 64 << 20,
            max_memory: 256 << 20,
            timeout: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Takes sockets that listen already.
    pub fn build(self, sockets: Vec<Socket>, services: Services) -> Server {
        if sockets.iter().any(Socket::is_open) {
            tracing::warn!("the RPC port is open to other hosts: whoever reaches it controls this server; see rpc.listen");
        }
        let permits = |count: usize| Arc::new(Semaphore::new(count.clamp(1, u32::MAX as usize)));
        let connections = permits(self.max_connections);
        let shared = Shared {
            places: u32::try_from(connections.available_permits()).unwrap_or(u32::MAX),
            connections,
            // One request of the largest size always has room.
            memory: permits(self.max_memory.max(self.max_message).div_ceil(MEMORY_UNIT)),
            config: self,
            services,
            stop: watch::Sender::new(Stop::Not),
        };
        Server { sockets, shared: Arc::new(shared) }
    }
}

// === impl Server ===

impl Server {
    /// Accepts and serves connections on the calling runtime until [`stop`](Self::stop), and then until the last call has been
    /// answered. Dropped, it cuts them.
    pub async fn serve(&self) -> io::Result<()> {
        let mut tasks = JoinSet::new();
        for socket in &self.sockets {
            tasks.spawn(accept(socket.register()?, self.shared.clone()));
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }

    /// Serves a connection that was accepted elsewhere, on the calling runtime; one too many, or too late, is closed at once.
    pub fn attend(&self, stream: tokio::net::UnixStream) {
        if *self.shared.stop.borrow() == Stop::Calls {
            return;
        }
        let Ok(permit) = self.shared.connections.clone().try_acquire_owned() else {
            return tracing::warn!("too many calls of other engines at once: one is not answered");
        };
        tokio::spawn(serve(Box::new(stream), permit, self.shared.clone()));
    }

    /// Accepts no more connections, for others listen here; those that are there go on until [`stop`](Self::stop).
    pub fn leave_accepting(&self) {
        self.sockets.iter().for_each(Socket::close);
        self.shared.stop.send_modify(|stop| *stop = (*stop).max(Stop::Accepting));
    }

    /// Accepts no more; calls in progress are answered, idle connections are closed.
    pub fn stop(&self) {
        self.shared.stop.send_replace(Stop::Calls);
    }

    /// Waits, after a [`stop`](Self::stop), until every connection has ended, but no longer than `deadline`. True if all have.
    pub async fn wait(&self, deadline: time::Instant) -> bool {
        let all = self.shared.connections.acquire_many(self.shared.places);
        tokio::time::timeout_at(deadline.into(), all).await.is_ok()
    }
}

async fn accept(listener: Listener, shared: Arc<Shared>) {
    let mut stop = shared.stop.subscribe();
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = shared.connections.clone().acquire_owned().await.expect("the semaphore is never closed");
            Ok::<_, io::Error>((permit, listener.accept().await?))
        };
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop >= Stop::Accepting) => break,
            accepted = next => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((permit, stream)) => {
                connections.spawn(serve(stream, permit, shared.clone()));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Out of descriptors, as a rule: they come back when connections end.
                static SELDOM: Seldom = Seldom::new();
                if let Some(unsaid) = SELDOM.say() {
                    tracing::warn!(%error, unsaid, "cannot accept RPC connections; they wait");
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(stream: Box<dyn Stream>, permit: OwnedSemaphorePermit, shared: Arc<Shared>) {
    Connection::new(stream, shared).run().await;
    drop(permit);
}

#[cfg(test)]
mod tests;
