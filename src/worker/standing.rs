//! What is known of a worker since it last started afresh, and why it is to do so again.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;

use super::{Place, Seat};

/// A worker's standing.
#[derive(Debug)]
pub(crate) struct Standing {
    number: u64,
    permit: Arc<Permit>,
    place: OnceLock<Place>,
    thread: AtomicI32,
    is_ready: AtomicBool,
    is_dismissed: AtomicBool,
    recalls: AtomicU64,
    due: AtomicU8,
    served: AtomicU64,
    memory: AtomicU64,
    birth: Mutex<Birth>,
}

/// When a worker started afresh.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    pub(crate) moment: Instant,
    pub(crate) date: SystemTime,
    /// What the thread had used of the CPU by then.
    pub(crate) cpu: Duration,
}

/// Why a worker is to start afresh, in RoadRunner's words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Due {
    /// `max_jobs`.
    MaxJobs = 1,
    /// `supervisor.ttl`.
    Ttl = 2,
    /// `supervisor.idle_ttl`.
    IdleTtl = 3,
    /// `supervisor.max_worker_memory`.
    Memory = 4,
    /// `supervisor.exec_ttl`, or `http.request_timeout`: what ran was told to end.
    ExecTtl = 5,
}

/// Leave to start afresh, held by one worker of a pool at a time so that the others can serve meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Permit(AtomicU64);

/// The requests after which a worker starts afresh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Jobs {
    /// From here on as soon as no other worker does.
    wished: u64,
    /// From here on whatever others do.
    most: u64,
}

// === impl Standing ===

impl Standing {
    pub(crate) fn new(number: u64, permit: Arc<Permit>) -> Self {
        let birth = Birth { moment: Instant::now(), date: SystemTime::now(), cpu: Duration::ZERO };
        Self {
            number,
            permit,
            place: OnceLock::new(),
            thread: AtomicI32::new(0),
            is_ready: AtomicBool::new(false),
            is_dismissed: AtomicBool::new(false),
            recalls: AtomicU64::new(0),
            due: AtomicU8::new(0),
            served: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            birth: Mutex::new(birth),
        }
    }

    /// The calling thread is the worker's, and this its seat.
    pub(crate) fn sit(&self, seat: &Seat) {
        drop(self.place.set(seat.place()));
        self.thread.store(nix::unistd::gettid().as_raw(), Relaxed);
    }

    /// The worker starts afresh; its thread has used `cpu` so far.
    pub(crate) fn begin(&self, seat: &Seat, cpu: Duration) {
        self.is_ready.store(false, Relaxed);
        self.recalls.store(seat.start_afresh(), Relaxed);
        self.served.store(0, Relaxed);
        self.due.store(0, Relaxed);
        *self.birth.lock() = Birth { moment: Instant::now(), date: SystemTime::now(), cpu };
    }

    /// It can serve.
    pub(crate) fn ready(&self) {
        self.is_ready.store(true, Relaxed);
        self.permit.give_back(self.number);
    }

    /// It cannot, and may not be able to for long.
    pub(crate) fn failed(&self) {
        self.is_ready.store(false, Relaxed);
        self.permit.give_back(self.number);
    }

    /// It has begun a request.
    pub(crate) fn serve(&self) {
        self.served.fetch_add(1, Relaxed);
    }

    /// Notes the bytes of memory that it holds between two requests.
    pub(crate) fn note_memory(&self, bytes: usize) {
        self.memory.store(bytes as u64, Relaxed);
    }

    /// It is to start afresh when it can.
    pub(crate) fn mark(&self, due: Due) {
        self.due.store(due as u8, Relaxed);
    }

    /// Why it is to start afresh.
    pub(crate) fn due(&self) -> Option<Due> {
        [Due::MaxJobs, Due::Ttl, Due::IdleTtl, Due::Memory, Due::ExecTtl]
            .into_iter()
            .find(|due| *due as u8 == self.due.load(Relaxed))
    }

    /// Whether it is to start afresh now, between two requests; asked by the worker itself.
    pub(crate) fn must_start_afresh(&self, jobs: Jobs) -> bool {
        let served = self.served.load(Relaxed);
        if served >= jobs.wished {
            self.mark(Due::MaxJobs);
        }
        served >= jobs.most || (self.due.load(Relaxed) != 0 && self.may_start_afresh())
    }

    /// Takes the permit; false if another worker has it.
    pub(crate) fn may_start_afresh(&self) -> bool {
        self.permit.take(self.number)
    }

    /// Gives the permit back, unused.
    pub(crate) fn stays(&self) {
        self.permit.give_back(self.number);
    }

    /// It is to leave for good; false if it had been told before.
    pub(crate) fn dismiss(&self) -> bool {
        !self.is_dismissed.swap(true, Relaxed)
    }

    pub(crate) fn is_dismissed(&self) -> bool {
        self.is_dismissed.load(Relaxed)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Relaxed)
    }

    /// The last recall that it has followed.
    pub(crate) fn recalls(&self) -> u64 {
        self.recalls.load(Relaxed)
    }

    /// Requests begun since it started afresh.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Relaxed)
    }

    /// Bytes of memory that it held after its last request.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.load(Relaxed)
    }

    pub(crate) fn birth(&self) -> Birth {
        *self.birth.lock()
    }

    /// The kernel's number of its thread.
    pub(crate) fn thread(&self) -> i32 {
        self.thread.load(Relaxed)
    }

    pub(crate) fn place(&self) -> Option<&Place> {
        self.place.get()
    }
}

// === impl Due ===

impl Due {
    /// The state of a worker that is about to start afresh, as RoadRunner calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MaxJobs => "maxJobsReached",
            Self::Ttl => "ttlReached",
            Self::IdleTtl => "idleTTLReached",
            Self::Memory => "maxMemoryReached",
            Self::ExecTtl => "execTTLReached",
        }
    }
}

// === impl Permit ===

impl Permit {
    /// Whoever has it may take it again.
    fn take(&self, worker: u64) -> bool {
        self.0.compare_exchange(0, worker, Relaxed, Relaxed).is_ok() || self.0.load(Relaxed) == worker
    }

    fn give_back(&self, worker: u64) {
        // Not theirs: then there is nothing to give back.
        let _ = self.0.compare_exchange(worker, 0, Relaxed, Relaxed);
    }
}

// === impl Jobs ===

impl Jobs {
    /// For `max_jobs`, 0 being no limit. Workers that start together do not end together: as in RoadRunner up to a seventh more.
    pub(crate) fn new(max_jobs: u64) -> Self {
        if max_jobs == 0 {
            return Self { wished: u64::MAX, most: u64::MAX };
        }
        let spread = max_jobs / 7;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| u64::from(time.subsec_nanos()));
        Self { wished: max_jobs.saturating_add(now % (spread + 1)), most: max_jobs.saturating_add(spread) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_at_a_time_has_the_permit() {
        let permit = Permit::default();
        assert!(permit.take(1));
        assert!(permit.take(1), "again");
        assert!(!permit.take(2));
        permit.give_back(2);
        assert!(!permit.take(2), "it was not theirs to give back");
        permit.give_back(1);
        assert!(permit.take(2));
    }

    #[test]
    fn jobs_are_spread_over_a_seventh_and_small_numbers_are_exact() {
        assert_eq!(Jobs::new(0), Jobs { wished: u64::MAX, most: u64::MAX });
        assert_eq!(Jobs::new(1), Jobs { wished: 1, most: 1 });
        assert_eq!(Jobs::new(6), Jobs { wished: 6, most: 6 });
        for _ in 0..100 {
            let jobs = Jobs::new(700);
            assert!((700..=800).contains(&jobs.wished) && jobs.most == 800, "{jobs:?}");
        }
    }
}
