//! What workers are told beside works: to start afresh, or to leave. Here it is said; [`Seat::next`](super::Seat::next) hears it.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{Pool, Shared, Slot};

/// A [`Seat`](super::Seat) as others know it, to tell that worker alone what to do.
#[derive(Clone, Debug)]
pub struct Place(pub(super) Arc<Slot>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Order {
    StartAfresh = 1,
    Leave = 2,
}

// === impl Pool ===

impl Pool {
    /// Tells every worker to start afresh before its next work, the waiting ones at once. Works wait meanwhile.
    pub fn recall(&self) {
        let mut state = self.0.state.lock();
        state.recalls += 1;
        for slot in state.idle.drain(..) {
            slot.wake();
        }
    }

    /// Tells one worker to start afresh if it waits for work; false if it does not.
    pub fn recall_idle(&self, place: &Place) -> bool {
        self.0.tell(place, Order::StartAfresh)
    }

    /// Tells one worker to leave: at once if it waits for work, else before its next.
    pub fn dismiss(&self, place: &Place) {
        self.0.tell(place, Order::Leave);
    }

    /// Refuses new works; workers leave when the queue is empty.
    pub fn close(&self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        for slot in state.idle.drain(..) {
            slot.wake();
        }
    }
}

// === impl Shared ===

impl Shared {
    /// False if the worker does not wait for work; then only an order to leave is kept.
    fn tell(&self, place: &Place, order: Order) -> bool {
        let mut state = self.state.lock();
        let waiting = state.idle.iter().position(|slot| Arc::ptr_eq(slot, &place.0));
        if waiting.is_some() || order == Order::Leave {
            place.0.told.store(order as u8, Relaxed);
        }
        let Some(at) = waiting else { return false };
        let slot = state.idle.remove(at);
        drop(state);
        slot.wake();
        true
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::tests::{echo, pool, runtime, work};
    use crate::worker::{Next, Wake};

    #[test]
    fn a_recall_reaches_idle_workers_and_busy_ones_before_their_next_work() {
        let pool = pool(10);
        let worker = thread::spawn({
            let pool = pool.clone();
            move || {
                let seat = pool.seat();
                let mut seen = Vec::new();
                loop {
                    match seat.next() {
                        Next::Work(work) => {
                            seen.push(work.request.id);
                            if work.request.id == 1 {
                                pool.recall();
                            }
                            echo(work);
                        }
                        Next::Recalled => seen.push(0),
                        Next::Closed => return seen,
                    }
                }
            }
        });
        for id in [1, 2] {
            let (work, answer) = work(id);
            pool.submit(work, Wake::Now).expect("room");
            runtime().block_on(answer).expect("no failure");
        }
        while pool.snapshot().idle == 0 {
            thread::yield_now();
        }
        pool.recall();
        while pool.snapshot().idle == 0 {
            thread::yield_now();
        }
        pool.close();
        assert_eq!(worker.join().expect("no panic"), [1, 0, 2, 0]);
    }

    #[test]
    fn one_worker_is_told_alone_and_only_between_works() {
        let pool = pool(10);
        let (places, arrivals) = std::sync::mpsc::channel();
        let (to_main, events) = std::sync::mpsc::channel();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (pool, places, to_main) = (pool.clone(), places.clone(), to_main.clone());
                thread::spawn(move || {
                    let seat = pool.seat();
                    places.send((thread::current().id(), seat.place())).expect("the test waits");
                    loop {
                        match seat.next() {
                            Next::Work(work) => {
                                // While it works it cannot be told to start afresh.
                                assert!(!pool.recall_idle(&seat.place()));
                                pool.dismiss(&seat.place());
                                echo(work);
                            }
                            Next::Recalled => to_main.send((thread::current().id(), "afresh")).expect("the test waits"),
                            Next::Closed => return to_main.send((thread::current().id(), "left")).expect("the test waits"),
                        }
                    }
                })
            })
            .collect();
        let places: Vec<_> = arrivals.iter().take(2).collect();
        while pool.snapshot().idle < 2 {
            thread::yield_now();
        }
        assert!(pool.recall_idle(&places[0].1));
        assert_eq!(events.recv(), Ok((places[0].0, "afresh")));
        pool.dismiss(&places[1].1);
        assert_eq!(events.recv(), Ok((places[1].0, "left")));
        let (work, answer) = work(1);
        pool.submit(work, Wake::Now).expect("room");
        runtime().block_on(answer).expect("no failure");
        assert_eq!(events.recv(), Ok((places[0].0, "left")), "after the work during which it was dismissed");
        for worker in workers {
            worker.join().expect("no panic");
        }
        assert_eq!(pool.snapshot().workers, 0);
    }

    #[test]
    fn whoever_starts_afresh_has_done_what_earlier_recalls_ask() {
        let pool = pool(10);
        let seat = pool.seat();
        pool.recall();
        seat.start_afresh();
        let (work, _keep) = work(1);
        pool.submit(work, Wake::Now).expect("room");
        assert!(pool.longest_wait().is_some());
        assert!(matches!(seat.next(), Next::Work(_)));
        assert_eq!(pool.longest_wait(), None);
    }
}
