//! The keys of a pool, below the section of each plugin that has one.

use super::{BOUND, Field, Inside, Key, TIME, key, section, zero_is_default};
use crate::config::{
    compound::Auto,
    form::{Choice, Count, Flag, Megabytes, QueueLength},
    server::CommandLine,
};

/// The rows of the pool that `$place` leads to; its section's own row stands with its plugin.
macro_rules! pool_keys {
    ($at:literal, |$config:ident| $place:expr) => {
        &[
            key(
                concat!($at, ".command"),
                "What starts a worker, in place of server.command.",
                &Field(|$config| &mut $place.command, CommandLine),
            ),
            key(
                concat!($at, ".carrier"),
                "What runs that command: thread, process, or auto, which is threads for a PHP script.",
                &Field(|$config| &mut $place.carrier, Choice),
            ),
            key(
                concat!($at, ".debug"),
                "A fresh worker for each request, and errors told to the client: for development.",
                &Field(|$config| &mut $place.debug, Flag),
            ),
            key(
                concat!($at, ".num_workers"),
                "Requests that run at once: auto, or 1 to 1024.",
                &Field(|$config| &mut $place.num_workers, Auto(Count(1, 1024))),
            ),
            key(
                concat!($at, ".max_jobs"),
                "Requests after which a worker starts afresh, up to a seventh more so that not all do at once; 0 means never.",
                &Field(|$config| &mut $place.max_jobs, Count(0, u64::MAX)),
            ),
            key(
                concat!($at, ".max_queue_size"),
                "Requests that wait, one more is refused at once; 0 means no limit.",
                &Field(|$config| &mut $place.max_queue_size, QueueLength),
            ),
            zero_is_default(
                concat!($at, ".allocate_timeout"),
                "How long a request may wait, and a worker script may boot; then its thread is ended, or given up.",
                &Field(|$config| &mut $place.allocate_timeout, BOUND),
            ),
            zero_is_default(
                concat!($at, ".destroy_timeout"),
                "How long a stop lets scripts go on, which engine.grace_period bounds too, and a worker script that was told to leave may take after its loop.",
                &Field(|$config| &mut $place.destroy_timeout, BOUND),
            ),
            zero_is_default(
                concat!($at, ".reset_timeout"),
                "How long a reset waits until all workers have started afresh.",
                &Field(|$config| &mut $place.reset_timeout, BOUND),
            ),
            zero_is_default(
                concat!($at, ".stream_timeout"),
                "How long a worker script may go on with an answer on its way whose client has left.",
                &Field(|$config| &mut $place.stream_timeout, BOUND),
            ),
            section(concat!($at, ".supervisor"), "When workers start afresh by themselves, between two requests; 0 means never."),
            zero_is_default(
                concat!($at, ".supervisor.watch_tick"),
                "How often workers are looked at.",
                &Field(|$config| &mut $place.supervisor.watch_tick, BOUND),
            ),
            key(
                concat!($at, ".supervisor.ttl"),
                "The longest that a worker lives.",
                &Field(|$config| &mut $place.supervisor.ttl, TIME),
            ),
            key(
                concat!($at, ".supervisor.idle_ttl"),
                "The longest that a worker idles after a request.",
                &Field(|$config| &mut $place.supervisor.idle_ttl, TIME),
            ),
            key(
                concat!($at, ".supervisor.exec_ttl"),
                "How long a request may take by the wall clock; this one alone ends what runs.",
                &Field(|$config| &mut $place.supervisor.exec_ttl, TIME),
            ),
            key(
                concat!($at, ".supervisor.max_worker_memory"),
                "The most that a worker may hold of PHP's heap between requests, in megabytes.",
                &Field(|$config| &mut $place.supervisor.max_worker_memory, Megabytes),
            ),
            section(
                concat!($at, ".dynamic_allocator"),
                "Further workers while requests wait, taken away when they idle; off while all keys are null.",
            ),
            zero_is_default(
                concat!($at, ".dynamic_allocator.max_workers"),
                "How many there may be, 1 to 1024: 10 unless given.",
                &Inside(|$config| &mut $place.dynamic_allocator, |dynamic| &mut dynamic.max_workers, Count(1, 1024)),
            ),
            zero_is_default(
                concat!($at, ".dynamic_allocator.spawn_rate"),
                "How many are started at once, 1 to 1024: 5 unless given.",
                &Inside(|$config| &mut $place.dynamic_allocator, |dynamic| &mut dynamic.spawn_rate, Count(1, 1024)),
            ),
            zero_is_default(
                concat!($at, ".dynamic_allocator.idle_timeout"),
                "How long a worker idles before it is taken away: 1m unless given.",
                &Inside(|$config| &mut $place.dynamic_allocator, |dynamic| &mut dynamic.idle_timeout, BOUND),
            ),
        ]
    };
}

pub(super) const HTTP: &[Key] = pool_keys!("http.pool", |c| c.http.pool);
pub(super) const TCP: &[Key] = pool_keys!("tcp.pool", |c| c.tcp.pool);
