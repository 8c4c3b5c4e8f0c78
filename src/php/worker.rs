//! Worker scripts: booted once per thread, then fed until they leave; booted again whenever they end.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{
    context::Context,
    ffi, opcache,
    run::{Ended, Feed, Left, Run},
    slot::{Slot, SlotState},
    thread::Threads,
};
use crate::worker::{Jobs, Script, Seat};

/// After a boot that failed; doubles with each one that follows, to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is known of a pool's boots.
#[derive(Debug, Default)]
pub(crate) struct Boots {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    failures: u64,
    /// The last failure since the last success.
    failure: Option<String>,
    /// Grows whenever pauses are to end.
    retries: u64,
    stopping: bool,
}

/// Why a wait for workers was in vain.
#[derive(Debug)]
pub(crate) enum NotBooted {
    /// A worker did not boot.
    Failed(String),
    /// The wait was too long.
    Late,
}

// === impl Boots ===

impl Boots {
    /// Waits until `are_ready` says that workers are, a boot has failed after the first `failures`, or it is `deadline`.
    pub(crate) fn wait(&self, failures: u64, deadline: Instant, are_ready: impl Fn() -> bool) -> Result<(), NotBooted> {
        let mut state = self.state.lock();
        loop {
            if let Some(failure) = state.failure.as_ref().filter(|_| state.failures > failures) {
                return Err(NotBooted::Failed(failure.clone()));
            }
            if are_ready() {
                return Ok(());
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Err(NotBooted::Late);
            }
        }
    }

    /// Ends all pauses: the server stops.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_all();
    }

    /// Ends all pauses: it is worth another try. Returns how many boots have failed so far.
    pub(crate) fn retry(&self) -> u64 {
        let mut state = self.state.lock();
        state.retries += 1;
        self.changed.notify_all();
        state.failures
    }

    /// Ends all pauses, and forgets the last failure: its cause may be gone.
    pub(crate) fn forgive(&self) {
        let mut state = self.state.lock();
        state.retries += 1;
        state.failure = None;
        self.changed.notify_all();
    }

    fn retries(&self) -> u64 {
        self.state.lock().retries
    }

    /// The reason why the last boot failed, if none has succeeded since.
    pub(crate) fn failure(&self) -> Option<String> {
        self.state.lock().failure.clone()
    }

    /// What is waited for may have come.
    pub(crate) fn changed(&self) {
        // Under the lock: else it may change between a waiter's look and its sleep.
        drop(self.state.lock());
        self.changed.notify_all();
    }

    fn succeeded(&self) {
        self.state.lock().failure = None;
        self.changed.notify_all();
    }

    /// A boot has failed that began after that many retries: of one that began before the last, nobody wants to know.
    fn failed(&self, failure: String, retries: u64) {
        let mut state = self.state.lock();
        if state.retries == retries {
            state.fail(failure);
            self.changed.notify_all();
        }
    }

    /// A boot does not come to its end.
    pub(crate) fn lose(&self, failure: String) {
        self.state.lock().fail(failure);
        self.changed.notify_all();
    }

    /// Waits for `length`, but not past the first retry after that many. False if the server stops meanwhile.
    fn pause(&self, length: Duration, retries: u64) -> bool {
        let deadline = Instant::now() + length;
        let mut state = self.state.lock();
        while !state.stopping && state.retries == retries && !self.changed.wait_until(&mut state, deadline).timed_out() {}
        !state.stopping
    }
}

// === impl State ===

impl State {
    fn fail(&mut self, failure: String) {
        self.failures += 1;
        self.failure = Some(failure);
    }
}

/// The life of a worker's thread.
pub(super) fn serve(threads: &Threads, slot: &Slot, script: &Script) {
    let (pool, boots) = (threads.pool(), &threads.boots);
    let seat = pool.seat();
    slot.standing.sit(&seat, pool);
    let mut failures = 0;
    loop {
        let context = Context::attach(slot);
        let retries = boots.retries();
        let ended = boot(threads, &seat, slot, script);
        if ended.left == Some(Left::Closed) {
            break;
        }
        drop(context);
        if slot.is_written_off() || slot.standing.is_dismissed() {
            break;
        }
        if ended.booted {
            failures = 0;
            if ended.left.is_none() && ended.end != ffi::End::Done {
                tracing::warn!(
                    thread = slot.name(),
                    script = &*script.shown(),
                    "a worker ended by a fatal error and boots again"
                );
            }
            continue;
        }
        failures += 1;
        let pause = PAUSE.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_PAUSE);
        if !boots.pause(pause, retries) {
            break;
        }
    }
}

/// Boots the script and lets it serve until it ends.
fn boot(threads: &Threads, seat: &Seat, slot: &Slot, script: &Script) -> Ended {
    let (settings, boots) = (threads.settings(), &threads.boots);
    let retries = boots.retries();
    slot.booting(script, seat);
    // Until the script has ended it holds code that an OPcache restart would take away.
    let pass = opcache::pass_to_boot();
    let ready = || {
        slot.standing.ready();
        boots.succeeded();
    };
    let feed = Feed::new(seat, Jobs::new(settings.max_jobs), &ready);
    let ended = Run::worker(script.clone(), feed, slot, settings);
    drop(pass);
    // One that was given up is nobody's worker any more.
    if !ended.booted && !slot.is_written_off() {
        let reason = why(&ended);
        tracing::error!(thread = slot.name(), "worker script {} did not boot: {reason}", script.shown());
        slot.set(SlotState::Failed);
        // Before the next of them has leave to.
        threads.spare_others();
        slot.standing.failed();
        boots.failed(reason, retries);
    }
    ended
}

/// Why a script did not boot, in one line.
pub(super) fn why(ended: &Ended) -> String {
    if ended.error.is_empty() && ended.reads_frames {
        "it ended without waiting for a request (a RoadRunner worker reads frames from STDIN until it is told to stop)".into()
    } else if ended.error.is_empty() {
        "it ended without asking for a request (a worker script calls rr_handle_request() or RR\\Worker::waitRequest())".into()
    } else {
        in_one_line(&ended.error)
    }
}

/// PHP's message with its place, which is at the end; a stack trace may stand between, on lines of its own.
pub(super) fn in_one_line(error: &str) -> String {
    let place = error.rfind(" in /").map_or("", |at| &error[at..]);
    let first = error.lines().next().unwrap_or_default();
    if first.ends_with(place) { first.to_owned() } else { format!("{first}{}", if first.contains(" in /") { "" } else { place }) }
}
