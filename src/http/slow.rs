//! The slow log's last word on a request: what its time went to.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::Response;

use super::Body;
use crate::worker::{Phases, Request};

/// A request that is timed; logged when dropped, which is when its answer has been handed to the connection.
#[derive(Debug)]
pub(crate) struct Timed {
    limit: Duration,
    request: u64,
    method: String,
    uri: String,
    script: String,
    phases: Arc<Phases>,
    submitted: Instant,
    answered: Option<Instant>,
    status: u16,
}

// === impl Timed ===

impl Timed {
    /// Times `request`, which is submitted now; it is slow past `limit`.
    pub(crate) fn new(limit: Duration, request: &mut Request, arriving: Duration) -> Self {
        let phases = Arc::new(Phases::new(arriving));
        request.phases = Some(phases.clone());
        Self {
            limit,
            request: request.id,
            method: String::from_utf8_lossy(request.method()).into_owned(),
            uri: String::from_utf8_lossy(request.target()).into_owned(),
            script: request.script.shown().into_owned(),
            phases,
            submitted: Instant::now(),
            answered: None,
            status: 0,
        }
    }

    /// The worker has answered; a body that streams is timed to its end.
    pub(crate) fn answered(mut self, response: &mut Response<Body>) {
        self.answered = Some(Instant::now());
        self.status = response.status().as_u16();
        if let Body::Output(reader) = response.body_mut() {
            reader.keep(Box::new(self));
        }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.submitted) + self.phases.arriving < self.limit {
            return;
        }
        let answered = self.answered.unwrap_or(now);
        let began = self.phases.began().unwrap_or(answered);
        tracing::warn!(
            target: "slowlog",
            request = self.request,
            method = self.method,
            uri = self.uri,
            script = self.script,
            status = self.status,
            body_ms = milliseconds(self.phases.arriving),
            queue_ms = milliseconds(began.saturating_duration_since(self.submitted)),
            php_ms = milliseconds(answered.saturating_duration_since(began)),
            write_ms = milliseconds(now.duration_since(answered)),
            "a request took long"
        );
    }
}

fn milliseconds(span: Duration) -> u64 {
    span.as_millis().try_into().unwrap_or(u64::MAX)
}
