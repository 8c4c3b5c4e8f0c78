use std::{thread, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{MODES, Mode, call};
use crate::harness::{PATIENCE, Server, finish, free_port, reference, wait_until};

/// The engine, and what is preloaded; slow enough for parallel requests to meet on all threads.
const APP: &str = "function answer(array $query) { usleep(20000); \
    return getmypid() . ' ' . (class_exists('Preloaded', false) ? Preloaded::VERSION . preloaded() : 'nothing'); }";

fn preloaded(version: u32) -> String {
    format!("<?php class Preloaded {{ const VERSION = '{version}'; }} function preloaded() {{ return ' and a function'; }}")
}

/// Asks many times at once; all answers are of this version, and of one engine, which is returned.
fn engine(server: &Server, version: u32) -> Pid {
    let ask = || {
        let text = server.text("/");
        let (engine, says) = text.split_once(' ').unwrap();
        assert_eq!(says, format!("{version} and a function"));
        engine.parse().unwrap()
    };
    thread::scope(|scope| {
        let asked: Vec<_> = (0..20).map(|_| scope.spawn(ask)).collect();
        let engines: Vec<i32> = asked.into_iter().map(|asked| asked.join().unwrap()).collect();
        assert!(engines.iter().all(|engine| *engine == engines[0]), "{engines:?}");
        Pid::from_raw(engines[0])
    })
}

/// Waits until an engine answers that is not `old`, which has ended.
fn until_replaced(server: &Server, old: Pid) {
    let answers =
        || server.get("/").try_send().is_ok_and(|reply| reply.status == 200 && !reply.text().starts_with(&format!("{old} ")));
    assert!(wait_until(PATIENCE, || kill(old, None::<Signal>).is_err() && answers()), "{}", server.log.text());
}

#[test]
fn what_is_preloaded_is_there_on_every_thread_of_every_engine() {
    if reference().is_some() {
        return;
    }
    for mode in MODES {
        let (setup, rpc) = mode.app(APP);
        let file = setup.scratch().join("preload.php");
        std::fs::write(&file, preloaded(1)).unwrap();
        let setup = setup.ini("opcache.preload", file.to_str().unwrap()).ini("opcache.preload_user", "root");
        let server = setup.threads(4).start();
        let first = engine(&server, 1);
        // Compiled once, by the start: another engine sees what has changed, a reset does not.
        std::fs::write(&file, preloaded(2)).unwrap();
        call(rpc, "opcache.Reset").unwrap();
        assert_eq!(engine(&server, 1), first, "{mode:?}");

        server.signal(Signal::SIGHUP);
        until_replaced(&server, first);
        let second = engine(&server, 2);
        kill(second, Signal::SIGSEGV).unwrap();
        until_replaced(&server, second);
        engine(&server, 2);
        let status = call(rpc, "opcache.Status").unwrap();
        assert_eq!(status["status"]["preload_statistics"]["classes"], serde_json::json!(["Preloaded"]), "{status}");
    }
}

#[test]
fn a_preload_file_that_fails_fails_the_start() {
    if reference().is_some() {
        return;
    }
    for (code, reason) in [
        ("throw new Exception('no such thing');", "Uncaught Exception: no such thing in FILE:2"),
        ("class A extends Missing {}", "Uncaught Error: Class \"Missing\" not found in FILE:2"),
        ("class A { function }", "syntax error, unexpected token \"}\" in FILE:2"),
        ("", "Failed opening required 'FILE'"),
    ] {
        let (setup, _) = Mode::Classic.app(APP);
        let file = setup.scratch().join("preload.php");
        if !code.is_empty() {
            std::fs::write(&file, format!("<?php\n{code}\n")).unwrap();
        }
        let file = file.display().to_string();
        let setup = setup.ini("opcache.preload", &file).ini("opcache.preload_user", "root").ini("display_errors", "1");
        let ended = finish(setup.command(free_port(), None), b"");
        let log = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert_eq!(ended.status.code(), Some(70), "{log}");
        let line = format!("rr: PHP did not start: {}", reason.replace("FILE", &file));
        assert!(log.lines().any(|told| told.starts_with(&line)), "{line:?} is not in {log}");
        assert!(!log.contains("<b>Fatal"), "{log}");
    }
}

#[test]
fn a_reload_with_a_preload_file_that_fails_changes_nothing() {
    if reference().is_some() {
        return;
    }
    let (setup, _) = Mode::Classic.app(APP);
    let file = setup.scratch().join("preload.php");
    std::fs::write(&file, preloaded(1)).unwrap();
    let setup = setup.ini("opcache.preload", file.to_str().unwrap()).ini("opcache.preload_user", "root");
    let server = setup.start();
    let before = engine(&server, 1);
    std::fs::write(&file, "<?php\nthrow new Exception('not today');\n").unwrap();
    server.signal(Signal::SIGHUP);
    assert!(server.log.contains("PHP did not start: Uncaught Exception: not today in ", Duration::from_secs(60)));
    assert_eq!(engine(&server, 1), before);
}
