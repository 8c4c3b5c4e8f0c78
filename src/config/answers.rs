//! The resolved middleware that goes by what is answered.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use super::{
    edge::Subnet,
    form::{Form, Wrong, text},
};

/// Requests turned away while too many fail (`http.circuit_breaker`).
///
/// # Defaults
/// - `http.circuit_breaker.max_error_rate`: `0.5`
/// - `http.circuit_breaker.min_requests`: `10`
/// - `http.circuit_breaker.error_codes`: `[]`
/// - `http.circuit_breaker.time_window`: `1m`
/// - `http.circuit_breaker.time_to_halfopen`: `5s`
/// - `http.circuit_breaker.time_to_closed`: `10s`
/// - `http.circuit_breaker.code_when_open`: `503`
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitBreaker {
    /// The part of answers that may be errors.
    pub max_error_rate: f64,
    /// Answers in a window that it takes to tell.
    pub min_requests: u64,
    /// Statuses that are errors.
    pub error_codes: Vec<u16>,
    /// How long answers are counted together.
    pub time_window: Duration,
    /// How long all are turned away.
    pub time_to_halfopen: Duration,
    /// How long there must be no error then.
    pub time_to_closed: Duration,
    /// The status for those turned away.
    pub code_when_open: u16,
}

/// Files of other servers that scripts name in place of a body (`http.sendremotefile`).
///
/// # Defaults
/// - `http.sendremotefile.hosts`: `[]`
/// - `http.sendremotefile.networks`: `[]`
/// - `http.sendremotefile.timeout`: `5s`
/// - `http.sendremotefile.max_time`: `1h`
/// - `http.sendremotefile.max_size`: `10G`
/// - `http.sendremotefile.max_redirects`: `3`
/// - `http.sendremotefile.max_fetches`: `100`
/// - `http.sendremotefile.root_ca`: `null`
#[derive(Clone, Debug, PartialEq)]
pub struct SendRemoteFile {
    /// Where files may come from.
    pub hosts: Vec<String>,
    /// Addresses that are all right although they are not public.
    pub networks: Vec<Subnet>,
    /// How long connecting, a head, and standing still may take.
    pub timeout: Duration,
    /// How long all of it may take.
    pub max_time: Duration,
    /// Bytes of the largest file.
    pub max_size: u64,
    /// Redirects followed.
    pub max_redirects: usize,
    /// Files under way at once.
    pub max_fetches: usize,
    /// Authorities that are trusted beside the system's.
    pub root_ca: Option<PathBuf>,
}

/// A part of a whole, more than none.
pub(super) struct Part;

// === the defaults ===

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            max_error_rate: 0.5,
            min_requests: 10,
            error_codes: Vec::new(),
            time_window: Duration::from_secs(60),
            time_to_halfopen: Duration::from_secs(5),
            time_to_closed: Duration::from_secs(10),
            code_when_open: 503,
        }
    }
}

impl Default for SendRemoteFile {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            networks: Vec::new(),
            timeout: Duration::from_secs(5),
            max_time: Duration::from_secs(3600),
            max_size: 10 << 30,
            max_redirects: 3,
            max_fetches: 100,
            root_ca: None,
        }
    }
}

// === impl Form ===

impl Form<f64> for Part {
    fn read(&self, raw: &Value) -> Result<f64, Wrong> {
        let part = text(raw).and_then(|text| text.trim().parse::<f64>().ok()).filter(|part| *part > 0.0 && *part <= 1.0);
        part.ok_or_else(|| Wrong::expected("a number above 0 and up to 1, such as 0.5", raw))
    }

    fn show(&self, value: &f64) -> Value {
        (*value).into()
    }
}
