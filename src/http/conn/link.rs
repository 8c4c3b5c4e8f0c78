//! What the IO side, the service side and the timer of one connection share.
//!
//! All three run in the connection's own task, one after the other; the atomics are there because hyper owns two of
//! them and because h2 streams and [`EarlyHints`](super::EarlyHints) live elsewhere.

use std::{
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::time::Sleep;

use super::{Config, hints::Hints};
use crate::{
    http::{
        crowd::Idler,
        drain::{Closed, Drain, Timeout},
        files::Unseen,
    },
    worker::OutputConnection,
};

/// Shared by the parts of one connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) config: Arc<Config>,
    pub(super) drain: Drain,
    pub(super) hints: Hints,
    /// Files that the IO side takes by itself.
    pub(super) unseen: Arc<Unseen>,
    waker: OnceLock<Waker>,
    requests: AtomicU64,
    wait: AtomicU8,
    wait_deadline: AtomicU64,
    write_deadline: AtomicU64,
    head_expired: AtomicBool,
    is_closed: AtomicBool,
    idle_since: AtomicU64,
    is_to_leave: AtomicBool,
    /// When it is old.
    old_at: u64,
}

/// What the connection waits for from its peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Wait {
    Nothing,
    FirstByte,
    Head,
    /// That the peer has read our last words and closes.
    Close,
}

/// What is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Expired {
    Timeout(Timeout),
    Lingering,
}

/// One timer for all deadlines of a connection. It is moved only when a deadline comes earlier; a later one is seen
/// when it fires, so that a request on a kept-alive connection costs no timer operation.
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: u64,
}

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// No deadline.
pub(super) const NEVER: u64 = u64::MAX;

/// Milliseconds on the process's clock.
pub(super) fn now() -> u64 {
    EPOCH.elapsed().as_millis() as u64
}

/// The moment `duration` from now.
pub(super) fn after(duration: Duration) -> u64 {
    later(now(), duration)
}

/// The moment `duration` after `moment`.
fn later(moment: u64, duration: Duration) -> u64 {
    // Rounded up, so that no deadline comes early.
    moment.saturating_add(duration.as_millis() as u64).saturating_add(1)
}

// === impl Link ===

impl Link {
    pub(super) fn new(config: Arc<Config>, drain: Drain) -> Self {
        let old_at = config.max_age.map_or(NEVER, |age| after(roughly(age)));
        Self {
            idle_since: AtomicU64::new(NEVER),
            is_to_leave: AtomicBool::new(false),
            old_at,
            config,
            drain,
            hints: Hints::default(),
            unseen: Arc::default(),
            waker: OnceLock::new(),
            requests: AtomicU64::new(0),
            wait: AtomicU8::new(Wait::Nothing as u8),
            wait_deadline: AtomicU64::new(NEVER),
            write_deadline: AtomicU64::new(NEVER),
            head_expired: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Remembers the connection's task, whose waker stays the same for its life.
    pub(super) fn set_task(&self, context: &Context<'_>) {
        self.waker.get_or_init(|| context.waker().clone());
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// Counts a request; the first is 1.
    pub(super) fn count_request(&self) -> u64 {
        self.requests.fetch_add(1, Relaxed) + 1
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// True if no request may follow the one numbered `request`.
    pub(super) fn is_last(&self, request: u64) -> bool {
        request >= self.config.keepalive_requests || self.drain.is_started() || self.is_old()
    }

    /// It is to leave when it can.
    pub(super) fn is_old(&self) -> bool {
        self.old_at != NEVER && self.old_at <= now()
    }

    /// It leaves: for others, or because it is old, or for another reason, which is counted elsewhere.
    pub(super) fn count_closed(&self, is_for_others: bool) {
        if is_for_others {
            self.drain.count_closed(Closed::Room);
        } else if self.is_old() {
            self.drain.count_closed(Closed::Age);
        }
    }

    /// When it gets old.
    pub(super) fn old_at(&self) -> u64 {
        self.old_at
    }

    /// It has nothing to do from now on, or has.
    pub(super) fn set_idle(&self, is_idle: bool) {
        self.idle_since.store(if is_idle { now() } else { NEVER }, Relaxed);
    }

    /// It was asked to leave, and has had nothing to do since; asked once, for by then it may be busy.
    pub(super) fn takes_leave(&self) -> bool {
        // Read first: it is asked for at every turn, and seldom true.
        self.is_to_leave.load(Relaxed) && self.is_to_leave.swap(false, Relaxed) && self.idle_since.load(Relaxed) != NEVER
    }

    /// How long an idle connection may stay so.
    pub(super) fn idle_limit(&self) -> Duration {
        let config = &self.config;
        if self.drain.is_started() {
            self.drain.idle(config.drain_idle)
        } else if self.requests() == 0 {
            config.header_timeout
        } else {
            config.keepalive_timeout
        }
    }

    /// Says what is waited for from now on; waiting for the same goes on with the deadline it had.
    pub(super) fn wait_for(&self, wait: Wait, limit: impl FnOnce() -> Duration) {
        if self.wait.load(Relaxed) != wait as u8 {
            self.wait.store(wait as u8, Relaxed);
            let now = if wait == Wait::Nothing { NEVER } else { now() };
            let is_idle = wait == Wait::FirstByte || wait == Wait::Head && self.config.heads_make_room;
            self.idle_since.store(if is_idle { now } else { NEVER }, Relaxed);
            self.wait_deadline.store(if wait == Wait::Nothing { NEVER } else { later(now, limit()) }, Relaxed);
        }
    }

    /// Shortens the wait of an idle connection once draining starts.
    pub(super) fn hurry(&self) {
        if self.wait.load(Relaxed) == Wait::FirstByte as u8 {
            self.wait_deadline.fetch_min(after(self.drain.idle(self.config.drain_idle)), Relaxed);
        }
    }

    /// Notes what became of a write: the peer takes nothing, or it does.
    pub(super) fn wrote<T>(&self, result: &Poll<T>) {
        let stalled = self.write_deadline.load(Relaxed) != NEVER;
        match result {
            Poll::Pending if !stalled => self.write_deadline.store(after(self.config.write_timeout), Relaxed),
            Poll::Ready(_) if stalled => self.write_deadline.store(NEVER, Relaxed),
            _ => (),
        }
    }

    pub(super) fn deadline(&self) -> u64 {
        self.wait_deadline.load(Relaxed).min(self.write_deadline.load(Relaxed))
    }

    /// What the deadline that has passed was for.
    pub(super) fn expired(&self) -> Expired {
        if self.write_deadline.load(Relaxed) <= now() {
            return Expired::Timeout(Timeout::Write);
        }
        match self.wait.load(Relaxed) {
            wait if wait == Wait::Close as u8 => Expired::Lingering,
            wait if wait == Wait::Head as u8 => {
                self.head_expired.store(true, Relaxed);
                self.wait_for(Wait::Nothing, || Duration::ZERO);
                Expired::Timeout(Timeout::Head)
            }
            _ if self.requests() == 0 && !self.drain.is_started() => Expired::Timeout(Timeout::First),
            _ => Expired::Timeout(Timeout::Idle),
        }
    }

    /// It was closed because its client does not read what others need the room for.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Relaxed)
    }

    pub(super) fn is_head_expired(&self) -> bool {
        self.head_expired.load(Relaxed)
    }
}

impl OutputConnection for Link {
    fn close(&self) {
        self.is_closed.store(true, Relaxed);
        self.wake();
    }
}

impl Idler for Link {
    fn idle_since(&self) -> Option<Instant> {
        let since = self.idle_since.load(Relaxed);
        (since != NEVER && !self.is_to_leave.load(Relaxed)).then(|| *EPOCH + Duration::from_millis(since))
    }

    fn leave(&self) {
        self.is_to_leave.store(true, Relaxed);
        self.wake();
    }
}

/// Up to a tenth more or less, so that connections that came together do not all leave together.
pub(in crate::http) fn roughly(age: Duration) -> Duration {
    let part = RandomState::new().hash_one(()) % 201;
    age.mul_f64(0.9 + part as f64 / 1000.0)
}

// === impl Timer ===

impl Timer {
    /// Ready once `deadline` has passed.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, deadline: u64) -> Poll<()> {
        if deadline == NEVER {
            return Poll::Pending;
        }
        loop {
            match &mut self.sleep {
                Some(sleep) if self.armed <= deadline => {
                    if !sleep.is_elapsed() {
                        return Poll::Pending;
                    }
                    if now() >= deadline {
                        return Poll::Ready(());
                    }
                    sleep.as_mut().reset(instant(deadline));
                }
                Some(sleep) => sleep.as_mut().reset(instant(deadline)),
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(instant(deadline)))),
            }
            self.armed = deadline;
            // Only a poll registers the task; an elapsed sleep is looked at by the next turn.
            if let Some(sleep) = &mut self.sleep
                && sleep.as_mut().poll(context).is_pending()
            {
                return Poll::Pending;
            }
        }
    }
}

fn instant(deadline: u64) -> tokio::time::Instant {
    (*EPOCH + Duration::from_millis(deadline)).into()
}
