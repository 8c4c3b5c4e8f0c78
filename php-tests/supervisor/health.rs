use std::{fs, net::SocketAddr};

use nix::sys::signal::{Signal, kill};
use serde_json::json;

use super::{engine, site};
use crate::harness::{PATIENCE, Request, Setup, free_port, reference, wait_until};

/// With health checks, and where they are.
fn checked(setup: Setup) -> (Setup, SocketAddr) {
    let address = free_port();
    (setup.option(&format!("status.address={address}")), address)
}

fn ask(address: SocketAddr, target: &str) -> (u16, String) {
    let reply = Request::new(address, "GET", target).send();
    (reply.status, reply.text())
}

#[test]
fn checks_are_answered_with_and_without_a_supervisor() {
    if reference().is_some() {
        return;
    }
    for supervisor in [true, false] {
        let (setup, address) = checked(site());
        let server = setup.option(&format!("engine.supervisor={supervisor}")).start();
        server.text("/pid.php");
        assert!(wait_until(PATIENCE, || ask(address, "/readyz") == (200, "ok\n".into())));
        assert_eq!(ask(address, "/livez"), (200, "ok\n".into()));
        let http = json!([{"plugin_name": "http", "error_message": "", "status_code": 200}]);
        for target in ["/health", "/ready", "/health?plugin=http&plugin=other"] {
            let reply = Request::new(address, "GET", target).send();
            assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")), "{target}");
            assert_eq!(reply.json(), http, "{target}");
        }
        assert_eq!(ask(address, "/ready?plugin=other"), (200, "[]".into()));
        assert_eq!(ask(address, "/jobs"), (200, "[]".into()));
        assert_eq!(ask(address, "/index.php").0, 404);
        assert_eq!(Request::new(address, "POST", "/readyz").send().status, 405);
    }
}

#[test]
fn a_server_is_not_ready_until_its_workers_are() {
    if reference().is_some() {
        return;
    }
    let (setup, address) = checked(site());
    let gate = setup.scratch().join("gate");
    fs::write(&gate, "").unwrap();
    let worker = "<?php while (!file_exists(getenv('GATE'))) usleep(10000); \
                  while (rr_handle_request(function () { echo getmypid(); }));";
    let file = setup.scratch().join("worker.php");
    fs::write(&file, worker).unwrap();
    let setup = setup.env("GATE", gate.to_str().unwrap()).option(&format!("http.worker={}", file.display()));
    let server = setup.start();
    assert!(wait_until(PATIENCE, || ask(address, "/readyz").0 == 200));
    let old = server.text("/whatever");
    fs::remove_file(&gate).unwrap();
    kill(nix::unistd::Pid::from_raw(old.parse().unwrap()), Signal::SIGKILL).unwrap();
    assert!(wait_until(PATIENCE, || ask(address, "/readyz").0 == 503));
    assert_eq!(ask(address, "/livez").0, 200);
    let (status, body) = ask(address, "/health?plugin=http");
    assert_eq!((status, body.contains(r#""status_code":503"#)), (503, true), "{body}");
    fs::write(&gate, "").unwrap();
    assert!(wait_until(PATIENCE, || ask(address, "/readyz").0 == 200), "{}", server.log.text());
    assert_ne!(server.text("/whatever"), old);
}

#[test]
fn a_server_told_to_stop_says_so_before_it_stops() {
    if reference().is_some() {
        return;
    }
    for supervisor in [true, false] {
        let (setup, address) = checked(site());
        let setup = setup.option(&format!("engine.supervisor={supervisor}")).option("engine.shutdown_delay=30s");
        let server = setup.option("status.unavailable_status_code=500").start();
        engine(&server);
        assert!(wait_until(PATIENCE, || ask(address, "/readyz").0 == 200));
        server.signal(Signal::SIGTERM);
        assert!(wait_until(PATIENCE, || ask(address, "/readyz") == (500, "service is shutting down\n".into())));
        let answers: Vec<_> = ["/livez", "/health", "/ready", "/jobs"].map(|target| ask(address, target).0).into();
        assert_eq!(answers, [200, 200, 500, 500]);
        // Whoever has not heard of it yet is served.
        engine(&server);
        server.signal(Signal::SIGTERM);
        assert!(server.ended_within(PATIENCE).is_some());
    }
}

#[test]
fn checks_move_with_a_reload() {
    if reference().is_some() {
        return;
    }
    let (first, second) = (free_port(), free_port());
    let config = |address: SocketAddr| format!("version: '3'\nstatus:\n  address: {address}\n");
    let server = site().config(".rr.yaml", &config(first)).start();
    let old = engine(&server);
    assert!(wait_until(PATIENCE, || ask(first, "/readyz").0 == 200));
    fs::write(server.dir().join(".rr.yaml"), config(second)).unwrap();
    server.signal(Signal::SIGHUP);
    assert!(wait_until(PATIENCE, || engine(&server) != old), "{}", server.log.text());
    assert!(wait_until(PATIENCE, || Request::new(second, "GET", "/readyz").try_send().is_ok_and(|reply| reply.status == 200)));
}
