//! A worker's side: it takes a seat, asks what to do next, and sleeps until it is told.

use std::{
    cell::Cell,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

mod polled;

pub(super) use polled::Bell;

use super::{Place, Pool, Shared, Slot, State, orders::Order};
use crate::worker::Work;

/// A worker's place in a [`Pool`]; lives on the worker's own thread.
#[derive(Debug)]
pub struct Seat {
    pool: Arc<Shared>,
    slot: Arc<Slot>,
    began: Cell<Option<Instant>>,
    recalls: Cell<u64>,
    rest: Option<Rest>,
    /// Among the idle, by `poll`; whoever takes it from there has something for it.
    listed: Cell<bool>,
}

/// What a worker does once in each wait that lasts.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// How long nothing must have come.
    pub after: Duration,
    /// Called on the worker's thread.
    pub call: fn(),
}

/// What a worker is to do next.
#[derive(Debug)]
pub enum Next {
    /// Run this.
    Work(Work),
    /// Start afresh, then ask again: [`Pool::recall`] or [`Pool::recall_idle`] was called.
    Recalled,
    /// Leave: the pool is closed and its queue empty, or [`Pool::dismiss`] was called.
    Closed,
}

// === impl Pool ===

impl Pool {
    /// Takes a seat for the calling thread.
    pub fn seat(&self) -> Seat {
        let mut state = self.0.state.lock();
        state.seats += 1;
        state.deserted = false;
        Seat {
            recalls: Cell::new(state.recalls),
            pool: self.0.clone(),
            slot: Arc::new(Slot {
                thread: thread::current(),
                work: Mutex::new(None),
                told: AtomicU8::new(0),
                bell: OnceLock::new(),
            }),
            began: Cell::new(None),
            rest: None,
            listed: Cell::new(false),
        }
    }
}

// === impl Slot ===

impl Slot {
    #[inline]
    pub(super) fn give(&self, work: Work) {
        *self.work.lock() = Some(work);
        self.wake();
    }

    /// Tells the worker to look.
    #[inline]
    pub(super) fn wake(&self) {
        self.thread.unpark();
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
    }
}

// === impl Seat ===

impl Seat {
    /// With something to do in each wait that lasts.
    pub fn resting(mut self, rest: Rest) -> Self {
        self.rest = Some(rest);
        self
    }

    /// The seat as others know it.
    pub fn place(&self) -> Place {
        Place(self.slot.clone())
    }

    /// The worker starts afresh by itself: it has done what recalls up to now ask for.
    pub fn start_afresh(&self) {
        let state = self.pool.state.lock();
        self.recalls.set(state.recalls);
        if self.slot.told.load(Relaxed) == Order::StartAfresh as u8 {
            self.slot.told.store(0, Relaxed);
        }
    }

    /// What to do next, waiting for it.
    pub fn next(&self) -> Next {
        self.note_end();
        let next = self.wait();
        self.note_begin(Some(&next));
        next
    }

    fn note_end(&self) {
        if let Some(began) = self.began.take() {
            self.pool.note_length(began.elapsed());
        }
    }

    fn note_begin(&self, next: Option<&Next>) {
        self.began.set(matches!(next, Some(Next::Work(_))).then(Instant::now));
    }

    fn wait(&self) -> Next {
        let mut gone = Vec::new();
        {
            let mut state = self.pool.state.lock();
            let given = self.slot.work.lock().take().map(Next::Work);
            if let Some(next) = given.or_else(|| self.look(&mut state, &mut gone)) {
                self.listed.set(false);
                return next;
            }
            if !self.listed.replace(false) {
                state.idle.push(self.slot.clone());
            }
        }
        gone.clear();
        let (idle, mut rest) = (Instant::now(), self.rest);
        loop {
            match rest {
                Some(rest) => thread::park_timeout(rest.after),
                None => thread::park(),
            }
            if let Some(work) = self.slot.work.lock().take() {
                return Next::Work(work);
            }
            let mut state = self.pool.state.lock();
            // Looked at again under the lock: a work given just before the pool closed must not be left behind.
            if (state.closed || state.recalls != self.recalls.get() || self.slot.told.load(Relaxed) != 0)
                && let Some(next) = self.slot.work.lock().take().map(Next::Work).or_else(|| self.look(&mut state, &mut gone))
            {
                return next;
            }
            drop(state);
            if let Some(rest) = rest.take_if(|rest| idle.elapsed() >= rest.after) {
                (rest.call)();
            }
        }
    }

    fn look(&self, state: &mut State, gone: &mut Vec<Work>) -> Option<Next> {
        let told = self.slot.told.load(Relaxed);
        if told != 0 {
            self.slot.told.store(0, Relaxed);
            return Some(if told == Order::Leave as u8 { Next::Closed } else { Next::Recalled });
        }
        if !state.closed && state.recalls != self.recalls.get() {
            self.recalls.set(state.recalls);
            return Some(Next::Recalled);
        }
        match self.pool.pop(state, gone) {
            Some(work) => Some(Next::Work(work)),
            None => state.closed.then_some(Next::Closed),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.step_back();
        self.pool.state.lock().seats -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::super::tests::{echo, pool, runtime, work};
    use super::*;
    use crate::worker::Wake;

    #[test]
    fn a_worker_that_waits_for_long_rests_once_and_goes_on() {
        static RESTED: AtomicUsize = AtomicUsize::new(0);
        let rest = Rest { after: Duration::from_millis(5), call: || _ = RESTED.fetch_add(1, Relaxed) };
        let pool = pool(10);
        let worker = thread::spawn({
            let pool = pool.clone();
            move || {
                let seat = pool.seat().resting(rest);
                while let Next::Work(work) = seat.next() {
                    echo(work);
                }
            }
        });
        for waits in 1..=2 {
            while RESTED.load(Relaxed) < waits {
                thread::yield_now();
            }
            thread::sleep(rest.after * 4);
            assert_eq!(RESTED.load(Relaxed), waits);
            let (work, answer) = work(1);
            pool.submit(work, Wake::Now).expect("room");
            assert!(runtime().block_on(answer).is_ok());
        }
        pool.close();
        worker.join().expect("no panic");
    }
}
