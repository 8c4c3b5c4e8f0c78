//! What came of a run.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

/// Requests of one run. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Tally(Rc<RefCell<Counts>>);

#[derive(Debug)]
struct Counts {
    began: Instant,
    /// Microseconds.
    took: Vec<u32>,
    failed: u64,
}

// === impl Tally ===

impl Tally {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(Counts { began: Instant::now(), took: Vec::new(), failed: 0 })))
    }

    /// A request that began at `start` has come to its end.
    pub(crate) fn count(&self, start: Instant, is_good: bool) {
        let mut counts = self.0.borrow_mut();
        if is_good {
            counts.took.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
        } else {
            counts.failed += 1;
        }
    }

    /// `RESULT requests microseconds p50 p99 bad`, the two in milliseconds.
    pub(crate) fn print(&self) {
        let mut counts = self.0.borrow_mut();
        let elapsed = counts.began.elapsed();
        counts.took.sort_unstable();
        let at = |share: f64| {
            let index = (counts.took.len() as f64 * share) as usize;
            counts.took.get(index).map_or(Duration::ZERO, |&micros| Duration::from_micros(micros.into())).as_secs_f64() * 1000.0
        };
        let (requests, failed) = (counts.took.len(), counts.failed);
        println!("RESULT {requests} {} {:.3} {:.3} {failed}", elapsed.as_micros(), at(0.5), at(0.99));
    }
}
