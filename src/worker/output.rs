//! The way of a streamed body from a worker to the client: memory, then a temporary file, then the worker waits.
//!
//! A slow client therefore holds no worker until both bounds are reached, and then only up to a deadline.
//!
//! What both ends share is here. The worker has a [`writer`], the client a [`reader`]; what is between them is kept in [`memory`] and
//! in a [`spool`].

use std::{
    collections::VecDeque,
    fmt, io,
    path::PathBuf,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::budget::{Budget, Waiting};

mod memory;
mod reader;
mod spool;
mod writer;

pub use reader::{OutputReader, Written};
pub(crate) use spool::temporary_file;
pub use writer::{OutputCutter, OutputWriter};

use self::spool::Spool;

/// Bounds of one response's buffer (`http.output`).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes kept in memory.
    pub memory: usize,
    /// Bytes kept in a temporary file after that.
    pub file: u64,
    /// How long a worker waits for a client that takes nothing, once both are full.
    pub write_timeout: Duration,
    /// Where temporary files are made.
    pub directory: PathBuf,
    /// What all answers may take together.
    pub budget: Arc<Budget>,
}

/// A connection that goes when its answer is given up.
pub trait Connection: fmt::Debug + Send + Sync {
    /// Closes it.
    fn close(&self);
}

#[derive(Debug)]
struct Shared {
    limits: Arc<Limits>,
    state: Mutex<State>,
    drained: Condvar,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    in_memory: usize,
    spool: Option<Spool>,
    end: Option<io::Result<()>>,
    ended: Option<Instant>,
    trailers: Option<HeaderMap>,
    reader_gone: bool,
    flushed: bool,
    taken: u64,
    waker: Option<Waker>,
    connection: Option<Arc<dyn Connection>>,
}

// === impl Limits ===

impl Limits {
    /// All of an answer, for a reply; as it was if there is no memory for it, and it had better be streamed.
    pub fn whole(&self, bytes: Bytes) -> Result<Bytes, Bytes> {
        self.budget.whole(bytes)
    }
}

// === impl State ===

impl State {
    /// Nothing more is written; what was said first stays.
    fn finish(&mut self, end: io::Result<()>) {
        self.end.get_or_insert(end);
        self.ended.get_or_insert_with(Instant::now);
    }
}

// === impl Shared ===

impl Waiting for Shared {
    fn cut(&self) {
        let mut state = self.state.lock();
        // Its connection may be at its next answer.
        if state.reader_gone {
            return;
        }
        state.chunks.clear();
        (state.in_memory, state.spool, state.trailers) = (0, None, None);
        state.end = None;
        state.finish(Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not read, and others needed the room")));
        let connection = state.connection.take();
        wake(state);
        self.drained.notify_all();
        if let Some(connection) = connection {
            connection.close();
        }
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests;
