//! systemd's notification protocol (`sd_notify(3)`), if a socket for it was given.

use std::{
    env,
    os::linux::net::SocketAddrExt,
    os::unix::net::{SocketAddr, UnixDatagram},
    process,
    time::{Duration, Instant},
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

/// When systemd wants to hear that all is well.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// Twice as often as it asks for; none if it does not.
    every: Option<Duration>,
    next: Instant,
}

// === impl Watchdog ===

impl Watchdog {
    pub(super) fn new() -> Self {
        let variable = |name| env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let every = variable("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0);
        Self { every: every.map(|micros| Duration::from_micros(micros) / 2), next: Instant::now() }
    }

    /// When it is due; at no time if nobody asks.
    pub(super) fn due(&self) -> Option<Instant> {
        self.every.map(|_| self.next)
    }

    /// Tells that all is well, if it is and if that is due.
    pub(super) fn feed(&mut self, is_well: bool, now: Instant) {
        let Some(every) = self.every.filter(|_| now >= self.next) else { return };
        self.next = now + every;
        if is_well {
            send("WATCHDOG=1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_due_twice_as_often_as_systemd_looks() {
        let now = Instant::now();
        let mut watchdog = Watchdog { every: Some(Duration::from_millis(200)), next: now };
        watchdog.feed(false, now);
        assert_eq!(watchdog.due(), Some(now + Duration::from_millis(200)));
        watchdog.feed(false, now + Duration::from_millis(100));
        assert_eq!(watchdog.due(), Some(now + Duration::from_millis(200)), "it was not due");
        assert_eq!(Watchdog { every: None, next: now }.due(), None);
    }
}
