//! One thread that ends scripts which run too long.
//!
//! `max_execution_time` counts the thread's CPU time, as under php-fpm; `request_timeout` is wall clock. Past the former a script
//! is interrupted at its next opcode. Past the latter its client is answered and it is interrupted; whatever it waits for is broken
//! off by a signal (`blocking.c`), again every second; and at last the thread is written off and replaced.

use std::{
    collections::HashMap,
    ffi::{CStr, c_char, c_void},
    io, mem, ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicPtr, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    deadline::Over,
    engine::ScriptKind,
    ffi,
    slot::{Errand, Slot},
    supervise::Supervisor,
    thread::{Settings, Threads},
};
use crate::{
    sys::exit::Vital,
    worker::{
        Failure, WorkerStatus,
        scoreboard::{Heart, Scoreboard},
    },
};

/// How often the limits are looked at: PHP counts whole seconds.
const TICK: Duration = Duration::from_millis(50);
/// From one interrupt and signal to the next: shutdown functions have that long.
const SIGNAL_AFTER: Duration = Duration::from_secs(1);
/// From the interrupt to giving the thread up.
const WRITE_OFF_AFTER: Duration = Duration::from_secs(5);

/// How often children that no script waits for are.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// Where a thread can be reached; only under the slot's lock, for the thread empties the slot before it frees its context.
#[derive(Debug)]
pub(crate) struct Target {
    timed_out: *const AtomicBool,
    overdue: *const AtomicPtr<c_char>,
    vm_interrupt: *const AtomicBool,
    time_limit: *const i64,
    limit_epoch: *const u32,
    trace_wanted: *const AtomicBool,
    frame: *const *mut c_void,
    thread: libc::pthread_t,
}

// SAFETY: the pointers lead to atomics, or to words that are only read, inside a context that outlives the target; the
// thread's id may be used from any thread.
unsafe impl Send for Target {}

/// What the watchdog remembers of a thread's present request.
struct Seen {
    request: u64,
    limit_epoch: u32,
    cpu_at_start: Duration,
    cpu_expired: bool,
    client_left: Option<Instant>,
    interrupted: Option<Instant>,
    signalled: Option<Instant>,
    slow: Slow,
}

/// What the watchdog remembers of a script that boots or leaves for too long.
#[derive(Clone, Copy)]
struct Late {
    errand: Errand,
    interrupted: Instant,
    signalled: Instant,
}

/// What the slow log knows of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Slow {
    /// It is not slow yet.
    Not,
    /// Its thread was asked for its calls.
    Asked,
    /// They are logged.
    Logged,
}

pub(super) fn start(threads: Arc<Threads>, board: Option<Scoreboard>) -> io::Result<()> {
    install_signal()?;
    let heart = board.and_then(|board| board.heart("php-watchdog"));
    thread::Builder::new().name("php-watchdog".into()).spawn(move || watch(&threads, heart.as_ref())).map(drop)
}

fn watch(threads: &Arc<Threads>, heart: Option<&Heart>) {
    let _vital = Vital;
    let mut seen: HashMap<String, Seen> = HashMap::new();
    let mut supervisor = Supervisor::new();
    let mut late: HashMap<String, Late> = HashMap::new();
    let mut reaped = Instant::now();
    while !threads.is_stopping() {
        thread::sleep(TICK);
        heart.inspect(|heart| heart.beat());
        if reaped.elapsed() >= REAP_EVERY {
            reaped = Instant::now();
            reap_children();
        }
        let slots = threads.slots();
        supervisor.tick(threads, &slots);
        for slot in slots {
            check_errand(&slot, threads, &mut late);
            let Some((request, began)) = slot.running_since() else {
                seen.remove(slot.name());
                continue;
            };
            let locked = slot.target.lock();
            let Some(target) = &*locked else { continue };
            let entry = match seen.get_mut(slot.name()) {
                Some(entry) if entry.request == request => entry,
                _ => {
                    seen.insert(slot.name().to_owned(), Seen::new(request, target));
                    seen.get_mut(slot.name()).expect("just inserted")
                }
            };
            entry.check_cpu_limit(&slot, target);
            let over = entry.over(&slot, began, threads);
            let is_lost = over.is_some_and(|over| entry.past_wall_limit(&slot, target, over, threads));
            drop(locked);
            entry.check_slow(&slot, began, threads.settings().slow_after);
            if is_lost && slot.write_off(request) {
                threads.replace(&slot);
                seen.remove(slot.name());
            }
        }
    }
}

/// Waits for children that scripts have left.
fn reap_children() {
    // SAFETY: may be called from any thread at any time.
    unsafe { ffi::rr_children_reap() };
    // SAFETY: as above.
    let unknown = unsafe { ffi::rr_children_unknown() };
    if unknown > 0 {
        tracing::warn!(
            unknown,
            "PHP scripts have more than 1024 processes at once: further ones are not ended with their script, and stay as zombies unless it waits for them"
        );
    }
}

/// A script that boots or leaves for too long is interrupted, whatever it waits for is broken off, and at last its thread is given up.
fn check_errand(slot: &Arc<Slot>, threads: &Arc<Threads>, late: &mut HashMap<String, Late>) {
    let settings = threads.settings();
    let limit = |errand: &Errand| match errand.limit {
        Over::Boot => settings.boot_timeout,
        _ => settings.destroy_timeout,
    };
    let Some(errand) = slot.errand().filter(|errand| errand.since.elapsed() >= limit(errand)) else {
        late.remove(slot.name());
        return;
    };
    let now = Instant::now();
    let known = late.get(slot.name()).copied().filter(|known| known.errand == errand);
    if known.is_some_and(|known| known.interrupted.elapsed() >= WRITE_OFF_AFTER) {
        if slot.write_off_on(errand) {
            if errand.limit == Over::Boot {
                threads.lose_boot();
            }
            threads.replace(slot);
        }
        late.remove(slot.name());
        return;
    }
    if known.is_some_and(|known| known.signalled.elapsed() < SIGNAL_AFTER) {
        return;
    }
    let target = slot.target.lock();
    // What comes after that must not end for it.
    let is_ended = target.as_ref().is_some_and(|target| {
        slot.while_on(errand, || {
            target.end(threads.texts.of(errand.limit));
            target.break_off();
        })
    });
    drop(target);
    if known.is_none() && is_ended {
        let reason = errand.limit.reason(settings);
        tracing::warn!(thread = slot.name(), limit = ?limit(&errand), "{reason}; it is interrupted");
    }
    let interrupted = known.map_or(now, |known| known.interrupted);
    late.insert(slot.name().to_owned(), Late { errand, interrupted, signalled: now });
}

fn milliseconds(span: Duration) -> u64 {
    span.as_millis().try_into().unwrap_or(u64::MAX)
}

/// What the calling thread has used of the CPU.
pub(super) fn cpu_time_of_this_thread() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

// === impl Target ===

impl Target {
    /// Describes the calling thread, whose context `thread` gives the addresses of.
    pub(crate) fn of_this_thread(thread: &ffi::Thread) -> Self {
        Self {
            // zend_atomic_bool is one byte that both sides access atomically.
            timed_out: thread.timed_out.cast(),
            overdue: thread.overdue.cast(),
            vm_interrupt: thread.vm_interrupt.cast(),
            time_limit: thread.time_limit,
            limit_epoch: thread.limit_epoch,
            trace_wanted: thread.trace_wanted.cast(),
            frame: thread.frame,
            // SAFETY: has no preconditions.
            thread: unsafe { libc::pthread_self() },
        }
    }

    /// Makes the script raise "Maximum execution time exceeded" at its next opcode, unless it sets another limit first.
    fn expire(&self) {
        // SAFETY: the caller holds the slot's lock, so the context lives.
        let timed_out = unsafe { &*self.timed_out };
        timed_out.store(true, SeqCst);
        self.interrupt();
    }

    /// Ends the script at its next opcode by a fatal error, whatever it does. `text` outlives its thread.
    fn end(&self, text: &CStr) {
        // SAFETY: a thread-local of a thread that has not ended, for the caller holds the slot's lock.
        let overdue = unsafe { &*self.overdue };
        overdue.store(text.as_ptr().cast_mut(), SeqCst);
        self.interrupt();
    }

    /// Has the thread look, at its next opcode, at what was stored for it.
    fn interrupt(&self) {
        // SAFETY: the caller holds the slot's lock, so the context lives.
        let vm_interrupt = unsafe { &*self.vm_interrupt };
        vm_interrupt.store(true, SeqCst);
    }

    /// Has the thread tell its calls at its next opcode.
    pub(super) fn ask_for_trace(&self) {
        // SAFETY: a thread-local of a thread that has not ended, for the caller holds the slot's lock.
        let wanted = unsafe { &*self.trace_wanted };
        wanted.store(true, SeqCst);
        self.interrupt();
    }

    /// What is seen of the thread's calls from here; it is asked no more.
    pub(super) fn trace(&self) -> Vec<u8> {
        // SAFETY: as in `ask_for_trace`.
        let wanted = unsafe { &*self.trace_wanted };
        wanted.store(false, SeqCst);
        let mut text = vec![0; ffi::TRACE_ROOM];
        // SAFETY: `text` has that room; `frame` lies in a context that lives, and what it leads to is read by the kernel.
        let length = unsafe { ffi::rr_php_trace(self.frame, text.as_mut_ptr().cast(), text.len()) };
        text.truncate(length);
        text
    }

    /// Breaks off whatever the thread waits for.
    fn break_off(&self) {
        // SAFETY: the caller holds the slot's lock, so the thread has not ended; the handler only sets a word.
        unsafe { libc::pthread_kill(self.thread, breaking_signal()) };
    }

    fn limit(&self) -> Duration {
        // SAFETY: the context lives; the word is only ever replaced by another whole value.
        let seconds = unsafe { ptr::read_volatile(self.time_limit) };
        Duration::from_secs(seconds.try_into().unwrap_or(0))
    }

    fn limit_epoch(&self) -> u32 {
        // SAFETY: a thread-local of a thread that has not ended.
        unsafe { ptr::read_volatile(self.limit_epoch) }
    }

    /// What the thread has used of the CPU.
    pub(super) fn cpu_time(&self) -> Duration {
        let mut clock = 0;
        // SAFETY: the thread has not ended, and `clock` is ours to write.
        if unsafe { libc::pthread_getcpuclockid(self.thread, &raw mut clock) } != 0 {
            return Duration::ZERO;
        }
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is ours to write.
        unsafe { libc::clock_gettime(clock, &raw mut time) };
        Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
    }
}

// === impl Seen ===

impl Seen {
    fn new(request: u64, target: &Target) -> Self {
        Self {
            request,
            limit_epoch: target.limit_epoch(),
            cpu_at_start: target.cpu_time(),
            cpu_expired: false,
            client_left: None,
            interrupted: None,
            signalled: None,
            slow: Slow::Not,
        }
    }

    /// Logs the request once if it takes long, with its calls; the thread has a tick's time to tell them.
    fn check_slow(&mut self, slot: &Slot, began: Instant, limit: Duration) {
        if limit.is_zero() || self.slow == Slow::Logged || began.elapsed() < limit {
            return;
        }
        if self.slow == Slow::Not {
            self.slow = Slow::Asked;
            slot.ask_for_trace();
            return;
        }
        self.slow = Slow::Logged;
        let trace = slot.collect_trace(self.request).join("; ");
        let current = slot.current();
        if current.request == self.request && current.ended.is_none() {
            tracing::warn!(
                target: "slowlog",
                request = self.request,
                id = current.id(),
                method = current.method,
                uri = current.target,
                script = current.script,
                body_ms = milliseconds(current.arriving),
                queue_ms = milliseconds(current.queued),
                php_ms = milliseconds(began.elapsed()),
                trace,
                "a request takes long"
            );
        }
    }

    /// Whether the request has taken long enough, and why.
    fn over(&mut self, slot: &Slot, began: Instant, threads: &Threads) -> Option<Over> {
        let Settings { request_timeout, stream_timeout, script, .. } = threads.settings();
        if !request_timeout.is_zero() && began.elapsed() >= *request_timeout {
            return Some(Over::Request);
        }
        if threads.end_by.get().is_some_and(|end| Instant::now() >= *end) {
            return Some(Over::Stop);
        }
        if matches!(script, ScriptKind::Classic) || !slot.lifeline.lock().is_left() {
            return None;
        }
        let left = *self.client_left.get_or_insert_with(Instant::now);
        (left.elapsed() >= *stream_timeout).then_some(Over::Stream)
    }

    fn check_cpu_limit(&mut self, slot: &Slot, target: &Target) {
        let epoch = target.limit_epoch();
        if epoch != self.limit_epoch {
            // set_time_limit() starts the count anew.
            self.limit_epoch = epoch;
            self.cpu_at_start = target.cpu_time();
            self.cpu_expired = false;
        }
        let limit = target.limit();
        if limit.is_zero() || self.cpu_expired {
            return;
        }
        if target.cpu_time().saturating_sub(self.cpu_at_start) >= limit {
            self.cpu_expired = true;
            // The next request of the thread must not end for this one.
            slot.while_running(self.request, || target.expire());
            tracing::debug!(thread = slot.name(), request = self.request, ?limit, "max_execution_time reached");
        }
    }

    /// Takes the next step against a script that has taken long enough; true if its thread is to be written off.
    fn past_wall_limit(&mut self, slot: &Slot, target: &Target, over: Over, threads: &Threads) -> bool {
        let end = || {
            slot.cut_off();
            target.end(threads.texts.of(over));
            target.break_off();
        };
        let Some(interrupted) = self.interrupted else {
            self.interrupted = Some(Instant::now());
            let is_request_timeout = over == Over::Request;
            if is_request_timeout {
                slot.standing.mark(WorkerStatus::ExecTtlReached);
            }
            let current = slot.current();
            let runs = slot.while_running(self.request, || {
                if is_request_timeout {
                    slot.lifeline.lock().cut(Failure::RequestTimeout);
                }
                end();
            });
            if runs {
                tracing::warn!(
                    request = self.request,
                    id = current.id(),
                    method = current.method,
                    uri = current.target,
                    script = current.script,
                    "{}; the script is interrupted",
                    over.reason(threads.settings())
                );
            }
            return false;
        };
        if interrupted.elapsed() >= WRITE_OFF_AFTER {
            return true;
        }
        if self.signalled.unwrap_or(interrupted).elapsed() >= SIGNAL_AFTER {
            self.signalled = Some(Instant::now());
            slot.while_running(self.request, end);
        }
        false
    }
}

/// PHP's own timer, which we keep from existing, would use SIGRTMIN.
fn breaking_signal() -> libc::c_int {
    libc::SIGRTMIN() + 3
}

/// Installs its handler, without SA_RESTART, so that a blocking system call returns.
fn install_signal() -> io::Result<()> {
    // SAFETY: all zero is a valid sigaction.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = ffi::rr_libc_break as *const () as usize;
    // SAFETY: the handler is async-signal-safe, as it only sets a word of its thread's; `action` lives through the call.
    let result = unsafe { libc::sigaction(breaking_signal(), &raw const action, ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
