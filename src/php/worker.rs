//! Worker scripts: booted once per thread, then fed until they leave; booted again whenever they end.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};

use super::{
    context::Context,
    ffi, opcache,
    run::{Ended, Left, Run},
    thread::{Settings, Slot},
};
use crate::worker::{Pool, Script, Seat};

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
    ready: usize,
    /// The last failure since the last success.
    failure: Option<String>,
    stopping: bool,
}

// === impl Boots ===

impl Boots {
    /// Waits until `count` workers have booted, one has failed to, or `patience` is over.
    pub(crate) fn wait(&self, count: usize, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        let mut state = self.state.lock();
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if state.ready >= count {
                return Ok(());
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Err(format!("it has not asked for a request within {} s", patience.as_secs()));
            }
        }
    }

    /// Ends all pauses: the server stops.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_all();
    }

    /// The reason why the last boot failed, if none has succeeded since.
    pub(crate) fn failure(&self) -> Option<String> {
        self.state.lock().failure.clone()
    }

    fn ready(&self) {
        let mut state = self.state.lock();
        state.ready += 1;
        state.failure = None;
        self.changed.notify_all();
    }

    fn gone(&self, failure: Option<String>) {
        let mut state = self.state.lock();
        match failure {
            Some(failure) => state.failure = Some(failure),
            None => state.ready -= 1,
        }
        self.changed.notify_all();
    }

    /// False if the server stops meanwhile.
    fn pause(&self, length: Duration) -> bool {
        let deadline = Instant::now() + length;
        let mut state = self.state.lock();
        while !state.stopping && !self.changed.wait_until(&mut state, deadline).timed_out() {}
        !state.stopping
    }
}

/// The life of a worker's thread.
pub(super) fn serve(pool: &Pool, slot: &Slot, settings: &Settings, script: &Script, boots: &Boots) {
    let seat = pool.seat();
    let mut failures = 0;
    loop {
        let context = Context::attach(slot);
        let ended = boot(&seat, slot, settings, script, boots);
        if ended.left == Some(Left::Closed) {
            break;
        }
        opcache::restart_if_pending();
        drop(context);
        if slot.is_written_off() {
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
        if !boots.pause(pause) {
            break;
        }
    }
}

/// Boots the script and lets it serve until it ends.
fn boot(seat: &Seat, slot: &Slot, settings: &Settings, script: &Script, boots: &Boots) -> Ended {
    slot.booting(script);
    // Until the script has ended it holds code that an OPcache restart would take away.
    let pass = opcache::pass();
    let ready = || boots.ready();
    let ended = Run::worker(script.clone(), seat, slot, settings, with_jitter(settings.max_jobs), &ready);
    drop(pass);
    if ended.booted {
        boots.gone(None);
    } else {
        let reason = why(&ended);
        tracing::error!(thread = slot.name(), "worker script {} did not boot: {reason}", script.shown());
        boots.gone(Some(reason));
    }
    ended
}

/// In one line.
fn why(ended: &Ended) -> String {
    if ended.error.is_empty() {
        "it ended without asking for a request (a worker script calls rr_handle_request() or RR\\Worker::waitRequest())".into()
    } else {
        // A stack trace follows on lines of its own; the place is at the end.
        let place = ended.error.rfind(" in /").map_or("", |at| &ended.error[at..]);
        let first = ended.error.lines().next().unwrap_or_default();
        if first.ends_with(place) {
            first.to_owned()
        } else {
            format!("{first}{}", if first.contains(" in /") { "" } else { place })
        }
    }
}

/// Workers that start together do not end together: up to 14 % more, as RoadRunner has it.
fn with_jitter(max_jobs: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::from(time.subsec_nanos()));
    max_jobs + if max_jobs < 8 { 0 } else { now % (max_jobs / 7) }
}
