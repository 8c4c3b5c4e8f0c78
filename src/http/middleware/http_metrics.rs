//! `http_metrics`: how many requests there are, what becomes of them and how long they take.

use std::{sync::Arc, time::Instant};

use http::Response;

use super::{Note, Verdict};
use crate::http::{Body, Metrics};

/// Counts requests.
#[derive(Debug)]
pub struct HttpMetrics(pub Arc<Metrics>);

/// A request that is being answered; dropped without an answer, its client has gone.
#[derive(Debug)]
pub(super) struct Counted {
    metrics: Arc<Metrics>,
    began: Instant,
}

// === impl HttpMetrics ===

impl HttpMetrics {
    pub(super) fn before(&self) -> Verdict {
        self.0.queue.inc();
        Verdict::Pass(Note::Counted(Counted { metrics: self.0.clone(), began: Instant::now() }))
    }

    pub(super) fn after(&self, note: Note, response: Response<Body>) -> Response<Body> {
        if let Note::Counted(counted) = note {
            let status = response.status();
            self.0.total.with_label_values(&[status.as_str()]).inc();
            self.0.duration.with_label_values(&[status.as_str()]).observe(counted.began.elapsed().as_secs_f64());
        }
        response
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.queue.dec();
    }
}
