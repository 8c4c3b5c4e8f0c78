//! What the watchdog's thread does for a pool besides: workers start afresh by the rules, come when works wait, and go when they idle.

use std::{sync::Arc, time::Instant};

use super::{slot::Slot, thread::Threads};
use crate::worker::{Failure, Load};

/// A pool's supervisor.
pub(super) struct Supervisor {
    looked: Instant,
}

// === impl Supervisor ===

impl Supervisor {
    pub(super) fn new() -> Self {
        Self { looked: Instant::now() }
    }

    /// Called every few milliseconds.
    pub(super) fn tick(&mut self, threads: &Arc<Threads>, slots: &[Arc<Slot>]) {
        if threads.settings().debug {
            return;
        }
        if threads.settings().tolerant && threads.outage().is_some() {
            // Whoever develops wants to see the fault now, not after the longest wait.
            threads.pool().fail_waiting(Failure::WorkerLost);
        }
        let rules = &threads.settings().rules;
        if !rules.ask_for_nothing() && self.looked.elapsed() >= rules.watch_tick {
            self.looked = Instant::now();
            mark(threads, slots);
        }
        renew_one(threads, slots);
        resize(threads, slots);
    }
}

/// Marks those that the rules want to start afresh. Whoever is at work does so after it.
fn mark(threads: &Threads, slots: &[Arc<Slot>]) {
    for slot in slots.iter().filter(|slot| slot.standing.is_ready() && slot.standing.due().is_none()) {
        if let Some(due) = threads.settings().rules.broken_by(&slot.standing, slot.idle_for()) {
            tracing::debug!(thread = slot.name(), reason = due.name(), "a worker is to start afresh");
            slot.standing.mark(due);
        }
    }
}

/// Wakes one marked worker that idles, if no other starts afresh at the moment.
fn renew_one(threads: &Threads, slots: &[Arc<Slot>]) {
    let marked = slots.iter().find(|slot| slot.standing.due().is_some() && slot.idle_for().is_some());
    if let Some((slot, place)) = marked.and_then(|slot| Some((slot, slot.standing.place()?))) {
        slot.standing.send_off(|| threads.pool().recall_idle(place));
    }
}

/// Starts workers while works wait, and sends one away that idles.
fn resize(threads: &Arc<Threads>, slots: &[Arc<Slot>]) {
    let Some(growth) = &threads.settings().growth else { return };
    let staying: Vec<_> = slots.iter().filter(|slot| !slot.standing.is_dismissed()).collect();
    let load = Load {
        extra: staying.len().saturating_sub(threads.base()),
        queued: threads.pool().queued(),
        longest_wait: threads.pool().longest_wait(),
        starting: staying.iter().filter(|slot| !slot.standing.is_ready()).count(),
        is_short_of_memory: threads.pool().is_short_of_memory(),
    };
    let wanted = growth.wanted(load);
    for _ in 0..wanted {
        if let Err(error) = threads.spawn() {
            tracing::error!(%error, "a further PHP thread cannot be started");
            return;
        }
    }
    if wanted > 0 {
        tracing::info!(
            pool = threads.name(),
            workers = staying.len() + wanted,
            queued = load.queued,
            "requests wait: workers added"
        );
    }
    let longest_idle = staying.iter().filter_map(|slot| Some((slot, slot.idle_for()?))).max_by_key(|(_, idle)| *idle);
    if let Some((slot, idle)) = longest_idle
        && load.extra > 0
        && idle >= growth.idle_timeout
        && threads.dismiss(slot)
    {
        tracing::info!(pool = threads.name(), workers = staying.len() - 1, "a worker was idle for long: taken away");
    }
}
