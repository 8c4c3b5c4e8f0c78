//! Locks over reloads.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
};

use nix::sys::signal::Signal;

use super::{Locker, MINUTE, locking, reload_all, wait_until_waiting};
use crate::{
    harness::{PATIENCE, free_port, reference, server, wait_until},
    supervisor::{
        engine, is_gone,
        reload::reload,
        site,
        upgrade::{is_at, put_copy, start_copy},
    },
};

#[test]
fn a_lock_taken_before_a_reload_is_released_after_it() {
    if reference().is_some() {
        return;
    }
    let (server, address) = locking(site());
    let [a, b] = ["a", "b"].map(|id| Locker { address, id });
    assert!(a.lock("r") && b.call("LockRead", "s", 0));
    for _ in 0..2 {
        reload_all(&server);
        assert!(a.has("r") && b.has("s") && !b.lock("r") && !a.lock("s"), "{}", server.log.text());
    }
    assert!(a.release("r") && b.lock("r") && b.release("s") && a.lock("s"));
    assert!(server.logs("was handed over to the new engine"), "{}", server.log.text());
    server.stop();
}

#[test]
fn locks_exclude_through_ten_reloads() {
    if reference().is_some() {
        return;
    }
    let (server, address) = locking(site());
    let file = server.dir().join("counter");
    fs::write(&file, "0").unwrap();
    let (done, inside, rounds) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for id in ["a", "b", "c", "d"] {
            let (done, inside, rounds, file) = (&done, &inside, &rounds, &file);
            scope.spawn(move || {
                let locker = Locker { address, id };
                while !done.load(SeqCst) {
                    locker.insist("counter");
                    assert!(!inside.swap(true, SeqCst), "two have the lock");
                    let count: u64 = fs::read_to_string(file).unwrap().parse().unwrap();
                    thread::yield_now();
                    fs::write(file, (count + 1).to_string()).unwrap();
                    inside.store(false, SeqCst);
                    locker.let_go("counter");
                    rounds.fetch_add(1, SeqCst);
                }
            });
        }
        let reloads = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..10 {
                reload_all(&server);
                let before = rounds.load(SeqCst);
                assert!(wait_until(PATIENCE, || rounds.load(SeqCst) > before + 4), "{}", server.log.text());
            }
        }));
        done.store(true, SeqCst);
        reloads.unwrap();
    });
    assert_eq!(fs::read_to_string(&file).unwrap(), rounds.load(SeqCst).to_string());
    eprintln!("{} turns, each alone", rounds.load(SeqCst));
    server.stop();
}

#[test]
fn who_waits_for_a_lock_gets_it_from_the_next_engine() {
    if reference().is_some() {
        return;
    }
    let metrics = free_port();
    let (server, address) = locking(site().option("engine.grace_period=60s").option(&format!("metrics.address={metrics}")));
    let [a, b] = ["a", "b"].map(|id| Locker { address, id });
    assert!(a.lock("r"));
    thread::scope(|scope| {
        let waits = scope.spawn(|| b.call("Lock", "r", MINUTE));
        wait_until_waiting(metrics, 1);
        let old = reload(&server, Signal::SIGHUP);
        // In the newer engine, which answers now.
        wait_until_waiting(metrics, 1);
        assert!(!waits.is_finished() && a.release("r"));
        assert!(waits.join().unwrap());
        assert!(is_gone(old), "{}", server.log.text());
    });
    assert!(b.has("r") && b.release("r"));
    server.stop();
}

/// Locks by a connection that it keeps, says so, and releases when it is told to.
const SCRIPT: &str = r#"
    $socket = stream_socket_client(getenv('RR_RPC'), $code, $message, 5);
    $call = function (string $method) use ($socket): string {
        $payload = $method . json_encode(['resource' => 'r', 'id' => 'script']);
        $head = pack('CCV', 0x15, 8, strlen($payload));
        fwrite($socket, $head . pack('VCCVV', crc32($head), 0, 0, 1, strlen($method)) . $payload);
        $head = stream_get_contents($socket, 20);
        return stream_get_contents($socket, unpack('V', $head, 2)[1]);
    };
    $locked = $call('lock.Lock');
    file_put_contents($_GET['began'], '1');
    while (!file_exists($_GET['go'])) { usleep(10000); }
    echo $locked, ' ', $call('lock.Release');
"#;

#[test]
fn a_script_of_the_old_engine_releases_its_lock_by_the_connection_that_it_has() {
    if reference().is_some() {
        return;
    }
    let (server, address) = locking(site().php("lock.php", SCRIPT).option("engine.grace_period=60s"));
    let (began, go) = (server.dir().join("began"), server.dir().join("go"));
    let mut running = server.get(&format!("/lock.php?began={}&go={}", began.display(), go.display())).fire();
    assert!(wait_until(PATIENCE, || began.exists()));
    let old = reload(&server, Signal::SIGHUP);
    let script = Locker { address, id: "script" };
    assert!(script.has("r"));
    fs::write(go, "1").unwrap();
    assert_eq!(running.read().unwrap().text(), r#"lock.Lock{"ok":true} lock.Release{"ok":true}"#);
    assert!(!script.has("r"));
    drop(running);
    assert!(is_gone(old), "{}", server.log.text());
    server.stop();
}

#[test]
fn a_reload_that_fails_keeps_the_locks() {
    if reference().is_some() {
        return;
    }
    let (server, address) = locking(site().config(".rr.yaml", "version: '3'\n"));
    let [a, b] = ["a", "b"].map(|id| Locker { address, id });
    assert!(a.lock("r"));
    let old = engine(&server);
    let worker = server.dir().join("no-boot.php");
    fs::write(&worker, "<?php throw new Exception('no boot');").unwrap();
    fs::write(server.dir().join(".rr.yaml"), format!("version: '3'\nhttp:\n  worker: {}\n", worker.display())).unwrap();
    server.signal(Signal::SIGHUP);
    assert!(server.log.contains("the new engine ended before it served", PATIENCE), "{}", server.log.text());
    assert!(engine(&server) == old && a.has("r") && !b.lock("r") && a.release("r"));
    server.stop();
}

#[test]
fn another_program_takes_the_locks_over() {
    if reference().is_some() {
        return;
    }
    let address = free_port();
    let (server, path) = start_copy(server().php("pid.php", "echo getmypid();").option(&format!("rpc.listen=tcp://{address}")));
    let [a, b] = ["a", "b"].map(|id| Locker { address, id });
    assert!(a.lock("r"));
    // The second time by the supervisor that the first time has left.
    for _ in 0..2 {
        put_copy(&path);
        reload_all(&server);
        assert!(is_at(&server, &path), "{}", server.log.text());
        assert!(a.has("r") && !b.lock("r"), "{}", server.log.text());
    }
    assert!(a.release("r") && b.lock("r"));
    server.stop();
}
