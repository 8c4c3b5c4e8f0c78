//! Several engines side by side.

use std::collections::HashSet;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{engine, engines, is_gone, reload::while_clients_send, site};
use crate::harness::{PATIENCE, Server, free_port, reference, wait_until};

#[test]
fn engines_serve_side_by_side_and_are_replaced_one_by_one_or_all() {
    if reference().is_some() {
        return;
    }
    let server = site().option("engine.processes=2").option("engine.grace_period=20s").start();
    let mut seen = HashSet::new();
    let all_answer = wait_until(PATIENCE, || {
        seen.insert(engine(&server));
        seen.len() == 2
    });
    assert!(all_answer && seen == engines(&server), "{seen:?} {}", server.log.text());
    let (dead, other) = (*seen.iter().next().unwrap(), *seen.iter().last().unwrap());
    kill(dead, Signal::SIGKILL).unwrap();
    assert!(is_gone(dead));
    assert!(wait_until(PATIENCE, || engines(&server).len() == 2) && engines(&server).contains(&other), "{}", server.log.text());
    assert!(server.logs("the engine serves again"), "{}", server.log.text());
    let before = engines(&server);
    reload_all(&server, &before);
    server.stop();
}

pub(super) fn reload_all(server: &Server, before: &HashSet<Pid>) {
    let died = |server: &Server| server.log.text().matches("the engine died").count();
    let deaths = died(server);
    server.signal(Signal::SIGHUP);
    let replaced = || engines(server).len() == 2 && engines(server).is_disjoint(before);
    assert!(wait_until(PATIENCE, replaced), "{}", server.log.text());
    assert_eq!(died(server), deaths);
}

#[test]
fn no_request_fails_over_a_reload_of_several_engines() {
    if reference().is_some() {
        return;
    }
    let server = site().option("engine.processes=2").option("engine.grace_period=20s").start();
    while_clients_send(&server, || {
        let before = engines(&server);
        reload_all(&server, &before);
    });
    server.stop();
}

#[test]
fn several_engines_need_a_supervisor_and_keep_nothing_that_only_one_may_keep() {
    if reference().is_some() {
        return;
    }
    for (option, expected) in [
        ("engine.supervisor=false", "engine.processes: more than one needs engine.supervisor"),
        ("lock.max_locks=10", "engine.processes: locks are in the memory of one of them only"),
        ("http.middleware=rate_limit", "engine.processes: each would count clients for itself"),
    ] {
        let output = site().option("engine.processes=2").option(option).command(free_port(), None).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(expected), "{output:?}");
    }
}
