//! Pools under an operator's hand: reset, add, remove, and what is told of workers.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{WORKER, boots, let_go, pool, pool_of, served, touch, up, waits_for};
use crate::harness::{PATIENCE, Rpc, Server, Setup, command, finish, free_port, wait_until};

fn controlled(setup: Setup) -> (Server, SocketAddr) {
    let address = free_port();
    (up(setup.option(&format!("rpc.listen=tcp://{address}"))), address)
}

fn reset(address: SocketAddr) -> Result<Value, String> {
    Rpc::tcp(address).call("resetter.Reset", &json!("http"))
}

fn workers(address: SocketAddr) -> Vec<Value> {
    let list = Rpc::tcp(address).call("informer.Workers", &json!("http")).unwrap();
    list["workers"].as_array().cloned().unwrap_or_default()
}

fn states(address: SocketAddr) -> Vec<String> {
    workers(address).iter().map(|worker| worker["statusStr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn resets_under_load_lose_no_request() {
    let Some(setup) = pool(3) else { return };
    let (server, address) = controlled(setup);
    let (answered, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    served(&server.get("/").send());
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
        for round in 1..=10 {
            assert_eq!(reset(address), Ok(json!(true)));
            assert!(boots(&server) >= 3 + 3 * round, "{} boots after {round} resets", boots(&server));
            let so_far = answered.load(SeqCst);
            assert!(wait_until(PATIENCE, || answered.load(SeqCst) >= so_far + 30));
        }
        over.store(true, SeqCst);
    });
    assert!(answered.load(SeqCst) >= 300);
    assert!(wait_until(PATIENCE, || states(address) == ["ready"; 3]), "{:?}", states(address));
}

#[test]
fn after_a_reset_the_code_is_the_new_one() {
    let Some(setup) = pool(2) else { return };
    let (server, address) = controlled(setup.ini("opcache.revalidate_freq", "0"));
    let script = server.root().join("worker.php");
    for version in ["one", "two", "three"] {
        std::fs::write(&script, format!("<?php while (rr_handle_request(fn() => print '{version}'));")).unwrap();
        assert_eq!(reset(address), Ok(json!(true)));
        for _ in 0..4 {
            assert_eq!(server.text("/"), version);
        }
    }
}

#[test]
fn a_reset_waits_for_requests_but_not_for_ever() {
    let Some(setup) = pool(2) else { return };
    let (server, address) = controlled(setup.option("http.pool.reset_timeout=300ms"));
    thread::scope(|scope| {
        let long = scope.spawn(|| served(&server.get("/?until=go").send()));
        waits_for(&server, "go");
        let refused = reset(address).unwrap_err();
        assert!(refused.contains("is not ready again") && refused.contains("0.3 s"), "{refused}");
        let_go(&server, "go");
        let (boot, _) = long.join().unwrap();
        assert!(wait_until(PATIENCE, || boots(&server) == 4), "the reset goes on without whoever asked for it");
        assert_ne!(served(&server.get("/").send()).0, boot);
    });
    assert_eq!(reset(address), Ok(json!(true)));
}

#[test]
fn a_reset_reaches_all_workers_though_one_boots_for_longer_than_it_waits() {
    let slow = "while (file_exists(dirname(__DIR__) . '/slow')) { clearstatcache(); usleep(1_000); }";
    let Some(setup) = pool_of(2, &format!("{WORKER} {slow}")) else { return };
    let (server, address) = controlled(setup.option("http.pool.reset_timeout=300ms").option("http.pool.max_jobs=2"));
    touch(&server.dir().join("slow"));
    // The one that idles last has the next request.
    let (first, second) = (served(&server.get("/").send()).0, served(&server.get("/").send()).0);
    assert_eq!(first, second);
    let refused = reset(address).unwrap_err();
    assert!(refused.contains("is not ready again"), "{refused}");
    assert_eq!(boots(&server), 2, "the slow one has not even ended");
    std::fs::remove_file(server.dir().join("slow")).unwrap();
    assert!(wait_until(PATIENCE, || boots(&server) == 4), "{}", server.log.text());
}

#[test]
fn a_reset_tells_why_a_worker_does_not_boot_and_the_next_one_need_not_wait() {
    let code = format!("if (file_exists(dirname(__DIR__) . '/broken')) throw new RuntimeException('the cable is out');{WORKER}");
    let Some(setup) = pool_of(1, &code) else { return };
    let (server, address) = controlled(setup);
    touch(&server.dir().join("broken"));
    let refused = reset(address).unwrap_err();
    assert!(refused.contains("the cable is out") && refused.contains("worker.php:2"), "{refused}");
    // By now it is in a pause of seconds.
    let needle = "did not boot: Uncaught RuntimeException";
    assert!(wait_until(PATIENCE, || server.log.text().matches(needle).count() >= 5));
    std::fs::remove_file(server.dir().join("broken")).unwrap();
    assert_eq!(reset(address), Ok(json!(true)));
    served(&server.get("/").send());
}

#[test]
fn a_reset_costs_one_worker_at_most_and_serves_meanwhile() {
    let code = format!("if (file_exists(dirname(__DIR__) . '/broken')) throw new RuntimeException('the cable is out');{WORKER}");
    let Some(setup) = pool_of(3, &code) else { return };
    let (server, address) = controlled(setup);
    touch(&server.dir().join("broken"));
    for _ in 0..2 {
        let refused = reset(address).unwrap_err();
        assert!(refused.contains("the cable is out"), "{refused}");
        assert!(refused.contains("the other workers (2) go on as they are"), "{refused}");
        assert!(wait_until(PATIENCE, || states(address).iter().filter(|state| *state == "errored").count() == 1));
        assert_eq!(states(address).iter().filter(|state| *state == "ready").count(), 2);
        for _ in 0..10 {
            served(&server.get("/").send());
        }
    }
    let told = finish(command(&["-o", &format!("rpc.listen=tcp://{address}"), "reset", "http"]), &[]);
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains("did not boot: Uncaught RuntimeException: the cable is out"), "{told}");
    assert!(!told.contains("resetter"), "{told}");
    std::fs::remove_file(server.dir().join("broken")).unwrap();
    assert_eq!(reset(address), Ok(json!(true)));
    assert!(wait_until(PATIENCE, || states(address) == ["ready"; 3]), "{:?}", states(address));
}

#[test]
fn a_reset_costs_one_worker_also_if_nothing_interrupts_its_boot() {
    let hang = "if (file_exists(dirname(__DIR__) . '/hang')) hash_pbkdf2('sha512', 'secret', 'salt', PHP_INT_MAX);";
    let Some(setup) = pool_of(3, &format!("{hang}{WORKER}")) else { return };
    let (server, address) = controlled(setup.option("http.pool.allocate_timeout=1s"));
    touch(&server.dir().join("hang"));
    let refused = reset(address).unwrap_err();
    assert!(
        refused.contains("cannot be interrupted") && refused.contains("the other workers (2) go on as they are"),
        "{refused}"
    );
    for _ in 0..10 {
        served(&server.get("/").send());
    }
    std::fs::remove_file(server.dir().join("hang")).unwrap();
    assert!(server.log.contains("a new engine takes its place", PATIENCE), "{}", server.log.text());
    served(&server.get("/").send());
}

#[test]
fn workers_are_added_and_removed_but_for_the_last() {
    let Some(setup) = pool(1) else { return };
    let (server, address) = controlled(setup);
    let mut rpc = Rpc::tcp(address);
    for count in 2..=4 {
        assert_eq!(rpc.call("informer.AddWorker", &json!("http")), Ok(json!(true)));
        assert!(wait_until(PATIENCE, || states(address) == vec!["ready"; count]), "{:?}", states(address));
    }
    // Four at once, each waiting for the others.
    for reply in super::at_once(&server, 4, "/?meet=4") {
        served(&reply);
    }
    for _ in 0..3 {
        assert_eq!(rpc.call("informer.RemoveWorker", &json!("http")), Ok(json!(true)));
    }
    assert!(wait_until(PATIENCE, || states(address) == ["ready"]), "{:?}", states(address));
    let refused = rpc.call("informer.RemoveWorker", &json!("http")).unwrap_err();
    assert!(refused.contains("last worker"), "{refused}");
    served(&server.get("/").send());
}

#[test]
fn workers_come_and_go_under_load_and_no_request_notices() {
    let Some(setup) = pool(2) else { return };
    let (server, address) = controlled(setup);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    served(&server.get("/").send());
                }
            });
        }
        let mut rpc = Rpc::tcp(address);
        for _ in 0..20 {
            rpc.call("informer.AddWorker", &json!("http")).unwrap();
            rpc.call("informer.RemoveWorker", &json!("http")).unwrap();
        }
        over.store(true, SeqCst);
    });
    assert!(wait_until(PATIENCE, || states(address) == ["ready"; 2]), "{:?}", states(address));
}

#[test]
fn debug_mode_has_no_workers_to_add_or_remove() {
    let Some(setup) = pool(2) else { return };
    let (_server, address) = controlled(setup.option("http.pool.debug=true"));
    for method in ["informer.AddWorker", "informer.RemoveWorker"] {
        let refused = Rpc::tcp(address).call(method, &json!("http")).unwrap_err();
        assert!(refused.contains("debug"), "{refused}");
    }
    assert_eq!(reset(address), Ok(json!(true)), "each request has the code as it is anyway");
}

#[test]
fn states_are_roadrunners() {
    let Some(setup) = pool(1) else { return };
    let (server, address) =
        controlled(setup.option("http.pool.supervisor.watch_tick=20ms").option("http.pool.supervisor.max_worker_memory=16"));
    assert!(wait_until(PATIENCE, || states(address) == ["ready"]), "{:?}", states(address));
    let before = &workers(address)[0];
    thread::scope(|scope| {
        let long = scope.spawn(|| served(&server.get("/?hold=20&until=go").send()));
        waits_for(&server, "go");
        assert_eq!(states(address), ["working"]);
        assert!(workers(address)[0]["current"].as_str().unwrap().contains("until=go"));
        let_go(&server, "go");
        long.join().unwrap();
    });
    assert!(wait_until(PATIENCE, || boots(&server) == 2 && states(address) == ["ready"]));
    let after = &workers(address)[0];
    assert_eq!(after["numExecs"], 0);
    assert!(after["created"].as_i64() > before["created"].as_i64(), "{after}");
    assert!(after["memoryUsage"].as_u64().unwrap() < 16 << 20, "{after}");
}

#[test]
fn a_worker_that_is_to_start_afresh_says_so_while_it_works() {
    let Some(setup) = pool(1) else { return };
    let ttl = setup.option("http.pool.supervisor.watch_tick=20ms").option("http.pool.supervisor.ttl=1s");
    let (server, address) = controlled(ttl);
    thread::scope(|scope| {
        scope.spawn(|| served(&server.get("/?until=go").send()));
        waits_for(&server, "go");
        assert!(wait_until(PATIENCE, || states(address) == ["invalid"]), "{:?}", states(address));
        let_go(&server, "go");
    });
    assert!(wait_until(Duration::from_secs(10), || states(address) == ["ready"]));
}
