//! Threads whose script cannot be ended: they are given up and replaced, and at last the process is.

use std::{
    ptr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{
    slot::{Slot, SlotState},
    thread::Threads,
};
use crate::worker::Failure;

/// A thread that was given up and is not back by then may never be.
const LOST_FOR_LONG: Duration = Duration::from_secs(10);

// === impl Threads ===

impl Threads {
    /// Threads that never came back from a script and were replaced.
    pub fn written_off(&self) -> u32 {
        self.written_off.load(Relaxed)
    }

    /// True if the process should be replaced: a thread that was given up has not come back for long, and what it holds is only let
    /// go by the process's end; or so many have not that no further one was replaced, or none is left.
    pub fn is_worn_out(&self) -> bool {
        if self.is_deserted() {
            return true;
        }
        let lost = self.lost.lock();
        lost.len() > self.base() || lost.iter().any(|(_, since)| since.elapsed() >= LOST_FOR_LONG)
    }

    /// Gives up on the thread of `slot` and starts another in its place. At most as many are lost and replaced as the pool has.
    pub(crate) fn replace(self: &Arc<Self>, slot: &Arc<Slot>) {
        slot.set(SlotState::Gone);
        slot.lifeline.lock().cut(Failure::RequestTimeout);
        self.written_off.fetch_add(1, Relaxed);
        self.forget(slot);
        let lost = {
            let mut lost = self.lost.lock();
            // It may have come back at this very moment.
            if !slot.has_ended.load(Relaxed) {
                lost.push((slot.clone(), Instant::now()));
            }
            lost.len()
        };
        let current = slot.current();
        let (leaves, too_many) = (slot.standing.is_dismissed(), lost > self.base());
        let is_replaced = !leaves && !too_many;
        tracing::error!(
            thread = slot.name(),
            request = slot.running_since().map(|(request, _)| request),
            script = current.script,
            lost,
            "a script cannot be interrupted; its thread is given up, and {}",
            match (leaves, too_many) {
                (true, _) => "none takes its place: it was to go",
                (false, true) => "none takes its place: too many are lost",
                (false, false) => "another takes its place",
            }
        );
        if is_replaced && let Err(error) = self.spawn() {
            tracing::error!(%error, "a PHP thread that is stuck cannot be replaced");
        }
        let none_is_left = {
            // Under the lock: a thread that is started now takes its seat after this.
            let slots = self.slots.lock();
            if slots.is_empty() {
                self.pool().desert();
            }
            slots.is_empty()
        };
        if none_is_left {
            tracing::error!(pool = self.name(), "no thread is left: requests are refused");
            self.pool().fail_waiting(Failure::NoWorker);
        }
    }

    /// All threads were given up. A pool whose workers are processes has none.
    pub(super) fn is_deserted(&self) -> bool {
        self.slots.lock().is_empty() && !self.lost.lock().is_empty()
    }

    /// Threads given up that have not come back.
    pub(super) fn lost(&self) -> Vec<Arc<Slot>> {
        self.lost.lock().iter().map(|(slot, _)| slot.clone()).collect()
    }

    /// The thread of `slot` has ended; it may have been given up.
    pub(super) fn came_back(self: &Arc<Self>, slot: &Slot) {
        let was_lost = {
            let mut lost = self.lost.lock();
            slot.has_ended.store(true, Relaxed);
            let before = lost.len();
            lost.retain(|(other, _)| !ptr::eq(&**other, slot));
            lost.len() < before
        };
        if !was_lost {
            return;
        }
        tracing::info!(thread = slot.name(), "a thread that was given up has come back, and ends");
        if self.slots.lock().is_empty()
            && let Err(error) = self.spawn()
        {
            tracing::error!(%error, "no PHP thread can be started in its place");
        }
    }
}
