//! What is bounded in time: requests, streams without a client, a stop, boots.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{PATIENCE, booted_again, pool, pool_of, served, touch, up, waits_for};
use crate::harness::wait_until;

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
