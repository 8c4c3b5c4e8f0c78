//! `ip_filter`: who may ask at all, by the client's address; behind a proxy that is the one that `proxy_ip_parser` has found, if that
//! stands further out.

use http::StatusCode;

use super::{Note, Paths, Verdict};
use crate::http::{Peer, known::Known, response, subnet::Subnets};

/// Lets in who may come in.
#[derive(Debug)]
pub struct IpFilter {
    /// The only ones that are let in; none means all are.
    pub allow: Option<Subnets>,
    /// Those that are not, whatever else is said.
    pub deny: Subnets,
    /// The paths that it is for.
    pub paths: Paths,
}

// === impl IpFilter ===

impl IpFilter {
    pub(super) fn before(&self, known: &Known, peer: &Peer) -> Verdict {
        // Whoever comes by a unix socket has no address, so that only who lets in all lets them in.
        let is_allowed = match peer.remote.map(|client| client.ip()) {
            Some(client) => !self.deny.contains(client) && self.allow.as_ref().is_none_or(|allow| allow.contains(client)),
            None => self.allow.is_none(),
        };
        if is_allowed || !self.paths.have(known) {
            return Verdict::Pass(Note::Nothing);
        }
        Verdict::Answer(response::plain(StatusCode::FORBIDDEN).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_denied_is_refused_and_so_is_who_is_not_allowed() {
        let subnets = |text: &[(&str, u8)]| Subnets::new(text.iter().map(|(address, bits)| (address.parse().unwrap(), *bits)));
        let lets_in = |filter: &IpFilter, client: Option<&str>| {
            let peer = Peer { remote: client.map(|client| client.parse().unwrap()), ..Peer::default() };
            matches!(filter.before(&Known::of("/a"), &peer), Verdict::Pass(_))
        };
        let mut filter =
            IpFilter { allow: Some(subnets(&[("10.0.0.0", 8)])), deny: subnets(&[("10.1.0.0", 16)]), paths: Paths::default() };
        assert!(lets_in(&filter, Some("10.2.0.1:5")) && lets_in(&filter, Some("[::ffff:10.2.0.1]:5")));
        assert!(!lets_in(&filter, Some("10.1.0.1:5")) && !lets_in(&filter, Some("8.8.8.8:5")) && !lets_in(&filter, None));
        filter.allow = None;
        assert!(lets_in(&filter, Some("8.8.8.8:5")) && lets_in(&filter, None) && !lets_in(&filter, Some("10.1.0.1:5")));
        filter.paths = Paths::new(vec!["/b".into()]);
        assert!(lets_in(&filter, Some("10.1.0.1:5")), "another path");
    }
}
