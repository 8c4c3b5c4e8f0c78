//! The gate that every script passes: open but for the moments in which OPcache restarts, or is about to.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Read for the length of a script, written for a restart.
static GATE: RwLock<()> = RwLock::new(());
static IS_CLOSED: AtomicBool = AtomicBool::new(false);
/// Those who wait before it; it is opened under this. Not `parking_lot`'s, which wakes one after another: the last of dozens of
/// threads would go on only when each of those before it had got a core.
static QUEUE: Mutex<Queue> = Mutex::new(Queue { openings: 0, first_came: None });
static OPENED: Condvar = Condvar::new();

static HELD: AtomicU64 = AtomicU64::new(0);
static LONGEST_HOLD_US: AtomicU64 = AtomicU64::new(0);
static LONGEST_RESUME_US: AtomicU64 = AtomicU64::new(0);
static LONGEST_CLOSED_US: AtomicU64 = AtomicU64::new(0);

/// How long the gate stays closed for requests that run, and how long one waits before it opens the gate itself: with the restart,
/// and a core that comes late, that is never 100 ms.
pub(super) const CLOSED: Duration = Duration::from_millis(40);
/// How often whoever has closed the gate looks whether all have left.
const LOOK: Duration = Duration::from_millis(1);

/// Those who wait for the next opening.
struct Queue {
    /// Whoever has seen one go by passes, though the gate may have been closed again before its thread ran.
    openings: u64,
    /// When the request came that has waited longest.
    first_came: Option<Instant>,
}

/// Closed, and nobody is inside. Opens when dropped.
#[derive(Debug)]
pub(super) struct Alone {
    since: Instant,
    inside: Option<RwLockWriteGuard<'static, ()>>,
}

/// A request's pass; while one is held, OPcache does not restart.
pub(crate) fn pass() -> RwLockReadGuard<'static, ()> {
    if let Some(pass) = pass_at_once() {
        return pass;
    }
    let came = Instant::now();
    let mut queue = queue();
    if IS_CLOSED.load(SeqCst) {
        queue.first_came.get_or_insert(came);
    }
    let seen = queue.openings;
    let still = |queue: &mut Queue| queue.openings == seen && IS_CLOSED.load(SeqCst);
    let (mut queue, waited) = OPENED.wait_timeout_while(queue, CLOSED, still).unwrap_or_else(PoisonError::into_inner);
    if waited.timed_out() {
        // Whoever has closed it may not have had a core since.
        queue.open();
    }
    drop(queue);
    let pass = GATE.read();
    HELD.fetch_add(1, Relaxed);
    LONGEST_RESUME_US.fetch_max(microseconds(came.elapsed()), Relaxed);
    pass
}

/// The pass of a worker script, which waits for as long as the gate is closed.
pub(crate) fn pass_to_boot() -> RwLockReadGuard<'static, ()> {
    pass_at_once().unwrap_or_else(|| {
        drop(OPENED.wait_while(queue(), |_| IS_CLOSED.load(SeqCst)));
        GATE.read()
    })
}

fn pass_at_once() -> Option<RwLockReadGuard<'static, ()>> {
    if IS_CLOSED.load(Relaxed) { None } else { GATE.try_read() }
}

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Closes the gate if nobody is inside at this very moment.
pub(super) fn close_if_empty() -> Option<Alone> {
    GATE.try_write().map(|inside| Alone { since: Instant::now(), inside: Some(inside) })
}

/// Closes the gate and waits until nobody is inside; opens it again when `gives_up` says so, or when somebody has waited too long.
pub(super) fn close_unless(mut gives_up: impl FnMut() -> bool) -> Option<Alone> {
    IS_CLOSED.store(true, SeqCst);
    let mut alone = Alone { since: Instant::now(), inside: None };
    loop {
        alone.inside = GATE.try_write();
        if alone.inside.is_some() {
            return Some(alone);
        }
        if !IS_CLOSED.load(SeqCst) || gives_up() {
            return None;
        }
        thread::sleep(LOOK);
    }
}

/// What the gate has cost so far.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// The longest that it was closed.
    pub closed: Duration,
    /// Requests that came while it was closed.
    pub held: u64,
    /// How long the unluckiest of them waited for it to open.
    pub longest_hold: Duration,
    /// How long one of them waited until its thread ran again: dozens may then want the same core.
    pub longest_resume: Duration,
}

/// What it has cost so far.
pub(super) fn cost() -> Gate {
    let longest = |of: &AtomicU64| Duration::from_micros(of.load(Relaxed));
    Gate {
        closed: longest(&LONGEST_CLOSED_US),
        held: HELD.load(Relaxed),
        longest_hold: longest(&LONGEST_HOLD_US),
        longest_resume: longest(&LONGEST_RESUME_US),
    }
}

// === impl Queue ===

impl Queue {
    fn open(&mut self) {
        IS_CLOSED.store(false, SeqCst);
        self.openings += 1;
        if let Some(came) = self.first_came.take() {
            LONGEST_HOLD_US.fetch_max(microseconds(came.elapsed()), Relaxed);
        }
        OPENED.notify_all();
    }
}

// === impl Alone ===

impl Drop for Alone {
    fn drop(&mut self) {
        // To those who wait already: a thread that has no core yet does not find it locked by the next restart.
        if let Some(inside) = self.inside.take() {
            RwLockWriteGuard::unlock_fair(inside);
        }
        LONGEST_CLOSED_US.fetch_max(microseconds(self.since.elapsed()), Relaxed);
        if IS_CLOSED.load(SeqCst) {
            queue().open();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn whoever_comes_to_a_closed_gate_waits_until_it_opens() {
        let first = pass();
        assert!(close_if_empty().is_none() && close_unless(|| true).is_none());
        let (tell, told) = channel();
        let closer = thread::spawn(move || {
            // Closed until the first has left: there is no other end to it.
            let alone = close_unless(|| tell.send("waits").is_err()).expect("nobody gives up");
            (alone.inside.is_some(), told_by_a_script(&tell))
        });
        assert_eq!(told.recv(), Ok("waits"));
        drop(first);
        let (is_alone, script) = closer.join().unwrap();
        script.join().unwrap();
        assert!(is_alone);
        assert!(told.iter().any(|what| what == "inside"));
        drop(close_if_empty().expect("all have left"));
    }

    /// A script that comes now.
    fn told_by_a_script(tell: &std::sync::mpsc::Sender<&'static str>) -> thread::JoinHandle<()> {
        let tell = tell.clone();
        thread::spawn(move || {
            let pass = pass();
            tell.send("inside").unwrap();
            drop(pass);
        })
    }
}
