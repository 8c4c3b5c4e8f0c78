//! What boots while others serve leaves the machine to them at first, but not for ever: where every CPU is wanted all the time, a
//! process that is less important than dozens of threads would hardly run.

use std::time::{Duration, Instant};

use crate::sys::priority;

/// Of the time in which a process yields, how long it is less important.
const LESS: u32 = 3;

/// How a process that [`priority::lower`] has lowered becomes as important as others.
#[derive(Debug, Default)]
pub(super) struct Deference {
    yields_until: Option<Instant>,
    ends: Option<Instant>,
}

// === impl Deference ===

impl Deference {
    /// From `now` on the process runs for `yields` only when nobody else wants to, and is less important for twice as long after that;
    /// with none it is as important as others.
    pub(super) fn begin(now: Instant, yields: Option<Duration>) -> Self {
        Self { yields_until: yields.map(|yields| now + yields), ends: yields.map(|yields| now + yields * LESS) }
    }

    /// When it is to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        self.yields_until.or(self.ends)
    }

    /// Does what is due.
    pub(super) fn look(&mut self, process: i32, now: Instant) {
        let is_over = self.ends.take_if(|at| now >= *at).is_some();
        let insists = self.yields_until.take_if(|at| now >= *at).is_some();
        let done = match (is_over, insists) {
            (true, _) => priority::equal(process),
            (false, true) => priority::insist(process),
            (false, false) => return,
        };
        if let Err(error) = done {
            tracing::debug!(pid = process, "its priority stays as it is: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_yields_and_then_is_less_important_for_twice_as_long() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        // The lookups fail: there is no such process.
        let (mut deference, nobody) = (Deference::begin(now, Some(second)), i32::MAX);
        assert_eq!(deference.due(), Some(now + second));
        deference.look(nobody, now);
        assert_eq!(deference.due(), Some(now + second));
        deference.look(nobody, now + second);
        assert_eq!(deference.due(), Some(now + 3 * second));
        deference.look(nobody, now + 3 * second);
        assert_eq!((deference.due(), Deference::default().due()), (None, None));
        let mut late = Deference::begin(now, Some(second));
        late.look(nobody, now + 4 * second);
        assert_eq!(late.due(), None);
    }
}
