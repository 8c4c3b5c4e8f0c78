//! Keys of RoadRunner that do nothing here: refused unless the value given asks for nothing.

use serde_json::Value;

/// A row of [`ABSENT`].
pub(super) struct Absent {
    /// The key with its sections.
    pub(super) path: &'static str,
    /// The message about it.
    pub(super) why: &'static str,
    /// What asks for nothing, beside an empty or false value, zero and the like.
    harmless: &'static [&'static str],
}

/// A key under another name: RoadRunner's, and ours.
pub(super) const ALIASES: &[(&str, &str)] =
    &[("endure.grace_period", "engine.grace_period"), ("http.uploads.dir", "http.temp_dir")];

/// The row of `path`, if there is one.
pub(super) fn find(path: &str) -> Option<&'static Absent> {
    ABSENT.iter().find(|absent| absent.path == path)
}

/// What a RoadRunner file may hold and this program does not have.
pub(super) static ABSENT: &[Absent] = &[
    absent("amqp"),
    absent("app"),
    absent("beanstalk"),
    absent("boltdb"),
    absent("centrifuge"),
    absent("envfile"),
    only("endure.log_level", LATER, &["error"]),
    absent("endure.print_graph"),
    absent("endure.watchdog_sec"),
    absent("fileserver"),
    absent("google_pub_sub"),
    absent("grpc"),
    absent("http.cache"),
    absent("http.cors"),
    absent("http.gzip"),
    only("http.headers", LATER, &[]),
    absent("http.http3"),
    only("http.middleware", "middleware is not supported by this version of rr", &[]),
    only("http.otel", LATER, &[]),
    only("http.pool.command", WORKER_MODE, &[]),
    only("http.pool.debug", LATER, &[]),
    only("http.pool.destroy_timeout", "not supported by this version of rr; engine.grace_period bounds a stop", &["60s", "1m"]),
    absent("http.pool.dynamic_allocator"),
    only("http.pool.reset_timeout", LATER, &["60s", "1m"]),
    only("http.pool.stream_timeout", LATER, &["60s", "1m"]),
    only("http.pool.supervisor.exec_ttl", "not supported by this version of rr; see http.request_timeout", &[]),
    only("http.pool.supervisor.idle_ttl", LATER, &[]),
    only("http.pool.supervisor.max_worker_memory", LATER, &[]),
    only("http.pool.supervisor.ttl", LATER, &[]),
    only("http.pool.supervisor.watch_tick", LATER, ANY),
    absent("http.raw_body"),
    only("http.ssl", "TLS is not supported by this version of rr", &[]),
    only("http.static", "not supported by this version of rr; files below http.root are served as they are", &[]),
    absent("http.trusted_subnets"),
    absent("http.uploads.allow"),
    absent("http.uploads.forbid"),
    absent("http.worker"),
    absent("jobs"),
    absent("kafka"),
    absent("kv"),
    absent("lock"),
    absent("logs.channels"),
    absent("logs.file_logger_options"),
    only("logs.line_ending", LATER, &["\n"]),
    absent("metrics"),
    absent("nats"),
    absent("otel"),
    absent("reload"),
    absent("rpc"),
    only("server.command", WORKER_MODE, &[]),
    only("server.env", "not supported by this version of rr; see php.env", &[]),
    absent("server.group"),
    absent("server.on_init"),
    only("server.relay", LATER, &["pipes"]),
    only("server.relay_timeout", LATER, ANY),
    absent("server.user"),
    absent("service"),
    absent("sites"),
    absent("sqs"),
    absent("status"),
    absent("tcp"),
    absent("temporal"),
];

// === impl Absent ===

impl Absent {
    /// Whether `raw` asks for nothing.
    pub(super) fn is_harmless(&self, raw: &Value) -> bool {
        let empty = match raw {
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => matches!(text.as_str(), "" | "0" | "0s" | "false"),
            Value::Array(list) => list.is_empty(),
            // An empty section is how RoadRunner's plugins are turned on with their defaults.
            Value::Object(_) => false,
        };
        empty || self.harmless == ANY || raw.as_str().is_some_and(|text| self.harmless.contains(&text))
    }
}

const fn absent(path: &'static str) -> Absent {
    only(path, LATER, &[])
}

const fn only(path: &'static str, why: &'static str, harmless: &'static [&'static str]) -> Absent {
    Absent { path, why, harmless }
}

const ANY: &[&str] = &["*"];
const LATER: &str = "not supported by this version of rr";
const WORKER_MODE: &str =
    "worker mode is not supported by this version of rr; remove it and set http.root to serve in classic mode";
