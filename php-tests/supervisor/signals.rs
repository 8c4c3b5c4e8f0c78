//! Signals that reach engines too, as `systemctl kill` and `killall` send them to all processes.

use std::path::PathBuf;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{boot_gate, children_of, engine, engines, is_gone, site};
use crate::harness::{PATIENCE, Setup, free_port, reference, wait_until};

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
    server.signal(Signal::SIGHUP);
    assert_eq!(engine(&server), server.pid());
    for signal in [Signal::SIGHUP, Signal::SIGUSR2] {
        let said = || server.log.text().matches("not reloaded: there is no supervisor").count();
        let before = said();
        server.signal(signal);
        assert!(wait_until(PATIENCE, || said() > before), "{}", server.log.text());
    }
    assert_eq!(engine(&server), server.pid());
    server.stop();
}

/// A command for a server whose worker boots as long as there is no file `gate`, and then there is a file `began`.
fn boots_slowly(setup: Setup) -> (Setup, PathBuf) {
    let (began, gate) = (setup.scratch().join("began"), setup.scratch().join("gate"));
    let code = format!("<?php {} while (rr_handle_request(fn () => print 'ok'));", boot_gate(&began, &gate));
    let worker = setup.scratch().join("worker.php");
    std::fs::write(&worker, code).unwrap();
    (setup.option(&format!("http.worker={}", worker.display())), began)
}

#[test]
fn a_server_that_boots_stops_when_it_is_told_to() {
    if reference().is_some() {
        return;
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL] {
        let (setup, began) = boots_slowly(site());
        let mut child = setup.command(free_port(), None).spawn().unwrap();
        assert!(wait_until(PATIENCE, || began.exists()));
        let server = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let engines = children_of(server);
        assert_eq!(engines.len(), 1);
        kill(server, signal).unwrap();
        let mut status = None;
        let ended = wait_until(PATIENCE, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "{signal}: it waits for the boot");
        // Killed itself, it has told nobody.
        assert!(engines.into_iter().all(is_gone), "{signal}: the engine waits for the boot");
        assert_eq!(status.unwrap().code(), (signal != Signal::SIGKILL).then_some(0), "{signal}");
    }
}
