//! UDP ports that are another server's at first: an engine whose supervisor has died lets go of its listening sockets at once, but reads
//! packets for as long as it finishes requests of HTTP/3. TCP is served meanwhile.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{Held, Kind, Table, Wanted};
use crate::{error::Error, http::h3::Port};

// === impl Wanted ===

impl Wanted {
    /// Like [`Self::listen_soon`]; but an engine whose supervisor has died has a UDP port for as long as it finishes requests.
    pub(super) fn listen_some_time(&self, within: Duration) -> Result<Held, Error> {
        match self.listen_soon() {
            Err(Error::InUse(why)) if self.kind == Kind::Quic => {
                tracing::warn!(
                    "{why}: likely an engine whose supervisor has died still finishes requests: HTTP/3 is served once it has \
                     ended, which is waited for up to {} s",
                    within.as_secs()
                );
                Ok(Held::Late)
            }
            listening => listening,
        }
    }

    pub(super) fn is_held_by_our_kind(&self, error: &io::Error) -> bool {
        let is_held = || self.address.udp().is_ok_and(|address| Port::is_of_our_kind(address, self.scope));
        error.kind() == io::ErrorKind::AddrInUse && is_held()
    }
}

// === impl Table ===

impl Table {
    /// Listens on the UDP ports that were another server's at first. True if one was had, which the next engine gets and no earlier
    /// one.
    pub(in crate::supervisor) fn listen_late(&mut self, now: Instant) -> bool {
        let slot = self.terms.slot.other();
        let mut has_one = false;
        self.active.retain_mut(|kept| match kept.held {
            Held::Late => match kept.wanted.listen(slot) {
                Err(Error::InUse(_)) if now < self.late_until => true,
                Err(why) => {
                    tracing::error!("{why}: HTTP/3 is not served there; reload once it is free");
                    false
                }
                Ok(held) => {
                    tracing::info!("{}: another server has let go of {}, UDP", kept.wanted.key, kept.wanted.address);
                    (kept.held, has_one) = (held, true);
                    true
                }
            },
            _ => true,
        });
        has_one
    }
}
