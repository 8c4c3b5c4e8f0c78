//! The engine that serves dies while the one to succeed it boots.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};
use serde_json::json;

use super::{boot_gate, engine, is_gone, operator::started};
use crate::harness::{PATIENCE, Rpc, Server, free_port, reference, server, wait_until};

/// A configuration whose worker says `release` and its process, once `boot` is done.
fn release(folder: &Path, release: &str, boot: &str) -> String {
    let worker = folder.join(format!("{release}.php"));
    let code = format!(
        "<?php {boot} while (rr_handle_request(function () {{
            echo $_SERVER['REQUEST_URI'] === '/pid.php' ? getmypid() : '{release}';
        }}));"
    );
    fs::write(&worker, code).unwrap();
    format!("version: '3'\nhttp:\n  worker: {}\n", worker.display())
}

/// Reloads to a release whose boot waits for `gate` in the server's folder; returns once it does.
fn begin_to_boot(server: &Server) {
    let (folder, began) = (server.dir(), server.dir().join("began"));
    let boot = boot_gate(&began, &folder.join("gate"));
    fs::write(folder.join(".rr.yaml"), release(folder, "second", &boot)).unwrap();
    server.signal(Signal::SIGHUP);
    assert!(wait_until(PATIENCE, || began.exists()), "{}", server.log.text());
}

#[test]
fn one_that_boots_takes_the_place_of_one_that_died() {
    if reference().is_some() {
        return;
    }
    let setup = server();
    // The next one is given twice the time that this takes.
    let first = release(setup.scratch(), "first", "sleep(3);");
    let server = setup.config(".rr.yaml", &first).start();
    assert_eq!(server.text("/"), "first");
    let old = engine(&server);
    begin_to_boot(&server);
    kill(old, Signal::SIGKILL).unwrap();
    assert!(server.logs("the engine that is to succeed it boots already, and is waited for"), "{}", server.log.text());
    let mut waiting = server.get("/").fire();
    fs::write(server.dir().join("gate"), "").unwrap();
    assert_eq!(waiting.read().unwrap().text(), "second");
    assert!(server.logs("reloaded: a new engine serves"), "{}", server.log.text());
    assert!(!server.log.text().contains("the engine serves again"), "{}", server.log.text());
    server.stop();
}

#[test]
fn one_that_boots_is_given_the_time_that_the_release_in_force_took() {
    if reference().is_some() {
        return;
    }
    let setup = server();
    let first = release(setup.scratch(), "first", "");
    let server = setup.config(".rr.yaml", &first).start();
    assert_eq!(server.text("/"), "first");
    let old = engine(&server);
    fs::write(server.dir().join(".rr.yaml"), release(server.dir(), "slow", "sleep(2);")).unwrap();
    server.signal(Signal::SIGHUP);
    assert!(is_gone(old), "{}", server.log.text());
    assert_eq!(server.text("/"), "slow");
    let asked = Instant::now();
    begin_to_boot(&server);
    kill(engine(&server), Signal::SIGKILL).unwrap();
    assert!(server.logs("the engine that is to succeed it boots already, and is waited for"), "{}", server.log.text());
    let log = server.log.text();
    let most = log.split("most_ms=\"").nth(1).and_then(|rest| rest.split('"').next()?.parse().ok()).expect(&log);
    // Twice the two seconds, and one more.
    assert!(asked.elapsed() + Duration::from_millis(most) >= Duration::from_secs(5), "{log}");
    fs::write(server.dir().join("gate"), "").unwrap();
    assert!(wait_until(PATIENCE, || server.text("/") == "second" || server.log.text().contains("it is ended")));
    server.stop();
}

#[test]
fn one_that_hangs_at_boot_keeps_nobody_waiting_when_the_one_that_serves_dies() {
    if reference().is_some() {
        return;
    }
    let (setup, address) = (server(), free_port());
    let first = release(setup.scratch(), "first", "");
    let server = setup.config(".rr.yaml", &first).option(&format!("rpc.listen=tcp://{address}")).start();
    assert_eq!(server.text("/"), "first");
    let old = engine(&server);
    begin_to_boot(&server);
    kill(old, Signal::SIGKILL).unwrap();
    let died = Instant::now();
    assert!(is_gone(old));
    assert_eq!(server.text("/"), "first");
    eprintln!("answered again after {:?}", died.elapsed());
    assert!(server.logs("it is ended, and what was served before is started again"), "{}", server.log.text());
    assert!(server.logs("the engine serves again"), "{}", server.log.text());
    // What plugins keep has one owner.
    let lock = json!({"resource": "r", "id": "a"});
    assert_eq!(Rpc::tcp(address).call("lock.Lock", &lock).unwrap()["ok"], true);
    // And the next reload is as any other.
    fs::write(server.dir().join("gate"), "").unwrap();
    let restarted = engine(&server);
    server.signal(Signal::SIGHUP);
    assert!(is_gone(restarted), "{}", server.log.text());
    assert_eq!(server.text("/"), "second");
    assert_eq!(Rpc::tcp(address).call("lock.Exists", &lock).unwrap()["ok"], true);
    server.stop();
}

#[test]
fn a_reload_asked_for_while_no_engine_serves_is_not_waited_for_either() {
    if reference().is_some() {
        return;
    }
    let setup = server();
    let first = release(setup.scratch(), "first", "");
    let server = setup.config(".rr.yaml", &first).start();
    // From the second death on there is a pause before the next engine, and a longer one each time.
    for _ in 0..5 {
        let old = engine(&server);
        kill(old, Signal::SIGKILL).unwrap();
        assert!(is_gone(old));
    }
    assert!(server.logs("engines keep dying"), "{}", server.log.text());
    begin_to_boot(&server);
    assert_eq!(server.text("/"), "first");
    fs::write(server.dir().join("gate"), "").unwrap();
    assert!(wait_until(PATIENCE, || server.text("/") == "second" || server.log.text().contains("it is ended")));
    server.stop();
}

#[test]
fn commands_say_that_no_engine_answers_and_do_nothing_once_they_are_gone() {
    if reference().is_some() {
        return;
    }
    let address = free_port();
    let setup = server();
    let folder = setup.scratch().to_owned();
    let barred = folder.join("barred");
    let boot =
        format!("if (file_exists('{}')) {{ {} }}", barred.display(), boot_gate(&folder.join("began"), &folder.join("gate")));
    let config = release(&folder, "first", &boot);
    let server = setup.config(".rr.yaml", &config).option(&format!("rpc.listen=tcp://{address}")).start();
    let first = engine(&server);
    fs::write(barred, "").unwrap();
    kill(first, Signal::SIGKILL).unwrap();
    assert!(is_gone(first) && wait_until(PATIENCE, || folder.join("began").exists()), "{}", server.log.text());
    let all = [&["reload", "--no-wait"][..], &["rollback"], &["reset"], &["workers"]];
    let mut commands = all.map(|words| started(address, words));
    for (command, words) in commands.iter_mut().zip(all) {
        let mut said = String::new();
        BufReader::new(command.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "rr: no engine answers (the server may be starting one): waiting up to 30 s\n", "{words:?}");
    }
    let [mut gone, mut rollback, reset, workers] = commands;
    for command in [&mut gone, &mut rollback] {
        command.kill().unwrap();
        command.wait().unwrap();
    }
    fs::write(folder.join("gate"), "").unwrap();
    for command in [reset, workers] {
        let output = command.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?} {}", server.log.text());
    }
    assert!(!server.log.text().contains("reload"), "{}", server.log.text());
    server.stop();
}
