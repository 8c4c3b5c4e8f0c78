//! The works that wait: how long they may, how they leave, and how one comes back.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use super::{Pool, Shared, State};
use crate::worker::{Failure, Work};

// === impl Pool ===

impl Pool {
    /// True while works wait.
    pub fn has_waiting(&self) -> bool {
        self.0.queued.load(Relaxed) != 0
    }

    /// Works waiting.
    pub fn queued(&self) -> usize {
        self.0.queued.load(Relaxed)
    }

    /// How long the work that waits longest has waited, if one does.
    pub fn longest_wait(&self) -> Option<Duration> {
        if self.0.queued.load(Relaxed) == 0 {
            return None;
        }
        self.0.state.lock().queue.front().map(|work| work.submitted.elapsed())
    }

    /// Drops the works that have waited longer than `allocate_timeout`; their askers hear [`Failure::QueueTimeout`].
    /// Returns when the next one is due.
    pub fn expire(&self, now: Instant) -> Option<Instant> {
        let limit = self.0.config.allocate_timeout;
        let mut gone = Vec::new();
        let mut state = self.0.state.lock();
        while state.queue.front().is_some_and(|work| now.duration_since(work.submitted) >= limit) {
            gone.extend(state.queue.pop_front());
        }
        self.0.queued.store(state.queue.len(), Relaxed);
        let next = state.queue.front().map(|work| work.submitted + limit);
        drop(state);
        self.0.expired.fetch_add(gone.len() as u64, Relaxed);
        for work in gone {
            work.responder.send(Err(Failure::QueueTimeout));
        }
        next
    }

    /// Takes back a work whose worker could not begin it. It goes to the next free worker, before all that wait, and its wait
    /// goes on to count from when it was submitted.
    pub fn give_back(&self, work: Work) {
        if work.submitted.elapsed() >= self.0.config.allocate_timeout {
            self.0.expired.fetch_add(1, Relaxed);
            work.responder.send(Err(Failure::QueueTimeout));
            return;
        }
        let mut state = self.0.state.lock();
        match state.idle.pop() {
            Some(slot) => {
                drop(state);
                slot.give(work);
            }
            None => {
                // Not bounded by the queue's length: there are at most as many as workers.
                state.queue.push_front(work);
                self.0.queued.store(state.queue.len(), Relaxed);
            }
        }
    }

    /// No worker is left, and none is about to come: works are refused until one takes a seat. Those that wait are
    /// [`fail_waiting`](Self::fail_waiting)'s.
    pub fn desert(&self) {
        self.0.state.lock().deserted = true;
    }

    /// Answers every work that waits with `failure`: no worker is about to take it.
    pub fn fail_waiting(&self, failure: Failure) {
        let mut state = self.0.state.lock();
        let waiting = std::mem::take(&mut state.queue);
        self.0.queued.store(0, Relaxed);
        drop(state);
        for work in waiting {
            work.responder.send(Err(failure));
        }
    }
}

// === impl Shared ===

impl Shared {
    /// The next work that is still wanted. Those before it go to `gone`, to be dropped without the lock: their bodies may be files.
    #[inline]
    pub(super) fn pop(&self, state: &mut State, gone: &mut Vec<Work>) -> Option<Work> {
        let work = loop {
            match state.queue.pop_front() {
                Some(work) if work.is_taken_back() => gone.push(work),
                next => break next,
            }
        };
        self.queued.store(state.queue.len(), Relaxed);
        self.taken.fetch_add(u64::from(work.is_some()), Relaxed);
        work
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answered, echo, pool, runtime, work};
    use super::*;
    use crate::worker::{HttpHead, Next, Source, Wake};

    #[test]
    fn those_that_wait_can_be_told_that_nobody_comes() {
        let pool = pool(10);
        let (work, answer) = work(1);
        pool.submit(work, Wake::Now).expect("room");
        pool.fail_waiting(Failure::WorkerLost);
        assert_eq!(runtime().block_on(answer).expect_err("no worker"), Failure::WorkerLost);
        assert_eq!(pool.snapshot().queued, 0);
    }

    #[test]
    fn while_no_worker_is_left_none_waits_in_vain() {
        let pool = pool(10);
        let (waits, answer) = work(1);
        pool.submit(waits, Wake::Now).expect("room");
        pool.desert();
        pool.fail_waiting(Failure::NoWorker);
        assert_eq!(answered(answer), Err(Failure::NoWorker));
        let (refused, _keep) = work(2);
        pool.submit(refused, Wake::Now).expect_err("nobody would take it");
        assert_eq!(pool.why_refused(), "no worker is left");
        let seat = pool.seat();
        let (taken, _keep) = work(3);
        pool.submit(taken, Wake::Now).expect("somebody has come");
        assert!(matches!(seat.next(), Next::Work(_)));
    }

    #[test]
    fn a_wait_ends_at_its_limit() {
        let pool = pool(10);
        let (work, answer) = work(1);
        let submitted = work.submitted;
        pool.submit(work, Wake::Now).expect("room");
        assert_eq!(pool.expire(submitted), Some(submitted + Duration::from_millis(50)));
        assert_eq!(pool.expire(submitted + Duration::from_millis(50)), None);
        assert_eq!(runtime().block_on(answer).expect_err("timed out"), Failure::QueueTimeout);
    }

    #[test]
    fn a_work_that_comes_back_goes_first_and_to_whoever_is_idle() {
        let pool = pool(10);
        let (first, first_answer) = work(1);
        let (second, second_answer) = work(2);
        pool.submit(second, Wake::Now).expect("room");
        pool.give_back(first);
        let seat = pool.seat();
        for id in [1, 2] {
            let Next::Work(work) = seat.next() else { panic!("a work was expected") };
            assert_eq!(work.request.id, id);
            echo(work);
        }
        assert_eq!((answered(first_answer), answered(second_answer)), (Ok("1".into()), Ok("2".into())));
    }

    #[test]
    fn a_work_does_not_come_back_for_ever() {
        let pool = pool(10);
        let (mut old, answer) = work(1);
        old.submitted -= pool.config().allocate_timeout;
        pool.give_back(old);
        assert_eq!(answered(answer), Err(Failure::QueueTimeout));
    }

    #[test]
    fn what_was_taken_back_is_not_done() {
        let pool = pool(10);
        let seat = pool.seat();
        let [kept, left, taken_back] =
            [(1, http::Version::HTTP_2), (2, http::Version::HTTP_11), (3, http::Version::HTTP_2)].map(|(id, version)| {
                let (mut work, answer) = work(id);
                work.request.source = Source::Http(HttpHead {
                    method: http::Method::GET,
                    target: "/".into(),
                    query: String::new(),
                    version,
                    headers: http::HeaderMap::new(),
                    remote: None,
                    local: None,
                    port: None,
                    name: None,
                    secure: None,
                    server_name: String::new(),
                });
                assert!(pool.submit(work, Wake::Now).is_ok());
                answer
            });
        drop((left, taken_back));
        let next = || match seat.next() {
            Next::Work(work) => work.request.id,
            other => panic!("{other:?}"),
        };
        assert_eq!((next(), next(), pool.queued()), (1, 2, 1));
        pool.close();
        assert!(matches!(seat.next(), Next::Closed), "the third is nobody's");
        drop(kept);
    }
}
