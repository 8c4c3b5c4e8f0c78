//! The resolved access log.

use std::time::Duration;

/// Where and how requests are logged (`http.access_log`).
///
/// # Defaults
/// - `http.access_log.output`: `null`
/// - `http.access_log.format`: `logs`
/// - `http.access_log.sample`: `1`
/// - `http.access_log.write_timeout`: `1s`
/// - `http.access_log.max_size`: `0`
/// - `http.access_log.rotate_every`: `0s`
/// - `http.access_log.max_backups`: `10`
/// - `http.access_log.compress`: `false`
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// `stderr`, `stdout` or a path; none means the first of `logs.output`.
    pub output: Option<String>,
    /// The form of a line: `logs`, `combined` or a template.
    pub format: String,
    /// One of so many is logged.
    pub sample: u64,
    /// How long its writer waits for whoever reads standard error or output.
    pub write_timeout: Duration,
    /// Bytes at which a file makes room; 0 is never.
    pub max_size: u64,
    /// The age at which it does; zero is never.
    pub rotate_every: Duration,
    /// Old files kept; 0 is all.
    pub max_backups: usize,
    /// Compress them.
    pub compress: bool,
}

// === impl AccessLog ===

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            output: None,
            format: "logs".into(),
            sample: 1,
            write_timeout: Duration::from_secs(1),
            max_size: 0,
            rotate_every: Duration::ZERO,
            max_backups: 10,
            compress: false,
        }
    }
}
