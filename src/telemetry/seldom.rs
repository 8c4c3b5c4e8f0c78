//! A message that would come with every request or every try, said now and then.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets one in a while through, as a `static` beside the message.
#[derive(Debug)]
pub struct Seldom(Mutex<State>);

#[derive(Debug)]
struct State {
    said: Option<Instant>,
    unsaid: u64,
}

const PAUSE: Duration = Duration::from_secs(5);

// === impl Seldom ===

impl Seldom {
    /// Nothing has been said.
    pub const fn new() -> Self {
        Self(Mutex::new(State { said: None, unsaid: 0 }))
    }

    /// How many times it was left unsaid, if it is to be said again now: 5 s after the last time.
    pub fn say(&self) -> Option<u64> {
        self.say_at(Instant::now())
    }

    fn say_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        if state.said.is_some_and(|said| now.duration_since(said) < PAUSE) {
            state.unsaid += 1;
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

impl Default for Seldom {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_it_at_once_and_then_with_what_was_left_out() {
        let (seldom, start) = (Seldom::new(), Instant::now());
        let said = [0, 1, 4, 5, 6, 20].map(|seconds| seldom.say_at(start + Duration::from_secs(seconds)));
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
