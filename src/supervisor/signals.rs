//! What operators and service managers say by signals.

use tokio::signal::unix::{self, SignalKind};

use super::Heard;
use crate::sys::spawn;

/// The signals that a supervisor hears.
pub(super) struct Signals([unix::Signal; 7]);

// === impl Signals ===

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        let of = unix::signal;
        let (user1, user2) = (SignalKind::user_defined1(), SignalKind::user_defined2());
        let stops = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()];
        let (hangup, child) = (SignalKind::hangup(), SignalKind::child());
        let all = [of(stops[0])?, of(stops[1])?, of(stops[2])?, of(hangup)?, of(user2)?, of(user1)?, of(child)?];
        // The program before this one, if there was one, has held them back until here.
        spawn::let_signals_in()?;
        Ok(Self(all))
    }

    pub(super) async fn heard(&mut self) -> Heard {
        let [term, int, quit, hup, usr2, usr1, child] = &mut self.0;
        tokio::select! {
            _ = term.recv() => Heard::Stop,
            _ = int.recv() => Heard::Stop,
            _ = quit.recv() => Heard::Stop,
            _ = hup.recv() => Heard::Reload,
            _ = usr2.recv() => Heard::Reload,
            _ = usr1.recv() => Heard::ReopenLogs,
            _ = child.recv() => Heard::Child,
        }
    }
}
