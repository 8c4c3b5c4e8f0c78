//! For workers that cannot sleep in [`Seat::next`], and for work that comes back.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use super::{Next, Pool, Seat};
use crate::worker::Work;

/// Called from any thread, at times with the pool's lock held: it may not call the pool.
pub(in super::super) struct Bell(Box<dyn Fn() + Send + Sync>);

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

// === impl Bell ===

impl Bell {
    #[inline]
    pub(super) fn ring(&self) {
        self.0();
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

    use super::super::super::tests::{answered, echo, pool, work};
    use super::*;
    use crate::worker::Wake;

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
}
