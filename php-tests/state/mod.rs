//! What plugins keep in memory, over reloads: locks and figures, asked for by calls.

mod crash;
mod figures;
mod locks;
mod moves;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{
    harness::{PATIENCE, Rpc, Server, Setup, free_port, wait_until},
    supervisor::{engine, is_gone, reload::reload},
};

/// A server with RPC, and where that is.
fn locking(setup: Setup) -> (Server, SocketAddr) {
    let address = free_port();
    (setup.option(&format!("rpc.listen=tcp://{address}")).start(), address)
}

/// One who asks for locks, on a connection of its own for each call.
#[derive(Clone, Copy)]
struct Locker<'a> {
    address: SocketAddr,
    id: &'a str,
}

/// In microseconds, as the times of all calls.
const MINUTE: u64 = 60_000_000;

impl Locker<'_> {
    fn call(self, method: &str, resource: &str, wait: u64) -> bool {
        self.try_call(method, resource, wait).expect("the server answers")
    }

    /// None if the server closed the connection.
    fn try_call(self, method: &str, resource: &str, wait: u64) -> Option<bool> {
        let argument = json!({"resource": resource, "id": self.id, "ttl": 10 * MINUTE, "wait": wait});
        let answer = Rpc::tcp(self.address).try_call(&format!("lock.{method}"), &argument)?;
        Some(is_ok(&answer.unwrap_or_else(|error| panic!("{method}: {error}"))))
    }

    fn lock(self, resource: &str) -> bool {
        self.call("Lock", resource, 0)
    }

    fn has(self, resource: &str) -> bool {
        self.call("Exists", resource, 0)
    }

    fn release(self, resource: &str) -> bool {
        self.call("Release", resource, 0)
    }

    /// Waits for the lock, also if the server should end a connection.
    fn insist(self, resource: &str) {
        while !self.try_call("Lock", resource, MINUTE).unwrap_or_else(|| self.has(resource)) {}
    }

    /// The same for giving it back.
    fn let_go(self, resource: &str) {
        let released = self.try_call("Release", resource, 0);
        assert_ne!(released, Some(false), "it was held");
        while released.is_none() && self.try_call("Exists", resource, 0) != Some(false) {
            self.try_call("Release", resource, 0);
        }
    }
}

fn is_ok(answer: &Value) -> bool {
    answer["ok"].as_bool().unwrap_or_else(|| panic!("no answer: {answer}"))
}

/// Reloads, and waits until there is but the new engine.
fn reload_all(server: &Server) {
    let old = reload(server, nix::sys::signal::Signal::SIGHUP);
    assert!(is_gone(old), "{}", server.log.text());
    assert_ne!(engine(server), old);
}

/// Waits until so many calls wait for a lock, as the page of figures at `metrics` has it.
fn wait_until_waiting(metrics: SocketAddr, count: usize) {
    let line = format!("rr_lock_waiting {count}\n");
    let shown = || crate::harness::Request::new(metrics, "GET", "/").try_send().is_ok_and(|reply| reply.text().contains(&line));
    assert!(wait_until(PATIENCE, shown), "{count} calls wait");
}
