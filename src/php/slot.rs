//! What is known of a PHP thread, and told to it, while it lives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{deadline::Over, watchdog};
use crate::worker::{Lifeline, Permit, Script, Seat, Standing, Work, scoreboard};

/// What others may know of a PHP thread.
#[derive(Debug)]
pub struct Slot {
    name: String,
    pub(super) thread_id: AtomicI32,
    started: Instant,
    state: AtomicU8,
    requests: AtomicU64,
    memory_peak: AtomicU64,
    pub(super) current: Mutex<Current>,
    /// The calls that the thread was in when it was asked, and in which request.
    pub(super) trace: Mutex<Option<(u64, Vec<String>)>>,
    pub(crate) lifeline: Mutex<Arc<Lifeline>>,
    pub(crate) target: Mutex<Option<watchdog::Target>>,
    pub(crate) standing: Standing,
    /// What its worker script does besides requests.
    errand: Mutex<Option<Errand>>,
    written_off: AtomicBool,
    /// Its request was ended by a limit of the server's.
    pub(super) cut_off: AtomicBool,
    /// Its thread runs no script any more. Stored and read under the lock of the pool's `lost`.
    pub(super) has_ended: AtomicBool,
    board: Option<scoreboard::Lease>,
}

/// What a thread is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SlotState {
    /// Making its engine context, or booting its worker script.
    Starting,
    /// Waiting for work.
    Idle,
    /// Running a script.
    Running,
    /// Waiting to boot again: its worker script did not boot.
    Failed,
    /// Its worker script was told to leave its loop, and has not ended.
    Leaving,
    /// Ended, or given up.
    Gone,
}

/// What a worker script does besides requests, and must not take for ever for either: it boots, or has been told to leave. Of one that
/// leaves its loop by itself nobody knows before it has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Errand {
    /// The limit that it has.
    pub(super) limit: Over,
    pub(super) since: Instant,
}

/// The request that a thread runs, or ran last.
#[derive(Clone, Debug, Default)]
pub struct Current {
    /// Its number; 0 before the first.
    pub request: u64,
    /// What the access log calls it; empty if it has no name.
    pub name: String,
    /// Its method.
    pub method: String,
    /// Its target.
    pub target: String,
    /// Its script.
    pub script: String,
    /// Bytes of its body.
    pub body: u64,
    /// How long its body took to arrive, where that is measured.
    pub arriving: Duration,
    /// How long it waited for a thread.
    pub queued: Duration,
    /// When it began.
    pub began: Option<Instant>,
    /// When it ended; none while it runs.
    pub ended: Option<Instant>,
}

impl Current {
    /// Its name, if it has one.
    pub(super) fn id(&self) -> Option<&str> {
        Some(&*self.name).filter(|name| !name.is_empty())
    }
}

// === impl Slot ===

impl Slot {
    /// Of a thread that is about to be started, the pool's `number`th.
    pub(super) fn new(number: u64, name: &str, permit: Arc<Permit>, board: Option<scoreboard::Lease>) -> Self {
        Self {
            name: name.to_owned(),
            thread_id: AtomicI32::new(0),
            started: Instant::now(),
            state: AtomicU8::new(SlotState::Starting as u8),
            requests: AtomicU64::new(0),
            memory_peak: AtomicU64::new(0),
            current: Mutex::default(),
            trace: Mutex::default(),
            lifeline: Mutex::default(),
            target: Mutex::default(),
            standing: Standing::new(number, permit),
            errand: Mutex::default(),
            written_off: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            board,
        }
    }

    /// The thread's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's number for it; 0 before it runs.
    pub fn thread_id(&self) -> i32 {
        self.thread_id.load(Relaxed)
    }

    /// CPU time it has used; none once it has ended.
    pub fn cpu_time(&self) -> Duration {
        self.target.lock().as_ref().map_or(Duration::ZERO, watchdog::Target::cpu_time)
    }

    /// When the thread was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// What it is doing.
    pub fn state(&self) -> SlotState {
        match self.state.load(Relaxed) {
            0 => SlotState::Starting,
            1 => SlotState::Idle,
            2 => SlotState::Running,
            3 => SlotState::Failed,
            4 => SlotState::Leaving,
            _ => SlotState::Gone,
        }
    }

    /// Requests it has begun.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// The most memory that the engine used for its last request, in bytes.
    pub fn memory_peak(&self) -> u64 {
        self.memory_peak.load(Relaxed)
    }

    /// Its present or last request.
    pub fn current(&self) -> Current {
        self.current.lock().clone()
    }

    /// When the running request began, and its number.
    pub(crate) fn running_since(&self) -> Option<(u64, Instant)> {
        let current = self.current.lock();
        match (current.began, current.ended) {
            (Some(began), None) => Some((current.request, began)),
            _ => None,
        }
    }

    /// Acts if the thread still runs `request`, which it does until `act` has returned; false if it does not.
    pub(crate) fn while_running(&self, request: u64, act: impl FnOnce()) -> bool {
        let current = self.current.lock();
        let runs = current.request == request && current.ended.is_none();
        if runs {
            act();
        }
        runs
    }

    /// Gives the thread up if it still runs `request`; else there is no reason to.
    pub(crate) fn write_off(&self, request: u64) -> bool {
        self.while_running(request, || self.written_off.store(true, Relaxed))
    }

    /// The same if what it does besides requests is still `errand`.
    pub(super) fn write_off_on(&self, errand: Errand) -> bool {
        self.while_on(errand, || self.written_off.store(true, Relaxed))
    }

    /// The running request is ended by a limit: what it leaves open is not for the next one.
    pub(crate) fn cut_off(&self) {
        self.cut_off.store(true, Relaxed);
    }

    pub(crate) fn is_written_off(&self) -> bool {
        self.written_off.load(Relaxed)
    }

    /// The most memory that the last request has used.
    pub(crate) fn note_memory(&self, peak: usize) {
        self.memory_peak.store(peak as u64, Relaxed);
    }

    /// The thread begins to boot a worker script.
    pub(crate) fn booting(&self, script: &Script, seat: &Seat) {
        let mut current = self.current.lock();
        current.script = script.shown().into_owned();
        drop(current);
        self.set(SlotState::Starting);
        self.standing.begin(seat, watchdog::cpu_time_of_this_thread());
        self.set_out(Over::Boot);
    }

    /// The thread's worker script was told to leave its loop.
    pub(super) fn leaving(&self) {
        self.set(SlotState::Leaving);
        self.set_out(Over::Leave);
    }

    fn set_out(&self, limit: Over) {
        *self.errand.lock() = Some(Errand { limit, since: Instant::now() });
    }

    /// It serves, or has ended.
    pub(super) fn settle(&self) {
        *self.errand.lock() = None;
    }

    /// Its worker script boots, or was told to leave.
    pub fn is_on_errand(&self) -> bool {
        self.errand().is_some()
    }

    /// What it does besides requests.
    pub(super) fn errand(&self) -> Option<Errand> {
        *self.errand.lock()
    }

    /// Acts if that is still the same, which it is until `act` has returned; false if it is not.
    pub(super) fn while_on(&self, errand: Errand, act: impl FnOnce()) -> bool {
        let present = self.errand.lock();
        let is_same = *present == Some(errand);
        if is_same {
            act();
        }
        is_same
    }

    /// How long it has waited for work, if it does.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        let current = self.current.lock();
        (self.state() == SlotState::Idle).then(|| current.ended.map_or(Duration::ZERO, |ended| ended.elapsed()))
    }

    pub(crate) fn set(&self, state: SlotState) {
        self.state.store(state as u8, Relaxed);
    }

    pub(crate) fn begin(&self, work: &Work) {
        let request = &work.request;
        let mut current = self.current.lock();
        current.request = request.id;
        // Strings are refilled, not made: this happens for every request.
        refill(&mut current.name, request.given_name().map_or(b"", |name| name.as_bytes()));
        refill(&mut current.method, request.method());
        refill(&mut current.target, request.target());
        refill(&mut current.script, &request.script.filename);
        current.body = request.body.len();
        let now = Instant::now();
        current.queued = now.saturating_duration_since(work.submitted);
        current.arriving = request.phases.as_ref().map_or(Duration::ZERO, |phases| phases.begin(now));
        current.began = Some(now);
        current.ended = None;
        drop(current);
        if let Some(board) = &self.board {
            let path = request.target().split(|&byte| byte == b'?').next().unwrap_or_default();
            board.writer().begin([self.name.as_bytes(), request.method(), path, &request.script.filename]);
        }
        self.requests.fetch_add(1, Relaxed);
        self.standing.serve();
        self.set(SlotState::Running);
    }

    /// The request has shown a sign of life: its time counts anew.
    pub(crate) fn go_on(&self) {
        self.current.lock().began = Some(Instant::now());
    }

    /// True if a request is running, and has for longer than `limit`, of which zero is none.
    pub(crate) fn has_run_longer_than(&self, limit: Duration) -> bool {
        !limit.is_zero() && self.running_since().is_some_and(|(_, began)| began.elapsed() >= limit)
    }

    pub(crate) fn end(&self) {
        self.current.lock().ended = Some(Instant::now());
        if let Some(board) = &self.board {
            board.writer().end();
        }
        self.set(SlotState::Idle);
    }
}

fn refill(text: &mut String, bytes: &[u8]) {
    text.clear();
    match std::str::from_utf8(bytes) {
        Ok(valid) => text.push_str(valid),
        Err(_) => text.push_str(&String::from_utf8_lossy(bytes)),
    }
}
