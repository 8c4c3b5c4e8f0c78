//! The thread that restarts OPcache, and asks it how it is.

use std::{
    collections::VecDeque,
    io, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    KEEPER, LOCK, Opcache, PENDING, Report, Silent, Wish,
    compiled::Scripts,
    gate::{self, Alone},
};
use crate::{
    php::{context::Context, engine::ScriptKind, ffi, slot::SlotState, thread::Threads},
    sys::crash,
};

/// How long the gate stays closed for workers that leave, with no request at hand: to break off would cost each another boot.
const CLOSED_FOR_LEAVING: Duration = Duration::from_secs(1);
/// A script that has been running for as long hardly ends while the gate is closed.
const LONG: Duration = Duration::from_millis(500);
/// From one try to close the gate to the next, at first; doubles with each that is in vain, [`DOUBLINGS`] times, but counts as at
/// first when no request runs.
const PAUSE: Duration = Duration::from_millis(200);
const DOUBLINGS: u32 = 7;
/// How often a pending restart looks whether no script happens to run.
const LOOK: Duration = Duration::from_millis(10);
/// Uncached for as long, the operator hears of it.
const WARN_AFTER: Duration = Duration::from_secs(10);
/// How long a reset is waited for.
const RESET_PATIENCE: Duration = Duration::from_secs(10);
/// Those who ask at once, of whom there is one as a rule.
const ASKERS: usize = 16;
/// The default of PHP's threads: what runs here is as deep as the ini values that it starts with.
const STACK: usize = 8 << 20;

/// The thread.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Opcache,
    thread: JoinHandle<()>,
}

/// What OPcache has said.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) status: String,
    pub(super) scripts: Scripts,
}

type Tell = Box<dyn FnOnce(Result<Report, Silent>) + Send>;

/// What the thread and those who ask have in common.
#[derive(Default)]
pub(crate) struct Shared {
    asked: Mutex<Asked>,
    pending_since: Mutex<Option<Instant>>,
    patience: Duration,
    vain: AtomicU64,
    stopping: AtomicBool,
}

#[derive(Default)]
struct Asked {
    wishes: VecDeque<(Wish, Tell)>,
    is_over: bool,
}

/// What the thread knows.
struct Keeping {
    shared: Arc<Shared>,
    pools: Vec<Arc<Threads>>,
    /// Made when there is something to do, before the gate closes.
    context: Option<Context<'static>>,
    /// Those who wait for a reset, and until when.
    waiting: Vec<(Instant, Tell)>,
    failed: u32,
    last_try: Option<Instant>,
    has_warned: bool,
}

// === impl Keeper ===

impl Keeper {
    /// Starts it for scripts that run on the threads of `pools`; none if OPcache is off.
    pub(crate) fn start(pools: Vec<Arc<Threads>>) -> io::Result<Option<Self>> {
        if LOCK.get().is_none() {
            return Ok(None);
        }
        // SAFETY: this is the thread that started the engine, which therefore has a context.
        let patience = u64::try_from(unsafe { ffi::rr_php_opcache_patience() }).unwrap_or(0);
        let shared = Arc::new(Shared { patience: Duration::from_secs(patience), ..Shared::default() });
        let keep = {
            let shared = shared.clone();
            move || Keeping::new(shared, pools).run()
        };
        let thread = thread::Builder::new().name("php-opcache".into()).stack_size(STACK).spawn(keep)?;
        // One engine a process. What was wished before it was known, `run` has seen or will.
        drop(KEEPER.set(thread.thread().clone()));
        thread.thread().unpark();
        Ok(Some(Self { shared: Opcache(shared), thread }))
    }

    /// Whom to ask.
    pub(crate) fn opcache(&self) -> Opcache {
        self.shared.clone()
    }

    /// Ends the thread, until `deadline`; false if it has not.
    pub(crate) fn stop(self, deadline: Instant) -> bool {
        self.shared.0.stopping.store(true, SeqCst);
        self.thread.thread().unpark();
        while !self.thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        drop(self.thread.join());
        true
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn ask(&self, wish: Wish, tell: Tell) {
        let mut asked = self.asked.lock();
        let refused = match asked.is_over {
            true => Some(Silent::Stopping),
            false => (asked.wishes.len() >= ASKERS).then_some(Silent::Busy),
        };
        if let Some(refused) = refused {
            drop(asked);
            return tell(Err(refused));
        }
        asked.wishes.push_back((wish, tell));
        drop(asked);
        if let Some(keeper) = KEEPER.get() {
            keeper.unpark();
        }
    }

    pub(super) fn is_overdue(&self) -> bool {
        !self.patience.is_zero() && self.pending_for().is_some_and(|pending| pending >= self.patience)
    }

    fn pending_for(&self) -> Option<Duration> {
        self.pending_since.lock().map(|since| since.elapsed())
    }
}

// === impl Keeping ===

impl Keeping {
    fn new(shared: Arc<Shared>, pools: Vec<Arc<Threads>>) -> Self {
        Self { shared, pools, context: None, waiting: Vec::new(), failed: 0, last_try: None, has_warned: false }
    }

    fn run(mut self) {
        crash::use_own_stack();
        while !self.shared.stopping.load(SeqCst) {
            self.answer();
            if PENDING.load(SeqCst) {
                self.look_for_a_moment();
            }
            self.tell_waiting(false);
            if PENDING.load(SeqCst) {
                thread::park_timeout(LOOK);
            } else {
                self.context = None;
                thread::park();
            }
        }
        self.tell_waiting(true);
        let mut asked = self.shared.asked.lock();
        asked.is_over = true;
        let left = mem::take(&mut asked.wishes);
        drop(asked);
        left.into_iter().for_each(|(_, tell)| tell(Err(Silent::Stopping)));
    }

    /// Answers those who ask, but for resets, which take their time.
    fn answer(&mut self) {
        loop {
            let Some((wish, tell)) = self.shared.asked.lock().wishes.pop_front() else { return };
            let told = self.ask(wish);
            if wish == Wish::Reset && told.is_ok() && self.waiting.len() < ASKERS {
                self.waiting.push((Instant::now() + RESET_PATIENCE, tell));
            } else {
                tell(told);
            }
        }
    }

    /// Tells those whose reset is over, or has waited for too long.
    fn tell_waiting(&mut self, is_the_end: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let (is_done, now) = (is_the_end || !PENDING.load(SeqCst), Instant::now());
        let over: Vec<_> = self.waiting.extract_if(.., |(until, _)| is_done || now >= *until).collect();
        for (_, tell) in over {
            tell(if is_the_end { Err(Silent::Stopping) } else { self.ask(Wish::Status) });
        }
    }

    /// Asks OPcache itself.
    fn ask(&mut self, wish: Wish) -> Result<Report, Silent> {
        // It is a request, at whose end OPcache must not have restarted under it.
        let pass = gate::pass();
        let (state, told) = self.look(wish);
        drop(pass);
        match state {
            ffi::OpcacheState::Off => return Err(Silent::Disabled),
            ffi::OpcacheState::Failed => return Err(Silent::Failed),
            ffi::OpcacheState::Done | ffi::OpcacheState::Pending => {}
        }
        let pending = PENDING.load(SeqCst).then(|| self.shared.pending_for().unwrap_or_default());
        let Told { status, scripts } = told;
        let scripts = scripts.into_paths();
        Ok(Report { status, scripts, pending, vain: self.shared.vain.load(Relaxed), gate: gate::cost() })
    }

    fn look(&mut self, wish: Wish) -> (ffi::OpcacheState, Told) {
        self.context.get_or_insert_with(Context::unwatched);
        let mut told = Told::default();
        let wish = match wish {
            Wish::Status => ffi::OpcacheWish::Status,
            Wish::Reset => ffi::OpcacheWish::Reset,
            Wish::Scripts => ffi::OpcacheWish::Scripts,
        };
        // SAFETY: this thread has a context and runs no request; `told` outlives the call.
        let state = unsafe { ffi::rr_php_opcache(wish, (&raw mut told).cast()) };
        (state, told)
    }

    /// Restarts OPcache if no script happens to run, or if those that do end soon.
    fn look_for_a_moment(&mut self) {
        self.context.get_or_insert_with(Context::unwatched);
        let since = *self.shared.pending_since.lock().get_or_insert_with(Instant::now);
        if let Some(alone) = gate::close_if_empty() {
            return self.restart(since, alone);
        }
        let since_last = self.last_try.map_or(Duration::MAX, |last| last.elapsed());
        let pause = if self.runs() { PAUSE * (1 << self.failed.min(DOUBLINGS)) } else { PAUSE };
        if since_last < pause {
            return;
        }
        if let Some(obstacle) = self.obstacle() {
            self.warn(since, &obstacle);
            return;
        }
        for threads in self.pools.iter().filter(|threads| has_workers(threads)) {
            threads.pool().recall();
        }
        let closed = Instant::now();
        let only_workers = self.pools.iter().all(|threads| has_workers(threads));
        let alone = gate::close_unless(|| {
            let for_leaving = only_workers && !self.runs();
            closed.elapsed() >= if for_leaving { CLOSED_FOR_LEAVING } else { gate::CLOSED }
        });
        match alone {
            Some(alone) => self.restart(since, alone),
            None => self.was_in_vain(since),
        }
    }

    /// Whether a request runs; workers also hold passes while they wait for one.
    fn runs(&self) -> bool {
        self.pools.iter().any(|threads| threads.slots().iter().any(|slot| slot.running_since().is_some()))
    }

    /// Restarts it; no script runs as long as the gate is closed.
    fn restart(&mut self, since: Instant, closed: Alone) {
        let Some(lock) = LOCK.get() else { return };
        // Before, for this very request may fill the cache again.
        PENDING.store(false, SeqCst);
        let restarted = lock.without(|| self.look(Wish::Status).0);
        drop(closed);
        match restarted {
            Ok(ffi::OpcacheState::Done | ffi::OpcacheState::Off) => {
                let waited_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(waited_ms, vain = self.failed, "OPcache restarted");
                *self.shared.pending_since.lock() = None;
                (self.failed, self.last_try, self.has_warned) = (0, None, false);
                return;
            }
            Ok(ffi::OpcacheState::Pending | ffi::OpcacheState::Failed) => {}
            Err(error) => tracing::error!(%error, "OPcache's lock file cannot be locked or unlocked: OPcache does not restart"),
        }
        // OPcache does not ask twice.
        PENDING.store(true, SeqCst);
        self.was_in_vain(since);
    }

    fn was_in_vain(&mut self, since: Instant) {
        self.shared.vain.fetch_add(1, Relaxed);
        self.last_try = Some(Instant::now());
        self.failed = self.failed.saturating_add(1);
        self.warn(since, "the scripts that run take longer than the gate stays closed");
    }

    fn warn(&mut self, since: Instant, why: &str) {
        if since.elapsed() >= WARN_AFTER && !mem::replace(&mut self.has_warned, true) {
            tracing::warn!("OPcache cannot restart: {why}; until it can, what is compiled is not cached");
        }
    }

    /// What would make it vain to close the gate now.
    fn obstacle(&self) -> Option<String> {
        self.pools.iter().find_map(|threads| {
            let slots = threads.slots();
            let long = slots.iter().find(|slot| slot.running_since().is_some_and(|(_, began)| began.elapsed() >= LONG));
            if let Some(slot) = long {
                let current = slot.current();
                return Some(format!("{} {} has been running for long on {}", current.method, current.target, slot.name()));
            }
            if !threads.lost().is_empty() {
                return Some(format!("a thread of pool {} is stuck", threads.name()));
            }
            // A worker recalled now would boot twice; one that cannot boot does not run.
            let boots = has_workers(threads) && threads.boot_failure().is_none();
            let booting = slots.iter().find(|slot| boots && slot.state() == SlotState::Starting);
            booting.map(|slot| format!("the worker on {} boots", slot.name()))
        })
    }
}

/// Worker scripts hold a pass for as long as they live.
fn has_workers(threads: &Threads) -> bool {
    !matches!(threads.settings().script, ScriptKind::Classic)
}
