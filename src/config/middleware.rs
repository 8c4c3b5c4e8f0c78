//! The resolved middleware of the `http` section.

use std::path::PathBuf;

use serde_json::Value;

use super::{
    absent::{NO_CACHE, NO_OTEL},
    form::{Form, Named, Wrong, text},
    suggest::closest,
};

/// A name in `http.middleware`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Middleware {
    /// `basic_auth`: a name and a password.
    BasicAuth,
    /// `body_limit`: the largest body by path.
    BodyLimit,
    /// `circuit_breaker`, or RoadRunner's `circuitbreaker`: requests turned away while too many fail.
    CircuitBreaker,
    /// `compress`: the best coding that a client takes.
    Compress,
    /// `gzip`: that one alone.
    Gzip,
    /// `headers`: given ones, and CORS.
    Headers,
    /// `http_metrics`: requests, counted for `metrics`.
    HttpMetrics,
    /// `ip_filter`: who may ask, by address.
    IpFilter,
    /// `maintenance`: a page for all, for a while.
    Maintenance,
    /// `proxy_ip_parser`: clients as a trusted proxy tells them.
    ProxyIp,
    /// `rate_limit`: how often a client may ask.
    RateLimit,
    /// `redirect`: paths that lead elsewhere.
    Redirect,
    /// `request_id`: a name for each request.
    RequestId,
    /// `sendfile`: files that scripts name in place of a body.
    Sendfile,
    /// `sendremotefile`: the same of other servers.
    SendRemoteFile,
    /// `static`: files that go before the worker, wherever in the list it stands.
    Static,
}

/// Headers added to requests and answers (`http.headers`).
///
/// # Defaults
/// - `http.headers.request`: `{}`
/// - `http.headers.response`: `{}`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers {
    /// Added to each request.
    pub request: Vec<(String, String)>,
    /// Added to each answer that has no such header.
    pub response: Vec<(String, String)>,
    /// What other sites may ask, if they may.
    pub cors: Option<Cors>,
}

/// What scripts of other sites may ask of this one (`http.headers.cors`).
///
/// # Defaults
/// - `http.headers.cors.allowed_origin`: `[]`
/// - `http.headers.cors.allowed_origin_regex`: `null`
/// - `http.headers.cors.allowed_methods`: `[GET, HEAD, POST]`
/// - `http.headers.cors.allowed_headers`: `[Accept, Content-Type, X-Requested-With]`
/// - `http.headers.cors.exposed_headers`: `[]`
/// - `http.headers.cors.allow_credentials`: `false`
/// - `http.headers.cors.max_age`: `0`
/// - `http.headers.cors.options_success_status`: `200`
/// - `http.headers.cors.debug`: `false`
#[derive(Clone, Debug, PartialEq)]
pub struct Cors {
    /// Origins, of which `*` is any, also as a part; empty means any.
    pub allowed_origin: Vec<String>,
    /// Origins by a regular expression, in place of `allowed_origin`.
    pub allowed_origin_regex: Option<String>,
    /// Methods.
    pub allowed_methods: Vec<String>,
    /// Request headers; `*` is any.
    pub allowed_headers: Vec<String>,
    /// Headers of answers that scripts may read.
    pub exposed_headers: Vec<String>,
    /// Whether cookies may be sent.
    pub allow_credentials: bool,
    /// How many seconds browsers may remember the answer to a preflight request.
    pub max_age: u32,
    /// The status of that answer.
    pub options_success_status: u16,
    /// Log why a request is not allowed.
    pub debug: bool,
}

/// Answers made smaller (`http.compress`).
///
/// # Defaults
/// - `http.compress.encodings`: `[zstd, br, gzip]`
/// - `http.compress.min_size`: `1K`
/// - `http.compress.gzip_level`: `5`
/// - `http.compress.brotli_level`: `4`
/// - `http.compress.zstd_level`: `3`
#[derive(Clone, Debug, PartialEq)]
pub struct Compress {
    /// The codings of `compress`, the preferred one first.
    pub encodings: Vec<Coding>,
    /// Answers known to be shorter, in bytes, are left alone.
    pub min_size: u64,
    /// How hard gzip tries, 1 to 9.
    pub gzip_level: u32,
    /// How hard brotli tries, 0 to 11.
    pub brotli_level: u32,
    /// How hard zstd tries, 1 to 19.
    pub zstd_level: u32,
}

/// Files that scripts name in place of a body (`http.sendfile`).
///
/// # Defaults
/// - `http.sendfile.roots`: `[.]`
/// - `http.sendfile.locations`: `{}`
#[derive(Clone, Debug, PartialEq)]
pub struct Sendfile {
    /// Directories that hold the files of `X-Sendfile`; a relative path is below the first.
    pub roots: Vec<PathBuf>,
    /// Path prefixes of `X-Accel-Redirect`, and the directory that each stands for.
    pub locations: Vec<(String, String)>,
}

/// A content coding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Coding {
    Brotli,
    Gzip,
    Zstd,
}

/// One of the names, or a message that says which there are.
pub(super) struct MiddlewareName;

// === impl Cors ===

impl Default for Cors {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            allowed_origin: Vec::new(),
            allowed_origin_regex: None,
            allowed_methods: list(&["GET", "HEAD", "POST"]),
            allowed_headers: list(&["Accept", "Content-Type", "X-Requested-With"]),
            exposed_headers: Vec::new(),
            allow_credentials: false,
            max_age: 0,
            options_success_status: 200,
            debug: false,
        }
    }
}

// === impl Compress ===

impl Default for Compress {
    fn default() -> Self {
        Self {
            encodings: vec![Coding::Zstd, Coding::Brotli, Coding::Gzip],
            min_size: 1024,
            gzip_level: 5,
            brotli_level: 4,
            zstd_level: 3,
        }
    }
}

// === impl Sendfile ===

impl Default for Sendfile {
    fn default() -> Self {
        Self { roots: vec![".".into()], locations: Vec::new() }
    }
}

impl Named for Coding {
    const NAMES: &'static [(&'static str, Self)] = &[("zstd", Self::Zstd), ("br", Self::Brotli), ("gzip", Self::Gzip)];
}

// === impl Middleware ===

impl Middleware {
    /// What it is called.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, named)| *named == self).map_or("", |(name, _)| name)
    }
}

impl Named for Middleware {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("basic_auth", Self::BasicAuth),
        ("body_limit", Self::BodyLimit),
        ("circuit_breaker", Self::CircuitBreaker),
        ("circuitbreaker", Self::CircuitBreaker),
        ("compress", Self::Compress),
        ("gzip", Self::Gzip),
        ("headers", Self::Headers),
        ("http_metrics", Self::HttpMetrics),
        ("ip_filter", Self::IpFilter),
        ("maintenance", Self::Maintenance),
        ("proxy_ip_parser", Self::ProxyIp),
        ("rate_limit", Self::RateLimit),
        ("redirect", Self::Redirect),
        ("request_id", Self::RequestId),
        ("sendfile", Self::Sendfile),
        ("sendremotefile", Self::SendRemoteFile),
        ("static", Self::Static),
    ];
}

impl Form<Middleware> for MiddlewareName {
    fn read(&self, raw: &Value) -> Result<Middleware, Wrong> {
        let given = text(raw).unwrap_or_default();
        let names = Middleware::NAMES.iter().map(|(name, _)| *name);
        Middleware::NAMES.iter().find(|(name, _)| *name == given).map(|(_, middleware)| *middleware).ok_or_else(|| {
            if let Some((_, why)) = ABSENT.iter().find(|(name, _)| *name == given) {
                return Wrong(vec![(String::new(), format!("{given:?} is {why}"))]);
            }
            let hint = closest(&given, names.clone()).map_or(String::new(), |name| format!("; did you mean {name}?"));
            let names = names.collect::<Vec<_>>().join(", ");
            Wrong(vec![(String::new(), format!("no middleware is called {given:?}, there are {names}{hint}"))])
        })
    }

    fn show(&self, value: &Middleware) -> Value {
        value.name().into()
    }
}

/// RoadRunner's others, and those that are made for it.
const ABSENT: &[(&str, &str)] = &[("cache", NO_CACHE), ("otel", NO_OTEL)];
