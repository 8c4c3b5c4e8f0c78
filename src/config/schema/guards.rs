//! The keys of the middleware that lets requests pass, or not.

use super::{BOUND, Field, Key, key, section};
use crate::config::{
    compound::{List, Maybe},
    edge::Network,
    form::{Count, FilePath, Flag, Text},
    guards::{RedirectRule, Sizes},
    site::PATTERN,
};

/// The rows.
pub(super) const HTTP: &[Key] = &[
    section(
        "http.request_id",
        "For the middleware request_id, which gives each request a name that client, script and log know.",
    ),
    key("http.request_id.header", "Where it stands.", &Field(|c| &mut c.http.request_id.header, HEADER_NAME)),
    key(
        "http.request_id.trust",
        "Take over the name that a request comes with; only behind a proxy that sets it.",
        &Field(|c| &mut c.http.request_id.trust, Flag),
    ),
    key(
        "http.redirect",
        "For the middleware redirect: rules such as [from => /old/*, to => /new/$1, status => 301].",
        &Field(|c| &mut c.http.redirect, List(RedirectRule)),
    ),
    key(
        "http.body_limit",
        "For the middleware body_limit: the largest body by path, such as /api/* => 1M; the first that matches counts, of several readings of a URL the least; what a path is, http.routes says.",
        &Field(|c| &mut c.http.body_limit, Sizes),
    ),
    section(
        "http.ip_filter",
        "For the middleware ip_filter; others are answered 403. Behind a proxy list proxy_ip_parser after it.",
    ),
    key(
        "http.ip_filter.allow",
        "The only clients, such as 10.0.0.0/8; empty means all.",
        &Field(|c| &mut c.http.ip_filter.allow, List(Network)),
    ),
    key(
        "http.ip_filter.deny",
        "Clients that may not, whatever allow says.",
        &Field(|c| &mut c.http.ip_filter.deny, List(Network)),
    ),
    key(
        "http.ip_filter.paths",
        "The paths that it is for, such as /admin/*, by every URL that leads there (see http.routes); empty means all.",
        &Field(|c| &mut c.http.ip_filter.paths, List(PATTERN)),
    ),
    section("http.basic_auth", "For the middleware basic_auth."),
    key(
        "http.basic_auth.file",
        "Names and bcrypt hashes as htpasswd -B writes them; changes count within a second.",
        &Field(|c| &mut c.http.basic_auth.file, Maybe(FilePath)),
    ),
    key(
        "http.basic_auth.realm",
        "What browsers say the password is for.",
        &Field(
            |c| &mut c.http.basic_auth.realm,
            Text("a text in ASCII", |text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte))),
        ),
    ),
    key(
        "http.basic_auth.paths",
        "The paths that it is for, such as /admin/*, by every URL that leads there (see http.routes); empty means all.",
        &Field(|c| &mut c.http.basic_auth.paths, List(PATTERN)),
    ),
    key("http.basic_auth.threads", "Threads that check passwords.", &Field(|c| &mut c.http.basic_auth.threads, Count(1, 64))),
    key(
        "http.basic_auth.max_waiting",
        "Checks that may wait for them; for more the answer is 503.",
        &Field(|c| &mut c.http.basic_auth.max_waiting, Count(1, 100_000)),
    ),
    key(
        "http.basic_auth.cache_size",
        "Passwords found right that are remembered.",
        &Field(|c| &mut c.http.basic_auth.cache_size, Count(1, 1_000_000)),
    ),
    key("http.basic_auth.cache_ttl", "For how long.", &Field(|c| &mut c.http.basic_auth.cache_ttl, BOUND)),
    section("http.rate_limit", "For the middleware rate_limit, per client address (IPv6: per /64); who asks too often gets 429."),
    key("http.rate_limit.requests", "Requests in each period.", &Field(|c| &mut c.http.rate_limit.requests, Count(1, 1_000_000))),
    key("http.rate_limit.period", "The period.", &Field(|c| &mut c.http.rate_limit.period, BOUND)),
    key(
        "http.rate_limit.burst",
        "Requests that may come at once.",
        &Field(|c| &mut c.http.rate_limit.burst, Count(1, 1_000_000)),
    ),
    key(
        "http.rate_limit.max_clients",
        "Clients remembered; those not seen for long make room.",
        &Field(|c| &mut c.http.rate_limit.max_clients, Count(16, 10_000_000)),
    ),
    key(
        "http.rate_limit.paths",
        "The paths that it is for, such as /login, by every URL that leads there (see http.routes); empty means all.",
        &Field(|c| &mut c.http.rate_limit.paths, List(PATTERN)),
    ),
    section("http.maintenance", "For the middleware maintenance: while a file is there, clients are answered 503."),
    key("http.maintenance.file", "The file.", &Field(|c| &mut c.http.maintenance.file, Maybe(FilePath))),
    key("http.maintenance.page", "An HTML page for them.", &Field(|c| &mut c.http.maintenance.page, Maybe(FilePath))),
    key("http.maintenance.retry_after", "When they are to come back.", &Field(|c| &mut c.http.maintenance.retry_after, BOUND)),
    key(
        "http.maintenance.allow",
        "Clients that are served all the same, such as 10.0.0.0/8.",
        &Field(|c| &mut c.http.maintenance.allow, List(Network)),
    ),
];

const HEADER_NAME: Text = Text("the name of a header field", |text| {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
});
