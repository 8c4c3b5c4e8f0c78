//! When workers start afresh by themselves, and when a pool has more of them or fewer. Carriers ask; nothing here acts.

use std::time::Duration;

use super::{Standing, WorkerStatus};

/// When a worker starts afresh (`pool.supervisor`); a zero asks for nothing. What a request may take is the carrier's to enforce.
///
/// # Defaults
/// Looks every 5 s, and finds nothing.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How often workers are looked at.
    pub watch_tick: Duration,
    /// The longest that a worker lives.
    pub ttl: Duration,
    /// The longest that one idles after a work.
    pub idle_ttl: Duration,
    /// The most memory that one may hold between two works, in bytes.
    pub max_memory: u64,
}

/// How a pool's number of workers follows its works (`pool.dynamic_allocator`).
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    /// Further workers, at most.
    pub max_workers: usize,
    /// How many are started at once.
    pub spawn_rate: usize,
    /// How long a worker idles before it is taken away.
    pub idle_timeout: Duration,
}

/// A pool's workers and works at one moment, as far as its growth depends on them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Workers beyond those that are always there.
    pub(crate) extra: usize,
    /// Works that wait.
    pub(crate) queued: usize,
    /// How long the first of them has waited.
    pub(crate) longest_wait: Option<Duration>,
    /// Workers that cannot serve yet.
    pub(crate) starting: usize,
    /// Memory is short.
    pub(crate) is_short_of_memory: bool,
}

/// A work that waits longer than this would rather have had a worker of its own: booting one takes about as long.
const PATIENCE: Duration = Duration::from_millis(100);

// === impl Rules ===

impl Rules {
    /// Whether there is anything to look for.
    pub(crate) fn ask_for_nothing(&self) -> bool {
        self.ttl.is_zero() && self.idle_ttl.is_zero() && self.max_memory == 0
    }

    /// Why a worker is to start afresh, if it is; `idle` is how long it has had no work.
    pub(crate) fn broken_by(&self, worker: &Standing, idle: Option<Duration>) -> Option<WorkerStatus> {
        let exceeds = |limit: Duration, time: Duration| !limit.is_zero() && time >= limit;
        if exceeds(self.ttl, worker.birth().moment.elapsed()) {
            return Some(WorkerStatus::TtlReached);
        }
        if self.max_memory > 0 && worker.memory() >= self.max_memory {
            return Some(WorkerStatus::MaxMemoryReached);
        }
        // One that was never used has nothing to be rid of.
        let unused_for = idle.filter(|_| worker.served() > 0)?;
        exceeds(self.idle_ttl, unused_for).then_some(WorkerStatus::IdleTtlReached)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self { watch_tick: Duration::from_secs(5), ttl: Duration::ZERO, idle_ttl: Duration::ZERO, max_memory: 0 }
    }
}

// === impl Growth ===

impl Growth {
    /// How many workers to start now.
    pub(crate) fn wanted(&self, load: Load) -> usize {
        let waits = load.longest_wait.is_some_and(|wait| wait >= PATIENCE);
        // Those that start now are for the works that wait now.
        if !waits || load.starting > 0 || load.is_short_of_memory {
            return 0;
        }
        load.queued.min(self.spawn_rate).min(self.max_workers.saturating_sub(load.extra))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::standing::Permit;

    const SECOND: Duration = Duration::from_secs(1);

    fn worker() -> Standing {
        Standing::new(1, Permit::default().into())
    }

    #[test]
    fn nothing_is_due_without_a_limit() {
        let rules = Rules::default();
        assert!(rules.ask_for_nothing());
        let worker = worker();
        worker.serve();
        worker.note_memory(usize::MAX);
        assert_eq!(rules.broken_by(&worker, Some(SECOND * 1_000_000)), None);
    }

    #[test]
    fn age_memory_and_idleness_are_each_a_reason() {
        let worker = worker();
        worker.note_memory(10);
        let rules = |rules: Rules| move |idle| rules.broken_by(&worker, idle);
        let old = rules(Rules { ttl: Duration::from_nanos(1), ..Rules::default() });
        assert_eq!(old(None), Some(WorkerStatus::TtlReached));
        let worker = self::worker();
        worker.note_memory(10);
        let large = Rules { max_memory: 10, ..Rules::default() };
        assert_eq!(large.broken_by(&worker, None), Some(WorkerStatus::MaxMemoryReached));
        assert_eq!(Rules { max_memory: 11, ..large }.broken_by(&worker, None), None);
        let idle = Rules { idle_ttl: SECOND, ..Rules::default() };
        assert_eq!(idle.broken_by(&worker, Some(SECOND)), None, "never used");
        worker.serve();
        assert_eq!(idle.broken_by(&worker, Some(SECOND)), Some(WorkerStatus::IdleTtlReached));
        assert_eq!(idle.broken_by(&worker, Some(SECOND / 2)), None);
        assert_eq!(idle.broken_by(&worker, None), None, "at work");
    }

    #[test]
    fn workers_are_added_while_works_wait_and_none_is_on_its_way() {
        let growth = Growth { max_workers: 6, spawn_rate: 4, idle_timeout: SECOND };
        let load = Load { extra: 0, queued: 9, longest_wait: Some(SECOND), starting: 0, is_short_of_memory: false };
        assert_eq!(growth.wanted(load), 4);
        assert_eq!(growth.wanted(Load { queued: 1, ..load }), 1);
        assert_eq!(growth.wanted(Load { extra: 4, ..load }), 2);
        assert_eq!(growth.wanted(Load { extra: 7, ..load }), 0);
        assert_eq!(growth.wanted(Load { starting: 1, ..load }), 0);
        assert_eq!(growth.wanted(Load { is_short_of_memory: true, ..load }), 0);
        assert_eq!(growth.wanted(Load { longest_wait: Some(PATIENCE / 2), ..load }), 0);
        assert_eq!(growth.wanted(Load { longest_wait: None, queued: 0, ..load }), 0);
    }
}
