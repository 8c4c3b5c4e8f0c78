//! `rr reload` and `rr rollback`.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use nix::sys::signal::{Signal, kill};

use super::{Releases, boot_gate, engine, engines, is_gone, site, waiting};
use crate::harness::{PATIENCE, Server, free_port, reference, rr, wait_until};

/// What the command prints, if it succeeds, or else what it complains of.
pub(super) fn command(address: SocketAddr, words: &[&str]) -> Result<String, String> {
    coded(address, words).map_err(|(_, said)| said)
}

/// The same, with the exit code before a complaint.
fn coded(address: SocketAddr, words: &[&str]) -> Result<String, (i32, String)> {
    let output = started(address, words).wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(text(&output.stdout)),
        code => Err((code.unwrap_or_default(), text(&output.stderr))),
    }
}

pub(super) fn started(address: SocketAddr, words: &[&str]) -> Child {
    let mut command = rr();
    command.args(words).args(["-o", &format!("rpc.listen=tcp://{address}")]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The exit code of a command that fails, whose complaint has `part` in it.
#[track_caller]
fn code(address: SocketAddr, words: &[&str], part: &str) -> i32 {
    let (code, said) = coded(address, words).expect_err("it fails");
    assert!(said.starts_with("rr: ") && said.contains(part), "{words:?}: {said}");
    code
}

// Exit codes.
const FAILED: i32 = 1;
const UNAVAILABLE: i32 = 69;
const DOES_NOT_START: i32 = 70;
const NOT_TO_BE_HAD: i32 = 71;
const TRY_AGAIN: i32 = 75;
const BAD_CONFIGURATION: i32 = 78;

/// Has the next reload of a server of `.rr.yaml` boot a worker that says so by the first of the files that are returned, and does what
/// comes `after` once there is the second.
fn boots_slowly(server: &Server, after: &str) -> (PathBuf, PathBuf) {
    let [began, open, worker] = ["boots", "open", "slow-boot.php"].map(|name| server.dir().join(name));
    fs::write(&worker, format!("<?php {} {after}", boot_gate(&began, &open))).unwrap();
    fs::write(server.dir().join(".rr.yaml"), format!("version: '3'\nhttp:\n  worker: {}\n", worker.display())).unwrap();
    (began, open)
}

fn yaml(address: SocketAddr, more: &str) -> String {
    format!("version: '3'\nrpc:\n  listen: tcp://{address}\n{more}")
}

fn limit(server: &Server) -> String {
    server.text("/limit.php")
}

#[test]
fn a_reload_tells_its_outcome() {
    if reference().is_some() {
        return;
    }
    let address = free_port();
    let with = |limit: &str| yaml(address, &format!("php:\n  ini:\n    memory_limit: {limit}\n"));
    let server = site().php("limit.php", "echo ini_get('memory_limit');").config(".rr.yaml", &with("100M")).start();
    let file = server.dir().join(".rr.yaml");
    let old = engine(&server);
    fs::write(&file, with("101M")).unwrap();
    assert_eq!(command(address, &["reload", "--dry-run"]), Ok("a reload would take it".into()));
    assert_eq!(engine(&server), old);
    let said = command(address, &["reload"]).unwrap();
    assert!(said.starts_with("engine 2 serves, after "), "{said}");
    assert!(is_gone(old), "{}", server.log.text());
    assert_eq!(limit(&server), "101M");

    let good = engine(&server);
    fs::write(&file, yaml(address, "htpp: {}\n")).unwrap();
    for words in [&["reload", "--dry-run"][..], &["reload"]] {
        assert_eq!(code(address, words, "htpp: "), BAD_CONFIGURATION);
    }
    fs::write(&file, yaml(address, "http:\n  worker: /nowhere/at/all.php\n")).unwrap();
    for words in [&["reload", "--dry-run"][..], &["reload"]] {
        assert_eq!(code(address, words, "/nowhere/at/all.php"), BAD_CONFIGURATION);
    }
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = stranger.local_addr().unwrap();
    fs::write(&file, yaml(address, &format!("metrics:\n  address: {taken}\n"))).unwrap();
    for words in [&["reload", "--dry-run"][..], &["reload"]] {
        assert_eq!(code(address, words, &taken.to_string()), NOT_TO_BE_HAD);
    }
    // What is free is taken by neither.
    drop(stranger);
    assert_eq!(command(address, &["reload", "--dry-run"]), Ok("a reload would take it".into()));
    TcpListener::bind(taken).unwrap();
    // Right as a configuration, but no worker of it boots: the reason is PHP's own.
    let worker = server.dir().join("no-boot.php");
    fs::write(&worker, "<?php throw new Exception('no database');").unwrap();
    fs::write(&file, yaml(address, &format!("http:\n  worker: {}\n", worker.display()))).unwrap();
    assert_eq!(code(address, &["reload"], "no database"), DOES_NOT_START);
    fs::write(&worker, "<?php posix_kill(getmypid(), 9);").unwrap();
    assert_eq!(code(address, &["reload"], "killed by SIGKILL"), DOES_NOT_START);
    assert_eq!((engine(&server), limit(&server)), (good, "101M".into()));
}

#[test]
fn a_rollback_brings_back_what_was_before() {
    if reference().is_some() {
        return;
    }
    let address = free_port();
    let with = |limit: &str| yaml(address, &format!("php:\n  ini:\n    memory_limit: {limit}\n"));
    let setup = site().config(".rr.yaml", &with("100M"));
    let page = |release: &str| format!("echo 'release {release} ', ini_get('memory_limit');");
    let releases = Releases::new(setup.scratch(), "limit.php", page);
    let server = setup.root(&releases.current()).preset("files").start();
    assert_eq!(limit(&server), "release 1 100M");
    assert_eq!(code(address, &["rollback"], "there is nothing to go back to"), FAILED);

    fs::write(server.dir().join(".rr.yaml"), with("101M")).unwrap();
    releases.deploy();
    for (word, expected) in [("reload", "release 2 101M"), ("rollback", "release 1 100M"), ("rollback", "release 2 101M")] {
        let old = engine(&server);
        command(address, &[word]).unwrap();
        assert!(is_gone(old), "{}", server.log.text());
        assert_eq!(limit(&server), expected, "{word}");
    }
}

#[test]
fn a_rollback_does_not_wait_for_requests_of_long_ago() {
    if reference().is_some() {
        return;
    }
    let address = free_port();
    let setup = site().option("engine.grace_period=60s");
    let server = setup.option(&format!("rpc.listen=tcp://{address}")).start();
    let (mut running, gate) = waiting(&server);
    let first = engine(&server);
    command(address, &["reload", "--no-wait"]).unwrap();
    assert!(wait_until(PATIENCE, || (0..20).all(|_| engine(&server) != first)), "{}", server.log.text());
    let second = engine(&server);
    // One that waits for the first engine's end would undo it.
    server.signal(Signal::SIGHUP);
    assert!(server.log.contains("another reload follows", PATIENCE), "{}", server.log.text());
    let said = command(address, &["rollback", "--no-wait"]).unwrap();
    assert!(said.starts_with("engine 3 serves"), "{said}");
    assert!(is_gone(second), "{}", server.log.text());
    assert!(![first, second].contains(&engine(&server)));
    fs::write(gate, "").unwrap();
    assert_eq!(running.read().unwrap().text(), "finished");
    let third = engine(&server);
    assert!(is_gone(first), "{}", server.log.text());
    assert_eq!(engine(&server), third);
    for done in ["reloaded", "rolled back"] {
        let said = format!("{done}: a new engine serves");
        assert_eq!(server.log.text().matches(&said).count(), 1, "{}", server.log.text());
    }
}

#[test]
fn a_crash_deploys_nothing() {
    if reference().is_some() {
        return;
    }
    let setup = site();
    let releases = Releases::new(setup.scratch(), "limit.php", |release| format!("echo {release};"));
    let server = setup.root(&releases.current()).preset("files").start();
    releases.deploy();
    let crash = |old| {
        nix::sys::signal::kill(old, nix::sys::signal::Signal::SIGKILL).unwrap();
        assert!(is_gone(old));
    };
    crash(engine(&server));
    assert_eq!(limit(&server), "1");
    // Unless there is nothing else left.
    releases.delete_first();
    crash(server_engine(&server));
    assert_eq!(limit(&server), "2");
}

/// The engine, found without a script: those of its release are gone.
fn server_engine(server: &Server) -> nix::unistd::Pid {
    let children = format!("/proc/{0}/task/{0}/children", server.pid());
    let listed = fs::read_to_string(children).unwrap();
    nix::unistd::Pid::from_raw(listed.split_whitespace().next().unwrap().parse().unwrap())
}

#[test]
fn log_files_are_opened_anew_on_a_signal_and_nothing_else_happens() {
    if reference().is_some() {
        return;
    }
    for supervisor in [true, false] {
        let setup = site().option(&format!("engine.supervisor={supervisor}"));
        let (log, rotated) = (setup.scratch().join("log"), setup.scratch().join("rotated"));
        let server = setup.option(&format!("logs.output={}", log.display())).option("logs.mode=production").start();
        let old = engine(&server);
        let has = |path: &Path, text: &str| fs::read_to_string(path).is_ok_and(|content| content.contains(text));
        assert!(wait_until(PATIENCE, || has(&log, "/pid.php")));
        fs::rename(&log, &rotated).unwrap();
        server.signal(Signal::SIGUSR1);
        assert!(wait_until(PATIENCE, || engine(&server) == old && has(&log, "/pid.php")), "{}", server.log.text());
        fs::remove_file(&rotated).unwrap();
    }
}

#[test]
fn without_a_supervisor_a_reload_says_so() {
    if reference().is_some() {
        return;
    }
    let address = free_port();
    let server = site().option(&format!("rpc.listen=tcp://{address}")).option("engine.supervisor=false").start();
    engine(&server);
    for words in [&["reload"][..], &["reload", "--dry-run"], &["rollback"]] {
        assert_eq!(code(address, words, "engine.supervisor is off"), UNAVAILABLE);
    }
}

#[test]
fn without_a_server_commands_say_so() {
    if reference().is_some() {
        return;
    }
    for words in [&["reload"][..], &["reload", "--dry-run"], &["rollback"], &["reset"], &["workers"]] {
        assert_eq!(code(free_port(), words, "no server at tcp://127.0.0.1:"), UNAVAILABLE);
    }
}

#[test]
fn what_is_not_possible_now_may_be_tried_again() {
    if reference().is_some() {
        return;
    }
    let address = free_port();
    let setup = site().option("engine.grace_period=60s").option(&format!("rpc.listen=tcp://{address}"));
    let server = setup.config(".rr.yaml", "version: '3'\n").start();
    let (mut running, gate) = waiting(&server);
    let (began, open) = boots_slowly(&server, "exit(1);");
    server.signal(Signal::SIGHUP);
    assert!(wait_until(PATIENCE, || began.exists()), "{}", server.log.text());
    assert_eq!(code(address, &["rollback"], "a reload is in progress"), TRY_AGAIN);
    server.signal(Signal::SIGTERM);
    assert!(server.logs("stopping: requests in progress"), "{}", server.log.text());
    for words in [&["reload"][..], &["reload", "--dry-run"], &["rollback"]] {
        assert_eq!(code(address, words, "the server is stopping"), TRY_AGAIN);
    }
    fs::write(open, "").unwrap();
    fs::write(gate, "").unwrap();
    assert_eq!(running.read().unwrap().text(), "finished");
    assert!(server.ended_within(PATIENCE).is_some());
}

#[test]
fn a_reload_is_answered_also_if_the_engine_dies_that_was_asked() {
    if reference().is_some() {
        return;
    }
    let address = free_port();
    let setup = site().option(&format!("rpc.listen=tcp://{address}"));
    let server = setup.config(".rr.yaml", "version: '3'\n").start();
    let old = engine(&server);
    let (began, open) = boots_slowly(&server, "exit(1);");
    let reload = started(address, &["reload"]);
    assert!(wait_until(PATIENCE, || began.exists()), "{}", server.log.text());
    kill(old, Signal::SIGKILL).unwrap();
    let output = reload.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the engine that was asked has died") && said.contains("the server's log says why"), "{said}");
    assert_eq!(output.status.code(), Some(UNAVAILABLE), "{said}");
    // Else the next one boots for ever.
    fs::write(open, "").unwrap();
}

#[test]
fn reloads_asked_for_during_one_tell_the_outcome_of_the_one_that_follows() {
    if reference().is_some() {
        return;
    }
    let address = free_port();
    let setup = site().option("engine.grace_period=60s").option(&format!("rpc.listen=tcp://{address}"));
    let server = setup.config(".rr.yaml", "version: '3'\n").start();
    let first = engine(&server);
    let (began, open) = boots_slowly(&server, "while (rr_handle_request(fn () => print getmypid()));");
    let mut reloads = vec![started(address, &["reload"])];
    assert!(wait_until(PATIENCE, || began.exists()), "{}", server.log.text());
    reloads.extend((0..2).map(|_| started(address, &["reload"])));
    let are_queued = || server.log.text().matches("another reload follows").count() == 2;
    assert!(wait_until(PATIENCE, are_queued), "{}", server.log.text());
    fs::write(open, "").unwrap();
    for (reload, expected) in reloads.into_iter().zip(["engine 2 serves", "engine 3 serves", "engine 3 serves"]) {
        let output = reload.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.starts_with(expected), "{expected}: {output:?} {}", server.log.text());
    }
    assert!(is_gone(first), "{}", server.log.text());
    assert!(!server.log.text().contains("grace period over"), "{}", server.log.text());
    server.stop();
}

#[test]
fn a_reload_that_waits_says_what_for() {
    if reference().is_some() {
        return;
    }
    let address = free_port();
    let server = site().option("engine.grace_period=60s").option(&format!("rpc.listen=tcp://{address}")).start();
    let (mut running, gate) = waiting(&server);
    let first = engine(&server);
    command(address, &["reload", "--no-wait"]).unwrap();
    assert!(wait_until(PATIENCE, || (0..20).all(|_| engine(&server) != first)), "{}", server.log.text());
    let second = engine(&server);
    let mut reload = started(address, &["reload"]);
    let mut said = String::new();
    BufReader::new(reload.stderr.take().unwrap()).read_line(&mut said).unwrap();
    let expected = format!("rr: waiting for engine 1, process {first}, to finish 1 request within ");
    assert!(said.starts_with(&expected) && said.ends_with(" s\n"), "{said}");
    assert_eq!(engines(&server), [first, second].into(), "{}", server.log.text());
    fs::write(gate, "").unwrap();
    assert_eq!(running.read().unwrap().text(), "finished");
    drop(running);
    let output = reload.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"engine 3 serves, after "), "{}", server.log.text());
    assert!(is_gone(first) && is_gone(second), "{}", server.log.text());
    server.stop();
}
