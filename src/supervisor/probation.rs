//! A release that a reload has brought is on probation at first: if its engines keep dying, what was served before comes back.
//!
//! Not at the first death, which may be chance, and after which the same release serves again within moments; and by a new engine,
//! for the old one mostly has ended by then.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const DEATHS: u32 = 2;

/// How a release does that has just begun to serve.
#[derive(Debug, Default)]
pub(super) struct Probation {
    ends: Option<Instant>,
    deaths: u32,
    /// It has failed, and what was served before could not come back yet.
    pub(super) has_failed: bool,
}

/// What one program leaves of it to the next.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Left {
    ends_in: Option<Duration>,
    deaths: u32,
    has_failed: bool,
}

// === impl Probation ===

impl Probation {
    pub(super) fn begin(now: Instant, lasts: Duration) -> Self {
        Self { ends: now.checked_add(lasts).filter(|_| !lasts.is_zero()), deaths: 0, has_failed: false }
    }

    /// An engine has died: whether the release has failed by that.
    pub(super) fn fails(&mut self, now: Instant) -> bool {
        if self.ends.is_none_or(|ends| now >= ends) {
            return false;
        }
        self.deaths += 1;
        self.has_failed |= self.deaths >= DEATHS;
        self.has_failed
    }

    pub(super) fn left(&self, now: Instant) -> Left {
        let ends_in = self.ends.map(|ends| ends.saturating_duration_since(now));
        Left { ends_in, deaths: self.deaths, has_failed: self.has_failed }
    }

    pub(super) fn adopt(left: &Left, now: Instant) -> Self {
        let ends = left.ends_in.and_then(|ends_in| now.checked_add(ends_in));
        Self { ends, deaths: left.deaths, has_failed: left.has_failed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(30);

    #[test]
    fn a_release_fails_by_the_second_death_while_it_lasts() {
        let now = Instant::now();
        let mut probation = Probation::begin(now, LASTS);
        assert_eq!([probation.fails(now), probation.fails(now), probation.fails(now)], [false, true, true]);
        let mut lucky = Probation::begin(now, LASTS);
        assert_eq!([lucky.fails(now), lucky.fails(now + LASTS)], [false, false]);
        let [mut never, mut none] = [Probation::begin(now, Duration::ZERO), Probation::default()];
        assert!((0..3).all(|_| !never.fails(now) && !none.fails(now)));
    }

    #[test]
    fn the_next_program_goes_on_with_it() {
        let now = Instant::now();
        let mut probation = Probation::begin(now, LASTS);
        probation.fails(now);
        let mut next = Probation::adopt(&probation.left(now + LASTS / 2), now);
        assert_eq!([next.fails(now + LASTS / 2), next.fails(now)], [false, true]);
    }
}
