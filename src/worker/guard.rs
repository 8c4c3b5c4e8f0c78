//! What to do while memory is short: a rule that is asked now and then. It acts on nothing.

use std::time::{Duration, Instant};

/// When memory is short, and how short (`engine.memory`).
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// In percent of the limit: from here on workers start afresh, the largest first.
    pub recycle_at: u8,
    /// In percent of the limit: from here on fewer works run and none waits.
    pub shed_at: u8,
    /// After so long of that another engine is to take over.
    pub replace_after: Duration,
}

/// How short memory is.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Pressure {
    /// It is not.
    #[default]
    None,
    /// Workers start afresh.
    Recycle,
    /// Works are refused.
    Shed,
}

/// What was found out about memory.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// In bytes.
    pub limit: u64,
    /// In bytes.
    pub used: u64,
    /// What this engine itself holds, in bytes.
    pub own: u64,
}

/// How another engine is to take over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Replace {
    /// Beside this one, which ends then.
    Beside,
    /// After this one has ended: there is no room for two.
    After,
}

/// Remembers what was done.
#[derive(Debug)]
pub struct Guard {
    thresholds: Thresholds,
    /// What the engine held when it began to serve, as another one would.
    at_start: u64,
    pressure: Pressure,
    /// Since when works are refused, or were when another engine was asked for last.
    shed_since: Option<Instant>,
}

/// A level is left when usage is so many percent below where it began, or it would come and go with every request.
const SLACK: u8 = 5;

/// Another engine is worth its start if it gives back such a part of the limit.
const WORTHWHILE: u64 = 10;

// === impl Guard ===

impl Guard {
    /// Of an engine that holds `at_start` bytes when it begins to serve.
    pub fn new(thresholds: Thresholds, at_start: u64) -> Self {
        Self { thresholds, at_start, pressure: Pressure::None, shed_since: None }
    }

    /// How short memory is now.
    pub fn look(&mut self, reading: Reading, now: Instant) -> Pressure {
        let is_above = |percent: u8| u128::from(reading.used) * 100 >= u128::from(reading.limit) * u128::from(percent);
        let holds = |level: Pressure, from: u8| {
            let from = if self.pressure >= level { from.saturating_sub(SLACK) } else { from };
            is_above(from)
        };
        let Thresholds { recycle_at, shed_at, .. } = self.thresholds;
        self.pressure = if holds(Pressure::Shed, shed_at) {
            Pressure::Shed
        } else if holds(Pressure::Recycle, recycle_at) {
            Pressure::Recycle
        } else {
            Pressure::None
        };
        self.shed_since = (self.pressure == Pressure::Shed).then(|| self.shed_since.unwrap_or(now));
        self.pressure
    }

    /// Whether and how another engine is to take over; asked after each look, and granted once in `replace_after`.
    pub fn replace(&mut self, reading: Reading, now: Instant) -> Option<Replace> {
        let since = self.shed_since.filter(|since| now.duration_since(*since) >= self.thresholds.replace_after)?;
        // Memory that others hold is not given back by our end.
        if reading.own.saturating_sub(self.at_start) < reading.limit / WORTHWHILE {
            return None;
        }
        self.shed_since = Some(now.max(since));
        let room = reading.limit.saturating_sub(reading.used);
        Some(if room > self.at_start { Replace::Beside } else { Replace::After })
    }
}

// === impl Pressure ===

impl Pressure {
    /// How many of a pool's `workers` may work while works are refused.
    pub(crate) fn most_running(workers: usize) -> usize {
        (workers / 2).max(1)
    }

    /// For the log.
    pub fn measure(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Recycle => "workers start afresh, the largest first",
            Self::Shed => "half of the workers work, further requests are refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const THRESHOLDS: Thresholds = Thresholds { recycle_at: 80, shed_at: 90, replace_after: SECOND };

    fn used(used: u64) -> Reading {
        Reading { limit: 1000, used, own: used }
    }

    #[test]
    fn levels_come_at_their_threshold_and_go_below_it() {
        let mut guard = Guard::new(THRESHOLDS, 100);
        let now = Instant::now();
        let seen: Vec<_> = [799, 800, 760, 749, 900, 851, 849, 740, 950].map(|bytes| guard.look(used(bytes), now)).into();
        use Pressure::{None, Recycle, Shed};
        assert_eq!(seen, [None, Recycle, Recycle, None, Shed, Shed, Recycle, None, Shed]);
    }

    #[test]
    fn another_engine_takes_over_after_a_while_of_shedding_and_not_at_once_again() {
        let mut guard = Guard::new(THRESHOLDS, 50);
        let start = Instant::now();
        let mut at = |bytes, seconds: u32| {
            let now = start + SECOND * seconds;
            guard.look(used(bytes), now);
            guard.replace(used(bytes), now)
        };
        assert_eq!(at(920, 0), None);
        assert_eq!(at(800, 1), None, "it was over in between");
        assert_eq!(at(920, 2), None);
        assert_eq!(at(920, 3), Some(Replace::Beside));
        assert_eq!(at(920, 3), None);
        assert_eq!(at(970, 4), Some(Replace::After), "there is no room for two");
    }

    #[test]
    fn memory_that_others_hold_is_no_reason_to_end() {
        let mut guard = Guard::new(THRESHOLDS, 100);
        let now = Instant::now();
        let reading = Reading { own: 150, ..used(950) };
        guard.look(reading, now);
        assert_eq!(guard.replace(reading, now + SECOND * 9), None);
        assert_eq!(guard.replace(Reading { own: 200, ..reading }, now + SECOND * 9), Some(Replace::After));
    }

    #[test]
    fn some_always_work() {
        assert_eq!([0, 1, 2, 3, 8].map(Pressure::most_running), [1, 1, 1, 1, 4]);
    }
}
