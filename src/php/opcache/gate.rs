//! The gate that every script passes: open but for the moments in which OPcache restarts, or is about to.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Read for the length of a script, written for a restart.
static GATE: RwLock<()> = RwLock::new(());
static IS_CLOSED: AtomicBool = AtomicBool::new(false);
/// Those who wait before it; it is opened under this.
static QUEUE: Mutex<()> = Mutex::new(());
static OPENED: Condvar = Condvar::new();

static HELD: AtomicU64 = AtomicU64::new(0);
static LONGEST_US: AtomicU64 = AtomicU64::new(0);
static LONGEST_CLOSED_US: AtomicU64 = AtomicU64::new(0);

/// How long a request waits before it opens the gate itself: with the restart, and a wake-up, nobody waits for 100 ms.
const LIMIT: Duration = Duration::from_millis(60);
/// How often whoever has closed the gate looks whether all have left.
const LOOK: Duration = Duration::from_millis(1);

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
    let mut queue = QUEUE.lock();
    if OPENED.wait_while_for(&mut queue, |_| IS_CLOSED.load(SeqCst), LIMIT).timed_out() {
        // Whoever has closed it may not have had a core since.
        open(&queue);
    }
    drop(queue);
    let pass = GATE.read();
    HELD.fetch_add(1, Relaxed);
    LONGEST_US.fetch_max(microseconds_since(came), Relaxed);
    pass
}

/// The pass of a worker script, which waits for as long as the gate is closed.
pub(crate) fn pass_to_boot() -> RwLockReadGuard<'static, ()> {
    pass_at_once().unwrap_or_else(|| {
        let mut queue = QUEUE.lock();
        OPENED.wait_while(&mut queue, |_| IS_CLOSED.load(SeqCst));
        drop(queue);
        GATE.read()
    })
}

fn pass_at_once() -> Option<RwLockReadGuard<'static, ()>> {
    if IS_CLOSED.load(Relaxed) { None } else { GATE.try_read() }
}

fn open(_queue: &MutexGuard<'_, ()>) {
    IS_CLOSED.store(false, SeqCst);
    OPENED.notify_all();
}

fn microseconds_since(then: Instant) -> u64 {
    u64::try_from(then.elapsed().as_micros()).unwrap_or(u64::MAX)
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
    /// How long the unluckiest of them waited, until its thread ran again.
    pub longest_hold: Duration,
}

/// What it has cost so far.
pub(super) fn cost() -> Gate {
    let microseconds = |of: &AtomicU64| Duration::from_micros(of.load(Relaxed));
    Gate { closed: microseconds(&LONGEST_CLOSED_US), held: HELD.load(Relaxed), longest_hold: microseconds(&LONGEST_US) }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.inside = None;
        LONGEST_CLOSED_US.fetch_max(microseconds_since(self.since), Relaxed);
        if IS_CLOSED.load(SeqCst) {
            open(&QUEUE.lock());
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
