//! What a request's time went to: the slow log's last word on it, and the metrics' first.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Response};

use super::{Body, Metrics, metrics::Spans};
use crate::worker::{Phases, Request, Written};

/// Who wants to know how long requests take.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Past it a request is logged; zero is never.
    pub slow_after: Duration,
    /// Whose figures count all of them.
    pub metrics: Option<Arc<Metrics>>,
}

/// A request that is timed; told when dropped, which is when its answer has been handed to the connection.
#[derive(Debug)]
pub(crate) struct Timed {
    slow: Option<Slow>,
    metrics: Option<Arc<Metrics>>,
    phases: Arc<Phases>,
    submitted: Instant,
    answered: Option<Instant>,
    /// Of a body that streams.
    written: Option<Written>,
    status: u16,
}

/// What is logged of a slow one.
#[derive(Debug)]
struct Slow {
    limit: Duration,
    request: u64,
    name: Option<HeaderValue>,
    method: String,
    uri: String,
    script: String,
}

// === impl Timing ===

impl Timing {
    /// False if nobody does.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.slow_after.is_zero() || self.metrics.is_some()
    }

    /// Times `request`, which is submitted now and has these phases.
    pub(crate) fn start(&self, request: &Request, phases: Arc<Phases>) -> Timed {
        let slow = (!self.slow_after.is_zero()).then(|| Slow {
            limit: self.slow_after,
            request: request.id,
            name: request.given_name().cloned(),
            method: String::from_utf8_lossy(request.method()).into_owned(),
            uri: String::from_utf8_lossy(request.target()).into_owned(),
            script: request.script.shown().into_owned(),
        });
        let (metrics, submitted) = (self.metrics.clone(), Instant::now());
        Timed { slow, metrics, phases, submitted, answered: None, written: None, status: 0 }
    }
}

// === impl Timed ===

impl Timed {
    /// The worker has answered; a body that streams is timed to its end.
    pub(crate) fn answered(mut self, response: &mut Response<Body>) {
        self.answered = Some(Instant::now());
        self.status = response.status().as_u16();
        if let Body::Output(reader) = response.body_mut() {
            self.written = Some(reader.written());
            reader.keep(Box::new(self));
        }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        let now = Instant::now();
        let answered = self.answered.unwrap_or(now);
        let began = self.phases.began().unwrap_or(answered);
        let queue = began.saturating_duration_since(self.submitted);
        // A script goes on after it has begun to answer.
        let ended = self.written.as_ref().map_or(answered, |written| written.at().unwrap_or(now));
        let php = ended.saturating_duration_since(began);
        let write = now.saturating_duration_since(ended);
        if let Some(metrics) = &self.metrics {
            metrics.note(Spans { queue, php, write: self.written.is_some().then_some(write) });
        }
        let Some(slow) = &self.slow else { return };
        if now.duration_since(self.submitted) + self.phases.arriving < slow.limit {
            return;
        }
        tracing::warn!(
            target: "slowlog",
            request = slow.request,
            id = slow.name.as_ref().and_then(|name| name.to_str().ok()),
            method = slow.method,
            uri = slow.uri,
            script = slow.script,
            status = self.status,
            body_ms = milliseconds(self.phases.arriving),
            queue_ms = milliseconds(queue),
            php_ms = milliseconds(php),
            write_ms = milliseconds(write),
            "a request took long"
        );
    }
}

fn milliseconds(span: Duration) -> u64 {
    span.as_millis().try_into().unwrap_or(u64::MAX)
}
