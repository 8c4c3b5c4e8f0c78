//! How engines end, and what becomes of those who come too late for them.

use std::{fs, io::ErrorKind, net::TcpStream};

use nix::sys::signal::{Signal, kill};
use serde_json::json;

use super::{
    engine, engines, gated, is_gone,
    reload::{reload, while_clients_send},
    site, waiting,
};
use crate::harness::{
    Office, PATIENCE, Rpc, Server, free_port,
    h3::{Http3, request, site as http3},
    reference, wait_until,
};

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
fn http3_is_taken_over_from_an_engine_of_a_dead_server_that_finishes() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let setup = || {
        let setup = office.options().iter().fold(site(), |setup, option| setup.option(option));
        setup.option("engine.grace_period=60s").option(&format!("http.http3.address={}", office.port))
    };
    let server = setup().start();
    let mut client = Http3::connect(&office);
    let old = http3::pid(&mut client);
    let (target, began, gate) = gated(&server);
    let pending = client.send(request("GET", &target), b"").unwrap();
    assert!(wait_until(PATIENCE, || began.exists()), "{}", server.log.text());
    server.signal(Signal::SIGKILL);
    let next = setup().at(server.address).start();
    // The port is the old one's until it has finished, and others are answered over TCP.
    let answers = || next.get("/pid.php").try_send().is_ok_and(|reply| reply.text() != old.to_string());
    assert!(wait_until(PATIENCE, answers), "{}", next.log.text());
    assert!(
        next.logs("http.http3.address: cannot listen on ") && next.logs("is served once it has ended"),
        "{}",
        next.log.text()
    );
    assert!(kill(old, None::<Signal>).is_ok(), "it finishes");
    fs::write(gate, "").unwrap();
    assert_eq!(client.finish(pending).unwrap().text(), "finished");
    drop(client);
    assert!(is_gone(old), "{}", server.log.text());
    assert!(server.ended_within(PATIENCE).is_some());
    let mut connection = None;
    assert!(wait_until(PATIENCE, || {
        connection = Http3::try_connect(&office, office.port).ok();
        connection.is_some()
    }));
    let now = http3::pid(connection.as_mut().unwrap());
    assert!(next.logs("another server has let go of"), "{}", next.log.text());
    drop(connection);
    assert!(wait_until(PATIENCE, || engines(&next) == [now].into()), "{}", next.log.text());
    assert_eq!(engine(&next), now);
    // And it goes on as ever.
    assert!(is_gone(reload(&next, Signal::SIGHUP)), "{}", next.log.text());
    assert_ne!(http3::pid(&mut Http3::connect(&office)), now);
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
