//! What happened to whom, and whether it may.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::site::Site;
use crate::harness::{PATIENCE, census, wait_until};

/// A server under test and the events of the test.
#[derive(Debug)]
pub(super) struct Trial {
    site: Site,
    until: Mutex<Instant>,
    events: Mutex<Events>,
}

#[derive(Debug, Default)]
struct Events {
    /// Right answers, and refusals for want of room, by kind of client.
    right: BTreeMap<&'static str, u64>,
    busy: u64,
    left: u64,
    troubles: BTreeMap<&'static str, u64>,
    deaths: Vec<Death>,
    lost: Vec<Lost>,
    wrong: Vec<String>,
    /// From a death to the next answer.
    gaps: Vec<Duration>,
}

/// An engine's, of which clients may hear from the one moment to the other.
#[derive(Clone, Copy, Debug)]
struct Death {
    caused: Instant,
    gone: Instant,
}

/// A request without an answer.
#[derive(Debug)]
#[expect(dead_code, reason = "read by whoever reads the failure")]
struct Lost {
    kind: &'static str,
    /// When its connection was last known to be good.
    good: Instant,
    noticed: Instant,
    why: String,
}

/// How a request ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Right,
    /// 503 with Retry-After.
    Busy,
    /// Its connection had just been closed.
    Left,
    Lost(String),
    Wrong(String),
}

// === impl Trial ===

impl Trial {
    pub(super) fn new(site: Site) -> Self {
        Self { site, until: Mutex::new(Instant::now()), events: Mutex::default() }
    }

    pub(super) fn begin(&self, time: Duration) {
        *self.until.lock().unwrap() = Instant::now() + time;
    }

    pub(super) fn goes_on(&self) -> bool {
        Instant::now() < *self.until.lock().unwrap()
    }

    /// Waits so long, but not past the end.
    pub(super) fn pause(&self, time: Duration) {
        let left = self.until.lock().unwrap().saturating_duration_since(Instant::now());
        thread::sleep(time.min(left));
    }

    pub(super) fn note_trouble(&self, name: &'static str) {
        *self.events.lock().unwrap().troubles.entry(name).or_default() += 1;
    }

    /// A client of this kind had an answer, or none; its connection was good at the moment given.
    pub(super) fn note(&self, kind: &'static str, good: Instant, outcome: Outcome) {
        let mut events = self.events.lock().unwrap();
        match outcome {
            Outcome::Right => *events.right.entry(kind).or_default() += 1,
            Outcome::Busy => events.busy += 1,
            Outcome::Left => events.left += 1,
            Outcome::Lost(why) => events.lost.push(Lost { kind, good, noticed: Instant::now(), why }),
            Outcome::Wrong(what) => events.wrong.push(format!("{kind}: {what}")),
        }
    }

    /// Ends an engine by a signal and waits until it is gone.
    pub(super) fn kill(&self, engine: Pid, signal: Signal) {
        let caused = Instant::now();
        if kill(engine, signal).is_err() {
            return;
        }
        assert!(wait_until(PATIENCE, || !census::is_running(engine)), "{engine} outlives {signal}: {}", self.server.log.text());
        self.note_death(caused);
        self.recovered();
        self.events.lock().unwrap().gaps.push(caused.elapsed());
    }

    pub(super) fn note_death(&self, caused: Instant) {
        self.events.lock().unwrap().deaths.push(Death { caused, gone: Instant::now() });
    }

    /// Waits for an answer.
    pub(super) fn recovered(&self) {
        let answers =
            || self.server.get("/hello.php").try_send().is_ok_and(|reply| reply.status == 200 && reply.body == b"hello");
        assert!(wait_until(PATIENCE, answers), "no answer any more: {}", self.server.log.text());
    }

    pub(super) fn deaths(&self) -> usize {
        self.events.lock().unwrap().deaths.len()
    }

    pub(super) fn report(&self) {
        let events = self.events.lock().unwrap();
        eprintln!(
            "right answers: {:?}; 503: {}; lost with an engine: {}; closed in passing: {}",
            events.right,
            events.busy,
            events.lost.len(),
            events.left
        );
        eprintln!("troubles: {:?}; engines that died: {}", events.troubles, events.deaths.len());
        let mut gaps = events.gaps.clone();
        gaps.sort();
        if let (Some(least), Some(most)) = (gaps.first(), gaps.last()) {
            eprintln!("from a death to the next answer: {least:?} to {most:?}, half of them within {:?}", gaps[gaps.len() / 2]);
        }
    }

    /// Whether all that happened may.
    pub(super) fn judge(&self) {
        let events = self.events.lock().unwrap();
        assert!(events.wrong.is_empty(), "wrong answers: {:#?}\n{}", events.wrong, self.server.log.text());
        let excused = |lost: &&Lost| !events.deaths.iter().any(|death| lost.good <= death.gone && lost.noticed >= death.caused);
        let lost: Vec<_> = events.lost.iter().filter(excused).collect();
        assert!(lost.is_empty(), "lost without a death: {lost:#?}\n{}", self.server.log.text());
        assert!(events.right.values().all(|count| *count > 0) && !events.right.is_empty(), "{:?}", events.right);
        let replaced: u64 = ["kill", "hang", "signal", "reload"].iter().filter_map(|name| events.troubles.get(name)).sum();
        assert!(events.left <= 2 * replaced, "{} FastCGI connections closed in passing: {:?}", events.left, events.troubles);
        let died = self.server.log.text().matches("engine died").count();
        assert!(died <= events.deaths.len(), "{died} engines died, {} by us: {}", events.deaths.len(), self.server.log.text());
        assert!(!self.server.log.text().contains("panicked"), "{}", self.server.log.text());
    }
}

impl Deref for Trial {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}
