//! `rate_limit`: so many requests of each client in a time, and some more at once; then 429.
//!
//! A bucket of tokens for each client, kept as the moment at which it will be full again, in a table of bounded size.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{HeaderValue, StatusCode, header};
use quick_cache::sync::Cache;

use super::{Note, Paths, Verdict};
use crate::http::{Peer, known::Known, response};

/// How often clients may ask (`http.rate_limit`).
#[derive(Clone, Debug)]
pub struct Config {
    /// Requests in each period.
    pub requests: u32,
    /// The period.
    pub period: Duration,
    /// Requests at once, on top of the pace.
    pub burst: u32,
    /// Clients remembered; those that have not been seen for long make room.
    pub max_clients: usize,
    /// The paths that it is for, together.
    pub paths: Paths,
}

/// Slows down who asks too often.
#[derive(Debug)]
pub struct RateLimit {
    /// Nanoseconds that one request costs.
    cost: u64,
    /// Nanoseconds that a client may be ahead.
    ahead: u64,
    paths: Paths,
    started: Instant,
    /// When, in nanoseconds after the start, each client's bucket is full again.
    full_at: Cache<u128, Arc<AtomicU64>>,
}

// === impl Config ===

impl Config {
    /// A table without clients.
    pub fn build(self) -> RateLimit {
        let cost = nanoseconds(self.period) / u64::from(self.requests.max(1));
        RateLimit {
            cost,
            ahead: cost.saturating_mul(u64::from(self.burst.max(1))),
            paths: self.paths,
            started: Instant::now(),
            full_at: Cache::new(self.max_clients),
        }
    }
}

// === impl RateLimit ===

impl RateLimit {
    pub(super) fn is_for_some(&self) -> bool {
        self.paths.are_some()
    }

    pub(super) fn before(&self, known: &Known, peer: &Peer) -> Verdict {
        // Behind a unix socket there is a proxy: its clients are told apart by proxy_ip_parser, or not at all.
        let Some(client) = peer.remote.filter(|_| self.paths.have(known)) else { return Verdict::Pass(Note::Nothing) };
        match self.take(client.ip(), nanoseconds(self.started.elapsed())) {
            Ok(()) => Verdict::Pass(Note::Nothing),
            Err(wait) => {
                let mut response = response::plain(StatusCode::TOO_MANY_REQUESTS);
                let seconds = wait.div_ceil(1_000_000_000).max(1);
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                Verdict::Answer(response.into())
            }
        }
    }

    /// Takes a token at `now`; if there is none, how many nanoseconds until there is one.
    fn take(&self, client: IpAddr, now: u64) -> Result<(), u64> {
        let Ok(full_at) = self.full_at.get_or_insert_with(&household(client), || Ok::<_, ()>(Arc::default())) else {
            return Ok(());
        };
        let spend = |full_at: u64| {
            let then = full_at.max(now).saturating_add(self.cost);
            (then - now <= self.ahead).then_some(then)
        };
        match full_at.fetch_update(Relaxed, Relaxed, spend) {
            Ok(_) => Ok(()),
            Err(full_at) => Err((full_at.max(now) + self.cost).saturating_sub(now + self.ahead)),
        }
    }
}

/// A client is an IPv4 address, or all of the IPv6 addresses that one line has.
fn household(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

fn nanoseconds(span: Duration) -> u64 {
    span.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limit(max_clients: usize) -> RateLimit {
        Config { requests: 2, period: Duration::from_secs(1), burst: 3, max_clients, paths: Paths::default() }.build()
    }

    #[test]
    fn a_burst_passes_and_then_the_pace() {
        let limit = limit(10);
        let client = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(limit.take(client, SECOND), Ok(()));
        }
        assert_eq!(limit.take(client, SECOND), Err(SECOND / 2));
        assert_eq!(limit.take(client, SECOND + SECOND / 4), Err(SECOND / 4));
        assert_eq!(limit.take(client, SECOND + SECOND / 2), Ok(()));
        assert_eq!(limit.take(client, SECOND + SECOND / 2), Err(SECOND / 2), "a refusal costs nothing");
        assert_eq!(limit.take("192.0.2.2".parse().unwrap(), SECOND), Ok(()), "another client");
        for _ in 0..3 {
            assert_eq!(limit.take(client, 100 * SECOND), Ok(()), "the bucket is full, and no fuller");
        }
        assert!(limit.take(client, 100 * SECOND).is_err());
    }

    #[test]
    fn a_line_with_many_addresses_is_one_client_and_the_table_is_bounded() {
        let limit = limit(100);
        for host in 0..3 {
            assert_eq!(limit.take(format!("2001:db8::{host}").parse().unwrap(), SECOND), Ok(()));
        }
        assert!(limit.take("2001:db8::ffff".parse().unwrap(), SECOND).is_err());
        assert_eq!(limit.take("2001:db8:0:1::1".parse().unwrap(), SECOND), Ok(()));
        for number in 0..10_000_u32 {
            _ = limit.take(IpAddr::V4(number.into()), SECOND);
        }
        assert!(limit.full_at.len() <= 100, "{}", limit.full_at.len());
    }
}
