//! The keys of the middleware that goes by what is answered.

use super::{BOUND, Field, Key, key, section, zero_is_default};
use crate::config::{
    answers::Part,
    compound::{List, Maybe},
    edge::Network,
    form::{Count, FilePath, Size, Text},
};

/// The rows.
pub(super) const HTTP: &[Key] = &[
    section(
        "http.circuit_breaker",
        "For the middleware circuit_breaker: while too many answers are errors, requests are turned away at once. RoadRunner's section circuitbreaker is the same.",
    ),
    key(
        "http.circuit_breaker.max_error_rate",
        "The part of answers that may be errors, up to 1.",
        &Field(|c| &mut c.http.circuit_breaker.max_error_rate, Part),
    ),
    key(
        "http.circuit_breaker.min_requests",
        "Answers in a window that it takes to tell.",
        &Field(|c| &mut c.http.circuit_breaker.min_requests, Count(1, 1_000_000_000)),
    ),
    key(
        "http.circuit_breaker.error_codes",
        "Statuses that are errors, such as 500, 502.",
        &Field(|c| &mut c.http.circuit_breaker.error_codes, List(Count(400, 599))),
    ),
    zero_is_default(
        "http.circuit_breaker.time_window",
        "How long answers are counted together.",
        &Field(|c| &mut c.http.circuit_breaker.time_window, BOUND),
    ),
    zero_is_default(
        "http.circuit_breaker.time_to_halfopen",
        "How long all requests are turned away; then they pass until the first error.",
        &Field(|c| &mut c.http.circuit_breaker.time_to_halfopen, BOUND),
    ),
    zero_is_default(
        "http.circuit_breaker.time_to_closed",
        "How long there must be no error until answers are counted again.",
        &Field(|c| &mut c.http.circuit_breaker.time_to_closed, BOUND),
    ),
    zero_is_default(
        "http.circuit_breaker.code_when_open",
        "The status for those turned away.",
        &Field(|c| &mut c.http.circuit_breaker.code_when_open, Count(400, 599)),
    ),
    section(
        "http.sendremotefile",
        "For the middleware sendremotefile, by which a script names a file of another server in place of a body: X-Sendremotefile: https://files.example.com/a.zip.",
    ),
    key(
        "http.sendremotefile.hosts",
        "Where files may come from: files.example.com, *.example.com, files.example.com:8443, an address, or * for anywhere.",
        &Field(|c| &mut c.http.sendremotefile.hosts, List(HOST)),
    ),
    key(
        "http.sendremotefile.networks",
        "Addresses that those may have although they are not public, such as 10.0.0.0/8.",
        &Field(|c| &mut c.http.sendremotefile.networks, List(Network)),
    ),
    key(
        "http.sendremotefile.timeout",
        "How long connecting may take, the other server's head, and standing still.",
        &Field(|c| &mut c.http.sendremotefile.timeout, BOUND),
    ),
    key("http.sendremotefile.max_time", "How long all of it may take.", &Field(|c| &mut c.http.sendremotefile.max_time, BOUND)),
    key("http.sendremotefile.max_size", "The largest file.", &Field(|c| &mut c.http.sendremotefile.max_size, Size(1))),
    key(
        "http.sendremotefile.max_redirects",
        "Redirects followed, to the same hosts.",
        &Field(|c| &mut c.http.sendremotefile.max_redirects, Count(0, 20)),
    ),
    key(
        "http.sendremotefile.max_fetches",
        "Files under way at once; for more the answer is 503.",
        &Field(|c| &mut c.http.sendremotefile.max_fetches, Count(1, 100_000)),
    ),
    key(
        "http.sendremotefile.root_ca",
        "Authorities that are trusted beside the system's, as a PEM file.",
        &Field(|c| &mut c.http.sendremotefile.root_ca, Maybe(FilePath)),
    ),
];

const HOST: Text = Text("a host such as files.example.com, *.example.com or files.example.com:8443", |text| {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    let rest = text.strip_prefix("*.").unwrap_or(text);
    text == "*" || (!rest.is_empty() && rest.bytes().all(is_part))
});
