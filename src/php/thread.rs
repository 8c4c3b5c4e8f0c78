//! PHP threads: each owns an engine context, receives work, runs it and sends the reply.

use std::{
    cell::RefCell,
    fmt, io,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
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
    slot::{Slot, SlotState},
    watchdog,
    worker::{self, Boots},
};
use crate::{
    sys::crash,
    worker::{Failure, Growth, IniValue, Jobs, Next, Permit, Pool, Rest, Rules, Seat, Variables, scoreboard::Scoreboard},
};

/// PHP derives its recursion limit from the stack; 8 MiB is what the command line has.
const STACK: usize = 8 << 20;

/// A thread that has had nothing to do for so long gives memory back. Getting it again costs about a millisecond for WordPress.
const REST: Duration = Duration::from_millis(500);

/// All PHP threads of one pool.
#[derive(Debug)]
pub struct Threads {
    pool: Pool,
    settings: Settings,
    /// What scripts that take too long are told.
    pub(super) texts: Texts,
    pub(super) slots: Mutex<Vec<Arc<Slot>>>,
    handles: Mutex<Vec<JoinHandle<()>>>,
    pub(super) boots: Boots,
    permit: Arc<Permit>,
    /// Workers that are always there.
    pub(super) base: AtomicUsize,
    started: AtomicU64,
    board: Option<Scoreboard>,
    status: OnceLock<Status>,
    pub(super) written_off: AtomicU32,
    /// Threads given up that have not come back, and since when.
    pub(super) lost: Mutex<Vec<(Arc<Slot>, Instant)>>,
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

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
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
        let slot = Slot::new(number, &name, self.permit.clone(), self.board.and_then(Scoreboard::lease));
        let slot = Arc::new(slot);
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

    pub(super) fn forget(&self, slot: &Slot) {
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
            tracing::error!(thread = slot.name(), "PHP gave up outside a script; the thread's context is made anew");
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
