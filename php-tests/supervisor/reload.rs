use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use nix::{sys::signal::Signal, unistd::Pid};

use super::{Releases, engine, is_gone, site};
use crate::harness::{H2, PATIENCE, Request, Server, free_port, reference, wait_until};

/// Reloads and waits until another engine answers; returns the one before, which may still finish what it has begun.
pub(crate) fn reload(server: &Server, signal: Signal) -> Pid {
    let old = engine(server);
    server.signal(signal);
    assert!(wait_until(PATIENCE, || engine(server) != old), "{}", server.log.text());
    old
}

/// What clients wait between two requests, in milliseconds: a connection may be idle when it is told to leave.
const PAUSES: [u64; 7] = [0, 0, 1, 20, 300, 3000, 5000];

/// Reloads `times` while clients send.
fn under_load(times: usize) {
    let server = site().threads(4).option("engine.grace_period=20s").option("http.http2.h2c=true").start();
    while_clients_send(&server, || {
        for round in 0..times {
            reload(&server, if round % 2 == 0 { Signal::SIGHUP } else { Signal::SIGUSR2 });
        }
    });
}

/// Does `act` while clients of several kinds send requests that none sends twice; none may see a failure. The server speaks h2c.
pub(super) fn while_clients_send(server: &Server, act: impl FnOnce()) {
    let (done, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let (done, answered) = (&done, &answered);
        for (client, pause) in PAUSES.into_iter().enumerate() {
            let pause = Duration::from_millis(pause);
            // Client 0 opens a connection for each request, the others keep theirs as long as the server does.
            scope.spawn(move || post_over_http1(server, client, pause, (done, answered)));
            if client > 0 {
                scope.spawn(move || post_over_http2(server, client, pause, (done, answered)));
            }
        }
        // Whatever becomes of it, the clients end.
        let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        done.store(true, Relaxed);
        if let Err(panic) = acted {
            std::panic::resume_unwind(panic);
        }
    });
    eprintln!("{} requests, none failed", answered.load(Relaxed));
    assert!(!server.log.text().contains("the engine died"), "{}", server.log.text());
}

fn post_over_http1(server: &Server, client: usize, pause: Duration, (done, answered): (&AtomicBool, &AtomicU64)) {
    let mut connection = server.connect();
    for round in 0.. {
        if done.load(Relaxed) {
            return;
        }
        let tag = format!("{client}-{round}");
        let request = server.post(&format!("/echo.php?tag={tag}."), "text/plain", tag.clone());
        let reply = if client == 0 { request.send() } else { connection.send(&request).expect("no request is lost") };
        assert_eq!((reply.status, reply.text()), (200, format!("{tag}.{tag}")));
        if reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            connection = server.connect();
        }
        answered.fetch_add(1, Relaxed);
        thread::sleep(pause);
    }
}

fn post_over_http2(server: &Server, client: usize, pause: Duration, (done, answered): (&AtomicBool, &AtomicU64)) {
    let mut connection = H2::open(server.address).unwrap();
    for round in 0.. {
        if done.load(Relaxed) {
            return;
        }
        if !connection.is_open() {
            connection = H2::open(server.address).unwrap();
        }
        let tag = format!("h2-{client}-{round}");
        let reply = connection.send("POST", &format!("/echo.php?tag={tag}."), tag.clone().into()).expect("no request is lost");
        assert_eq!(reply, (200, format!("{tag}.{tag}").into()));
        answered.fetch_add(1, Relaxed);
        connection.idle(pause);
    }
}

#[test]
fn no_request_fails_over_five_reloads() {
    if reference().is_some() {
        return;
    }
    under_load(5);
}

#[test]
#[ignore = "takes ten minutes: each reload waits for idle connections of the engine before it"]
fn no_request_fails_over_fifty_reloads() {
    if reference().is_some() {
        return;
    }
    under_load(50);
}

#[test]
fn a_reload_takes_a_changed_configuration_and_refuses_a_bad_one() {
    if reference().is_some() {
        return;
    }
    let good = |limit| format!("version: '3'\nphp:\n  ini:\n    memory_limit: {limit}\n");
    let server = site().php("limit.php", "echo ini_get('memory_limit');").config(".rr.yaml", &good("100M")).start();
    assert_eq!(server.text("/limit.php"), "100M");
    let file = server.dir().join(".rr.yaml");
    fs::write(&file, good("101M")).unwrap();
    assert!(is_gone(reload(&server, Signal::SIGHUP)), "{}", server.log.text());
    assert_eq!(server.text("/limit.php"), "101M");

    let old = engine(&server);
    fs::write(&file, "version: '3'\nhtpp: {}\n").unwrap();
    server.signal(Signal::SIGHUP);
    assert!(server.logs("not reloaded, nothing has changed: "), "{}", server.log.text());
    assert_eq!(engine(&server), old);

    // Right as a configuration, but no engine can be made of it.
    fs::write(&file, format!("{}http:\n  worker: limit-worker.php\n", good("102M"))).unwrap();
    fs::write(server.dir().join("limit-worker.php"), "<?php throw new Exception('no boot');").unwrap();
    server.signal(Signal::SIGHUP);
    assert!(server.logs("the new engine ended before it served"), "{}", server.log.text());
    assert_eq!((engine(&server), server.text("/limit.php")), (old, "101M".to_owned()));
}

#[test]
fn a_release_is_deployed_by_changing_a_symbolic_link() {
    if reference().is_some() {
        return;
    }
    let setup = site();
    let releases = Releases::new(setup.scratch(), "index.php", |release| format!("echo 'release {release}';"));
    let server = setup.root(&releases.current()).preset("files").start();
    assert_eq!(server.text("/"), "release 1");
    releases.deploy();
    // What the old engine accepted in its last moment is answered from the old release.
    assert!(is_gone(reload(&server, Signal::SIGHUP)), "{}", server.log.text());
    releases.delete_first();
    assert_eq!(server.text("/"), "release 2");
}

#[test]
fn failed_reloads_cost_the_server_no_socket() {
    if reference().is_some() {
        return;
    }
    let (first, second) = (free_port(), free_port());
    let config = |address, more: &str| format!("version: '3'\nstatus:\n  address: {address}\n{more}");
    let server = site().config(".rr.yaml", &config(first, "")).start();
    let old = engine(&server);
    let answers = |address| Request::new(address, "GET", "/livez").try_send().is_ok_and(|reply| reply.status == 200);
    assert!(wait_until(PATIENCE, || answers(first)));
    let worker = server.dir().join("no-boot.php");
    fs::write(&worker, "<?php throw new Exception('no boot');").unwrap();
    let file = server.dir().join(".rr.yaml");
    fs::write(&file, config(second, &format!("http:\n  worker: {}\n", worker.display()))).unwrap();
    for round in 1..3 {
        server.signal(Signal::SIGHUP);
        let failed = || server.log.text().matches("the new engine ended before it served").count() == round;
        assert!(wait_until(PATIENCE, failed), "{}", server.log.text());
    }
    assert!(answers(first) && engine(&server) == old, "{}", server.log.text());
    fs::write(&file, config(first, "")).unwrap();
    assert!(is_gone(reload(&server, Signal::SIGHUP)), "{}", server.log.text());
    assert!(wait_until(PATIENCE, || answers(first)), "{}", server.log.text());
    fs::write(&file, config(second, "")).unwrap();
    assert!(is_gone(reload(&server, Signal::SIGHUP)), "{}", server.log.text());
    assert!(wait_until(PATIENCE, || answers(second)) && !answers(first), "{}", server.log.text());
}
