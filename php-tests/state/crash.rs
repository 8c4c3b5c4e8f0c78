//! What is lost, and said to be.

use nix::sys::signal::{Signal, kill};

use super::{Locker, locking, reload_all};
use crate::{
    harness::{PATIENCE, reference, wait_until},
    supervisor::{engine, is_gone, site},
};

#[test]
fn locks_of_an_engine_that_died_are_gone_and_the_log_says_so() {
    if reference().is_some() {
        return;
    }
    let (server, address) = locking(site());
    let a = Locker { address, id: "a" };
    assert!(a.lock("r"));
    let old = engine(&server);
    kill(old, Signal::SIGKILL).unwrap();
    assert!(is_gone(old) && wait_until(PATIENCE, || engine(&server) != old), "{}", server.log.text());
    assert!(!a.has("r"));
    let said = "what plugins kept in memory is lost: no engine is there that could hand it over; lock starts empty";
    assert!(server.logs(said), "{}", server.log.text());
    // And all is well with those that are taken since.
    assert!(a.lock("r"));
    reload_all(&server);
    assert!(a.has("r") && a.release("r"));
    server.stop();
}
