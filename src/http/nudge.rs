//! Sees to works that no worker was woken for.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use crate::worker::Pool;

/// One timer for all works of a pool that are queued, for to set one costs a system call.
#[derive(Clone, Debug, Default)]
pub struct Nudge(Arc<AtomicBool>);

/// How long a queued work is left to the workers that run.
const AFTER: Duration = Duration::from_millis(1);

// === impl Nudge ===

impl Nudge {
    /// Looks at `pool`'s queue after a short while: the running workers should have emptied it at once, unless they are stuck.
    pub(super) fn later(&self, pool: &Pool) {
        if self.0.load(Relaxed) || self.0.swap(true, SeqCst) {
            return;
        }
        let (is_set, pool) = (self.0.clone(), pool.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(AFTER).await;
                // Before the look: a work queued after it starts a timer of its own.
                is_set.swap(false, SeqCst);
                pool.wake_if_waiting(AFTER / 2);
                if !pool.has_waiting() || is_set.swap(true, SeqCst) {
                    break;
                }
            }
        });
    }
}
