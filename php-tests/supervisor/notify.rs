//! What systemd is told.

use std::{os::unix::net::UnixDatagram, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    time::{ClockId, clock_gettime},
};

use super::{engine, is_gone, site};
use crate::harness::{PATIENCE, reference};

fn monotonic() -> u64 {
    u64::try_from(Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap()).as_micros()).unwrap()
}

#[test]
fn systemd_is_told_of_every_turn() {
    if reference().is_some() {
        return;
    }
    let setup = site();
    let path = setup.scratch().join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = |wanted: &str| {
        let mut message = [0; 256];
        loop {
            let length = socket.recv(&mut message).unwrap_or_else(|error| panic!("{wanted}: {error}"));
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            if text.lines().next() == Some(wanted) {
                return text;
            }
        }
    };
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
