//! What is known of a worker since it last started afresh, and why it is to do so again.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicU8, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;

use super::{Place, Pool, Seat, WorkerStatus};

/// A worker's standing.
#[derive(Debug)]
pub(crate) struct Standing {
    number: u64,
    permit: Arc<Permit>,
    place: OnceLock<Place>,
    is_ready: AtomicBool,
    is_dismissed: AtomicBool,
    due: AtomicU8,
    served: AtomicU64,
    memory: AtomicU64,
    birth: Mutex<Birth>,
}

/// When a worker started afresh.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    pub(crate) moment: Instant,
    /// What the thread had used of the CPU by then.
    pub(crate) cpu: Duration,
}

/// Leave to start afresh, held by one worker of a pool at a time so that the others can serve meanwhile: zero, or twice the number of
/// the worker that was offered it, and one more once that makes use of it.
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

const REASONS: [WorkerStatus; 6] = [
    WorkerStatus::Invalid,
    WorkerStatus::MaxJobsReached,
    WorkerStatus::TtlReached,
    WorkerStatus::IdleTtlReached,
    WorkerStatus::MaxMemoryReached,
    WorkerStatus::ExecTtlReached,
];

// === impl Standing ===

impl Standing {
    pub(crate) fn new(number: u64, permit: Arc<Permit>) -> Self {
        let birth = Birth { moment: Instant::now(), cpu: Duration::ZERO };
        Self {
            number,
            permit,
            place: OnceLock::new(),
            is_ready: AtomicBool::new(false),
            is_dismissed: AtomicBool::new(false),
            due: AtomicU8::new(0),
            served: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            birth: Mutex::new(birth),
        }
    }

    /// This is the worker's seat, in `pool`.
    pub(crate) fn sit(&self, seat: &Seat, pool: &Pool) {
        drop(self.place.set(seat.place()));
        if self.is_dismissed.load(SeqCst) {
            pool.dismiss(&seat.place());
        }
    }

    /// The worker starts afresh; its thread has used `cpu` so far.
    pub(crate) fn begin(&self, seat: &Seat, cpu: Duration) {
        self.is_ready.store(false, Relaxed);
        seat.start_afresh();
        self.served.store(0, Relaxed);
        self.due.store(0, Relaxed);
        *self.birth.lock() = Birth { moment: Instant::now(), cpu };
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

    /// Whether starting afresh would give memory back: it serves, is not about to anyway, and has done so for `settled`.
    pub(crate) fn may_be_rid_of_memory(&self, settled: Duration) -> bool {
        self.is_ready() && self.due().is_none() && self.served() > 0 && self.birth().moment.elapsed() >= settled
    }

    /// It is to start afresh when it can, for this reason.
    pub(crate) fn mark(&self, due: WorkerStatus) {
        self.due.store(due as u8, Relaxed);
    }

    /// It need not start afresh after all, if a reset was all that it was to do so for.
    pub(crate) fn spare(&self) {
        let _ = self.due.compare_exchange(WorkerStatus::Invalid as u8, 0, SeqCst, SeqCst);
    }

    /// Why it is to start afresh, if it is.
    pub(crate) fn due(&self) -> Option<WorkerStatus> {
        let due = self.due.load(Relaxed);
        REASONS.into_iter().find(|reason| *reason as u8 == due)
    }

    /// Whether it is to start afresh now, between two requests; asked by the worker itself.
    pub(crate) fn must_start_afresh(&self, jobs: Jobs) -> bool {
        let served = self.served.load(Relaxed);
        if served >= jobs.wished {
            self.mark(WorkerStatus::MaxJobsReached);
        }
        served >= jobs.most || (self.due.load(Relaxed) != 0 && self.may_start_afresh())
    }

    /// Takes the permit, for what it is due for; false if another worker has it. Asked by the worker itself.
    pub(crate) fn may_start_afresh(&self) -> bool {
        if !self.permit.take(self.number) {
            return false;
        }
        // It may have been spared by the one that had the permit.
        let is_due = self.due.load(SeqCst) != 0;
        if !is_due {
            self.permit.give_back(self.number);
        }
        is_due
    }

    /// Has it start afresh for what it is due for, unless another worker does: `wake` says whether it could be told. Asked by others.
    pub(crate) fn send_off(&self, wake: impl FnOnce() -> bool) {
        if !self.permit.offer(self.number) {
            return;
        }
        let is_due = self.due.load(SeqCst) != 0;
        if !is_due || !wake() {
            self.permit.withdraw(self.number);
        }
    }

    /// It is to leave `pool` for good; false if it had been told before.
    pub(crate) fn dismiss(&self, pool: &Pool) -> bool {
        // One that has no seat yet looks when it has: each writes before it reads, so one of the two sees the other.
        let is_new = !self.is_dismissed.swap(true, SeqCst);
        if let Some(place) = self.place.get().filter(|_| is_new) {
            pool.dismiss(place);
        }
        is_new
    }

    pub(crate) fn is_dismissed(&self) -> bool {
        self.is_dismissed.load(Relaxed)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Relaxed)
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

    pub(crate) fn place(&self) -> Option<&Place> {
        self.place.get()
    }
}

// === impl Permit ===

impl Permit {
    /// Makes use of it. Whoever has it may take it again.
    fn take(&self, worker: u64) -> bool {
        let (offered, used) = (worker * 2, worker * 2 + 1);
        let free = |held| held == 0 || held == offered || held == used;
        self.0.fetch_update(SeqCst, SeqCst, |held| free(held).then_some(used)).is_ok()
    }

    /// Keeps it for a worker that is to be told; false if any has it.
    fn offer(&self, worker: u64) -> bool {
        self.0.compare_exchange(0, worker * 2, SeqCst, SeqCst).is_ok()
    }

    /// The worker could not be told. It may have taken it by itself.
    fn withdraw(&self, worker: u64) {
        let _ = self.0.compare_exchange(worker * 2, 0, SeqCst, Relaxed);
    }

    fn give_back(&self, worker: u64) {
        // Not theirs: then there is nothing to give back.
        let _ = self.0.fetch_update(SeqCst, Relaxed, |held| (held / 2 == worker).then_some(0));
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
    fn only_an_offer_that_was_not_taken_is_withdrawn() {
        let permit = Permit::default();
        assert!(permit.offer(1));
        assert!(!permit.offer(1) && !permit.take(2), "one at a time");
        permit.withdraw(1);
        assert!(permit.offer(2));
        assert!(permit.take(2));
        permit.withdraw(2);
        assert!(!permit.offer(1), "it is in use");
        permit.give_back(2);
        assert!(permit.offer(1));
    }

    #[test]
    fn a_worker_that_is_on_its_way_is_not_sent_off_again() {
        let permit = Arc::<Permit>::default();
        let [first, second] = [1, 2].map(|number| Standing::new(number, permit.clone()));
        first.send_off(|| unreachable!("it is not due"));
        [&first, &second].iter().for_each(|standing| standing.mark(WorkerStatus::Invalid));
        assert!(first.may_start_afresh());
        first.send_off(|| unreachable!("it is on its way"));
        assert!(!second.may_start_afresh(), "the first has not come back");
        first.ready();
        second.send_off(|| false);
        assert!(first.may_start_afresh(), "the second could not be told");
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
