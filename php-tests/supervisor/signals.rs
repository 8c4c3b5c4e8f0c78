//! Signals that reach engines too, as `systemctl kill` and `killall` send them to all processes.

use nix::sys::signal::{Signal, kill};

use super::{engine, engines, is_gone, site};
use crate::harness::{PATIENCE, reference, wait_until};

#[test]
fn a_reload_asked_of_all_processes_ends_no_engine() {
    if reference().is_some() {
        return;
    }
    let server = site().php("child.php", "echo exec('grep SigIgn /proc/self/status');").start();
    for signal in [Signal::SIGHUP, Signal::SIGUSR2] {
        let old = engine(&server);
        kill(old, signal).unwrap();
        assert_eq!(engine(&server), old, "{}", server.log.text());
        kill(old, signal).unwrap();
        server.signal(signal);
        assert!(is_gone(old), "{}", server.log.text());
    }
    // What the engine ignores its children would ignore too.
    let ignored = server.text("/child.php");
    let ignored = u64::from_str_radix(ignored.split_whitespace().last().unwrap(), 16).unwrap();
    assert_eq!(ignored & (1 << (Signal::SIGHUP as u32 - 1) | 1 << (Signal::SIGUSR2 as u32 - 1)), 0, "{ignored:x}");
    assert!(!server.log.text().contains("the engine died"), "{}", server.log.text());
    server.stop();
}

#[test]
fn nor_does_one_that_boots_end_of_it() {
    if reference().is_some() {
        return;
    }
    let server = site().start();
    let old = engine(&server);
    kill(old, Signal::SIGKILL).unwrap();
    let mut seen = std::collections::HashSet::new();
    let answers = || {
        for process in engines(&server).into_iter().filter(|process| *process != old) {
            _ = kill(process, Signal::SIGHUP);
            seen.insert(process);
        }
        server.log.text().contains("the engine serves again")
    };
    assert!(wait_until(PATIENCE, answers), "{}", server.log.text());
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [engine(&server)], "{}", server.log.text());
    server.stop();
}

#[test]
fn without_a_supervisor_a_reload_is_refused_and_nothing_else_happens() {
    if reference().is_some() {
        return;
    }
    let server = site().option("engine.supervisor=false").start();
    for (times, signal) in [(1, Signal::SIGHUP), (2, Signal::SIGUSR2)] {
        server.signal(signal);
        let said = || server.log.text().matches("not reloaded: there is no supervisor").count();
        assert!(wait_until(PATIENCE, || said() == times), "{}", server.log.text());
    }
    assert_eq!(engine(&server), server.pid());
    server.stop();
}
