//! Keys of RoadRunner that do nothing here: refused unless the value given asks for nothing.

use serde_json::Value;

/// A row of [`ABSENT`].
pub(super) struct Absent {
    /// The key with its sections.
    pub(super) path: &'static str,
    /// The message about it.
    pub(super) why: &'static str,
    /// Texts that ask for nothing, as an empty or false value, zero and the like do; none for a section, which asks by being there.
    harmless: Option<&'static [&'static str]>,
}

/// A key under another name: RoadRunner's, and ours.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("circuitbreaker.code_when_open", "http.circuit_breaker.code_when_open"),
    ("circuitbreaker.error_codes", "http.circuit_breaker.error_codes"),
    ("circuitbreaker.max_error_rate", "http.circuit_breaker.max_error_rate"),
    ("circuitbreaker.time_to_closed", "http.circuit_breaker.time_to_closed"),
    ("circuitbreaker.time_to_halfopen", "http.circuit_breaker.time_to_halfopen"),
    ("circuitbreaker.time_window", "http.circuit_breaker.time_window"),
    ("endure.grace_period", "engine.grace_period"),
    ("http.ssl.acme.certs_dir", "http.ssl.acme.cache_dir"),
    ("http.uploads.dir", "http.temp_dir"),
];

/// The row of `path`, if there is one.
pub(super) fn find(path: &str) -> Option<&'static Absent> {
    ABSENT.iter().find(|absent| absent.path == path)
}

/// What a RoadRunner file may hold and this program does not have.
pub(super) static ABSENT: &[Absent] = &[
    section("amqp", LATER),
    section("app", LATER),
    section("beanstalk", LATER),
    section("boltdb", LATER),
    section("centrifuge", LATER),
    key("envfile", LATER, &[]),
    key("endure.log_level", LATER, &["error"]),
    key("endure.print_graph", LATER, &[]),
    key("endure.watchdog_sec", LATER, &[]),
    section("google_pub_sub", LATER),
    section("grpc", LATER),
    section("http.cache", NO_CACHE),
    section("http.cors", LATER),
    section("http.gzip", LATER),
    section("http.otel", NO_OTEL),
    section("jobs", LATER),
    section("kafka", LATER),
    section("kv", LATER),
    key("logs.channels", LATER, &[]),
    section("logs.file_logger_options", LATER),
    key("logs.line_ending", LATER, &["\n"]),
    section("nats", LATER),
    section("otel", NO_OTEL),
    section("reload", LATER),
    key("server.on_init", LATER, &[]),
    key("server.relay_timeout", LATER, ANY),
    section("service", LATER),
    section("sqs", LATER),
    section("temporal", LATER),
];

// === impl Absent ===

impl Absent {
    /// Whether `raw` asks for nothing.
    pub(super) fn is_harmless(&self, raw: &Value) -> bool {
        let Some(harmless) = self.harmless else { return matches!(raw, Value::Null | Value::Bool(false)) };
        let empty = match raw {
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => matches!(text.as_str(), "" | "0" | "0s" | "false"),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
        };
        empty || harmless == ANY || raw.as_str().is_some_and(|text| harmless.contains(&text))
    }
}

const fn section(path: &'static str, why: &'static str) -> Absent {
    Absent { path, why, harmless: None }
}

const fn key(path: &'static str, why: &'static str, harmless: &'static [&'static str]) -> Absent {
    Absent { path, why, harmless: Some(harmless) }
}

const ANY: &[&str] = &["*"];
const LATER: &str = "not supported by this version of rr";
/// The message about RoadRunner's cache of answers.
pub(super) const NO_CACHE: &str = "not supported, for what may be kept and for how long is known to the application or to a proxy \
     before this server: cache there, and remove this";
/// The message about traces.
pub(super) const NO_OTEL: &str = "not supported, for this server sends no traces: metrics.address, http.access_log and \
     http.request_slowlog_timeout tell of requests, PHP's extension opentelemetry traces them; remove this";
