//! What an operator may know of a pool's workers, and ask of them. Each carrier answers for its own pools.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;

/// A pool under an operator's hand.
///
/// Whoever cannot do what is asked says so: the methods that change something are refused unless a carrier has them.
pub trait Control: Send + Sync {
    /// Its name: that of the plugin whose works it does, such as `http`, and, where that has several pools, what leads to this one
    /// (`http:shop.example`, `http/api/*`).
    fn name(&self) -> &str;

    /// Its workers now.
    fn workers(&self) -> Vec<WorkerRow>;

    /// Its threads now, each with the calls that it is in; none if its workers are no threads.
    fn threads(&self) -> Told<'_> {
        Box::pin(async { Vec::new() })
    }

    /// Whether a work would find a worker, now or when one has finished. A pool is not ready while none boots.
    fn is_ready(&self) -> bool {
        self.workers().iter().any(|worker| matches!(worker.status, WorkerStatus::Ready | WorkerStatus::Working))
    }

    /// Lets every worker finish what it does and boot again, one at a time. If one does not boot, the others stay as they are.
    fn reset(&self) -> Done<'_> {
        self.refuse("reset")
    }

    /// Adds a worker.
    fn add(&self) -> Done<'_> {
        self.refuse("adding workers")
    }

    /// Removes a worker; never the last one.
    fn remove(&self) -> Done<'_> {
        self.refuse("removing workers")
    }

    /// Its largest worker among those that have had works since they started afresh, longer than `settled` ago; none if no worker
    /// of it can start afresh.
    fn relief(&self, settled: Duration) -> Option<Relief<'_>> {
        _ = settled;
        None
    }

    /// Says that the pool cannot.
    fn refuse(&self, what: &'static str) -> Done<'_> {
        let refused = NotDone::Unsupported { what, pool: self.name().to_owned() };
        Box::pin(async move { Err(refused) })
    }
}

/// Resolves when what was asked is done. Its bounds in time are the pool's.
pub type Done<'a> = Pin<Box<dyn Future<Output = Result<(), NotDone>> + Send + 'a>>;

/// Resolves when the threads have been asked, or looked at.
pub type Told<'a> = Pin<Box<dyn Future<Output = Vec<ThreadRow>> + Send + 'a>>;

/// A worker whose memory is wanted back.
pub struct Relief<'a> {
    /// Bytes it holds.
    pub memory: u64,
    /// Its name.
    pub worker: String,
    /// Has it start afresh, after what it does.
    pub renew: Box<dyn FnOnce() + 'a>,
}

/// A thread and what it is in the middle of.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreadRow {
    /// Its name.
    pub name: String,
    /// What `ps -L` calls LWP.
    pub id: i64,
    /// What it is doing: `booting`, `idle`, `working`, `failed` until it boots again, or `stuck` if it was given up.
    pub state: &'static str,
    /// The number of its request, 0 if it has none.
    pub request: u64,
    /// The script that it runs.
    pub script: String,
    /// The work it does now.
    pub current: Option<CurrentWork>,
    /// Its calls, innermost first.
    pub trace: Vec<String>,
}

/// Why a pool did not do what was asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotDone {
    /// It never can.
    #[error("{what} is not supported by pool {pool}")]
    Unsupported {
        /// What was asked.
        what: &'static str,
        /// The pool.
        pool: String,
    },
    /// It could not.
    #[error("{0}")]
    Failed(String),
}

/// The pools of all plugins. Cheap to clone.
#[derive(Clone, Default)]
pub struct Controls(Arc<[Arc<dyn Control>]>);

/// One worker as operators see it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerRow {
    /// The process, or the thread: what `ps -L` calls LWP.
    pub pid: i64,
    /// What it is doing.
    pub status: WorkerStatus,
    /// Works it has begun.
    pub executions: u64,
    /// When it was started.
    pub created: SystemTime,
    /// Bytes it uses.
    pub memory: u64,
    /// CPU time over life time, in percent of one CPU.
    pub cpu_percent: f64,
    /// The command, where each worker has one of its own.
    pub command: String,
    /// The work it does now.
    pub current: Option<CurrentWork>,
}

/// A work in progress.
#[derive(Clone, Debug, PartialEq)]
pub struct CurrentWork {
    /// Its name: for HTTP, method and target.
    pub name: String,
    /// When it began.
    pub since: SystemTime,
}

/// What a worker is doing, with RoadRunner's numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum WorkerStatus {
    /// Booting.
    Inactive = 0,
    /// Waiting for work.
    Ready = 1,
    /// At work.
    Working = 2,
    /// At work, and to be replaced after it.
    Invalid = 3,
    /// Ending.
    Stopping = 4,
    /// Ended.
    Stopped = 5,
    /// About to start afresh, having done as many works as `max_jobs` lets it.
    MaxJobsReached = 7,
    /// It did not boot, and is tried again.
    Errored = 8,
    /// About to start afresh, having idled for `supervisor.idle_ttl`.
    IdleTtlReached = 9,
    /// About to start afresh at the age of `supervisor.ttl`.
    TtlReached = 10,
    /// About to start afresh, for it holds `supervisor.max_worker_memory`.
    MaxMemoryReached = 11,
    /// Its work has taken as long as `supervisor.exec_ttl` and is being ended.
    ExecTtlReached = 12,
}

// === impl Controls ===

impl Controls {
    /// These pools.
    pub fn new(pools: Vec<Arc<dyn Control>>) -> Self {
        Self(pools.into())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Control> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// The names of the pools, each once.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.0.iter().map(|pool| pool.name()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Of each plugin, whether all its pools can work.
    pub fn readiness(&self) -> impl Iterator<Item = (&str, bool)> {
        self.names().into_iter().map(|plugin| (plugin, self.of(plugin).iter().all(|pool| pool.is_ready())))
    }

    /// The pools of that name; if none has it, all of the plugin of that name.
    pub fn of(&self, name: &str) -> Vec<&dyn Control> {
        let that = |is_it: &dyn Fn(&str) -> bool| -> Vec<&dyn Control> {
            self.0.iter().map(AsRef::as_ref).filter(|pool| is_it(pool.name())).collect()
        };
        match that(&|of| of == name) {
            none if none.is_empty() => that(&|of| of.split([':', '/']).next() == Some(name)),
            pools => pools,
        }
    }
}

impl fmt::Debug for Controls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Controls").field(&self.names()).finish()
    }
}

// === impl WorkerStatus ===

impl WorkerStatus {
    /// RoadRunner's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Ready => "ready",
            Self::Working => "working",
            Self::Invalid => "invalid",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::MaxJobsReached => "maxJobsReached",
            Self::Errored => "errored",
            Self::IdleTtlReached => "idleTTLReached",
            Self::TtlReached => "ttlReached",
            Self::MaxMemoryReached => "maxMemoryReached",
            Self::ExecTtlReached => "execTTLReached",
        }
    }
}

/// The time of day at `then`, the same whenever it is asked for, unless the clock has been set since.
pub(crate) fn date_of(then: Instant) -> SystemTime {
    static ANCHOR: Mutex<Option<Anchor>> = Mutex::new(None);
    let now = Anchor { instant: Instant::now(), time: SystemTime::now() };
    let mut anchor = ANCHOR.lock();
    let anchor = anchor.get_or_insert(now);
    if now.is_another_clock(*anchor) {
        *anchor = now;
    }
    anchor.date_of(then)
}

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    instant: Instant,
    time: SystemTime,
}

/// Clocks drift apart by less than this while nobody sets one.
const DRIFT: Duration = Duration::from_secs(1);

// === impl Anchor ===

impl Anchor {
    fn date_of(self, then: Instant) -> SystemTime {
        match then.checked_duration_since(self.instant) {
            Some(later) => self.time + later,
            None => self.time - self.instant.saturating_duration_since(then),
        }
    }

    /// Whether the clock was set between `before` and this.
    fn is_another_clock(self, before: Self) -> bool {
        let expected = before.date_of(self.instant);
        let apart = self.time.duration_since(expected).unwrap_or_else(|error| error.duration());
        apart > DRIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_a_clock_that_was_set_and_no_small_drift() {
        let (instant, time) = (Instant::now(), SystemTime::now());
        let before = Anchor { instant, time };
        let hour = Duration::from_secs(3600);
        let after = |time| Anchor { instant: instant + hour, time };
        assert!(!after(time + hour).is_another_clock(before));
        assert!(!after(time + hour + DRIFT / 2).is_another_clock(before));
        assert!(after(time).is_another_clock(before), "set back");
        assert!(after(time + hour * 3).is_another_clock(before), "set forth");
        assert_eq!(after(time).date_of(instant), time - hour);
    }

    #[test]
    fn a_date_is_the_same_whenever_it_is_asked_for() {
        let then = Instant::now();
        assert_eq!(date_of(then), date_of(then));
    }
}
