//! The keys by which the server tells how it is: `status`, `metrics` and `logs`.

use super::{BOUND, Field, Key, OUTPUT, derived, key, section};
use crate::config::{
    compound::{List, Maybe},
    form::{Choice, Count, Listen},
    metrics::Declarations,
};

/// The rows.
pub(super) const OWN: &[Key] = &[
    section("status", "Health checks: /health, /ready and /jobs as RoadRunner has them, /livez and /readyz for Kubernetes."),
    key("status.address", "Where to listen, such as 127.0.0.1:2114.", &Field(|c| &mut c.status.address, Maybe(Listen("")))),
    key(
        "status.unavailable_status_code",
        "The status code that says no.",
        &Field(|c| &mut c.status.unavailable_status_code, Count(400, 599)),
    ),
    key(
        "status.check_timeout",
        "How long a connection may wait for its request, and an answer for its reader.",
        &Field(|c| &mut c.status.check_timeout, BOUND),
    ),
    key(
        "status.max_connections",
        "Connections at once; for one more the oldest is closed.",
        &Field(|c| &mut c.status.max_connections, Count(1, 10_000)),
    ),
    section(
        "metrics",
        "Figures for Prometheus, under RoadRunner's names; those of requests need the middleware http_metrics too. With several engine.processes each has a label, engine.",
    ),
    key("metrics.address", "Where to listen, such as 127.0.0.1:2112.", &Field(|c| &mut c.metrics.address, Maybe(Listen("")))),
    key("metrics.max_connections", "Connections at once.", &Field(|c| &mut c.metrics.max_connections, Count(1, 10_000))),
    key(
        "metrics.collect",
        "Figures that scripts keep by RPC, such as sold => [type => counter, help => Things sold., labels => [what]]; type is counter, gauge, histogram (buckets) or summary (objectives); also namespace, subsystem. They go on over a reload, but for those that are then declared in another way, and begin at zero after a crash; with several engine.processes one of those keeps them, and they begin at zero when it ends, by a reload too.",
        &Field(|c| &mut c.metrics.collect, Declarations),
    ),
    key(
        "metrics.max_series",
        "How many figures scripts may keep, each set of label values counting for itself.",
        &Field(|c| &mut c.metrics.max_series, Count(1, 10_000_000)),
    ),
    section("logs", "The server's own log."),
    key("logs.mode", "development, production, raw (the message alone) or off.", &Field(|c| &mut c.logs.mode, Choice)),
    derived(
        "logs.level",
        "debug, info, warn, error or panic: debug, but info when the mode is production.",
        &Field(|c| &mut c.logs.level, Choice),
    ),
    derived(
        "logs.encoding",
        "console or json: console, but json when the mode is production.",
        &Field(|c| &mut c.logs.encoding, Choice),
    ),
    key("logs.output", "stderr, stdout or file paths.", &Field(|c| &mut c.logs.output, List(OUTPUT))),
    key(
        "logs.err_output",
        "Where the log's own troubles go: stderr, stdout or file paths.",
        &Field(|c| &mut c.logs.err_output, List(OUTPUT)),
    ),
    key(
        "logs.write_timeout",
        "How long a line waits for whoever reads stderr or stdout, if that is a pipe, a socket or a terminal. Then lines are lost, and counted, until they read again.",
        &Field(|c| &mut c.logs.write_timeout, BOUND),
    ),
];
