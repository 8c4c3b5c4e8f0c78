//! What a script may do about its limits, and what it is told of them.

use std::thread;

use super::{GIVEN_UP, setup};
use crate::harness::{PATIENCE, wait_until};

/// Loops that set PHP's own limit for ever.
const LOOPS: [&str; 4] = [
    "while (1) { set_time_limit(0); set_time_limit(0); }",
    "while (1) { set_time_limit(30); strlen('x'); }",
    "while (1) { ini_set('max_execution_time', 0); }",
    "function again() { set_time_limit(0); } while (1) { again(); array_map('set_time_limit', [0, 0]); }",
];

#[test]
fn a_script_that_sets_its_own_limit_all_the_time_ends() {
    for jit in ["disable", "tracing", "function"] {
        let Some(setup) = setup() else { return };
        let mut setup =
            setup.threads(LOOPS.len()).ini("log_errors", "1").ini("opcache.jit", jit).ini("opcache.jit_buffer_size", "16M");
        setup = setup.php("jit.php", "echo (int) opcache_get_status()['jit']['on'];");
        for (number, code) in LOOPS.iter().enumerate() {
            setup = setup.php(&format!("{number}.php"), code);
        }
        let server = setup.start();
        assert_eq!(server.text("/jit.php"), if jit == "disable" { "0" } else { "1" }, "{jit}");
        for _ in 0..3 {
            thread::scope(|scope| {
                for (number, code) in LOOPS.iter().enumerate() {
                    let server = &server;
                    scope.spawn(move || assert_eq!(server.get(&format!("/{number}.php")).send().status, 504, "{jit}: {code}"));
                }
            });
        }
        assert_eq!(server.text("/clean.php"), "clean");
        let told = || server.log.text().matches("Maximum request time of 1 second exceeded (request_timeout)").count();
        assert!(wait_until(PATIENCE, || told() == 3 * LOOPS.len()), "{jit}: {}", server.log.text());
        assert!(!server.log.text().contains(GIVEN_UP), "{jit}");
    }
}

#[test]
fn a_script_is_told_which_limit_has_ended_it() {
    let code = "register_shutdown_function(fn() => file_put_contents(dirname(__DIR__) . '/told', error_get_last()['message'])); ini_set('max_execution_time', 30);";
    for (stuck, limit, status, told) in [
        ("sleep(600);", "1500ms", 504, "Maximum request time of 1.5 seconds exceeded (request_timeout)"),
        ("set_time_limit(1); while (1);", "1h", 500, "Maximum execution time of 1 second exceeded"),
    ] {
        let Some(setup) = setup() else { return };
        let setup = setup.php("stuck.php", &format!("{code} {stuck}"));
        let server = setup.option(&format!("http.request_timeout={limit}")).start();
        assert_eq!(server.get("/stuck.php").send().status, status, "{stuck}");
        assert_eq!(server.text("/clean.php"), "clean");
        assert_eq!(std::fs::read_to_string(server.dir().join("told")).unwrap(), told, "{stuck}");
    }
}
