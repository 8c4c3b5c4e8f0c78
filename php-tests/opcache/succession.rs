//! An engine begins with what the one before it had compiled, and is not in its way meanwhile.

use std::{fs, net::SocketAddr, os::unix::fs::symlink, path::Path};

use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::Value;

use super::{Mode, call, put};
use crate::harness::{PATIENCE, Server, Setup, free_port, not_run, reference, server, wait_until};
use crate::supervisor::engines;

/// A release whose page needs each of `parts`, old enough for OPcache to keep it.
fn release(folder: &Path, number: u32, parts: &[(&str, &str)]) {
    fs::create_dir_all(folder.join("public")).unwrap();
    for (name, code) in parts {
        put(&folder.join(name), &format!("<?php {code}"), 0);
    }
    let needs: String = parts.iter().map(|(name, _)| format!("require dirname(__DIR__) . '/{name}'; ")).collect();
    put(&folder.join("public/index.php"), &format!("<?php {needs} echo {number};"), 0);
}

/// A server of the release that `current` leads to, and where it takes calls.
fn start(folder: &Path, setup: Setup) -> (Server, SocketAddr) {
    let rpc = free_port();
    let setup = setup.bare().option(&format!("rpc.listen=tcp://{rpc}"));
    (setup.root(&folder.join("current/public")).start(), rpc)
}

/// Reloads, and says how the new engine's OPcache is, of which no script has been asked for yet.
fn reloaded(server: &Server, rpc: SocketAddr) -> Value {
    let engine = call(rpc, "opcache.Status").unwrap()["pid"].clone();
    server.signal(Signal::SIGHUP);
    let mut state = Value::Null;
    let is_new = || {
        state = call(rpc, "opcache.Status").unwrap_or_default();
        !state["pid"].is_null() && state["pid"] != engine
    };
    assert!(wait_until(PATIENCE, is_new), "{}", server.log.text());
    state
}

fn statistic(state: &Value, name: &str) -> u64 {
    state["status"]["opcache_statistics"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {state}"))
}

#[test]
fn a_release_is_compiled_before_it_is_served() {
    if reference().is_some() {
        return;
    }
    let setup = server();
    let folder = setup.scratch().to_owned();
    release(&folder.join("1"), 1, &[("a.php", "function a() {}"), ("b.php", "class B {}"), ("gone.php", ""), ("bad.php", "")]);
    release(&folder.join("2"), 2, &[("a.php", "function a() { return 2; }"), ("b.php", "class B extends Exception {}")]);
    put(&folder.join("2/bad.php"), "<?php this is none", 0);
    symlink(folder.join("1"), folder.join("current")).unwrap();
    let (server, rpc) = start(&folder, setup);
    assert_eq!(server.text("/"), "1");
    assert_eq!(statistic(&call(rpc, "opcache.Status").unwrap(), "num_cached_scripts"), 5);
    fs::remove_file(folder.join("current")).unwrap();
    symlink(folder.join("2"), folder.join("current")).unwrap();

    let fresh = reloaded(&server, rpc);
    assert_eq!(statistic(&fresh, "num_cached_scripts"), 3, "{fresh}\n{}", server.log.text());
    assert!(server.logs("scripts of the engine before were compiled compiled=3 failed=2 left=0"), "{}", server.log.text());
    assert_eq!(server.text("/"), "2");
    let used = call(rpc, "opcache.Status").unwrap();
    assert_eq!((statistic(&used, "misses"), statistic(&used, "hits")), (statistic(&fresh, "misses"), 3), "{used}");
    // None of what could not be compiled is anybody's trouble.
    assert!(!server.log.text().contains("PHP "), "{}", server.log.text());
}

#[test]
fn nothing_is_compiled_if_there_is_no_time_for_it() {
    if reference().is_some() {
        return;
    }
    let setup = server().option("engine.warm_up=0s");
    let folder = setup.scratch().to_owned();
    release(&folder.join("current"), 1, &[]);
    let (server, rpc) = start(&folder, setup);
    assert_eq!(server.text("/"), "1");
    assert_eq!(statistic(&reloaded(&server, rpc), "num_cached_scripts"), 0);
    assert_eq!(server.text("/"), "1");
}

/// A field of the stat(5) of each thread of `process`, by its number there.
fn stat(process: Pid, field: usize) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let stats = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    // The second, in parentheses, may have spaces.
    stats.filter_map(|stat| stat.rsplit(')').next()?.split_whitespace().nth(field - 3)?.parse().ok()).collect()
}

/// How nice the threads of `process` are to others.
fn niceness(process: Pid) -> Vec<i32> {
    stat(process, 19)
}

/// How its threads are scheduled: 0 as usual, 5 while nobody else wants a CPU.
fn policies(process: Pid) -> Vec<i32> {
    stat(process, 41)
}

fn may_be_as_important_again() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() & 1 << 23 != 0
}

#[test]
fn an_engine_that_boots_beside_another_leaves_it_the_machine() {
    if reference().is_some() {
        return;
    }
    if !may_be_as_important_again() {
        return not_run("priority of a booting engine", "it takes the capability sys_nice to come back to a priority");
    }
    let (setup, _) =
        Mode::Worker.app("while (file_exists(__DIR__ . '/hold')) usleep(1000); function answer() { return getmypid(); }");
    let hold = setup.document_root().join("hold");
    let server = setup.threads(2).start();
    let old: Pid = Pid::from_raw(server.text("/").parse().unwrap());
    let before = niceness(old);
    assert!(before.iter().all(|nice| *nice == before[0]), "{before:?}");
    fs::write(&hold, "").unwrap();
    server.signal(Signal::SIGHUP);
    let lowered = (before[0] + 10).min(19);
    let boots_at = |policy: i32| {
        let is_it = |engine: &Pid| *engine != old && niceness(*engine).contains(&lowered) && policies(*engine).contains(&policy);
        wait_until(PATIENCE, || engines(&server).iter().any(is_it))
    };
    assert!(boots_at(libc::SCHED_IDLE), "{}", server.log.text());
    assert!(boots_at(libc::SCHED_OTHER), "not for ever: {}", server.log.text());
    let is_equal = |engine: &Pid| *engine != old && niceness(*engine).iter().all(|nice| *nice == before[0]);
    assert!(wait_until(PATIENCE, || engines(&server).iter().any(is_equal)), "nor less important for ever: {}", server.log.text());
    assert_eq!(server.text("/"), old.to_string());
    assert!(niceness(old).iter().all(|nice| *nice == before[0]));
    fs::remove_file(&hold).unwrap();
    assert!(wait_until(PATIENCE, || server.text("/") != old.to_string()), "{}", server.log.text());
    let new = Pid::from_raw(server.text("/").parse().unwrap());
    let after = niceness(new);
    assert!(!after.is_empty() && after.iter().all(|nice| *nice == before[0]), "{after:?}");
    assert_eq!(policies(new), vec![libc::SCHED_OTHER; after.len()]);
}
