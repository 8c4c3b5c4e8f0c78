//! The keys of the access log.

use super::{BOUND, Field, Key, OUTPUT, TIME, key, section};
use crate::config::{
    compound::Maybe,
    form::{Count, Flag, Size, Text},
};

/// The rows.
pub(super) const HTTP: &[Key] = &[
    key("http.access_logs", "Log each request at length.", &Field(|c| &mut c.http.access_logs, Flag)),
    key(
        "http.access_log_buffer",
        "Bytes of the access log that may wait for a slow output; what does not fit is dropped and counted.",
        &Field(|c| &mut c.http.access_log_buffer, Size(4096)),
    ),
    section("http.access_log", "Where and how requests are logged, unless as logs says."),
    key(
        "http.access_log.output",
        "stderr, stdout or a file's path; the first of logs.output if none is given.",
        &Field(|c| &mut c.http.access_log.output, Maybe(OUTPUT)),
    ),
    key(
        "http.access_log.format",
        "logs, which is as logs.encoding says; combined, which is Apache's; or a template with php-fpm's codes, and %b, %{NAME}i.",
        &Field(|c| &mut c.http.access_log.format, Text("a format", |text| !text.is_empty())),
    ),
    key(
        "http.access_log.sample",
        "One of so many requests is logged, and every one that was answered with 5xx.",
        &Field(|c| &mut c.http.access_log.sample, Count(1, 1_000_000_000)),
    ),
    key(
        "http.access_log.write_timeout",
        "How long its writer waits for whoever reads stderr or stdout, if that is a pipe, a socket or a terminal. Then lines are lost, and counted, until they read again.",
        &Field(|c| &mut c.http.access_log.write_timeout, BOUND),
    ),
    key(
        "http.access_log.max_size",
        "A file makes room for another at this size; 0 means never.",
        &Field(|c| &mut c.http.access_log.max_size, Size(0)),
    ),
    key(
        "http.access_log.rotate_every",
        "A file makes room for another at this age; 0s means never.",
        &Field(|c| &mut c.http.access_log.rotate_every, TIME),
    ),
    key(
        "http.access_log.max_backups",
        "Old files that are kept; 0 means all.",
        &Field(|c| &mut c.http.access_log.max_backups, Count(0, 100_000)),
    ),
    key(
        "http.access_log.compress",
        "Compress old files by gzip, but for the last.",
        &Field(|c| &mut c.http.access_log.compress, Flag),
    ),
];
