//! Where PHP threads are: they are asked, and those that are too deep in a C function to answer are looked at (`trace.c`).

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{slot::Slot, thread::Threads};

/// How long a thread may take to answer. One that runs PHP code does so in microseconds, once it has a core.
const PATIENCE: Duration = Duration::from_millis(50);
const LOOK: Duration = Duration::from_millis(1);

/// A thread at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// The thread.
    pub slot: Arc<Slot>,
    /// It was given up, and has not come back.
    pub is_lost: bool,
    /// Its calls, innermost first; empty if it runs nothing, or if they could not be told.
    pub trace: Vec<String>,
}

// === impl Slot ===

impl Slot {
    /// Asks the thread to tell its calls at its next interrupt.
    pub(super) fn ask_for_trace(&self) {
        *self.trace.lock() = None;
        if let Some(target) = &*self.target.lock() {
            target.ask_for_trace();
        }
    }

    /// The thread tells its calls.
    pub(super) fn tell_trace(&self, text: &[u8]) {
        let request = self.current.lock().request;
        *self.trace.lock() = Some((request, lines(text)));
    }

    fn has_told(&self) -> bool {
        self.trace.lock().is_some()
    }

    /// What the thread has told of its calls in `request`, or else what is seen of them.
    pub(super) fn collect_trace(&self, request: u64) -> Vec<String> {
        let told = self.trace.lock().take().filter(|(of, _)| *of == request);
        told.map_or_else(|| self.target.lock().as_ref().map_or_else(Vec::new, |target| lines(&target.trace())), |(_, told)| told)
    }
}

// === impl Threads ===

impl Threads {
    /// Every thread and its calls, at about the same moment. Waits a little.
    pub fn snapshot(&self) -> Vec<Snapshot> {
        let lost = self.lost();
        let slots: Vec<_> =
            self.slots().into_iter().map(|slot| (slot, false)).chain(lost.into_iter().map(|slot| (slot, true))).collect();
        let at_work: Vec<_> = slots.iter().filter(|(slot, _)| slot.is_at_work()).map(|(slot, _)| slot).collect();
        at_work.iter().for_each(|slot| slot.ask_for_trace());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && at_work.iter().any(|slot| slot.is_at_work() && !slot.has_told()) {
            thread::sleep(LOOK);
        }
        let look = |(slot, is_lost): (Arc<Slot>, bool)| {
            // Its lock is not held while the trace is collected: the watchdog takes the two the other way round.
            let request = slot.current.lock().request;
            let trace = if slot.is_at_work() { slot.collect_trace(request) } else { Vec::new() };
            Snapshot { slot, is_lost, trace }
        };
        slots.into_iter().map(look).collect()
    }
}

impl Slot {
    /// It runs a script: for a request, or to boot or to leave.
    fn is_at_work(&self) -> bool {
        self.running_since().is_some() || self.is_on_errand()
    }
}

fn lines(text: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(text).lines().map(str::to_owned).collect()
}
