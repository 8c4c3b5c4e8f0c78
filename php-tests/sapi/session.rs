//! Sessions in files, PHP's default.

use std::{
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{Setup, server};

fn with_sessions() -> Setup {
    let setup = server();
    let dir = setup.scratch().join("sessions");
    std::fs::create_dir(&dir).unwrap();
    setup.ini("session.save_path", dir.to_str().unwrap())
}

#[test]
fn a_session_counts_across_requests() {
    let server = with_sessions().start();
    let first = server.get("/session.php?tag=mine").send();
    let cookies = first.cookies();
    assert_eq!(cookies[0].0, "PHPSESSID");
    assert_eq!(first.header("cache-control"), Some("no-store, no-cache, must-revalidate"));
    for count in 2..6 {
        let seen = server.get("/session.php").cookies(&cookies).send().json();
        assert_eq!(seen, json!([cookies[0].1, count, "mine", "files"]));
    }
}

#[test]
fn sessions_are_locked_one_request_at_a_time() {
    let server = with_sessions().threads(4).start();
    let cookies = server.get("/session.php").send().cookies();
    let counts = Mutex::new(Vec::new());
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let seen = server.get("/session.php?hold=100").cookies(&cookies).send().json();
                counts.lock().unwrap().push(seen[1].as_i64().unwrap());
            });
        }
    });
    let mut counts = counts.into_inner().unwrap();
    counts.sort_unstable();
    assert_eq!(counts, [2, 3, 4, 5]);
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

#[test]
fn a_session_survives_a_fatal_error_and_its_lock_is_released() {
    let server = with_sessions().threads(1).ini("display_errors", "0").php("die.php", "session_start(); $_SESSION['count'] = 41; nowhere();").start();
    let cookies = server.get("/session.php").send().cookies();
    assert_eq!(server.get("/die.php").cookies(&cookies).send().status, 500);
    let seen = server.get("/session.php").cookies(&cookies).send().json();
    assert_eq!(seen[1], 42);
}

#[test]
fn sessions_of_parallel_clients_do_not_mix() {
    let server = with_sessions().threads(4).start();
    thread::scope(|scope| {
        for client in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let first = server.get(&format!("/session.php?tag=client{client}")).send();
                let cookies = first.cookies();
                for count in 2..12 {
                    let seen = server.get("/session.php?tag=wrong").cookies(&cookies).send().json();
                    assert_eq!(seen, json!([cookies[0].1, count, format!("client{client}"), "files"]));
                }
            });
        }
    });
}

#[test]
fn custom_save_handlers_work_and_do_not_outlive_their_request() {
    let server = with_sessions()
        .threads(1)
        .php(
            "own.php",
            "class Mine implements SessionHandlerInterface { \
             function open($p, $n): bool { return true; } function close(): bool { return true; } \
             function read($id): string { return 'count|i:7;'; } function write($id, $d): bool { echo \"[$d]\"; return true; } \
             function destroy($id): bool { return true; } function gc($m): int { return 0; } } \
             session_set_save_handler(new Mine(), true); session_start(); $_SESSION['count']++; echo session_module_name();",
        )
        .start();
    assert_eq!(server.text("/own.php"), "user[count|i:8;]");
    let seen = server.get("/session.php").send().json();
    assert_eq!((&seen[1], &seen[3]), (&json!(1), &json!("files")));
}
