//! Who gets a work that is submitted, and when a worker is woken for those that wait.
//!
//! While works are short they are gathered, and further workers are woken only while there are cores for them; while memory is short
//! fewer run. All else about those that wait is the queue's.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use super::{Pool, Shared, State};
use crate::worker::{Pressure, Work};

/// When to wake a further worker while others run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wake {
    /// At once.
    Now,
    /// Not at once if works are short: those that come with it can share the wake-up, and workers that run are about to take them.
    /// The caller then sees to it by [`Pool::wake_if_waiting`], when its thread is about to sleep and after a short while.
    WhenParked,
}

/// What became of a submitted work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Submitted {
    /// A worker has it.
    Taken,
    /// It waits.
    Queued,
}

/// The pool took nothing: its queue is full, no worker is left, memory is short, or it is closing.
#[derive(Debug)]
pub struct Refused(pub Box<Work>);

/// Works shorter than this are not worth waking a worker for while the cores are busy: waking costs about as much.
const SHORT: Duration = Duration::from_micros(200);

/// Works that a submitting thread gathers before it wakes a worker for them, divided by the cores: the fewer these are, the likelier
/// the worker takes the core of the thread that wakes it, for one work, and gives it back.
const GATHER: usize = 32;

/// How many works make it worth to wake a worker.
pub(super) fn batch(cores: usize) -> usize {
    (GATHER / cores).max(2)
}

// === impl Pool ===

impl Pool {
    /// Gives `work` to the most recently idle worker, else queues it, else refuses it.
    pub fn submit(&self, work: Work, wake: Wake) -> Result<Submitted, Refused> {
        let mut gone = Vec::new();
        let mut state = self.0.state.lock();
        let is_full = state.idle.is_empty() && state.queue.len() >= self.0.config.max_queue_size;
        if state.closed || state.deserted || is_full || self.0.is_limited(&state) {
            drop(state);
            self.0.refused.fetch_add(1, Relaxed);
            return Err(Refused(Box::new(work)));
        }
        state.queue.push_back(work);
        let wakes = wake == Wake::Now || !self.0.is_gathering(&state);
        if wakes && let Some(slot) = state.idle.pop() {
            let first = self.0.pop(&mut state, &mut gone).expect("one was just put in");
            let submitted = if state.queue.is_empty() { Submitted::Taken } else { Submitted::Queued };
            drop(state);
            slot.give(first);
            return Ok(submitted);
        }
        state.queued_max = state.queued_max.max(state.queue.len());
        self.0.queued.store(state.queue.len(), Relaxed);
        Ok(Submitted::Queued)
    }

    /// Wakes idle workers for the works that wait, as many as there are cores for; a further one for each work that has waited longer
    /// than `patience`.
    pub fn wake_if_waiting(&self, patience: Duration) {
        while self.0.queued.load(Relaxed) != 0 {
            let mut gone = Vec::new();
            let mut state = self.0.state.lock();
            let Some(oldest) = state.queue.front() else { return };
            if !self.0.has_free_core(&state) && oldest.submitted.elapsed() < patience {
                return;
            }
            let Some(slot) = state.idle.pop() else { return };
            let Some(work) = self.0.pop(&mut state, &mut gone) else {
                // All of them were taken back.
                state.idle.push(slot);
                return;
            };
            drop(state);
            slot.give(work);
        }
    }

    /// Memory is so short from now on, which bounds how many works run at once, and whether any waits.
    pub fn feel(&self, pressure: Pressure) {
        self.0.pressure.store(pressure as u8, Relaxed);
    }

    /// Why a work is refused, as far as that is so now.
    pub fn why_refused(&self) -> &'static str {
        if self.0.state.lock().deserted {
            "no worker is left"
        } else if self.is_short_of_memory() {
            "memory is short"
        } else {
            "the pool's queue is full"
        }
    }

    /// Whether memory is short.
    pub fn is_short_of_memory(&self) -> bool {
        self.0.pressure.load(Relaxed) != Pressure::None as u8
    }
}

// === impl Shared ===

impl Shared {
    /// True if the queued works may wait until the thread that submits them is about to sleep.
    fn is_gathering(&self, state: &State) -> bool {
        let few = state.queue.len() < self.batch || !self.has_free_core(state);
        few && self.works_are_short() && state.queue.len() <= self.config.max_queue_size
    }

    /// True if a further worker would not take the core of one that runs, or of the thread that asks.
    fn has_free_core(&self, state: &State) -> bool {
        let running = state.seats - state.idle.len();
        running == 0 || running + 1 < self.cores
    }

    /// True if as many works run or wait as may at the moment.
    fn is_limited(&self, state: &State) -> bool {
        self.pressure.load(Relaxed) == Pressure::Shed as u8
            && state.seats - state.idle.len() + state.queue.len() >= Pressure::most_running(self.config.num_workers)
    }

    fn works_are_short(&self) -> bool {
        self.typical.load(Relaxed) < SHORT.as_nanos() as u64
    }

    #[inline]
    pub(super) fn note_length(&self, length: Duration) {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let typical = self.typical.load(Relaxed);
        self.typical.store(typical - typical / 8 + length / 8, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::tests::{echo, pool, runtime, work};
    use super::*;
    use crate::worker::Next;

    #[test]
    fn short_works_wait_for_company_but_not_past_the_queue_s_bound() {
        for (max_queue_size, expected) in [(10, Submitted::Queued), (0, Submitted::Taken)] {
            let pool = pool(max_queue_size);
            let worker = thread::spawn({
                let pool = pool.clone();
                move || {
                    let seat = pool.seat();
                    while let Next::Work(work) = seat.next() {
                        echo(work);
                    }
                }
            });
            while pool.snapshot().idle == 0 {
                thread::yield_now();
            }
            let (work, answer) = work(1);
            assert_eq!(pool.submit(work, Wake::WhenParked).expect("room"), expected);
            assert_eq!(pool.has_waiting(), expected == Submitted::Queued);
            // There is a core for the first worker, so patience does not matter.
            pool.wake_if_waiting(Duration::from_secs(60));
            runtime().block_on(answer).expect("no failure");
            pool.close();
            worker.join().expect("no panic");
        }
    }

    #[test]
    fn refuses_at_once_when_the_queue_is_full() {
        let pool = pool(1);
        let (first, _keep) = work(1);
        let (second, _keep) = work(2);
        assert_eq!(pool.submit(first, Wake::Now).expect("room for one"), Submitted::Queued);
        let Refused(back) = pool.submit(second, Wake::Now).expect_err("no room");
        assert_eq!(back.request.id, 2);
        assert_eq!(pool.snapshot().refused, 1);
    }

    #[test]
    fn while_works_are_limited_fewer_run_and_none_waits() {
        let pool = pool(10);
        // Of two workers one is at work, which is half.
        let (busy, idle) = (pool.seat(), pool.seat());
        let (first, _keep) = work(1);
        pool.submit(first, Wake::Now).expect("room");
        assert!(matches!(busy.next(), Next::Work(_)));
        pool.feel(Pressure::Shed);
        let (second, _keep) = work(2);
        pool.submit(second, Wake::Now).expect_err("as many run as may");
        pool.feel(Pressure::Recycle);
        let (second, _keep) = work(2);
        assert_eq!(pool.submit(second, Wake::Now).expect("room"), Submitted::Queued);
        assert!(matches!(idle.next(), Next::Work(_)));
    }
}
