//! How soon an engine that has died is started again.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
const FORGIVEN_AFTER: Duration = Duration::from_secs(30);

/// At once, then after 100 ms, doubling to 5 s; forgotten once an engine has lived for 30 s.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    deaths: u32,
}

// === impl Backoff ===

impl Backoff {
    /// The pause after the death of an engine that was started at `started`.
    pub(super) fn after(&mut self, started: Instant, now: Instant) -> Duration {
        if now.duration_since(started) >= FORGIVEN_AFTER {
            self.deaths = 0;
        }
        self.deaths += 1;
        match self.deaths {
            1 => Duration::ZERO,
            deaths => FIRST.saturating_mul(1 << (deaths - 2).min(16)).min(LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_a_bound_and_forgives() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        let pauses: Vec<_> = (0..9).map(|_| backoff.after(now, now).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.after(now, now + FORGIVEN_AFTER), Duration::ZERO);
    }
}
