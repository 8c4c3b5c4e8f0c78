//! PHP threads: each owns an engine context, receives work, runs it and sends the reply.

use std::{
    cell::RefCell,
    fmt, io,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    active::Limits,
    context::Context,
    deadline::Texts,
    debug,
    engine::ScriptKind,
    ffi, opcache,
    run::Run,
    watchdog,
    worker::{self, Boots},
};
use crate::{
    sys::crash,
    worker::{
        Failure, Growth, IniValue, Jobs, Lifeline, Next, Permit, Pool, Rest, Rules, Script, Seat, Standing, Variables, Work,
        scoreboard::{self, Scoreboard},
    },
};

/// PHP derives its recursion limit from the stack; 8 MiB is what the command line has.
const STACK: usize = 8 << 20;

/// A thread that has had nothing to do for so long gives memory back. Getting it again costs about a millisecond for WordPress.
const REST: Duration = Duration::from_millis(500);

/// A thread that was given up and is not back by then may never be.
const LOST_FOR_LONG: Duration = Duration::from_secs(10);

/// All PHP threads of one pool.
#[derive(Debug)]
pub struct Threads {
    pool: Pool,
    settings: Settings,
    /// What scripts that take too long are told.
    pub(super) texts: Texts,
    slots: Mutex<Vec<Arc<Slot>>>,
    handles: Mutex<Vec<JoinHandle<()>>>,
    pub(super) boots: Boots,
    permit: Arc<Permit>,
    /// Workers that are always there.
    pub(super) base: AtomicUsize,
    started: AtomicU64,
    board: Option<Scoreboard>,
    status: OnceLock<Status>,
    written_off: AtomicU32,
    /// Threads given up that have not come back, and since when.
    lost: Mutex<Vec<(Arc<Slot>, Instant)>>,
    stopping: AtomicBool,
    /// When a stop has waited long enough for what runs.
    pub(super) end_by: OnceLock<Instant>,
}

/// What every thread is given.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The pool's name, as in `php-<name>-<number>`.
    pub(crate) name: String,
    pub(crate) script: ScriptKind,
    /// More of `$_SERVER`, for every request of the pool.
    pub(crate) variables: Arc<[(String, String)]>,
    pub(crate) limits: Arc<Limits>,
    /// Ini values in force for every script of the pool, from its start.
    pub(crate) ini: Arc<[IniValue]>,
    /// Each request has a fresh worker, and clients are told errors.
    pub(crate) debug: bool,
    pub(crate) boot_timeout: Duration,
    pub(crate) reset_timeout: Duration,
    pub(crate) destroy_timeout: Duration,
    pub(crate) request_timeout: Duration,
    /// That is the pool's `exec_ttl`.
    pub(crate) is_exec_ttl: bool,
    /// A request that takes longer is logged; zero is none.
    pub(crate) slow_after: Duration,
    pub(crate) stream_timeout: Duration,
    pub(crate) max_jobs: u64,
    /// Requests are refused at once while no worker boots.
    pub(crate) tolerant: bool,
    pub(crate) rules: Rules,
    pub(crate) growth: Option<Growth>,
}

/// What others may know of a PHP thread.
#[derive(Debug)]
pub struct Slot {
    name: String,
    thread_id: AtomicI32,
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
    written_off: AtomicBool,
    /// Its request was ended by a limit of the server's.
    cut_off: AtomicBool,
    /// Its thread runs no script any more. Stored and read under the lock of the pool's `lost`.
    has_ended: AtomicBool,
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
    /// Ended, or given up.
    Gone,
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

/// What tells a pool's figures.
struct Status(Box<dyn Fn() -> String + Send + Sync>);

thread_local! {
    /// The pool whose thread this is.
    static HERE: RefCell<Weak<Threads>> = const { RefCell::new(Weak::new()) };
}

/// What `fpm_get_status()` answers on this thread, as JSON; empty if nothing provides it.
pub(crate) fn status_json() -> String {
    let threads = HERE.with_borrow(Weak::upgrade);
    threads.and_then(|threads| Some(threads.status.get()?.0())).unwrap_or_default()
}

// === impl Threads ===

impl Threads {
    pub(crate) fn start(pool: Pool, settings: Settings, board: Option<Scoreboard>) -> io::Result<Arc<Self>> {
        let threads = Arc::new(Self {
            texts: Texts::new(&settings),
            settings,
            slots: Mutex::default(),
            handles: Mutex::default(),
            boots: Boots::default(),
            permit: Arc::default(),
            base: AtomicUsize::new(pool.config().num_workers),
            started: AtomicU64::new(0),
            board,
            status: OnceLock::new(),
            written_off: AtomicU32::new(0),
            lost: Mutex::default(),
            stopping: AtomicBool::new(false),
            end_by: OnceLock::new(),
            pool,
        });
        for _ in 0..threads.pool.config().num_workers {
            threads.spawn()?;
        }
        watchdog::start(threads.clone(), board)?;
        Ok(threads)
    }

    /// Why the pool cannot serve, if its worker script does not boot.
    pub fn boot_failure(&self) -> Option<String> {
        self.boots.failure()
    }

    /// Sets what `fpm_get_status()` answers to this pool's scripts; the first call counts.
    pub fn provide_status(&self, render: impl Fn() -> String + Send + Sync + 'static) {
        drop(self.status.set(Status(Box::new(render))));
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The slots of all threads that have not ended.
    pub fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().clone()
    }

    /// Threads that never came back from a script and were replaced.
    pub fn written_off(&self) -> u32 {
        self.written_off.load(Relaxed)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// True if the process should be replaced: a thread that was given up has not come back for long, and what it holds is only let
    /// go by the process's end; or so many have not that no further one was replaced, or none is left.
    pub fn is_worn_out(&self) -> bool {
        let none_is_left = self.slots.lock().is_empty();
        let lost = self.lost.lock();
        if none_is_left && !lost.is_empty() {
            return true;
        }
        lost.len() > self.base() || lost.iter().any(|(_, since)| since.elapsed() >= LOST_FOR_LONG)
    }

    /// Gives up on the thread of `slot` and starts another in its place. At most as many are lost and replaced as the pool has.
    pub(crate) fn replace(self: &Arc<Self>, slot: &Arc<Slot>) {
        slot.set(SlotState::Gone);
        slot.lifeline.lock().cut(Failure::RequestTimeout);
        self.written_off.fetch_add(1, Relaxed);
        self.forget(slot);
        let lost = {
            let mut lost = self.lost.lock();
            // It may have come back at this very moment.
            if !slot.has_ended.load(Relaxed) {
                lost.push((slot.clone(), Instant::now()));
            }
            lost.len()
        };
        let current = slot.current();
        let is_replaced = lost <= self.base();
        tracing::error!(
            thread = slot.name(),
            request = current.request,
            script = current.script,
            lost,
            "a script cannot be interrupted; its thread is given up, and {}",
            if is_replaced { "another takes its place" } else { "none takes its place: too many are lost" }
        );
        if is_replaced && let Err(error) = self.spawn() {
            tracing::error!(%error, "a PHP thread that is stuck cannot be replaced");
        }
        let none_is_left = {
            // Under the lock: a thread that is started now takes its seat after this.
            let slots = self.slots.lock();
            if slots.is_empty() {
                self.pool.desert();
            }
            slots.is_empty()
        };
        if none_is_left {
            tracing::error!(pool = self.name(), "no thread is left: requests are refused");
            self.pool.fail_waiting(Failure::NoWorker);
        }
    }

    /// Threads given up that have not come back.
    pub(super) fn lost(&self) -> Vec<Arc<Slot>> {
        self.lost.lock().iter().map(|(slot, _)| slot.clone()).collect()
    }

    /// The thread of `slot` has ended; it may have been given up.
    fn came_back(self: &Arc<Self>, slot: &Slot) {
        let was_lost = {
            let mut lost = self.lost.lock();
            slot.has_ended.store(true, Relaxed);
            let before = lost.len();
            lost.retain(|(other, _)| !std::ptr::eq(&**other, slot));
            lost.len() < before
        };
        if !was_lost {
            return;
        }
        tracing::info!(thread = slot.name(), "a thread that was given up has come back, and ends");
        if self.slots.lock().is_empty()
            && let Err(error) = self.spawn()
        {
            tracing::error!(%error, "no PHP thread can be started in its place");
        }
    }

    /// The life of a PHP thread.
    fn run(&self, slot: &Slot) {
        slot.thread_id.store(nix::unistd::gettid().as_raw(), Relaxed);
        match &self.settings.script {
            ScriptKind::Classic => serve(&self.pool, slot, &self.settings, &self.boots),
            ScriptKind::Worker { script, .. } | ScriptKind::RoadRunner { script, .. } if self.settings.debug => {
                debug::serve(&self.pool, slot, &self.settings, script);
            }
            ScriptKind::Worker { script, .. } | ScriptKind::RoadRunner { script, .. } => {
                worker::serve(self, slot, script);
            }
        }
        slot.set(SlotState::Gone);
    }

    /// Starts one more thread.
    pub(super) fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let mut handles = self.handles.lock();
        if self.is_stopping() {
            return Ok(());
        }
        for ended in handles.extract_if(.., |handle| handle.is_finished()) {
            drop(ended.join());
        }
        let number = self.started.fetch_add(1, Relaxed) + 1;
        let name = format!("php-{}-{}", self.settings.name, number - 1);
        let slot = Arc::new(Slot {
            name: name.clone(),
            thread_id: AtomicI32::new(0),
            started: Instant::now(),
            state: AtomicU8::new(SlotState::Starting as u8),
            requests: AtomicU64::new(0),
            memory_peak: AtomicU64::new(0),
            current: Mutex::default(),
            trace: Mutex::default(),
            lifeline: Mutex::default(),
            target: Mutex::default(),
            standing: Standing::new(number, self.permit.clone()),
            written_off: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            board: self.board.and_then(Scoreboard::lease),
        });
        self.slots.lock().push(slot.clone());
        let threads = self.clone();
        let run = {
            let slot = slot.clone();
            move || {
                crash::use_own_stack();
                HERE.set(Arc::downgrade(&threads));
                let lived = panic::catch_unwind(AssertUnwindSafe(|| threads.run(&slot)));
                threads.forget(&slot);
                threads.came_back(&slot);
                if lived.is_err() {
                    // Nobody else would tell the client, nor take the thread's place.
                    slot.lifeline.lock().cut(Failure::WorkerLost);
                    slot.set(SlotState::Gone);
                    drop(threads.spawn());
                }
            }
        };
        let spawned = thread::Builder::new().name(name).stack_size(STACK).spawn(run);
        handles.push(spawned.inspect_err(|_| self.forget(&slot))?);
        Ok(())
    }

    fn forget(&self, slot: &Slot) {
        self.slots.lock().retain(|other| !std::ptr::eq(&**other, slot));
        // Whoever waits for all workers does not wait for this one.
        slot.standing.failed();
        self.boots.changed();
    }

    /// Tells every thread to end once the queue is empty.
    pub(crate) fn close(&self) {
        self.stopping.store(true, Relaxed);
        self.pool.close();
        self.boots.stop();
    }

    /// Waits until every thread has ended, until `deadline`; false if one has not.
    pub(crate) fn join(&self, deadline: Instant) -> bool {
        let handles = std::mem::take(&mut *self.handles.lock());
        for handle in handles {
            while !handle.is_finished() {
                if Instant::now() >= deadline {
                    return false;
                }
                thread::sleep(Duration::from_millis(2));
            }
            drop(handle.join());
        }
        true
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Status")
    }
}

// === impl Slot ===

impl Slot {
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

/// The life of a thread that answers each request with the script it names.
fn serve(pool: &Pool, slot: &Slot, settings: &Settings, boots: &Boots) {
    let seat = pool.seat().resting(Rest { after: REST, call: trim });
    slot.standing.sit(&seat, pool);
    let mut variables = Variables::default();
    while !slot.is_written_off() {
        let context = Context::attach(slot);
        slot.standing.begin(&seat, watchdog::cpu_time_of_this_thread());
        slot.set(SlotState::Idle);
        slot.standing.ready();
        boots.changed();
        let goes_on = serve_in(&context, &seat, slot, settings, &mut variables);
        drop(context);
        if !goes_on {
            break;
        }
    }
}

/// Serves in one context, until that is to be made anew, or false if the thread is to end.
fn serve_in(_context: &Context<'_>, seat: &Seat, slot: &Slot, settings: &Settings, variables: &mut Variables) -> bool {
    let jobs = Jobs::new(settings.max_jobs);
    while !slot.is_written_off() && !slot.standing.must_start_afresh(jobs) {
        let work = match seat.next() {
            Next::Work(work) => work,
            Next::Recalled => break,
            Next::Closed => return false,
        };
        slot.begin(&work);
        let pass = opcache::pass();
        let (end, reused) = Run::classic(work, slot, settings, std::mem::take(variables));
        drop(pass);
        *variables = reused;
        slot.end();
        // SAFETY: this thread has a context.
        slot.note_memory(unsafe { ffi::rr_php_memory_peak() });
        // SAFETY: as above.
        slot.standing.note_memory(unsafe { ffi::rr_php_heap() });
        // Under php-fpm its process would be gone, and with it what its persistent connections hold.
        let was_cut_off = slot.cut_off.swap(false, Relaxed);
        if end == ffi::End::BailedOut {
            tracing::error!(thread = slot.name, "PHP gave up outside a script; the thread's context is made anew");
        }
        if was_cut_off || end == ffi::End::BailedOut {
            break;
        }
    }
    true
}

/// Gives back what the thread's heap keeps for its next request.
fn trim() {
    // SAFETY: the seat's rest is called on its own PHP thread, between two requests.
    unsafe { ffi::rr_php_trim() };
}
