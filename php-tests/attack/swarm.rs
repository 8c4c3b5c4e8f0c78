//! Thousands of connections at once, held by one thread that is not the test's.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::harness::{PATIENCE, wait_until};

/// A number of connections; they end with it.
#[derive(Debug)]
pub(super) struct Swarm {
    end: watch::Sender<bool>,
    counts: Arc<Counts>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What has become of them.
#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    cut: AtomicUsize,
    failed: AtomicUsize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) number: usize,
    counts: Arc<Counts>,
    /// Until it is connected.
    turn: Option<OwnedSemaphorePermit>,
}

/// Connections that are being made at once: the kernel's queue is no longer than that.
const AT_ONCE: usize = 100;

// === impl Swarm ===

impl Swarm {
    /// `count` times what `live` does: it connects, says so by `Member::is_open`, and stays until it is cut.
    pub(super) fn start<F, L>(count: usize, live: L) -> Self
    where
        F: Future<Output = Result<(), String>> + 'static,
        L: Fn(Member) -> F + Send + 'static,
    {
        let (end, ended) = watch::channel(false);
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async {
                let gate = Arc::new(Semaphore::new(AT_ONCE));
                for number in 0..count {
                    let Ok(turn) = gate.clone().acquire_owned().await else { return };
                    let member = Member { number, counts: shared.clone(), turn: Some(turn) };
                    let (life, counts, mut over) = (live(member), shared.clone(), ended.clone());
                    tokio::task::spawn_local(async move {
                        tokio::select! {
                            end = life => counts.note(end),
                            _ = over.wait_for(|over| *over) => {}
                        }
                    });
                }
                let mut ended = ended.clone();
                _ = ended.wait_for(|over| *over).await;
            });
        });
        Self { end, counts, thread: Some(thread) }
    }

    /// Waits until all of them are connected.
    pub(super) fn gathered(&self, count: usize) {
        let there = || self.counts.open.load(Relaxed) + self.counts.failed.load(Relaxed) >= count;
        assert!(wait_until(PATIENCE * 5, there), "{:?} of {count}", self.counts);
        assert_eq!(self.counts.failed.load(Relaxed), 0, "of {count}");
    }

    /// How many the server has closed.
    pub(super) fn cut(&self) -> usize {
        self.counts.cut.load(Relaxed)
    }

    /// How many ended as they should not.
    pub(super) fn failed(&self) -> usize {
        self.counts.failed.load(Relaxed)
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        _ = self.end.send(true);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

// === impl Counts ===

impl Counts {
    fn note(&self, end: Result<(), String>) {
        match end {
            Ok(()) => _ = self.cut.fetch_add(1, Relaxed),
            Err(error) => {
                let others = self.failed.fetch_add(1, Relaxed);
                // Once is enough to see why.
                if others == 0 {
                    eprintln!("a connection failed: {error}");
                }
            }
        }
    }
}

// === impl Member ===

impl Member {
    /// It is connected.
    pub(super) fn is_open(&mut self) {
        self.turn = None;
        self.counts.open.fetch_add(1, Relaxed);
    }
}

/// As many descriptors as there may be, less what is needed otherwise.
pub(super) fn descriptors() -> usize {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(1500)
}
