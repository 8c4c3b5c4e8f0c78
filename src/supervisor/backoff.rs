//! How soon an engine that has died is started again.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
const FORGIVEN_AFTER: Duration = Duration::from_secs(30);

/// At once, then after 100 ms, doubling to 5 s; forgotten once no engine has died for 30 s.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    deaths: u32,
    /// When the next engine after the last death was to be started.
    since: Option<Instant>,
}

// === impl Backoff ===

impl Backoff {
    /// The pause after the death of an engine.
    pub(super) fn after_death(&mut self, now: Instant) -> Duration {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) >= FORGIVEN_AFTER) {
            self.deaths = 0;
        }
        self.deaths += 1;
        let pause = match self.deaths {
            1 => Duration::ZERO,
            deaths => FIRST.saturating_mul(1 << (deaths - 2).min(16)).min(LONGEST),
        };
        self.since = Some(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_a_bound_and_forgives() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let pauses: Vec<_> = (0..9).map(|_| backoff.after_death(now).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        // The pause itself is no time of health.
        now += FORGIVEN_AFTER;
        assert_eq!(backoff.after_death(now), LONGEST);
        now += LONGEST + FORGIVEN_AFTER;
        assert_eq!(backoff.after_death(now), Duration::ZERO);
    }
}
