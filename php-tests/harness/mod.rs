//! What the tests are written with: a server of their own, clients that send any byte they like, and places to put files.

pub(crate) mod census;
mod client;
mod dir;
pub(crate) mod fastcgi;
pub(crate) mod frames;
mod goridge;
mod h2;
pub(crate) mod h3;
mod log;
pub(crate) mod pebble;
mod reference;
mod reply;
mod server;
mod tls;

use std::{
    io::Write as _,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

pub(crate) use client::{Connection, Request, multipart};
pub(crate) use dir::{TempDir, age, copy_tree, fixtures};
pub(crate) use fastcgi::{Fcgi, FcgiReply, params};
pub(crate) use goridge::Rpc;
pub(crate) use h2::H2;
pub(crate) use log::Log;
pub(crate) use pebble::{Pebble, Rules};
pub(crate) use reference::{Front, reference};
pub(crate) use reply::Reply;
pub(crate) use server::{Server, Setup, before, command, finish, free_port, program, rr, server};
pub(crate) use tls::Office;

/// Longest wait for anything in a test: a bound for hangs, not an expectation.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `ready` every few milliseconds until it says yes; false when `limit` has passed.
pub(crate) fn wait_until(limit: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if ready() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// True under `./x asan`, where memory is kept and everything takes its time.
pub(crate) fn is_sanitized() -> bool {
    std::env::var_os("RR_SANITIZED").is_some()
}

/// Reports a component that could not be had: at once, past libtest's capture, and in the file that `./x test` prints last.
/// Under `RR_FULL=1` it is a failure.
pub(crate) fn not_run(component: &str, reason: &str) {
    let line = format!("not run: {component}: {reason}\n");
    assert!(std::env::var_os("RR_FULL").is_none(), "{line}");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(file) = std::env::var_os("RR_NOT_RUN") {
        std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// An extension for the PHP that `rr` is built with: one that `variable` names, or the one that is installed.
pub(crate) fn extension(name: &str, variable: &str) -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(variable) {
        return Some(named.into());
    }
    let asked = Command::new(env!("RR_PHP_BINARY")).args(["-n", "-r", "echo PHP_EXTENSION_DIR;"]).output().ok();
    let directory = PathBuf::from(asked.map(|output| String::from_utf8(output.stdout).unwrap()).unwrap_or_default());
    let installed = directory.join(format!("{name}.so"));
    if installed.exists() {
        return Some(installed);
    }
    let directory = directory.display();
    not_run(name, &format!("it is neither in {directory} nor named by {variable}; build it with this PHP's phpize"));
    None
}
