//! What is bounded in time: requests, streams without a client, a stop, boots.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use serde_json::json;

use super::{PATIENCE, booted_again, pool, pool_of, served, touch, up, waits_for};
use crate::harness::{Rpc, free_port, wait_until};

/// A loop in C, which nothing interrupts.
const LOOP: &str = "hash_pbkdf2('sha512', 'secret', 'salt', PHP_INT_MAX);";

#[test]
fn exec_ttl_ends_a_request_and_its_worker_starts_afresh() {
    let Some(setup) = pool(1) else { return };
    let setup = setup.ini("display_errors", "0").ini("log_errors", "1");
    let server = up(setup.option("http.pool.supervisor.exec_ttl=500ms").option("http.request_timeout=1h"));
    let (first, _) = served(&server.get("/").send());
    let began = Instant::now();
    let reply = server.get("/?until=never").send();
    assert!(matches!(reply.status, 500 | 504), "{}", reply.text());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_ne!(served(&server.get("/").send()).0, first);
    assert!(server.logs("exec_ttl reached"));
    assert!(server.logs("Maximum request time of 0.5 seconds exceeded (supervisor.exec_ttl)"), "{}", server.log.text());
}

#[test]
fn a_stream_whose_client_has_left_ends_by_stream_timeout() {
    let code = r#"
        file_put_contents(dirname(__DIR__) . '/boots', "boot\n", FILE_APPEND);
        while (rr_handle_request(function () {
            ignore_user_abort(true);
            for ($i = 0; $i < 20_000; $i++) {
                echo 'x';
                flush();
                usleep(1_000);
                if (connection_aborted()) {
                    touch(dirname(__DIR__) . '/left');
                }
            }
        }));"#;
    let Some(setup) = pool_of(1, code) else { return };
    let server = up(setup.ini("log_errors", "1").option("http.pool.stream_timeout=300ms"));
    let mut client = server.get("/").fire();
    client.read_head().unwrap();
    drop(client);
    assert!(wait_until(PATIENCE, || server.dir().join("left").exists()));
    booted_again(&server, 2);
    assert!(server.logs("the stream timeout is reached"));
    assert!(server.logs("The client has left, and the script went on for 0.3 seconds (pool.stream_timeout)"));
}

#[test]
fn a_stop_waits_for_what_runs_until_destroy_timeout() {
    let Some(setup) = pool(1) else { return };
    let server = up(setup.ini("display_errors", "0").option("http.pool.destroy_timeout=300ms"));
    let mut client = server.get("/?until=never").fire();
    waits_for(&server, "never");
    let began = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(client.read().unwrap().status, 500);
    let status = server.ended_within(PATIENCE).expect("it stops");
    assert_eq!(status.code(), Some(0), "{}", server.log.text());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(server.logs("the destroy timeout is reached"));
}

#[test]
fn a_boot_that_hangs_is_ended_and_tried_again() {
    let code = r#"
        file_put_contents(dirname(__DIR__) . '/boots', "boot\n", FILE_APPEND);
        while (file_exists(dirname(__DIR__) . '/hang')) {
            clearstatcache();
            usleep(1_000);
        }
        while (rr_handle_request(fn() => print 'here'));"#;
    let Some(setup) = pool_of(1, code) else { return };
    let server = up(setup.option("http.pool.allocate_timeout=1s").option("http.pool.max_jobs=1"));
    touch(&server.dir().join("hang"));
    assert_eq!(server.text("/"), "here");
    booted_again(&server, 2);
    assert!(server.logs("takes too long to boot"));
    assert!(server.logs("Maximum boot time of 1 second exceeded (pool.allocate_timeout)"), "{}", server.log.text());
    booted_again(&server, 3);
    std::fs::remove_file(server.dir().join("hang")).unwrap();
    assert!(wait_until(PATIENCE, || server.get("/").send().status == 200));
}

#[test]
fn a_worker_that_hangs_after_its_loop_is_ended_and_the_next_has_its_turn() {
    let code = r#"
        file_put_contents(dirname(__DIR__) . '/boots', "boot\n", FILE_APPEND | LOCK_EX);
        while (rr_handle_request(fn() => print 'here'));
        sleep(600);"#;
    let Some(setup) = pool_of(2, code) else { return };
    let rpc = free_port();
    let server = up(setup.option("http.pool.destroy_timeout=300ms").option(&format!("rpc.listen=tcp://{rpc}")));
    assert_eq!(Rpc::tcp(rpc).call("resetter.Reset", &json!("http")), Ok(json!(true)));
    booted_again(&server, 4);
    assert!(server.logs("a worker script was told to leave, and the destroy timeout is reached"));
    let told = "The worker script was told to leave, and went on for 0.3 seconds (pool.destroy_timeout)";
    assert!(server.logs(told), "{}", server.log.text());
    assert_eq!(server.text("/"), "here");
}

#[test]
fn a_worker_that_nothing_interrupts_is_given_up_also_between_requests() {
    let boots = format!("if (@unlink(dirname(__DIR__) . '/hang')) {LOOP} while (rr_handle_request(fn() => print 'here'));");
    let leaves = format!("while (rr_handle_request(fn() => print 'here')); if (@unlink(dirname(__DIR__) . '/hang')) {LOOP}");
    for (code, why) in [(boots, "takes too long to boot"), (leaves, "was told to leave")] {
        let Some(setup) = pool_of(1, &code) else { return };
        let setup = setup.option("http.pool.allocate_timeout=1s").option("http.pool.destroy_timeout=1s");
        let server = up(setup.option("http.pool.max_jobs=1").option("engine.grace_period=1s"));
        touch(&server.dir().join("hang"));
        assert_eq!(server.text("/"), "here");
        assert!(server.log.contains("is given up, and another takes its place", PATIENCE), "{}", server.log.text());
        assert!(server.logs(why), "{}", server.log.text());
        assert!(wait_until(PATIENCE, || server.get("/").send().status == 200), "{}", server.log.text());
        assert!(server.log.contains("a new engine takes its place", PATIENCE), "{}", server.log.text());
        assert!(wait_until(PATIENCE, || server.get("/").send().status == 200), "{}", server.log.text());
    }
}
