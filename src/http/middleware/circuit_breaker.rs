//! `circuit_breaker`: while too many answers are errors, requests are turned away at once, so that what fails can recover.
//!
//! As RoadRunner's of that name: closed, requests pass and their answers are counted within a window of time; open, they are turned
//! away; half-open, they pass again, and the first error opens it anew. What began in one of these does not count in the next.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Response, StatusCode, header};
use parking_lot::Mutex;

use super::{Note, Verdict};
use crate::http::{Body, Metrics, response};

/// When requests are turned away (`http.circuit_breaker`).
#[derive(Clone, Debug)]
pub struct Config {
    /// The part of answers that may be errors, up to 1.
    pub max_error_rate: f64,
    /// Fewer answers in a window say nothing; ours.
    pub min_requests: u64,
    /// Statuses that are errors.
    pub error_codes: Vec<StatusCode>,
    /// How long answers are counted together.
    pub time_window: Duration,
    /// How long all requests are turned away.
    pub time_to_halfopen: Duration,
    /// How long there must be no error then.
    pub time_to_closed: Duration,
    /// What those that are turned away are told.
    pub code_when_open: StatusCode,
}

/// Turns requests away while too many fail.
#[derive(Debug)]
pub struct CircuitBreaker {
    config: Config,
    metrics: Option<Arc<Metrics>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Counts the phases.
    number: u64,
    began: Instant,
    answers: u64,
    errors: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Closed,
    Open,
    HalfOpen,
}

// === impl Config ===

impl Config {
    /// One that is closed.
    pub fn build(self, metrics: Option<Arc<Metrics>>) -> CircuitBreaker {
        CircuitBreaker { config: self, metrics, state: Mutex::new(State::closed(Instant::now())) }
    }
}

// === impl CircuitBreaker ===

impl CircuitBreaker {
    pub(super) fn before(&self) -> Verdict {
        match self.admit(Instant::now()) {
            Ok(number) => Verdict::Pass(Note::Tried(number)),
            Err(wait) => {
                if let Some(metrics) = &self.metrics {
                    metrics.circuit_refused.inc();
                }
                let mut response = response::plain(self.config.code_when_open);
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
                Verdict::Answer(response.into())
            }
        }
    }

    pub(super) fn after(&self, note: &Note, response: Response<Body>) -> Response<Body> {
        if let Note::Tried(number) = note {
            self.note(*number, self.config.error_codes.contains(&response.status()), Instant::now());
        }
        response
    }

    /// The number of the phase in which a request passes at `now`, or how long none will.
    fn admit(&self, now: Instant) -> Result<u64, Duration> {
        let mut state = self.state.lock();
        let spent = now.saturating_duration_since(state.began);
        match state.phase {
            Phase::Open if spent < self.config.time_to_halfopen => return Err(self.config.time_to_halfopen - spent),
            Phase::Open => self.turn(&mut state, Phase::HalfOpen, now),
            Phase::HalfOpen if spent >= self.config.time_to_closed => self.turn(&mut state, Phase::Closed, now),
            Phase::Closed if spent >= self.config.time_window => state.count_anew(now),
            Phase::HalfOpen | Phase::Closed => {}
        }
        Ok(state.number)
    }

    /// A request that had passed in the phase `number` was answered.
    fn note(&self, number: u64, is_error: bool, now: Instant) {
        let mut state = self.state.lock();
        if state.number != number {
            return;
        }
        state.answers += 1;
        state.errors += u64::from(is_error);
        let is_too_much = match state.phase {
            Phase::HalfOpen => true,
            Phase::Closed => {
                let rate = state.errors as f64 / state.answers as f64;
                state.answers >= self.config.min_requests && rate >= self.config.max_error_rate
            }
            Phase::Open => false,
        };
        if is_error && is_too_much {
            self.turn(&mut state, Phase::Open, now);
        }
    }

    fn turn(&self, state: &mut State, phase: Phase, now: Instant) {
        match phase {
            Phase::Open => {
                let (errors, answers) = (state.errors, state.answers);
                tracing::warn!(errors, answers, "circuit_breaker: too many answers are errors: requests are turned away");
            }
            Phase::HalfOpen => tracing::info!("circuit_breaker: requests pass again, until the first error"),
            Phase::Closed => tracing::info!("circuit_breaker: all is well again"),
        }
        if let Some(metrics) = &self.metrics {
            metrics.circuit_open.set(i64::from(phase == Phase::Open));
        }
        *state = State { phase, number: state.number + 1, ..State::closed(now) };
    }
}

// === impl State ===

impl State {
    fn closed(now: Instant) -> Self {
        Self { phase: Phase::Closed, number: 0, began: now, answers: 0, errors: 0 }
    }

    fn count_anew(&mut self, now: Instant) {
        (self.began, self.answers, self.errors) = (now, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> (CircuitBreaker, Instant) {
        let config = Config {
            max_error_rate: 0.5,
            min_requests: 4,
            error_codes: vec![StatusCode::BAD_GATEWAY],
            time_window: 60 * SECOND,
            time_to_halfopen: 5 * SECOND,
            time_to_closed: 10 * SECOND,
            code_when_open: StatusCode::SERVICE_UNAVAILABLE,
        };
        let breaker = config.build(None);
        let began = breaker.state.lock().began;
        (breaker, began)
    }

    /// Asks and is answered at once.
    fn ask(breaker: &CircuitBreaker, is_error: bool, now: Instant) -> bool {
        let admitted = breaker.admit(now);
        if let Ok(number) = admitted {
            breaker.note(number, is_error, now);
        }
        admitted.is_ok()
    }

    #[test]
    fn too_many_errors_open_it_and_time_without_any_closes_it() {
        let (breaker, start) = breaker();
        for is_error in [true, false, true] {
            assert!(ask(&breaker, is_error, start), "too few to tell");
        }
        assert!(ask(&breaker, true, start));
        assert_eq!(breaker.admit(start + SECOND), Err(4 * SECOND));
        assert!(ask(&breaker, false, start + 5 * SECOND), "half-open");
        assert!(ask(&breaker, true, start + 6 * SECOND), "and open again");
        assert_eq!(breaker.admit(start + 7 * SECOND), Err(4 * SECOND));
        assert!(ask(&breaker, false, start + 11 * SECOND));
        assert!(ask(&breaker, true, start + 21 * SECOND), "closed: one error is not too many");
        assert!(ask(&breaker, false, start + 21 * SECOND));
    }

    #[test]
    fn an_answer_counts_where_its_request_began() {
        let (breaker, start) = breaker();
        let late = breaker.admit(start).unwrap();
        (0..4).for_each(|_| assert!(ask(&breaker, true, start)));
        assert!(ask(&breaker, false, start + 5 * SECOND), "half-open");
        breaker.note(late, true, start + 6 * SECOND);
        assert!(ask(&breaker, false, start + 6 * SECOND), "the error was of another time");
    }

    #[test]
    fn windows_do_not_add_up() {
        let (breaker, start) = breaker();
        (0..3).for_each(|_| assert!(ask(&breaker, true, start)));
        assert!(ask(&breaker, true, start + 60 * SECOND));
        assert!(ask(&breaker, true, start + 60 * SECOND), "two of two in this window");
    }
}
