//! The resolved middleware that lets requests pass, or not.

use std::{path::PathBuf, time::Duration};

use serde_json::{Map, Value};

use super::{
    compound::{Rule, collect, entries},
    edge::Subnet,
    form::{Form, Size, Wrong},
    http::Rewrite,
    site::PATTERN,
};

/// A name for each request (`http.request_id`).
///
/// # Defaults
/// - `http.request_id.header`: `X-Request-Id`
/// - `http.request_id.trust`: `false`
#[derive(Clone, Debug, PartialEq)]
pub struct RequestId {
    /// The header that it stands in, of requests and of answers.
    pub header: String,
    /// Take over the name that a request comes with.
    pub trust: bool,
}

/// Who may ask, by address (`http.ip_filter`).
///
/// # Defaults
/// - `http.ip_filter.allow`: `[]`
/// - `http.ip_filter.deny`: `[]`
/// - `http.ip_filter.paths`: `[]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IpFilter {
    /// The only ones; empty means all.
    pub allow: Vec<Subnet>,
    /// Those that may not, whatever `allow` says.
    pub deny: Vec<Subnet>,
    /// The paths that it is for; empty means all.
    pub paths: Vec<String>,
}

/// A password for some paths (`http.basic_auth`).
///
/// # Defaults
/// - `http.basic_auth.file`: `null`
/// - `http.basic_auth.realm`: `Restricted`
/// - `http.basic_auth.paths`: `[]`
/// - `http.basic_auth.threads`: `1`
/// - `http.basic_auth.max_waiting`: `64`
/// - `http.basic_auth.cache_size`: `1000`
/// - `http.basic_auth.cache_ttl`: `5m`
#[derive(Clone, Debug, PartialEq)]
pub struct BasicAuth {
    /// The users, as `htpasswd -B` writes them.
    pub file: Option<PathBuf>,
    /// What browsers say the password is for.
    pub realm: String,
    /// The paths that it is for; empty means all.
    pub paths: Vec<String>,
    /// Threads that check passwords.
    pub threads: usize,
    /// Checks that may wait for them.
    pub max_waiting: usize,
    /// Passwords found right that are remembered.
    pub cache_size: usize,
    /// For how long.
    pub cache_ttl: Duration,
}

/// How often a client may ask (`http.rate_limit`).
///
/// # Defaults
/// - `http.rate_limit.requests`: `100`
/// - `http.rate_limit.period`: `1s`
/// - `http.rate_limit.burst`: `200`
/// - `http.rate_limit.max_clients`: `100000`
/// - `http.rate_limit.paths`: `[]`
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// Requests in each period.
    pub requests: u32,
    /// The period.
    pub period: Duration,
    /// Requests that may come at once.
    pub burst: u32,
    /// Clients remembered.
    pub max_clients: usize,
    /// The paths that it is for, counted together; empty means all.
    pub paths: Vec<String>,
}

/// A page for all while a file is there (`http.maintenance`).
///
/// # Defaults
/// - `http.maintenance.file`: `null`
/// - `http.maintenance.page`: `null`
/// - `http.maintenance.retry_after`: `5m`
/// - `http.maintenance.allow`: `[]`
#[derive(Clone, Debug, PartialEq)]
pub struct Maintenance {
    /// The file.
    pub file: Option<PathBuf>,
    /// The HTML page.
    pub page: Option<PathBuf>,
    /// When clients are to come back.
    pub retry_after: Duration,
    /// Who is served all the same.
    pub allow: Vec<Subnet>,
}

/// A rule of `http.redirect`.
pub(super) struct RedirectRule;
/// Paths and sizes.
pub(super) struct Sizes;

// === the defaults ===

impl Default for RequestId {
    fn default() -> Self {
        Self { header: "X-Request-Id".into(), trust: false }
    }
}

impl Default for BasicAuth {
    fn default() -> Self {
        Self {
            file: None,
            realm: "Restricted".into(),
            paths: Vec::new(),
            threads: 1,
            max_waiting: 64,
            cache_size: 1000,
            cache_ttl: Duration::from_secs(300),
        }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { requests: 100, period: Duration::from_secs(1), burst: 200, max_clients: 100_000, paths: Vec::new() }
    }
}

impl Default for Maintenance {
    fn default() -> Self {
        Self { file: None, page: None, retry_after: Duration::from_secs(300), allow: Vec::new() }
    }
}

// === impl Form ===

impl Form<Rewrite> for RedirectRule {
    fn read(&self, raw: &Value) -> Result<Rewrite, Wrong> {
        let mut raw = raw.clone();
        if let Value::Object(map) = &mut raw
            && !map.keys().any(|key| key.eq_ignore_ascii_case("status"))
        {
            map.insert("status".into(), 301.into());
        }
        let rule = Rule.read(&raw)?;
        match rule.status {
            Some(..400) => Ok(rule),
            _ => Err(Wrong(vec![(".status".into(), "expected 301, 302, 307 or 308".into())])),
        }
    }

    fn show(&self, value: &Rewrite) -> Value {
        Rule.show(value)
    }
}

impl Form<Vec<(String, u64)>> for Sizes {
    fn read(&self, raw: &Value) -> Result<Vec<(String, u64)>, Wrong> {
        collect(entries(raw)?.into_iter().map(|(path, raw)| {
            let place = format!(".{path}");
            let read = PATTERN.read(&Value::from(path)).and_then(|path| Ok((path, Size(0).read(raw)?)));
            (place, read)
        }))
    }

    fn show(&self, value: &Vec<(String, u64)>) -> Value {
        Value::Object(value.iter().map(|(path, size)| (path.clone(), Size(0).show(size))).collect::<Map<_, _>>())
    }
}
