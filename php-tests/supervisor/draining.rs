//! What happens while an engine that was succeeded finishes a long request.

use std::{fs, net::SocketAddr, time::Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use super::{engine, is_gone, reload::reload, site, waiting};
use crate::harness::{Connection, PATIENCE, Rpc, Server, free_port, reference, wait_until};

fn yaml(address: SocketAddr, limit: &str) -> String {
    format!("version: '3'\nrpc:\n  listen: tcp://{address}\nphp:\n  ini:\n    memory_limit: {limit}\n")
}

/// A server that has been reloaded, where it is called, the engine before, and the request that this is busy with until there is
/// a file called `gate`.
fn draining() -> (Server, SocketAddr, Pid, Connection) {
    let address = free_port();
    let setup = site().php("limit.php", "echo ini_get('memory_limit');");
    let server = setup.config(".rr.yaml", &yaml(address, "100M")).option("engine.grace_period=60s").start();
    let (running, _) = waiting(&server);
    let old = reload(&server, Signal::SIGHUP);
    assert!(reloads(&server, 1), "{}", server.log.text());
    // Its accept loops end one by one.
    assert!(wait_until(PATIENCE, || (0..20).all(|_| engine(&server) != old)), "{}", server.log.text());
    (server, address, old, running)
}

fn is_alive(process: Pid) -> bool {
    kill(process, None::<Signal>).is_ok()
}

/// Whether so many reloads have been done.
fn reloads(server: &Server, count: usize) -> bool {
    wait_until(PATIENCE, || server.log.text().matches("reloaded: a new engine serves").count() >= count)
        && server.log.text().matches("reloaded: a new engine serves").count() == count
}

/// Asks for a reload in three ways, and returns when the supervisor has heard of all; the answer of the last is to come.
fn ask_for_reloads(server: &Server, address: SocketAddr) -> Rpc {
    server.signal(Signal::SIGHUP);
    server.signal(Signal::SIGUSR2);
    let mut rpc = Rpc::tcp(address);
    rpc.send("server.Reload", &json!(true));
    rpc.send("server.Check", &json!(true));
    // It takes a process of its own, and is answered at any time.
    assert_eq!(said(&mut rpc), "server.Check\"a reload would take it\"");
    rpc
}

fn said(rpc: &mut Rpc) -> String {
    String::from_utf8(rpc.read().expect("an answer").payload.to_vec()).unwrap()
}

#[test]
fn reloads_asked_for_meanwhile_are_one_that_follows() {
    if reference().is_some() {
        return;
    }
    let (server, address, old, mut running) = draining();
    let second = engine(&server);
    fs::write(server.dir().join(".rr.yaml"), yaml(address, "101M")).unwrap();
    let mut asked = ask_for_reloads(&server, address);
    // What is read is what is there when its time has come.
    fs::write(server.dir().join(".rr.yaml"), yaml(address, "102M")).unwrap();
    assert_eq!((engine(&server), server.text("/limit.php")), (second, "100M".into()));
    assert!(is_alive(old) && reloads(&server, 1), "{}", server.log.text());
    fs::write(server.dir().join("gate"), "").unwrap();
    assert_eq!(running.read().unwrap().text(), "finished");
    drop(running);
    assert!(is_gone(old), "{}", server.log.text());
    let outcome = said(&mut asked);
    assert!(outcome.starts_with("server.Reload\"engine 3 serves, after "), "{outcome}");
    drop(asked);
    assert!(is_gone(second), "{}", server.log.text());
    assert_eq!(server.text("/limit.php"), "102M");
    assert!(reloads(&server, 2), "{}", server.log.text());
    // And then it goes on as ever.
    assert!(is_gone(reload(&server, Signal::SIGHUP)), "{}", server.log.text());
    server.stop();
}

#[test]
fn an_engine_that_dies_while_it_finishes_takes_nothing_but_its_requests_along() {
    if reference().is_some() {
        return;
    }
    let (server, address, old, mut running) = draining();
    let lock = json!({"resource": "r", "id": "a"});
    assert_eq!(Rpc::tcp(address).call("lock.Lock", &lock).unwrap()["ok"], true);
    let second = engine(&server);
    let mut asked = ask_for_reloads(&server, address);
    kill(old, Signal::SIGKILL).unwrap();
    assert!(running.read().is_err(), "a request that was running cannot be answered");
    assert!(server.logs("the engine died: killed by SIGKILL"), "{}", server.log.text());
    // What was asked for follows at once, and what plugins keep moves on.
    assert!(said(&mut asked).starts_with("server.Reload\"engine 3 serves, after "));
    drop(asked);
    assert!(is_gone(second) && reloads(&server, 2), "{}", server.log.text());
    assert_eq!(Rpc::tcp(address).call("lock.Exists", &lock).unwrap()["ok"], true);
    assert!(!server.log.text().contains("is lost"), "{}", server.log.text());
    server.stop();
}

#[test]
fn an_engine_that_dies_in_its_first_moments_is_replaced_while_the_one_before_finishes() {
    if reference().is_some() {
        return;
    }
    let (server, address, old, mut running) = draining();
    let second = engine(&server);
    server.signal(Signal::SIGHUP);
    kill(second, Signal::SIGKILL).unwrap();
    let died = Instant::now();
    assert!(is_gone(second));
    let third = engine(&server);
    eprintln!("answered again after {:?}", died.elapsed());
    assert!(third != second && third != old && is_alive(old), "{}", server.log.text());
    assert!(server.logs("the engine serves again"), "{}", server.log.text());
    // It has the state, and the oldest has none.
    let lock = json!({"resource": "r", "id": "a"});
    assert_eq!(Rpc::tcp(address).call("lock.Lock", &lock).unwrap()["ok"], true);
    fs::write(server.dir().join("gate"), "").unwrap();
    assert_eq!(running.read().unwrap().text(), "finished");
    drop(running);
    // The reload that was asked for follows.
    assert!(is_gone(old) && is_gone(third) && reloads(&server, 2), "{}", server.log.text());
    assert_eq!(Rpc::tcp(address).call("lock.Exists", &lock).unwrap()["ok"], true);
    server.stop();
}
