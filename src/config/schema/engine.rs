//! The keys of `engine`.

use super::{BOUND, Field, Key, TIME, key, section};
use crate::config::{
    compound::Auto,
    form::{Count, Flag, Size, Text},
};

/// The rows.
pub(super) const OWN: &[Key] = &[
    section("engine", "The process."),
    key(
        "engine.supervisor",
        "Keep the sockets in a process of their own, which replaces an engine that dies and reloads without a lost request.",
        &Field(|c| &mut c.engine.supervisor, Flag),
    ),
    key(
        "engine.processes",
        "Processes that serve side by side, each with all pools: what a crash of one ends is less. Not with lock or rate_limit.",
        &Field(|c| &mut c.engine.processes, Count(1, 64)),
    ),
    key(
        "engine.io_threads",
        "Threads that speak to clients: auto, or 1 to 256.",
        &Field(|c| &mut c.engine.io_threads, Auto(Count(1, 256))),
    ),
    key(
        "engine.sapi",
        "What PHP_SAPI says: auto, or a name such as fpm-fcgi or cli.",
        &Field(|c| &mut c.engine.sapi, Auto(SAPI)),
    ),
    key("engine.grace_period", "How long a graceful stop may take.", &Field(|c| &mut c.engine.grace_period, TIME)),
    key(
        "engine.shutdown_delay",
        "How long to go on accepting after the signal to stop.",
        &Field(|c| &mut c.engine.shutdown_delay, TIME),
    ),
    key(
        "engine.warm_up",
        "How long a new engine compiles what OPcache had in the one before it, at a low priority, before it serves; 0s: not at all.",
        &Field(|c| &mut c.engine.warm_up, TIME),
    ),
    key(
        "engine.probation",
        "If engines die twice in so long after a reload, what was served before it serves again; 0s: never.",
        &Field(|c| &mut c.engine.probation, TIME),
    ),
    section("engine.memory", "What is done while memory is short; rr workers shows it."),
    key("engine.memory.guard", "Do anything at all.", &Field(|c| &mut c.engine.memory.guard, Flag)),
    key(
        "engine.memory.limit",
        "What the server may hold: auto, which is what its control groups, else the machine, leave it, or a size such as 512M.",
        &Field(|c| &mut c.engine.memory.limit, Auto(Size(1))),
    ),
    key(
        "engine.memory.recycle_at",
        "In percent of the limit: workers start afresh, the largest first, after the requests that they are at.",
        &Field(|c| &mut c.engine.memory.recycle_at, Count(1, 100)),
    ),
    key(
        "engine.memory.shed_at",
        "In percent of the limit: half of each pool's workers work, and further requests are answered with 503.",
        &Field(|c| &mut c.engine.memory.shed_at, Count(1, 100)),
    ),
    key(
        "engine.memory.replace_after",
        "After so long another engine takes over; without room for two, once no request runs for long, at most grace_period later.",
        &Field(|c| &mut c.engine.memory.replace_after, BOUND),
    ),
];

const SAPI: Text = Text("auto or a name such as fpm-fcgi or cli", |text| {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
});
