//! systemd's notification protocol (`sd_notify(3)`), if a socket for it was given.

use std::{
    env,
    os::linux::net::SocketAddrExt,
    os::unix::net::{SocketAddr, UnixDatagram},
};

use crate::sys::clock;

/// Sends `state`; nobody listening is no error.
pub(super) fn send(state: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return };
    let path = path.to_string_lossy();
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&*path),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::debug!(%error, "systemd is not told {state}");
    }
}

/// A reload begins.
pub(super) fn reloading() {
    send(&format!("RELOADING=1\nMONOTONIC_USEC={}", clock::monotonic().as_micros()));
}

/// All is well, if systemd wants to hear it.
pub(super) fn watchdog() {
    if env::var_os("WATCHDOG_USEC").is_some() {
        send("WATCHDOG=1");
    }
}
