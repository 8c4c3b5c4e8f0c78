//! The keys of TLS's tickets: the same for all engines, and replaced in all of them at the same time.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Supervisor, line::Order};
use crate::http::tls::tickets::Keys;

/// The keys in force.
#[derive(Debug)]
pub(super) struct TicketKeys {
    pub(super) keys: Keys,
    since: Instant,
}

/// The same, as they are written for the next program.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Left {
    keys: Keys,
    age: Duration,
}

// === impl TicketKeys ===

impl Default for TicketKeys {
    fn default() -> Self {
        Self { keys: Keys::new(), since: Instant::now() }
    }
}

impl TicketKeys {
    pub(super) fn left(&self) -> Left {
        Left { keys: self.keys.clone(), age: self.since.elapsed() }
    }

    pub(super) fn adopt(left: Left) -> Self {
        let now = Instant::now();
        Self { keys: left.keys, since: now.checked_sub(left.age).unwrap_or(now) }
    }
}

// === impl Supervisor ===

impl Supervisor {
    /// Replaces the keys if it is time for that.
    pub(super) fn replace_ticket_keys(&mut self, now: Instant) {
        if now.duration_since(self.ticket_keys.since) < self.installed.release.ticket_lifetime {
            return;
        }
        let keys = self.ticket_keys.keys.clone().replaced();
        self.engines().for_each(|engine| engine.say(&Order::TicketKeys(keys.clone())));
        self.ticket_keys = TicketKeys { keys, since: now };
    }
}
