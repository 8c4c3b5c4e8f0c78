//! For workers that cannot sleep in [`Seat::next`], and for work that comes back.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use super::{Next, Pool, Seat, Slot};
use crate::worker::{Failure, Work};

/// Called from any thread, at times with the pool's lock held: it may not call the pool.
pub(super) struct Bell(Box<dyn Fn() + Send + Sync>);

// === impl Pool ===

impl Pool {
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
}

// === impl Seat ===

impl Seat {
    /// What to do next, if that is known now. If not, the worker counts as idle from here on, and `bell` is rung when there is
    /// something; the first bell given stays the seat's.
    pub fn poll(&self, bell: impl Fn() + Send + Sync + 'static) -> Option<Next> {
        drop(self.slot.bell.set(Bell(Box::new(bell))));
        self.note_end();
        let mut gone = Vec::new();
        let mut state = self.pool.state.lock();
        let given = self.slot.work.lock().take().map(Next::Work);
        let next = given.or_else(|| self.look(&mut state, &mut gone));
        match &next {
            Some(_) => self.listed.set(false),
            None if !self.listed.replace(true) => state.idle.push(self.slot.clone()),
            None => {}
        }
        drop(state);
        self.note_begin(next.as_ref());
        next
    }

    /// Takes back a work, for another worker: [`Pool::give_back`].
    pub fn give_back(&self, work: Work) {
        Pool(self.pool.clone()).give_back(work);
    }

    /// The worker is not idle after all: nothing is given to it until it asks again.
    pub fn step_back(&self) {
        if !self.listed.replace(false) {
            return;
        }
        let mut state = self.pool.state.lock();
        let idle = state.idle.len();
        state.idle.retain(|slot| !Arc::ptr_eq(slot, &self.slot));
        let was_there = idle != state.idle.len();
        let was_called = state.closed || state.recalls != self.recalls.get() || self.slot.told.load(Relaxed) != 0;
        drop(state);
        // Whoever took it from there without a call has a work, and gives it at once.
        let patience = if was_there || was_called { 0 } else { 1000 };
        let given = (0..=patience).find_map(|try_again| {
            if try_again > 0 {
                thread::park_timeout(Duration::from_millis(1));
            }
            self.slot.work.lock().take()
        });
        if let Some(work) = given {
            self.give_back(work);
        }
    }
}

// === impl Slot ===

impl Slot {
    /// Tells the worker to look.
    pub(super) fn wake(&self) {
        self.thread.unpark();
        if let Some(bell) = self.bell.get() {
            bell.0();
        }
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Bell")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::tests::{answered, echo, pool, work};
    use super::*;
    use crate::worker::{HttpHead, Source, Wake};

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
    fn a_polled_seat_is_rung_for_each_thing_that_comes() {
        let pool = pool(10);
        let seat = pool.seat();
        let (ring, rung) = mpsc::channel();
        let poll = || {
            let ring = ring.clone();
            seat.poll(move || ring.send(()).expect("heard"))
        };
        assert!(poll().is_none() && poll().is_none());
        assert_eq!(pool.snapshot().idle, 1, "listed once");
        let (given, answer) = work(1);
        pool.submit(given, Wake::Now).expect("idle");
        rung.recv().expect("rung");
        let Some(Next::Work(work)) = poll() else { panic!("a work was given") };
        echo(work);
        assert_eq!(answered(answer), Ok("1".into()));
        assert!(poll().is_none());
        pool.recall();
        rung.recv().expect("rung");
        assert!(matches!(poll(), Some(Next::Recalled)));
        assert!(poll().is_none());
        pool.close();
        rung.recv().expect("rung");
        assert!(matches!(poll(), Some(Next::Closed)));
    }

    #[test]
    fn a_seat_may_sleep_after_it_was_polled() {
        let pool = pool(10);
        let (at_work, worker) = (pool.clone(), pool.clone());
        let worker = thread::spawn(move || {
            let seat = worker.seat();
            assert!(seat.poll(|| {}).is_none());
            while let Next::Work(work) = seat.next() {
                echo(work);
            }
        });
        while at_work.snapshot().idle == 0 {
            thread::yield_now();
        }
        for id in 1..3 {
            let (work, answer) = work(id);
            pool.submit(work, Wake::Now).expect("room");
            assert_eq!(answered(answer), Ok(id.to_string()));
        }
        pool.close();
        worker.join().expect("no panic");
    }

    #[test]
    fn a_seat_that_steps_back_leaves_nothing_behind() {
        let pool = pool(10);
        let seat = pool.seat();
        assert!(seat.poll(|| {}).is_none());
        seat.step_back();
        assert_eq!(pool.snapshot().idle, 0);
        assert!(seat.poll(|| {}).is_none());
        let (given, answer) = work(1);
        pool.submit(given, Wake::Now).expect("idle");
        seat.step_back();
        assert_eq!(pool.snapshot().queued, 1);
        let Next::Work(work) = pool.seat().next() else { panic!("it waits for another") };
        echo(work);
        assert_eq!(answered(answer), Ok("1".into()));
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
