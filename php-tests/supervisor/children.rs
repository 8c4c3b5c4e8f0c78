//! Whoever is left without a parent below the server is waited for by it.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{engine, is_gone, site};
use crate::harness::{PATIENCE, Server, Setup, before, not_run, reference, wait_until};

/// With a page that leaves a process without a parent and tells its number.
fn with_orphans() -> Setup {
    site().php("orphan.php", "echo shell_exec('setsid sleep ' . $_GET['for'] . ' > /dev/null 2>&1 & echo $!');")
}

/// Of `process` in `/proc/PID/stat`: its state and its parent.
fn state_and_parent(process: &str) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn child_of(process: Pid) -> Option<Pid> {
    let listed = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    listed.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
}

#[test]
fn orphans_are_taken_over_and_waited_for() {
    if reference().is_some() {
        return;
    }
    let server = with_orphans().start();
    let orphan = server.text("/orphan.php?for=60").trim().to_owned();
    let server_pid = server.pid().as_raw();
    let is_ours = || state_and_parent(&orphan).is_some_and(|(_, parent)| parent == server_pid);
    assert!(wait_until(PATIENCE, is_ours), "{:?}", state_and_parent(&orphan));
    kill(Pid::from_raw(orphan.parse().unwrap()), Signal::SIGKILL).unwrap();
    assert!(wait_until(PATIENCE, || state_and_parent(&orphan).is_none()), "{:?}", state_and_parent(&orphan));
    // How an engine ends is known all the same.
    let old = engine(&server);
    kill(old, Signal::SIGSEGV).unwrap();
    assert!(is_gone(old) && server.logs("the engine died: killed by SIGSEGV"), "{}", server.log.text());
}

/// As the first process of a container; none if this system does not let us make one.
fn first_process() -> Option<(Server, Pid)> {
    const WORDS: [&str; 4] = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let may = std::process::Command::new("unshare").args(WORDS).arg("true").output();
    if !may.is_ok_and(|output| output.status.success()) {
        not_run("the first process of a container", "unshare --pid is not permitted here");
        return None;
    }
    let server = with_orphans().start_as(|command| {
        let mut inside = before("unshare", &WORDS, &command);
        inside.arg(command.get_program()).args(command.get_args());
        inside
    });
    let pid = child_of(server.pid()).expect("unshare has started it");
    Some((server, pid))
}

#[test]
fn as_the_first_process_of_a_container_it_waits_for_all_and_hears_signals() {
    if reference().is_some() {
        return;
    }
    let Some((server, pid)) = first_process() else { return };
    let engines = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap().split_whitespace().count();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let numbers = status.lines().find(|line| line.starts_with("NSpid:")).unwrap();
    assert_eq!(numbers.split_whitespace().last(), Some("1"), "{numbers}");
    let first = server.text("/pid.php");
    for _ in 0..3 {
        server.text("/orphan.php?for=0");
    }
    assert!(wait_until(PATIENCE, || engines() == 1), "{} children", engines());
    kill(pid, Signal::SIGHUP).unwrap();
    assert!(wait_until(PATIENCE, || server.text("/pid.php") != first), "{}", server.log.text());
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(server.ended_within(PATIENCE).and_then(|status| status.code()), Some(0), "{}", server.log.text());
}
