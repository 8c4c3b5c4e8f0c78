//! One bounded hand-off: works queue in order, and go to the worker that fell idle last.
//!
//! What all parts share is here; what is done with it has a part for each side. Works come in by [`handoff`] and wait in [`queue`].
//! Workers take them in [`seat`], and are told to start afresh or to leave by [`orders`].
//!
//! There is one lock, that of the pool's state, and below it one for each worker's next work. No work is dropped or
//! answered while one is held. Functions that one part has for another on the way of each request are `#[inline]`, for parts may be
//! compiled apart.

use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, Thread},
    time::Duration,
};

use parking_lot::Mutex;

use super::{Pressure, Work};

mod handoff;
mod orders;
mod queue;
mod seat;

pub use handoff::{Refused, Submitted, Wake};
pub use orders::Place;
pub use seat::{Next, Rest, Seat};

/// The size and the bounds of a pool (`http.pool`).
#[derive(Clone, Debug)]
pub struct Config {
    /// Works that run at once.
    pub num_workers: usize,
    /// Works that wait; one more is refused at once.
    pub max_queue_size: usize,
    /// How long a work may wait.
    pub allocate_timeout: Duration,
}

/// Works waiting, and the workers that take them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Shared>);

/// A pool's figures at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// Workers with a seat.
    pub workers: usize,
    /// Workers waiting for work.
    pub idle: usize,
    /// Works waiting.
    pub queued: usize,
    /// The longest the queue has been.
    pub queued_max: usize,
    /// Works handed out since the start.
    pub taken: u64,
    /// Works refused since the start because the queue was full.
    pub refused: u64,
    /// Works whose wait ended by `allocate_timeout`.
    pub expired: u64,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    cores: usize,
    batch: usize,
    state: Mutex<State>,
    queued: AtomicUsize,
    // How long works take, in nanoseconds: a moving average that any worker may overwrite.
    typical: AtomicU64,
    taken: AtomicU64,
    refused: AtomicU64,
    expired: AtomicU64,
    // A `Pressure`.
    pressure: AtomicU8,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Work>,
    idle: Vec<Arc<Slot>>,
    seats: usize,
    queued_max: usize,
    recalls: u64,
    closed: bool,
    /// No worker is left, and none is about to come.
    deserted: bool,
}

#[derive(Debug)]
struct Slot {
    thread: Thread,
    work: Mutex<Option<Work>>,
    // What this worker alone was told, until it hears of it: 0, or an `Order`. Written under the lock of the pool's state.
    told: AtomicU8,
    bell: OnceLock<seat::Bell>,
}

// === impl Pool ===

impl Pool {
    /// A pool without workers yet: each takes its [`seat`](Self::seat).
    pub fn new(config: Config) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Shared {
            cores,
            batch: handoff::batch(cores),
            state: Mutex::new(State::default()),
            queued: AtomicUsize::new(0),
            typical: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            pressure: AtomicU8::new(Pressure::None as u8),
            config,
        }))
    }

    /// Its size and bounds.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Its figures now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.0.state.lock();
        Snapshot {
            workers: state.seats,
            idle: state.idle.len(),
            queued: state.queue.len(),
            queued_max: state.queued_max,
            taken: self.0.taken.load(Relaxed),
            refused: self.0.refused.load(Relaxed),
            expired: self.0.expired.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
