//! When a certificate is asked for again.

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::store::Failure;

/// How often an authority is asked when it wants a certificate renewed, whatever it says itself.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));

/// Doublings after which a wait is the longest one anyhow.
const MAX_DOUBLINGS: u32 = 20;

/// When two thirds of a certificate's life are over, and up to a thirtieth later: those that were issued together need not be
/// renewed together.
pub(super) fn renewal(from: SystemTime, until: SystemTime) -> SystemTime {
    let life = until.duration_since(from).unwrap_or_default();
    from + life.mul_f64(2.0 / 3.0 + fraction() / 30.0)
}

/// A moment within what the authority suggests (RFC 9773), but before the certificate ends.
pub(super) fn suggested(window: (SystemTime, SystemTime), until: SystemTime) -> SystemTime {
    let (start, end) = window;
    let length = end.duration_since(start).unwrap_or_default();
    (start + length.mul_f64(fraction())).min(until)
}

/// When to ask for that suggestion again.
pub(super) fn ask_again(told: Duration) -> SystemTime {
    SystemTime::now() + told.clamp(ASK_AGAIN.0, ASK_AGAIN.1)
}

/// The wait after one more failure: doubled each time, and a part of it left to chance.
pub(super) fn after_failure(last: Option<Failure>, first: Duration, longest: Duration) -> Failure {
    let count = last.map_or(0, |failure| failure.count).saturating_add(1);
    let whole = first.saturating_mul(1 << (count - 1).min(MAX_DOUBLINGS)).min(longest);
    let wait = whole.mul_f64(0.75 + fraction() / 4.0);
    // Rounded up, so that nobody comes too early.
    Failure { count, until: seconds(SystemTime::now() + wait) + 1 }
}

/// In seconds of Unix time.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// From 0 to 1, by chance.
fn fraction() -> f64 {
    // Keyed with the system's randomness.
    let random = RandomState::new().hash_one(0) >> 32;
    f64::from(u32::try_from(random).unwrap_or_default()) / f64::from(u32::MAX)
}
