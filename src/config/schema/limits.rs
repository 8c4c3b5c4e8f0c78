//! The keys that bound what clients may ask for, and what answers may take.

use super::{BACKLOG, BOUND, Field, Key, TIME, key, section};
use crate::config::form::{Count, Size};

/// `http.limits`.
pub(super) const LIMITS: &[Key] = &[
    section("http.limits", "What clients may ask for."),
    key("http.limits.max_header_bytes", "The largest request head.", &Field(|c| &mut c.http.limits.max_header_bytes, Size(1024))),
    key("http.limits.max_headers", "The most header fields.", &Field(|c| &mut c.http.limits.max_headers, Count(1, 10_000))),
    key("http.limits.max_uri", "The longest request target.", &Field(|c| &mut c.http.limits.max_uri, Size(64))),
    key(
        "http.limits.header_timeout",
        "How long a request head may take to arrive.",
        &Field(|c| &mut c.http.limits.header_timeout, BOUND),
    ),
    key(
        "http.limits.body_timeout",
        "How long a request body may stand still.",
        &Field(|c| &mut c.http.limits.body_timeout, BOUND),
    ),
    key(
        "http.limits.min_body_rate",
        "After body_timeout, how many bytes of it have to have come in a second, on average; 0 for any.",
        &Field(|c| &mut c.http.limits.min_body_rate, Count(0, 1_000_000_000)),
    ),
    key(
        "http.limits.keepalive_timeout",
        "How long a connection may idle between requests.",
        &Field(|c| &mut c.http.limits.keepalive_timeout, BOUND),
    ),
    key(
        "http.limits.write_timeout",
        "How long a client may take nothing of its answer.",
        &Field(|c| &mut c.http.limits.write_timeout, BOUND),
    ),
    key(
        "http.limits.keepalive_requests",
        "Requests after which a connection is closed; 0 means never.",
        &Field(|c| &mut c.http.limits.keepalive_requests, Count(0, u64::MAX)),
    ),
    key(
        "http.limits.max_connection_age",
        "How old a connection may get, give or take a tenth: it is closed after the answer that it is at; 0 is any age.",
        &Field(|c| &mut c.http.limits.max_connection_age, TIME),
    ),
    key(
        "http.limits.max_connections",
        "Connections at once. For more, those are closed that have been idle longest; with none idle, clients wait.",
        &Field(|c| &mut c.http.limits.max_connections, Count(1, 1_000_000)),
    ),
    key(
        "http.limits.max_connections_per_listener",
        "The same for each address that is listened on; 0 is any number.",
        &Field(|c| &mut c.http.limits.max_connections_per_listener, Count(0, 1_000_000)),
    ),
    key(
        "http.limits.max_connections_per_client",
        "Connections at once of one client, an IPv4 address or an IPv6 network of 64 bits; more are closed. 0 is any number, and trusted_subnets may have that. With the PROXY protocol the client counts, not the proxy.",
        &Field(|c| &mut c.http.limits.max_connections_per_client, Count(0, 1_000_000)),
    ),
    key(
        "http.limits.backlog",
        "Connections that the kernel queues for each socket until they are accepted; no more than net.core.somaxconn.",
        &Field(|c| &mut c.http.limits.backlog, BACKLOG),
    ),
    key(
        "http.limits.body_memory",
        "The part of a request body kept in memory; a larger body goes to a temporary file.",
        &Field(|c| &mut c.http.limits.body_memory, Size(0)),
    ),
    key(
        "http.limits.body_memory_total",
        "Memory for larger bodies together: one of known length, up to a sixteenth of this, is kept there while there is room.",
        &Field(|c| &mut c.http.limits.body_memory_total, Size(0)),
    ),
];

/// `http.output`.
pub(super) const ANSWERS: &[Key] = &[
    section("http.output", "The answer on its way to the client."),
    key(
        "http.output.unsent",
        "Bytes of it that the kernel takes before the network does, for each TCP connection; 0 for what net.ipv4.tcp_wmem allows.",
        &Field(|c| &mut c.http.output.unsent, Size(0)),
    ),
    key("http.output.memory", "Bytes kept in memory per answer.", &Field(|c| &mut c.http.output.memory, Size(4096))),
    key(
        "http.output.file",
        "Bytes kept in a temporary file per answer, once memory is full.",
        &Field(|c| &mut c.http.output.file, Size(0)),
    ),
    key(
        "http.output.memory_total",
        "Bytes of all answers of a process kept in memory; past it they go to their temporary files at once, but for 32K of each whose client waits.",
        &Field(|c| &mut c.http.output.memory_total, Size(1 << 20)),
    ),
    key(
        "http.output.file_total",
        "Bytes of all answers of a process kept in temporary files; past it, who has not read for the longest is disconnected.",
        &Field(|c| &mut c.http.output.file_total, Size(0)),
    ),
    key(
        "http.output.max_files",
        "Temporary files of all answers of a process; past it, the same.",
        &Field(|c| &mut c.http.output.max_files, Count(1, 1_000_000)),
    ),
    key(
        "http.output.write_timeout",
        "How long a script waits for its client when both are full.",
        &Field(|c| &mut c.http.output.write_timeout, BOUND),
    ),
    key(
        "http.output.first_chunk",
        "An answer longer than this starts before its script ends; never more than http.output.memory.",
        &Field(|c| &mut c.http.output.first_chunk, Size(1)),
    ),
];
