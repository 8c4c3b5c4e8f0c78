//! What systemd is told.

use std::{
    os::unix::net::UnixDatagram,
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    time::{ClockId, clock_gettime},
};

use super::{engine, is_gone, site};
use crate::harness::{PATIENCE, reference, wait_until};

fn monotonic() -> u64 {
    u64::try_from(Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap()).as_micros()).unwrap()
}

/// systemd's end, and where it is.
struct Manager(UnixDatagram);

impl Manager {
    fn new(path: &Path) -> Self {
        Self(UnixDatagram::bind(path).unwrap())
    }

    /// The next message of this kind.
    fn hear(&self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut message = [0; 256];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{wanted} is not said");
            self.0.set_read_timeout(Some(left)).unwrap();
            let length = self.0.recv(&mut message).unwrap_or_else(|error| panic!("{wanted} is not said: {error}"));
            let text = String::from_utf8_lossy(&message[..length]);
            if text.lines().next() == Some(wanted) {
                return text.into_owned();
            }
        }
    }

    /// What came meanwhile.
    fn rest(&self) -> Vec<String> {
        self.0.set_nonblocking(true).unwrap();
        let mut message = [0; 256];
        let next = || self.0.recv(&mut message).ok().map(|length| String::from_utf8_lossy(&message[..length]).into_owned());
        let all = std::iter::from_fn(next).collect();
        self.0.set_nonblocking(false).unwrap();
        all
    }
}

#[test]
fn systemd_is_told_of_every_turn() {
    if reference().is_some() {
        return;
    }
    let setup = site();
    let path = setup.scratch().join("notify.sock");
    let manager = Manager::new(&path);
    let hear = |wanted: &str| manager.hear(wanted);
    let server = setup
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "20000000")
        .config(".rr.yaml", "version: '3'\n")
        .start();
    hear("READY=1");
    hear("WATCHDOG=1");
    let file = server.dir().join(".rr.yaml");
    for config in ["version: '3'\n", "version: '3'\nhtpp: {}\n"] {
        std::fs::write(&file, config).unwrap();
        let (old, before) = (engine(&server), monotonic());
        server.signal(Signal::SIGHUP);
        let told = hear("RELOADING=1");
        let at = told.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect(&told).parse::<u64>().unwrap();
        assert!((before..=monotonic()).contains(&at), "{before} {told}");
        hear("READY=1");
        assert!(config.contains("htpp") || is_gone(old), "{}", server.log.text());
    }
    // Whoever has no healthy engine feeds no watchdog; a new one is healthy again.
    kill(engine(&server), Signal::SIGKILL).unwrap();
    hear("READY=1");
    hear("WATCHDOG=1");
    server.signal(Signal::SIGTERM);
    hear("STOPPING=1");
    assert!(server.ended_within(PATIENCE).is_some());
}

#[test]
fn the_watchdog_is_fed_until_the_stop_which_is_told_once() {
    if reference().is_some() {
        return;
    }
    let setup = site();
    let path = setup.scratch().join("notify.sock");
    let manager = Manager::new(&path);
    let server = setup.env("NOTIFY_SOCKET", path.to_str().unwrap()).env("WATCHDOG_USEC", "400000").start();
    manager.hear("READY=1");
    (0..5).for_each(|_| drop(manager.hear("WATCHDOG=1")));
    let began = server.dir().join("began");
    let _running = server.get(&format!("/slow.php?ms=20000&began={}", began.display())).fire();
    assert!(wait_until(PATIENCE, || began.exists()));
    server.signal(Signal::SIGTERM);
    manager.hear("STOPPING=1");
    server.signal(Signal::SIGTERM);
    assert!(server.ended_within(PATIENCE).is_some());
    assert_eq!(manager.rest(), [""; 0]);
}

#[test]
fn nothing_is_ready_while_no_engine_serves() {
    if reference().is_some() {
        return;
    }
    let setup = site();
    let path = setup.scratch().join("notify.sock");
    let manager = Manager::new(&path);
    let server = setup.env("NOTIFY_SOCKET", path.to_str().unwrap()).start();
    manager.hear("READY=1");
    let (old, elsewhere) = (engine(&server), server.dir().join("elsewhere"));
    std::fs::rename(server.root(), &elsewhere).unwrap();
    kill(old, Signal::SIGKILL).unwrap();
    assert!(server.logs("not restarted, nothing has changed"), "{}", server.log.text());
    assert_eq!(manager.rest(), [""; 0]);
    std::fs::rename(&elsewhere, server.root()).unwrap();
    manager.hear("READY=1");
    assert_ne!(engine(&server), old);
}

#[test]
fn scripts_and_their_children_cannot_speak_for_the_server() {
    if reference().is_some() {
        return;
    }
    for supervisor in [true, false] {
        let setup = site().option(&format!("engine.supervisor={supervisor}"));
        let path = setup.scratch().join("notify.sock");
        let code = "echo json_encode(getenv()), json_encode($_SERVER); passthru('env');";
        let setup = setup.php("env.php", code).env("NOTIFY_SOCKET", path.to_str().unwrap());
        let server = setup.env("WATCHDOG_USEC", "20000000").env("WATCHDOG_PID", "1").env("SEEN", "yes").start();
        let told = server.text("/env.php");
        assert!(told.contains("SEEN") && !told.contains("NOTIFY_SOCKET") && !told.contains("WATCHDOG"), "{told}");
        server.stop();
    }
}
