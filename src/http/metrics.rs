//! What is measured of requests, under RoadRunner's names and some of ours.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector};

/// Figures of all requests. They are made when somebody is to read them.
#[derive(Debug)]
pub struct Metrics {
    /// Requests that are being answered (`rr_http_requests_queue`).
    pub(super) queue: IntGauge,
    /// Answers by status (`rr_http_request_total`).
    pub(super) total: IntCounterVec,
    /// How long they took, by status (`rr_http_request_duration_seconds`).
    pub(super) duration: HistogramVec,
    /// Whether `circuit_breaker` turns requests away.
    pub(super) circuit_open: IntGauge,
    /// Those that it has.
    pub(super) circuit_refused: IntCounter,
    queue_wait: Histogram,
    php: Histogram,
    write: Histogram,
}

/// How long handshakes took that succeeded (`rr_http_tls_handshake_seconds`).
#[derive(Debug)]
pub(crate) struct Handshakes {
    all: HistogramVec,
    full: Histogram,
    resumed: Histogram,
    quic: Histogram,
}

/// What one request's time went to, behind the door of its pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spans {
    /// Until a worker took it.
    pub(super) queue: Duration,
    /// Until the worker had written its answer.
    pub(super) php: Duration,
    /// Until the client had all of an answer that streams; none for others.
    pub(super) write: Option<Duration>,
}

/// RoadRunner's, for requests, and the same for their parts, which may be short.
const REQUEST: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];
const PART: [f64; 15] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

// === impl Metrics ===

impl Metrics {
    /// Figures that `registry` shows.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let part = |name: &str, help: &str| Histogram::with_opts(HistogramOpts::new(name, help).buckets(PART.to_vec()));
        let duration = HistogramOpts::new("rr_http_request_duration_seconds", "HTTP request duration.").buckets(REQUEST.to_vec());
        let metrics = Self {
            queue: IntGauge::new("rr_http_requests_queue", "Requests that are being answered.")?,
            total: IntCounterVec::new(Opts::new("rr_http_request_total", "Answers by status."), &["status"])?,
            duration: HistogramVec::new(duration, &["status"])?,
            circuit_open: IntGauge::new("rr_http_circuit_open", "1 while circuit_breaker turns requests away.")?,
            circuit_refused: IntCounter::new("rr_http_circuit_refused_total", "Requests that circuit_breaker turned away.")?,
            queue_wait: part("rr_http_queue_wait_seconds", "How long requests waited for a worker.")?,
            php: part("rr_http_php_seconds", "How long workers took until their answer was written.")?,
            write: part("rr_http_write_seconds", "How long clients took to take the rest of answers that stream.")?,
        };
        registry.register(Box::new(metrics.queue.clone()))?;
        registry.register(Box::new(metrics.total.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.circuit_open.clone()))?;
        registry.register(Box::new(metrics.circuit_refused.clone()))?;
        for part in [&metrics.queue_wait, &metrics.php, &metrics.write] {
            registry.register(Box::new(part.clone()))?;
        }
        Ok(metrics)
    }

    pub(super) fn note(&self, spans: Spans) {
        self.queue_wait.observe(spans.queue.as_secs_f64());
        self.php.observe(spans.php.as_secs_f64());
        if let Some(write) = spans.write {
            self.write.observe(write.as_secs_f64());
        }
    }
}

// === impl Handshakes ===

impl Default for Handshakes {
    fn default() -> Self {
        let help = "How long TLS handshakes took that succeeded, by kind: full or resumed, and those of QUIC.";
        let options = HistogramOpts::new("rr_http_tls_handshake_seconds", help).buckets(PART.to_vec());
        let all = HistogramVec::new(options, &["kind"]).expect("a good name and one label");
        let kind = |kind| all.with_label_values(&[kind]);
        Self { full: kind("full"), resumed: kind("resumed"), quic: kind("quic"), all }
    }
}

impl Handshakes {
    /// For a registry.
    pub(crate) fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.all.clone())
    }

    /// One over TCP.
    pub(super) fn note(&self, took: Duration, is_resumed: bool) {
        if is_resumed { &self.resumed } else { &self.full }.observe(took.as_secs_f64());
    }

    /// One of QUIC.
    pub(super) fn note_quic(&self, took: Duration) {
        self.quic.observe(took.as_secs_f64());
    }
}
