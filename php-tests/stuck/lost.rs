//! What cannot be ended inside the process: the thread is given up, another takes its place, and at last another process does.

use std::thread;

use nix::sys::signal::Signal;

use super::{GIVEN_UP, setup};
use crate::harness::{PATIENCE, Request, free_port, wait_until};

/// A regular expression that takes longer than the universe has been there, and a loop in C.
const REGEX: &str =
    "ini_set('pcre.jit', 0); ini_set('pcre.backtrack_limit', PHP_INT_MAX); preg_match('/^(a+)+$/', str_repeat('a', 64) . 'b');";
const LOOP: &str = "hash_pbkdf2('sha512', 'secret', 'salt', PHP_INT_MAX);";

#[test]
fn a_thread_that_cannot_be_interrupted_is_replaced_and_then_the_process() {
    let Some(setup) = setup() else { return };
    let server = setup
        .threads(2)
        .option("engine.grace_period=1s")
        .php("regex.php", REGEX)
        .php("loop.php", LOOP)
        .php("pid.php", "echo getmypid();")
        .start();
    let first = server.text("/pid.php");
    thread::scope(|scope| {
        for script in ["/regex.php", "/loop.php"] {
            let server = &server;
            scope.spawn(move || assert_eq!(server.get(script).send().status, 504, "{script}"));
        }
    });
    assert!(server.log.contains(GIVEN_UP, PATIENCE), "{}", server.log.text());
    assert!(server.log.text().contains("is given up, and another takes its place"), "{}", server.log.text());
    // Whoever answers: capacity has come back.
    assert_eq!(server.text("/clean.php"), "clean");
    assert!(server.log.contains("a new engine takes its place", PATIENCE), "{}", server.log.text());
    assert!(server.log.contains("is abandoned", PATIENCE), "the old process has not ended: {}", server.log.text());
    assert!(crate::harness::wait_until(PATIENCE, || !std::path::Path::new(&format!("/proc/{first}")).exists()));
    assert_ne!(server.text("/pid.php"), first);
    assert_eq!(server.text("/clean.php"), "clean");
}

#[test]
fn who_is_cut_at_the_grace_period_is_told_and_named() {
    let Some(setup) = setup() else { return };
    let setup = setup.option("http.request_timeout=10m").option("http.pool.destroy_timeout=10m");
    let setup = setup.threads(2).option("engine.grace_period=300ms");
    let begins = |name: &str| format!("touch(dirname(__DIR__) . '/begun-{name}');");
    let setup =
        setup.php("loop.php", &format!("{}{LOOP}", begins("loop"))).php("nap.php", &format!("{}sleep(600);", begins("nap")));
    let server = setup.start();
    let mut cut = [server.get("/loop.php?a=1").fire(), server.get("/nap.php?b=2").fire()];
    let has_begun = |name: &str| server.dir().join(format!("begun-{name}")).exists();
    assert!(wait_until(PATIENCE, || has_begun("loop") && has_begun("nap")));
    server.signal(Signal::SIGTERM);
    for one in &mut cut {
        assert_eq!(one.read().unwrap().status, 503, "{}", server.log.text());
    }
    assert!(server.ended_within(PATIENCE).is_some(), "{}", server.log.text());
    let log = server.log.text();
    for target in ["/loop.php?a=1", "/nap.php?b=2"] {
        let (script, _) = target[1..].split_once('?').unwrap();
        let named = |what: &str| {
            log.lines().any(|line| {
                line.contains(what)
                    && line
                        .contains(&format!("method=\"GET\" uri=\"{target}\" script=\"{}", server.root().join(script).display()))
                    && line.contains("ran_ms=")
            })
        };
        assert!(named("its request is cut") && named("is still running and is abandoned"), "{target}: {log}");
        assert!(log.lines().any(|line| line.contains("http 503 GET ") && line.contains(script)), "{target}: {log}");
    }
}

#[test]
fn while_no_thread_is_left_none_waits_in_vain() {
    let Some(setup) = setup() else { return };
    let checks = free_port();
    let setup = setup.option(&format!("status.address={checks}")).option("http.pool.allocate_timeout=10m");
    let server = setup.option("engine.grace_period=10m").php("loop.php", LOOP).start();
    let ready = || Request::new(checks, "GET", "/ready").send().status;
    assert!(wait_until(PATIENCE, || ready() == 200));
    // The one thread, and the one that takes its place.
    let mut stuck = [server.get("/loop.php").fire(), server.get("/loop.php").fire()];
    for one in &mut stuck {
        assert_eq!(one.read().unwrap().status, 504);
    }
    let mut waiting = server.get("/clean.php").fire();
    assert!(wait_until(PATIENCE, || ready() == 503), "{}", server.log.text());
    let refused = waiting.read().unwrap();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", server.log.text());
    assert!(server.logs("no thread is left"), "{}", server.log.text());
    assert!(server.log.contains("a new engine takes its place", PATIENCE), "{}", server.log.text());
    // The old engine goes on for its scripts' sake, and nobody has to wait for that.
    assert!(wait_until(PATIENCE, || server.get("/clean.php").send().text() == "clean"), "{}", server.log.text());
    assert!(wait_until(PATIENCE, || ready() == 200));
}
