//! What may be known of a process and what it does.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Pid, SysconfVar, sysconf},
};
use parking_lot::Mutex;

use crate::worker::{
    CurrentWork, Failure, Lifeline, Permit, Pool, Request, Rules, Seat, Standing, WorkerRow, WorkerStatus, date_of,
};

/// One worker, whichever process it is now.
#[derive(Debug)]
pub(super) struct Row {
    command: String,
    pub(super) standing: Standing,
    facts: Mutex<Facts>,
}

#[derive(Debug)]
struct Facts {
    /// None between two processes.
    pid: Option<Pid>,
    status: WorkerStatus,
    /// Starts so far.
    birth: u64,
    current: Option<CurrentWork>,
    /// The way back to whoever waits for it.
    lifeline: Arc<Lifeline>,
    /// Since when it has had no work.
    idle: Instant,
    /// When the rules were asked last.
    looked: Instant,
}

// === impl Row ===

impl Row {
    pub(super) fn new(number: u64, permit: Arc<Permit>, command: &[String]) -> Self {
        let now = Instant::now();
        let facts = Facts {
            pid: None,
            status: WorkerStatus::Inactive,
            birth: 0,
            current: None,
            lifeline: Arc::default(),
            idle: now,
            looked: now,
        };
        Self { command: command.join(" "), standing: Standing::new(number, permit), facts: Mutex::new(facts) }
    }

    /// A process was started for the worker that has `seat`.
    pub(super) fn begin(&self, pid: i32, seat: &Seat) {
        self.standing.begin(seat, Duration::ZERO);
        let mut facts = self.facts.lock();
        facts.pid = Some(Pid::from_raw(pid));
        facts.status = WorkerStatus::Inactive;
        facts.birth += 1;
    }

    /// It can serve.
    pub(super) fn ready(&self) {
        self.standing.ready();
        let mut facts = self.facts.lock();
        facts.status = WorkerStatus::Ready;
        facts.idle = Instant::now();
        facts.looked = facts.idle;
    }

    /// Asks the rules, when it is time to: whether the worker is to be replaced.
    pub(super) fn is_due(&self, rules: &Rules) -> bool {
        let mut facts = self.facts.lock();
        if rules.ask_for_nothing() || facts.looked.elapsed() < rules.watch_tick {
            return false;
        }
        facts.looked = Instant::now();
        if rules.max_memory > 0
            && let Some(used) = facts.pid.and_then(Used::by)
        {
            self.standing.note_memory(usize::try_from(used.memory).unwrap_or(usize::MAX));
        }
        let due = rules.broken_by(&self.standing, Some(facts.idle.elapsed()));
        if let Some(due) = due {
            tracing::debug!(pid = facts.pid.map(Pid::as_raw), reason = due.name(), "a worker is to be replaced");
            self.standing.mark(due);
        }
        due.is_some()
    }

    /// Whether another process in its place would need less memory.
    pub(super) fn may_be_rid_of_memory(&self, settled: Duration) -> bool {
        self.standing.may_be_rid_of_memory(settled)
    }

    /// It is to be replaced for this reason, after what it does.
    pub(super) fn renew(&self, due: WorkerStatus, pool: &Pool) {
        self.standing.mark(due);
        self.standing.send_off(|| self.standing.place().is_some_and(|place| pool.recall_idle(place)));
    }

    /// The process is about to be reaped, after which its number may be another's.
    pub(super) fn leave(&self) {
        let mut facts = self.facts.lock();
        facts.pid = None;
        facts.current = None;
        facts.status = WorkerStatus::Stopped;
    }

    pub(super) fn set(&self, status: WorkerStatus) {
        self.facts.lock().status = status;
    }

    pub(super) fn work(&self, request: &Request, lifeline: Arc<Lifeline>) {
        let name = format!("{} {}", String::from_utf8_lossy(request.method()), String::from_utf8_lossy(request.target()));
        self.standing.serve();
        let mut facts = self.facts.lock();
        facts.status = WorkerStatus::Working;
        facts.current = Some(CurrentWork { name, since: SystemTime::now() });
        facts.lifeline = lifeline;
    }

    pub(super) fn rest(&self) {
        let mut facts = self.facts.lock();
        facts.status = WorkerStatus::Ready;
        facts.current = None;
        facts.idle = Instant::now();
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.facts.lock().status, WorkerStatus::Ready | WorkerStatus::Working)
    }

    /// None is at work for it, nor boots.
    pub(super) fn has_stopped(&self) -> bool {
        self.facts.lock().pid.is_none()
    }

    /// How much is lost while it is replaced: nothing while it does not serve, most while it is at work.
    pub(super) fn trouble(&self) -> u8 {
        match self.facts.lock().status {
            WorkerStatus::Ready => 1,
            WorkerStatus::Working => 2,
            _ => 0,
        }
    }

    /// A number that changes with each process.
    pub(super) fn birth(&self) -> u64 {
        self.facts.lock().birth
    }

    /// Answers `failure` to whoever waits for what it does.
    pub(super) fn cut(&self, failure: Failure) {
        let facts = self.facts.lock();
        if let Some(current) = &facts.current {
            let (pid, request) = (facts.pid.map(Pid::as_raw), current.name.as_str());
            let ran_ms = current.since.elapsed().map_or(0, |ran| u64::try_from(ran.as_millis()).unwrap_or(u64::MAX));
            tracing::warn!(pid, work = request, ran_ms, "the server waits no longer for a worker: its request is cut");
            facts.lifeline.cut(failure);
        }
    }

    /// Kills the process and its group; under the lock, so that it has not been reaped.
    pub(super) fn kill(&self) {
        let facts = self.facts.lock();
        if let Some(pid) = facts.pid {
            let request = facts.current.as_ref().map(|current| current.name.as_str());
            tracing::warn!(pid = pid.as_raw(), work = request, "a worker has not ended in time and is killed");
            _ = killpg(pid, Signal::SIGKILL);
        }
    }

    /// None between two processes.
    pub(super) fn show(&self) -> Option<WorkerRow> {
        let facts = self.facts.lock();
        let pid = facts.pid?;
        let used = Used::by(pid).unwrap_or_default();
        let birth = self.standing.birth();
        let life = birth.moment.elapsed().as_secs_f64();
        Some(WorkerRow {
            pid: pid.as_raw().into(),
            status: facts.status,
            executions: self.standing.served(),
            created: date_of(birth.moment),
            memory: used.memory,
            cpu_percent: if life > 0.0 { used.cpu_seconds / life * 100.0 } else { 0.0 },
            command: self.command.clone(),
            current: facts.current.clone(),
        })
    }
}

/// What a process uses.
#[derive(Default)]
struct Used {
    memory: u64,
    cpu_seconds: f64,
}

// === impl Used ===

impl Used {
    fn by(pid: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
        let unit = |name| sysconf(name).ok().flatten().and_then(|value| u64::try_from(value).ok());
        let (user, system, pages) = (number(11)?, number(12)?, number(21)?);
        let ticks = unit(SysconfVar::CLK_TCK)?;
        Some(Self { memory: pages * unit(SysconfVar::PAGE_SIZE)?, cpu_seconds: (user + system) as f64 / ticks as f64 })
    }
}
