use std::{net::SocketAddr, path::Path, process::Output, thread};

use serde_json::Value;

use super::{MODES, Mode, call, restarts};
use crate::harness::{Connection, PATIENCE, Server, finish, reference, rr, wait_until};

/// Pages that name their engine, and one that waits for a file.
const APP: &str = "function answer(array $query) { if (isset($query['wait'])) { touch($query['began']); \
    while (!file_exists($query['wait'])) { usleep(5000); clearstatcache(); } return 'waited'; } \
    if (isset($query['reset'])) return (string) opcache_reset(); return (string) getmypid(); }";

fn command(server: &Server, rpc: SocketAddr, arguments: &[&str]) -> Output {
    let mut command = rr();
    command.arg("opcache").args(arguments).args(["-o", &format!("rpc.listen=tcp://{rpc}")]).current_dir(server.dir());
    finish(command, b"")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A script that runs until `release` exists.
fn held(server: &Server, release: &Path) -> Connection {
    let began = server.dir().join("began");
    let connection = server.get(&format!("/?wait={}&began={}", release.display(), began.display())).fire();
    assert!(wait_until(PATIENCE, || began.exists()));
    connection
}

fn is_pending(rpc: SocketAddr) -> bool {
    !call(rpc, "opcache.Status").unwrap()["restart"]["pendingMs"].is_null()
}

#[test]
fn opcache_is_shown_and_reset() {
    if reference().is_some() {
        return;
    }
    for mode in MODES {
        let (setup, rpc) = mode.app(APP);
        // Scripts may not ask, the operator may.
        let server = setup.ini("opcache.restrict_api", "/nowhere").start();
        let engine = server.text("/");
        let shown = command(&server, rpc, &[]);
        let lines: Vec<_> = text(&shown.stdout).lines().map(str::to_owned).collect();
        assert_eq!(lines[0], format!("OPcache of engine {engine}: on"), "{}", text(&shown.stderr));
        for name in ["memory", "scripts", "hit rate", "interned strings", "JIT", "restarts", "gate"] {
            assert!(lines.iter().any(|line| line.trim_start().starts_with(name)), "no {name} in {lines:#?}");
        }
        let json: Value = serde_json::from_slice(&command(&server, rpc, &["--json"]).stdout).unwrap();
        assert_eq!(json[0]["pid"].to_string(), engine);
        assert_eq!(json[0]["status"]["opcache_enabled"], true);
        assert!(json[0]["status"]["opcache_statistics"]["num_cached_scripts"].as_u64().unwrap() >= 2, "{json}");

        for count in 1..=3 {
            let reset = command(&server, rpc, &["reset"]);
            assert_eq!(text(&reset.stdout), format!("OPcache reset: engine {engine}\n"), "{}", text(&reset.stderr));
            assert_eq!(restarts(&call(rpc, "opcache.Status").unwrap()), [0, 0, count], "{mode:?}");
            assert_eq!(server.text("/"), engine, "{mode:?}");
        }
    }
}

#[test]
fn a_reset_waits_for_a_script_and_nobody_waits_for_the_reset() {
    if reference().is_some() {
        return;
    }
    for mode in MODES {
        let (setup, rpc) = mode.app(APP);
        let server = setup.threads(4).start();
        let release = server.dir().join("release");
        let mut waiting = held(&server, &release);
        thread::scope(|scope| {
            let reset = scope.spawn(|| call(rpc, "opcache.Reset").unwrap());
            assert!(wait_until(PATIENCE, || is_pending(rpc)));
            for _ in 0..20 {
                server.text("/");
            }
            assert!(is_pending(rpc), "{mode:?}: it has restarted under a script");
            std::fs::write(&release, "").unwrap();
            assert_eq!(waiting.read().unwrap().text(), "waited");
            reset.join().unwrap();
        });
        assert!(wait_until(PATIENCE, || !is_pending(rpc)), "{}", server.log.text());
        assert_eq!(restarts(&call(rpc, "opcache.Status").unwrap()), [0, 0, 1], "{mode:?}");
        server.text("/");
    }
}

#[test]
fn an_engine_whose_opcache_cannot_restart_is_replaced() {
    if reference().is_some() {
        return;
    }
    let (setup, _) = Mode::Classic.app(APP);
    let server = setup.threads(2).ini("opcache.force_restart_timeout", "1").start();
    let (release, engine) = (server.dir().join("release"), server.text("/"));
    let mut waiting = held(&server, &release);
    assert_eq!(server.text("/?reset"), "1");
    assert!(wait_until(PATIENCE, || server.text("/") != engine), "{}", server.log.text());
    assert!(server.logs("OPcache has been waiting for its restart"), "{}", server.log.text());
    std::fs::write(&release, "").unwrap();
    assert_eq!(waiting.read().unwrap().text(), "waited");
}

#[test]
fn opcache_that_is_off_says_so() {
    if reference().is_some() {
        return;
    }
    let (setup, rpc) = Mode::Classic.app(APP);
    let server = setup.ini("opcache.enable", "0").start();
    for arguments in [&[][..], &["reset"], &["--json"]] {
        let refused = command(&server, rpc, arguments);
        assert_eq!((refused.status.code(), text(&refused.stdout).as_str()), (Some(1), ""));
        let error = text(&refused.stderr);
        assert!(error.starts_with("rr: OPcache is off: ") && error.contains("opcache.enable is 0"), "{error}");
    }
}
