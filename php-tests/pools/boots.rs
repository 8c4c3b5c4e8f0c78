//! Worker scripts that do not boot: at the start the server says why, later it goes on trying.

use std::{thread, time::Duration};

use super::{booted_again, boots, pool_of, touch, up};
use crate::harness::{TempDir, command, finish, free_port, reference};

/// Boots unless there is a file `broken` beside the document root.
const FRAGILE: &str = r#"
file_put_contents(dirname(__DIR__) . '/boots', "boot\n", FILE_APPEND | LOCK_EX);
clearstatcache();
if (file_exists(dirname(__DIR__) . '/broken')) {
    throw new RuntimeException('the cable is out');
}
while (rr_handle_request(fn() => print 'here'));"#;

#[test]
fn at_the_start_the_reason_is_told_in_one_line() {
    if reference().is_some() {
        return;
    }
    let dir = TempDir::new();
    let script = dir.write("worker.php", "<?php\n\nthrow new RuntimeException('the cable is out');");
    let (address, worker) = (format!("http.address={}", free_port()), format!("http.worker={}", script.display()));
    let output = finish(command(&["serve", "-o", &address, "-o", &worker]), b"");
    assert_ne!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().last().unwrap();
    let place = format!("{}:3", script.display());
    for part in ["pool http", "the cable is out", &place] {
        assert!(line.contains(part), "{part:?} is not in {line:?} of {said}");
    }
}

#[test]
fn later_requests_wait_while_it_is_tried_again_and_are_answered_once_it_boots() {
    let Some(setup) = pool_of(2, FRAGILE) else { return };
    let server = up(setup.option("http.pool.max_jobs=1"));
    touch(&server.dir().join("broken"));
    assert_eq!(server.text("/"), "here");
    assert_eq!(server.text("/"), "here");
    booted_again(&server, 5);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| server.text("/"));
        booted_again(&server, boots(&server) + 2);
        assert!(!waiting.is_finished());
        std::fs::remove_file(server.dir().join("broken")).unwrap();
        assert_eq!(waiting.join().unwrap(), "here");
    });
    assert!(
        server.logs("did not boot: PHP Fatal error") || server.logs("did not boot: Uncaught RuntimeException: the cable is out")
    );
}

#[test]
fn a_script_that_never_boots_is_not_tried_without_end() {
    let Some(setup) = pool_of(1, FRAGILE) else { return };
    let server = up(setup.option("http.pool.max_jobs=1"));
    touch(&server.dir().join("broken"));
    assert_eq!(server.text("/"), "here");
    booted_again(&server, 2);
    thread::sleep(Duration::from_secs(1));
    // After 100 ms, 200, 400.
    let tried = boots(&server) - 1;
    assert!((2..=5).contains(&tried), "{tried} in a second");
}

#[test]
fn requests_without_a_worker_are_refused_in_time() {
    let Some(setup) = pool_of(1, FRAGILE) else { return };
    let server = up(setup.option("http.pool.max_jobs=1").option("http.pool.allocate_timeout=500ms"));
    touch(&server.dir().join("broken"));
    assert_eq!(server.text("/"), "here");
    let reply = server.get("/").send();
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some());
}
