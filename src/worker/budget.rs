//! What all answers on their way to their clients may take together, whoever they are for: memory, and temporary files.
//!
//! Past the memory they go to their files at once. When those are too many or too long, the connection goes whose answer has waited
//! longest without being read.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::scoreboard::now_ms;
use crate::telemetry::Seldom;

/// Bounds of all answers of a process together (`http.output`).
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes kept in memory.
    pub memory: usize,
    /// Bytes kept in temporary files.
    pub file: u64,
    /// Temporary files.
    pub files: usize,
}

/// What is taken of [`Bounds`].
#[derive(Debug)]
pub struct Budget {
    bounds: Bounds,
    memory: AtomicUsize,
    file: AtomicU64,
    cut: AtomicU64,
    opened: Mutex<Opened>,
}

/// An answer that can be given up.
pub(super) trait Waiting: Send + Sync {
    /// Gives its place back, and breaks it off.
    fn cut(&self);
}

/// A temporary file's part of the budget.
#[derive(Debug)]
pub(super) struct Ticket {
    of: Arc<Budget>,
    number: u64,
    bytes: u64,
    moved: Moved,
}

/// When a client last took something of its answer, by [`now_ms`].
type Moved = Arc<AtomicU64>;

/// Those that have a temporary file.
#[derive(Default)]
struct Opened {
    last: u64,
    all: BTreeMap<u64, (Moved, Weak<dyn Waiting>)>,
}

/// Bytes that are counted until the last who holds some of them lets go: they may lie in hyper's buffers long after we gave them away.
struct Counted {
    bytes: Bytes,
    of: Arc<Budget>,
}

/// Less is not counted when it is all of an answer: what a connection has beside it is more.
const SMALL: usize = 16 * 1024;

/// Whoever has taken something since is no slow client. What is taken is up to 256 KiB, which takes a slow but steady one seconds.
const PATIENCE: Duration = Duration::from_secs(10);

// === impl Budget ===

impl Budget {
    /// A budget of which nothing is taken.
    pub fn new(bounds: Bounds) -> Arc<Self> {
        let (memory, file, cut) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { bounds, memory, file, cut, opened: Mutex::default() })
    }

    /// Without bounds, for answers that are small.
    pub fn unlimited() -> Arc<Self> {
        Self::new(Bounds { memory: usize::MAX, file: u64::MAX, files: usize::MAX })
    }

    /// Bytes in memory.
    pub fn memory(&self) -> usize {
        self.memory.load(Relaxed)
    }

    /// Bytes in temporary files.
    pub fn file(&self) -> u64 {
        self.file.load(Relaxed)
    }

    /// Temporary files.
    pub fn files(&self) -> usize {
        self.opened.lock().all.len()
    }

    /// Answers that were broken off to make room.
    pub fn cut(&self) -> u64 {
        self.cut.load(Relaxed)
    }

    pub(super) fn has_memory(&self, bytes: usize) -> bool {
        self.memory().saturating_add(bytes) <= self.bounds.memory
    }

    /// The same bytes, counted; as they were if there is no room.
    pub(super) fn take(self: &Arc<Self>, bytes: Bytes) -> Result<Bytes, Bytes> {
        let before = self.memory.fetch_add(bytes.len(), Relaxed);
        if before.saturating_add(bytes.len()) > self.bounds.memory {
            self.memory.fetch_sub(bytes.len(), Relaxed);
            return Err(bytes);
        }
        Ok(self.counted(bytes))
    }

    /// The same bytes, counted although there may be no room: somebody waits for them.
    pub(super) fn force(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        self.memory.fetch_add(bytes.len(), Relaxed);
        self.counted(bytes)
    }

    /// All of an answer, counted unless it is small; as it was if there is no room.
    pub(super) fn whole(self: &Arc<Self>, bytes: Bytes) -> Result<Bytes, Bytes> {
        if bytes.len() < SMALL { Ok(bytes) } else { self.take(bytes) }
    }

    /// All have waited for longer than anybody may who reads.
    #[cfg(test)]
    pub(super) fn age(&self) {
        self.opened.lock().all.values().for_each(|(moved, _)| moved.store(0, Relaxed));
    }

    fn counted(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Counted { bytes, of: self.clone() })
    }

    /// Room for a temporary file; none if there are too many.
    pub(super) fn open(self: &Arc<Self>, who: Weak<dyn Waiting>) -> Option<Ticket> {
        let mut opened = self.opened.lock();
        if opened.all.len() >= self.bounds.files {
            return None;
        }
        opened.last += 1;
        let (number, moved) = (opened.last, Moved::new(now_ms().into()));
        opened.all.insert(number, (moved.clone(), who));
        Some(Ticket { of: self.clone(), number, bytes: 0, moved })
    }

    /// Breaks off the answer that has waited longest without being read; false if all are being read.
    pub(super) fn cut_slowest(&self) -> bool {
        let before = now_ms().saturating_sub(PATIENCE.as_millis() as u64);
        let slowest = {
            let opened = self.opened.lock();
            let slowest = opened.all.values().map(|(moved, who)| (moved.load(Relaxed), who)).min_by_key(|(moved, _)| *moved);
            slowest.filter(|(moved, _)| *moved < before).map(|(_, who)| who.clone())
        };
        let Some(slowest) = slowest else { return false };
        // One that is gone meanwhile has made room too.
        if let Some(slowest) = slowest.upgrade() {
            self.cut.fetch_add(1, Relaxed);
            slowest.cut();
            static SELDOM: Seldom = Seldom::new();
            if let Some(unsaid) = SELDOM.say() {
                let Bounds { file, files, .. } = self.bounds;
                tracing::warn!(
                    unsaid,
                    "answers that clients do not read fill their temporary files (http.output.file_total {file}, \
                     http.output.max_files {files}): the one that waited longest was cut"
                );
            }
        }
        true
    }
}

// === impl Ticket ===

impl Ticket {
    /// Its client takes something.
    pub(super) fn touch(&self) {
        self.moved.store(now_ms(), Relaxed);
    }

    /// Room for so many bytes more in the file; false if there is none.
    pub(super) fn grow(&mut self, bytes: u64) -> bool {
        let most = self.of.bounds.file;
        let grown = self.of.file.fetch_update(AcqRel, Acquire, |file| file.checked_add(bytes).filter(|sum| *sum <= most));
        if grown.is_ok() {
            self.bytes += bytes;
        }
        grown.is_ok()
    }

    /// Gives back what was not written after all.
    pub(super) fn shrink(&mut self, bytes: u64) {
        self.of.file.fetch_sub(bytes, AcqRel);
        self.bytes -= bytes;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.of.file.fetch_sub(self.bytes, AcqRel);
        self.of.opened.lock().all.remove(&self.number);
    }
}

// === impl Opened, Counted ===

impl std::fmt::Debug for Opened {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.all.keys()).finish()
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.memory.fetch_sub(self.bytes.len(), Relaxed);
    }
}
