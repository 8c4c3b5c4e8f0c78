//! Draining: told once, heard by every connection on every io thread, and waited for.
//!
//! A drain has two steps because a listening socket may outlive this process: [`Drain::start`] makes connections
//! leave after their next answer while new ones are still accepted, [`Drain::stop_accepting`] ends the accept loops
//! (each takes what the kernel had already queued for it, but not after [`Drain::leave_accepting`]). [`Drain::wait`] then waits for the rest.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Context,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    crowd::{Crowd, LOOK_AGAIN, Listened, Room},
    metrics::Handshakes,
};

/// Tells connections to finish and counts them. Cheap to clone; one for all io threads.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<Shared>);

/// Why a connection was closed by us before its peer did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Timeout {
    /// No further request came (`keepalive_timeout`, or `drain_idle` while draining).
    Idle,
    /// No request came at all (`header_timeout`).
    First,
    /// A request head was begun but not completed (`header_timeout`).
    Head,
    /// The peer took nothing of an answer (`write_timeout`).
    Write,
    /// A request's body stood still (`body_timeout`), or came too slowly (`min_body_rate`).
    Body,
    /// The two did not agree on TLS or QUIC in time (`handshake_timeout`).
    Handshake,
    /// A proxy did not say in time whose connection it brings.
    Proxy,
}

/// Why a connection was closed by us that was not slow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Closed {
    /// Its client had as many as it may have (`max_connections_per_client`).
    Client,
    /// It had nothing to do, and others waited (`max_connections`, `max_connections_per_listener`).
    Room,
    /// It was old (`max_connection_age`).
    Age,
    /// The two did not agree on TLS or QUIC.
    Tls,
    /// A proxy's header was wrong, or came from a stranger.
    Proxy,
}

/// The figures of the front at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    /// Connections open now.
    pub open: usize,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Times that accepting paused because `max_connections` were open, or descriptors ran out.
    pub paused: u64,
    /// Request heads refused since the start.
    pub refused: u64,
    /// Connections closed by [`Timeout::Idle`].
    pub idle_timeouts: u64,
    /// Connections closed by [`Timeout::First`].
    pub first_timeouts: u64,
    /// Connections closed by [`Timeout::Head`].
    pub head_timeouts: u64,
    /// Connections closed by [`Timeout::Write`].
    pub write_timeouts: u64,
    /// Requests given up because of [`Timeout::Body`].
    pub body_timeouts: u64,
    /// Connections closed by [`Timeout::Handshake`].
    pub handshake_timeouts: u64,
    /// Connections closed by [`Timeout::Proxy`].
    pub proxy_timeouts: u64,
    /// Connections closed for each of [`Closed`], in their order.
    pub closed: [u64; REASONS],
}

/// An open connection. Dropping it closes the count.
#[derive(Debug)]
pub(crate) struct OpenConnection(Drain, Listened);

/// A running accept loop.
#[derive(Debug)]
pub(crate) struct Accepting(Drain);

/// The start of the drain as the task of one connection hears it.
pub(crate) struct Signal {
    drain: Drain,
    started: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    is_registered: bool,
}

#[derive(Debug, Default)]
struct Shared {
    started: AtomicBool,
    // 0 is the usual limit.
    idle_ms: AtomicU64,
    start: Notify,
    stopped: AtomicBool,
    stop: Notify,
    succeeded: AtomicBool,
    // One connection or accept loop less.
    fewer: Notify,
    open: AtomicUsize,
    accepting: AtomicUsize,
    accepted: AtomicU64,
    paused: AtomicU64,
    refused: AtomicU64,
    timeouts: [AtomicU64; 7],
    closed: [AtomicU64; REASONS],
    crowd: Crowd,
    handshakes: Handshakes,
}

/// Of [`Closed`].
const REASONS: usize = 5;

// === impl Drain ===

impl Drain {
    /// A drain that has not started.
    pub fn new() -> Self {
        Self::default()
    }

    /// Like [`start`](Self::start), with another limit than `drain_idle` for connections that idle: while a newer process serves
    /// beside this one there is no hurry, and a request sent on a connection as it is closed would be lost.
    pub fn start_patiently(&self, idle: Duration) {
        self.0.idle_ms.store(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.start();
    }

    /// How long a connection may idle while draining.
    pub(crate) fn idle(&self, usual: Duration) -> Duration {
        match self.0.idle_ms.load(Ordering::Relaxed) {
            0 => usual,
            given => Duration::from_millis(given),
        }
    }

    /// Asks every connection to leave: h1 after one more answer or `drain_idle`, h2 by GOAWAY. Accepting goes on.
    pub fn start(&self) {
        self.0.started.store(true, Ordering::SeqCst);
        self.0.start.notify_waiters();
    }

    /// True once [`start`](Self::start) was called.
    pub fn is_started(&self) -> bool {
        self.0.started.load(Ordering::Relaxed)
    }

    /// Ends the accept loops.
    pub fn stop_accepting(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.stop.notify_waiters();
    }

    /// Ends the accept loops, and leaves what the kernel has queued to another process that accepts from the same sockets.
    pub fn leave_accepting(&self) {
        self.0.succeeded.store(true, Ordering::SeqCst);
        self.stop_accepting();
    }

    /// True if another process accepts what is queued.
    pub(crate) fn is_succeeded(&self) -> bool {
        self.0.succeeded.load(Ordering::SeqCst)
    }

    /// Waits until no connection is open (and, after [`stop_accepting`](Self::stop_accepting), no accept loop runs),
    /// but no longer than `deadline`. True if all finished.
    pub async fn wait(&self, deadline: Instant) -> bool {
        tokio::time::timeout_at(deadline.into(), self.until_fewer(|shared| shared.is_finished())).await.is_ok()
    }

    /// The figures now.
    pub fn snapshot(&self) -> Snapshot {
        let shared = &self.0;
        let timeouts = |reason: Timeout| shared.timeouts[reason as usize].load(Ordering::Relaxed);
        Snapshot {
            open: shared.open.load(Ordering::Relaxed),
            accepted: shared.accepted.load(Ordering::Relaxed),
            paused: shared.paused.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
            idle_timeouts: timeouts(Timeout::Idle),
            first_timeouts: timeouts(Timeout::First),
            head_timeouts: timeouts(Timeout::Head),
            write_timeouts: timeouts(Timeout::Write),
            body_timeouts: timeouts(Timeout::Body),
            handshake_timeouts: timeouts(Timeout::Handshake),
            proxy_timeouts: timeouts(Timeout::Proxy),
            closed: shared.closed.each_ref().map(|count| count.load(Ordering::Relaxed)),
        }
    }

    /// Resolves once the drain has started.
    pub(crate) async fn started(&self) {
        raised(&self.0.started, &self.0.start).await;
    }

    /// A signal for one task.
    pub(crate) fn signal(&self) -> Signal {
        let drain = self.clone();
        let started = Box::pin(async move { drain.started().await });
        Signal { drain: self.clone(), started: Some(started), is_registered: false }
    }

    /// Resolves once accepting is to end.
    pub(crate) async fn stopped(&self) {
        raised(&self.0.stopped, &self.0.stop).await;
    }

    /// Resolves once there is room for another connection. Idle ones have to leave if somebody is waiting for it.
    pub(crate) async fn room(&self, room: &Room, is_wanted: impl Fn() -> bool) {
        if self.0.has(room) {
            return;
        }
        self.count_pause();
        while !self.0.has(room) {
            if is_wanted() {
                self.make_room(room);
            }
            drop(tokio::time::timeout(LOOK_AGAIN, self.until_fewer(|shared| shared.has(room))).await);
        }
    }

    /// Counts a connection that came from `listened`.
    pub(crate) fn open(&self, listened: &Listened) -> OpenConnection {
        self.0.open.fetch_add(1, Ordering::SeqCst);
        self.0.accepted.fetch_add(1, Ordering::Relaxed);
        listened.come();
        OpenConnection(self.clone(), listened.clone())
    }

    /// Whether there is room for another connection.
    pub(crate) fn has(&self, room: &Room) -> bool {
        self.0.has(room)
    }

    /// Asks idle connections to leave: of the socket, if it is that which is full.
    pub(crate) fn make_room(&self, room: &Room) {
        let is_full_here = room.listened.count() >= room.here;
        self.0.crowd.make_room(Some(&room.listened).filter(|_| is_full_here));
    }

    /// Who is connected.
    pub(crate) fn crowd(&self) -> &Crowd {
        &self.0.crowd
    }

    /// How long handshakes take.
    pub(crate) fn handshakes(&self) -> &Handshakes {
        &self.0.handshakes
    }

    pub(crate) fn accepting(&self) -> Accepting {
        self.0.accepting.fetch_add(1, Ordering::SeqCst);
        Accepting(self.clone())
    }

    pub(crate) fn count_pause(&self) {
        self.0.paused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refusal(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_timeout(&self, reason: Timeout) {
        self.0.timeouts[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_closed(&self, reason: Closed) {
        self.0.closed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    async fn until_fewer(&self, done: impl Fn(&Shared) -> bool) {
        loop {
            let fewer = self.0.fewer.notified();
            tokio::pin!(fewer);
            // Registered before the check: a close in between must not be missed.
            fewer.as_mut().enable();
            if done(&self.0) {
                return;
            }
            fewer.await;
        }
    }
}

async fn raised(flag: &AtomicBool, notify: &Notify) {
    let notified = notify.notified();
    tokio::pin!(notified);
    notified.as_mut().enable();
    if !flag.load(Ordering::SeqCst) {
        notified.await;
    }
}

// === impl Signal ===

impl Signal {
    /// True once, when the drain has started. It must always be asked from the same task.
    pub(crate) fn hear(&mut self, context: &mut Context<'_>) -> bool {
        let Some(started) = &mut self.started else {
            return false;
        };
        // A registered task is only woken again; asking the future would take a lock that all connections share.
        if self.is_registered && !self.drain.is_started() {
            return false;
        }
        self.is_registered = true;
        let heard = started.as_mut().poll(context).is_ready();
        if heard {
            self.started = None;
        }
        heard
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Signal").field("drain", &self.drain).finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    fn is_finished(&self) -> bool {
        let accepting = self.stopped.load(Ordering::SeqCst) && self.accepting.load(Ordering::SeqCst) > 0;
        !accepting && self.open.load(Ordering::SeqCst) == 0
    }

    fn has(&self, room: &Room) -> bool {
        self.open.load(Ordering::SeqCst) < room.all && room.listened.count() < room.here
    }
}

// === impl OpenConnection, Accepting ===

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let shared = &self.0.0;
        self.1.go();
        shared.open.fetch_sub(1, Ordering::SeqCst);
        shared.fewer.notify_waiters();
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        let shared = &self.0.0;
        shared.accepting.fetch_sub(1, Ordering::SeqCst);
        shared.fewer.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn waits_for_the_last_connection() {
        let drain = Drain::new();
        let open = drain.open(&Listened::default());
        assert!(!drain.wait(Instant::now() + Duration::from_millis(5)).await, "one is open");
        let waiting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.wait(Instant::now() + Duration::from_secs(10)).await }
        });
        tokio::task::yield_now().await;
        drop(open);
        assert!(waiting.await.unwrap());
        assert_eq!(drain.snapshot(), Snapshot { accepted: 1, ..Snapshot::default() });
    }

    #[tokio::test]
    async fn waits_for_accept_loops_once_they_are_told_to_stop() {
        let drain = Drain::new();
        let accepting = drain.accepting();
        let soon = || Instant::now() + Duration::from_millis(5);
        assert!(drain.wait(soon()).await);
        drain.stop_accepting();
        drain.stopped().await;
        assert!(!drain.wait(soon()).await);
        drop(accepting);
        assert!(drain.wait(soon()).await);
    }

    #[tokio::test]
    async fn a_start_is_heard_before_and_after_it() {
        let drain = Drain::new();
        let early = tokio::spawn({
            let drain = drain.clone();
            async move { drain.started().await }
        });
        tokio::task::yield_now().await;
        drain.start();
        early.await.unwrap();
        drain.started().await;
        assert!(drain.is_started());
    }
}
