//! A release whose engines keep dying soon after a reload gives way to the one before.

use std::net::SocketAddr;

use nix::sys::signal::{Signal, kill};

use super::{Releases, engine, is_gone, operator::command, site};
use crate::harness::{PATIENCE, Server, free_port, reference, wait_until};

/// Ends the engine that serves, without a word.
fn die(server: &Server) {
    let old = engine(server);
    kill(old, Signal::SIGKILL).unwrap();
    assert!(is_gone(old), "{}", server.log.text());
}

/// A server that was reloaded, from release 1 to release 2, and where it is called.
fn reloaded(option: &str) -> (Server, SocketAddr, Releases) {
    let address = free_port();
    let setup = site().option(&format!("rpc.listen=tcp://{address}")).option(option);
    let releases = Releases::new(setup.scratch(), "release.php", |release| format!("echo {release};"));
    let server = setup.root(&releases.current()).preset("files").start();
    let old = engine(&server);
    releases.deploy();
    command(address, &["reload"]).unwrap();
    assert!(is_gone(old), "{}", server.log.text());
    assert_eq!(server.text("/release.php"), "2");
    (server, address, releases)
}

#[test]
fn a_release_that_keeps_dying_gives_way_to_the_one_before() {
    if reference().is_some() {
        return;
    }
    let (server, address, _) = reloaded("engine.probation=60s");
    die(&server);
    // Once is chance.
    assert_eq!(server.text("/release.php"), "2");
    die(&server);
    assert!(server.log.contains("the one before it serves again", PATIENCE), "{}", server.log.text());
    assert_eq!(server.text("/release.php"), "1");
    // That one is not on probation.
    (0..2).for_each(|_| die(&server));
    assert_eq!(server.text("/release.php"), "1");
    // What has failed is there still, and can be had.
    command(address, &["rollback"]).unwrap();
    assert!(wait_until(PATIENCE, || server.text("/release.php") == "2"), "{}", server.log.text());
}

#[test]
fn a_release_that_keeps_dying_goes_on_if_there_is_nothing_to_go_back_to() {
    if reference().is_some() {
        return;
    }
    let (server, _, releases) = reloaded("engine.probation=60s");
    releases.delete_first();
    (0..2).for_each(|_| die(&server));
    assert!(server.log.contains("the folders or scripts are gone", PATIENCE), "{}", server.log.text());
    assert_eq!(server.text("/release.php"), "2");
}

#[test]
fn without_probation_a_release_goes_on() {
    if reference().is_some() {
        return;
    }
    let (server, ..) = reloaded("engine.probation=0s");
    (0..3).for_each(|_| die(&server));
    assert_eq!(server.text("/release.php"), "2");
}
