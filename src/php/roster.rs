//! A pool's threads under an operator's hand: all started afresh, one more, one fewer.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{
    engine::ScriptKind,
    leaks,
    slot::{Current, Slot},
    thread::Threads,
    worker::NotBooted,
};
use crate::worker::{Failure, WorkerStatus};

/// A worker since it last started afresh, for an operator.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// When it did.
    pub began: Instant,
    /// Requests begun since.
    pub served: u64,
    /// CPU time used since.
    pub cpu: Duration,
    /// Bytes of PHP's heap that it held after its last request.
    pub memory: u64,
    /// It leaves for good.
    pub is_leaving: bool,
    /// Why it is about to start afresh.
    pub due: Option<WorkerStatus>,
}

/// Why not all workers are ready.
struct NotReady {
    what: String,
    /// They may still be.
    is_late: bool,
}

/// More threads than this are nobody's wish.
const MOST: usize = 1024;

/// What a script that was interrupted at its limit has for its end, shutdown functions and all, before nobody counts on its thread.
const OVERDUE_AFTER: Duration = Duration::from_secs(2);

// === impl Slot ===

impl Slot {
    /// What became of its worker since that last started afresh.
    pub fn life(&self) -> Life {
        let birth = self.standing.birth();
        Life {
            began: birth.moment,
            served: self.standing.served(),
            cpu: self.cpu_time().saturating_sub(birth.cpu),
            memory: self.standing.memory(),
            is_leaving: self.standing.is_dismissed(),
            due: self.standing.due(),
        }
    }

    /// Has its worker start afresh for the memory that it holds, after what it does.
    pub fn renew(&self) {
        self.standing.mark(WorkerStatus::MaxMemoryReached);
    }
}

// === impl Threads ===

impl Threads {
    /// Waits until all workers have booted; says why not if one fails to within the time a boot may take.
    pub(crate) fn wait_booted(&self) -> Result<(), String> {
        let patience = self.settings().boot_timeout;
        self.wait_ready(0, patience, "has not asked for a request", |_| true).map_err(|late| late.within(patience))
    }

    /// Has every worker start afresh, one at a time, each after the request that it is at; waits until all have, but no longer than
    /// `reset_timeout`, past which they go on to do so. If one does not boot, those that have not begun to stay as they are.
    pub fn reset(&self) -> Result<(), String> {
        if self.settings().debug {
            return Ok(());
        }
        if self.is_deserted() {
            return Err(format!(
                "pool {} has no worker left: all its threads are stuck, and another process is to take over",
                self.name()
            ));
        }
        let (asked, timeout) = (Instant::now(), self.settings().reset_timeout);
        let late = "is not ready again: it is at work, or boots";
        let failures = self.boots.retry();
        let before = |slot: &Slot| slot.standing.birth().moment < asked;
        // Those that do not serve anyway try it first. One that takes long may still boot: then the others are to follow.
        let first = self.wait_ready(failures, timeout, late, |_| true);
        if !first.as_ref().is_err_and(|error| !error.is_late) {
            self.staying().iter().filter(|slot| before(slot)).for_each(|slot| slot.standing.mark(WorkerStatus::Invalid));
        }
        let left = timeout.saturating_sub(asked.elapsed());
        let reset = first.and_then(|()| self.wait_ready(failures, left, late, |slot| !before(slot)));
        reset.map_err(|error| match self.slots().iter().filter(|slot| slot.standing.is_ready()).count() {
            _ if error.is_late => error.within(timeout),
            0 => format!("{}; no other worker is left, and it is tried again", error.what),
            left => format!("{}; the other workers ({left}) go on as they are", error.what),
        })
    }

    /// None needs to start afresh for a reset any more: one that has was the worse for it.
    pub(super) fn spare_others(&self) {
        self.slots().iter().for_each(|slot| slot.standing.spare());
    }

    /// A boot is given up: it has failed, and others should not follow it.
    pub(super) fn lose_boot(&self) {
        self.spare_others();
        self.boots.lose("it takes longer than pool.allocate_timeout, and cannot be interrupted".into());
    }

    /// Has every worker start afresh before its next request, without waiting for any. Worker scripts that did not boot are tried
    /// again at once.
    pub fn recall(&self) {
        self.boots.forgive();
        leaks::forget();
        self.pool().recall();
    }

    /// Why no request can be answered: the last boot has failed, and no worker is left.
    pub fn outage(&self) -> Option<String> {
        self.boots.failure().filter(|_| !self.is_ready())
    }

    /// Adds a worker.
    pub fn add(self: &Arc<Self>) -> Result<(), String> {
        self.refuse_debug()?;
        if self.staying().len() >= MOST {
            return Err(format!("pool {} has {MOST} workers, which is the most it can have", self.name()));
        }
        self.spawn().map_err(|error| format!("a PHP thread cannot be started: {error}"))?;
        self.base.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Takes a worker away, after the request that it is at; never the last.
    pub fn remove(&self) -> Result<(), String> {
        self.refuse_debug()?;
        let staying = self.staying();
        if staying.len() < 2 {
            return Err(format!("pool {} keeps its last worker", self.name()));
        }
        // One that boots or idles rather than one at work.
        let chosen = staying.iter().max_by_key(|slot| (!slot.standing.is_ready(), slot.idle_for()));
        if chosen.is_some_and(|slot| self.dismiss(slot)) {
            // Of two removals at once the second may take one that the dynamic allocator has added.
            let _ = self.base.fetch_update(Relaxed, Relaxed, |base| Some(base.saturating_sub(1).max(1)));
        }
        Ok(())
    }

    /// True if a request would find a worker, now or when one has finished.
    pub fn is_ready(&self) -> bool {
        // One that should have ended long ago is about to be given up.
        let limit = self.settings().request_timeout;
        let most = if limit.is_zero() { limit } else { limit + OVERDUE_AFTER };
        self.slots().iter().any(|slot| slot.standing.is_ready() && !slot.has_run_longer_than(most))
    }

    /// The worker that holds most memory, of those that have served and are as old as `settled`.
    pub fn largest(&self, settled: Duration) -> Option<Arc<Slot>> {
        if self.settings().debug {
            return None;
        }
        let candidates = self.slots().into_iter().filter(|slot| slot.standing.may_be_rid_of_memory(settled));
        candidates.max_by_key(|slot| slot.standing.memory())
    }

    /// The server is about to stop: scripts have until `destroy_timeout`.
    pub(crate) fn expect_stop(&self) {
        self.end_by.get_or_init(|| Instant::now() + self.settings().destroy_timeout);
    }

    /// The server waits no longer: whoever waits for a script that runs, or for a worker, hears so, and the log names them.
    pub fn cut_running(&self) {
        for slot in self.slots() {
            let Some((request, _)) = slot.running_since() else { continue };
            let current = slot.current();
            if slot.while_running(request, || slot.lifeline.lock().cut(Failure::Stopped)) {
                name(&current, "the server waits no longer for a script: its request is cut");
            }
        }
        self.pool().fail_waiting(Failure::Stopped);
    }

    /// Names the scripts that run and are left to the end of the process.
    pub(super) fn name_abandoned(&self) {
        for slot in self.slots().into_iter().chain(self.lost()).filter(|slot| slot.running_since().is_some()) {
            name(&slot.current(), "a script is still running and is abandoned");
        }
    }

    /// Workers that are always there.
    pub(super) fn base(&self) -> usize {
        self.base.load(Relaxed)
    }

    /// Tells a worker to leave for good; false if it was told before.
    pub(super) fn dismiss(&self, slot: &Slot) -> bool {
        let is_new = slot.standing.dismiss(self.pool());
        if is_new {
            // It may be in a pause after a boot that failed.
            self.boots.retry();
        }
        is_new
    }

    fn staying(&self) -> Vec<Arc<Slot>> {
        self.slots().into_iter().filter(|slot| !slot.standing.is_dismissed()).collect()
    }

    fn refuse_debug(&self) -> Result<(), String> {
        if self.settings().debug {
            Err(format!("pool {} has no standing workers: it is in debug mode", self.name()))
        } else {
            Ok(())
        }
    }

    /// Waits until all are ready and new, or one fails to boot after the first `failures`.
    fn wait_ready(&self, failures: u64, patience: Duration, late: &str, is_new: impl Fn(&Slot) -> bool) -> Result<(), NotReady> {
        if self.settings().debug {
            return Ok(());
        }
        let is_ready = |slot: &Arc<Slot>| slot.standing.is_ready() && is_new(slot);
        let waited =
            self.boots.wait(failures, Instant::now() + patience, || !self.is_deserted() && self.staying().iter().all(is_ready));
        let Err(error) = waited else { return Ok(()) };
        let what = match &self.settings().script {
            ScriptKind::Classic => "a worker".to_owned(),
            ScriptKind::Worker { script, .. } | ScriptKind::RoadRunner { script, .. } => {
                format!("worker script {}", script.shown())
            }
        };
        Err(match error {
            NotBooted::Failed(reason) => NotReady { what: format!("{what} did not boot: {reason}"), is_late: false },
            NotBooted::Late => NotReady { what: format!("{what} {late}"), is_late: true },
        })
    }
}

/// Says `what` of a request that runs.
fn name(current: &Current, what: &str) {
    tracing::warn!(
        request = current.request,
        id = current.id(),
        method = current.method,
        uri = current.target,
        script = current.script,
        ran_ms = current.began.map_or(0, |began| u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)),
        "{what}"
    );
}

// === impl NotReady ===

impl NotReady {
    /// What is said of it after a wait.
    fn within(self, patience: Duration) -> String {
        if self.is_late { format!("{}; waited {} s", self.what, patience.as_secs_f32()) } else { self.what }
    }
}
