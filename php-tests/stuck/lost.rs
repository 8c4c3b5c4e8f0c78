//! What cannot be ended inside the process: the thread is given up, another takes its place, and at last another process does.

use std::thread;

use super::{GIVEN_UP, setup};
use crate::harness::PATIENCE;

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
