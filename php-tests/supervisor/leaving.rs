//! How engines end, and what becomes of those who come too late for them.

use std::{fs, io::ErrorKind, net::TcpStream};

use nix::sys::signal::{Signal, kill};
use serde_json::json;

use super::{engine, engines, is_gone, reload::while_clients_send, site, waiting};
use crate::harness::{PATIENCE, Rpc, Server, free_port, reference, wait_until};

fn is_refused(server: &Server) -> bool {
    TcpStream::connect(server.address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn a_server_that_finishes_what_it_has_begun_refuses_connections() {
    if reference().is_some() {
        return;
    }
    for option in ["engine.supervisor=true", "engine.supervisor=false", "engine.processes=2"] {
        let server = site().option(option).option("engine.grace_period=60s").start();
        let (mut running, gate) = waiting(&server);
        server.signal(Signal::SIGTERM);
        assert!(wait_until(PATIENCE, || is_refused(&server)), "{option}: {}", server.log.text());
        fs::write(gate, "").unwrap();
        assert_eq!(running.read().unwrap().text(), "finished", "{option}");
        assert_eq!(server.ended_within(PATIENCE).and_then(|status| status.code()), Some(0), "{}", server.log.text());
    }
}

#[test]
fn a_new_server_listens_while_an_engine_of_a_dead_one_finishes() {
    if reference().is_some() {
        return;
    }
    let (rpc, metrics) = (free_port(), free_port());
    let setup = || {
        let setup = site().option("engine.grace_period=60s").option(&format!("rpc.listen=tcp://{rpc}"));
        setup.option(&format!("metrics.address={metrics}"))
    };
    let server = setup().start();
    let old = engine(&server);
    let (mut running, gate) = waiting(&server);
    server.signal(Signal::SIGKILL);
    let next = setup().at(server.address).start();
    // The old one may answer yet, and then for a moment nobody.
    let answers = || next.get("/pid.php").try_send().is_ok_and(|reply| reply.text() != old.to_string());
    assert!(wait_until(PATIENCE, answers), "{}", next.log.text());
    assert!(kill(old, None::<Signal>).is_ok(), "it finishes");
    assert_eq!(Rpc::tcp(rpc).call("rpc.Version", &json!(true)), Ok(json!(env!("CARGO_PKG_VERSION"))));
    fs::write(gate, "").unwrap();
    assert_eq!(running.read().unwrap().text(), "finished");
    assert!(is_gone(old), "{}", server.log.text());
    assert!(server.ended_within(PATIENCE).is_some());
    next.stop();
}

#[test]
fn an_engine_that_is_told_to_end_by_itself_is_succeeded_first() {
    if reference().is_some() {
        return;
    }
    let rpc = free_port();
    let server = site().threads(4).option("http.http2.h2c=true").option(&format!("rpc.listen=tcp://{rpc}")).start();
    let lock = json!({"resource": "r", "id": "a"});
    assert_eq!(Rpc::tcp(rpc).call("lock.Lock", &lock).unwrap()["ok"], true);
    let old = engine(&server);
    while_clients_send(&server, || {
        kill(old, Signal::SIGTERM).unwrap();
        assert!(wait_until(PATIENCE, || !engines(&server).contains(&old)), "{}", server.log.text());
    });
    assert_eq!(Rpc::tcp(rpc).call("lock.Exists", &lock).unwrap()["ok"], true, "{}", server.log.text());
    assert!(server.logs("a signal has told this engine to end"), "{}", server.log.text());
    server.stop();
}

#[test]
fn one_that_nobody_succeeds_ends_all_the_same_and_has_not_died() {
    if reference().is_some() {
        return;
    }
    let server = site().option("engine.grace_period=0s").start();
    let old = engine(&server);
    kill(old, Signal::SIGTERM).unwrap();
    assert!(is_gone(old), "{}", server.log.text());
    assert!(wait_until(PATIENCE, || server.get("/pid.php").try_send().is_ok_and(|reply| reply.text() != old.to_string())));
    assert!(server.logs("no other engine has taken the place of this one"), "{}", server.log.text());
    assert!(!server.log.text().contains("the engine died"), "{}", server.log.text());
    server.stop();
}
