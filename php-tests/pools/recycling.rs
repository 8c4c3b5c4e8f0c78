//! Workers that start afresh: by requests, age, idleness, memory. No request notices.

use std::{collections::HashMap, sync::Mutex, thread, time::Duration};

use super::{at_once, booted_again, boots, let_go, pool, served, up, waits_for};

#[test]
fn max_jobs_under_constant_load_fails_no_request() {
    let Some(setup) = pool(3) else { return };
    let server = up(setup.option("http.pool.max_jobs=10"));
    let seen: Mutex<HashMap<String, u64>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let (boot, count) = served(&server.get("/").send());
                    let mut seen = seen.lock().unwrap();
                    let most = seen.entry(boot).or_default();
                    *most = count.max(*most);
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.values().sum::<u64>(), 600, "each was answered by one worker, once");
    assert!(seen.values().all(|served| *served <= 11), "10, and a seventh more: {seen:?}");
    assert!(seen.len() >= 600 / 11, "{}", seen.len());
}

#[test]
fn a_single_job_means_a_fresh_worker_each_time() {
    let Some(setup) = pool(2) else { return };
    let server = up(setup.option("http.pool.max_jobs=1"));
    for reply in at_once(&server, 8, "/") {
        assert_eq!(served(&reply).1, 1);
    }
}

#[test]
fn a_worker_that_has_idled_for_long_starts_afresh_once() {
    let Some(setup) = pool(1) else { return };
    let server = up(setup.option("http.pool.supervisor.watch_tick=20ms").option("http.pool.supervisor.idle_ttl=100ms"));
    let (first, _) = served(&server.get("/").send());
    booted_again(&server, 2);
    // One that was never used stays as it is.
    thread::sleep(Duration::from_millis(400));
    assert_eq!(boots(&server), 2);
    let (second, count) = served(&server.get("/").send());
    assert_ne!(first, second);
    assert_eq!(count, 1);
}

#[test]
fn an_old_worker_starts_afresh_but_not_in_the_middle_of_a_request() {
    let Some(setup) = pool(1) else { return };
    let server = up(setup.option("http.pool.supervisor.watch_tick=20ms").option("http.pool.supervisor.ttl=300ms"));
    booted_again(&server, 3);
    thread::scope(|scope| {
        let long = scope.spawn(|| served(&server.get("/?until=go").send()));
        waits_for(&server, "go");
        let so_far = boots(&server);
        // Past its time to live twice over.
        thread::sleep(Duration::from_millis(700));
        assert_eq!(boots(&server), so_far);
        let_go(&server, "go");
        let (boot, _) = long.join().unwrap();
        booted_again(&server, so_far + 1);
        assert_ne!(served(&server.get("/").send()).0, boot);
    });
}

#[test]
fn a_worker_that_holds_too_much_memory_starts_afresh() {
    let Some(setup) = pool(1) else { return };
    let tick = setup.option("http.pool.supervisor.watch_tick=20ms");
    let server = up(tick.option("http.pool.supervisor.max_worker_memory=16"));
    for _ in 0..20 {
        served(&server.get("/?hold=1").send());
    }
    assert_eq!(boots(&server), 1);
    let (first, _) = served(&server.get("/?hold=20").send());
    booted_again(&server, 2);
    assert_ne!(served(&server.get("/").send()).0, first);
}

#[test]
fn workers_start_afresh_one_at_a_time() {
    let Some(setup) = pool(4) else { return };
    let server =
        up(setup.php("slow-boot.php", "").option("http.pool.supervisor.watch_tick=20ms").option("http.pool.supervisor.ttl=1s"));
    // While they do, one after the other, there is always one that answers.
    let before = boots(&server);
    while boots(&server) < before + 8 {
        served(&server.get("/").send());
    }
}
