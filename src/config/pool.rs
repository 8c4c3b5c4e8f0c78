//! A pool of workers. Every plugin that has one has these keys, RoadRunner's, with RoadRunner's meaning.

use std::time::Duration;

use super::server::Carrier;

/// Workers and what bounds them (`http.pool`).
///
/// # Defaults
/// - `*.pool.command`: `[]`
/// - `*.pool.carrier`: `auto`
/// - `*.pool.debug`: `false`
/// - `*.pool.num_workers`: `auto`
/// - `*.pool.max_jobs`: `0`
/// - `*.pool.max_queue_size`: `1000`
/// - `*.pool.allocate_timeout`: `30s`
/// - `*.pool.destroy_timeout`: `1m`
/// - `*.pool.reset_timeout`: `1m`
/// - `*.pool.stream_timeout`: `1m`
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// What starts a worker, in place of `server.command`; empty if nothing does.
    pub command: Vec<String>,
    /// What runs that command.
    pub carrier: Carrier,
    /// A fresh worker for each request, which then sees changed code at once, and errors told to the client.
    pub debug: bool,
    /// Requests that run at once; none means sized from the CPUs.
    pub num_workers: Option<usize>,
    /// Requests after which a worker starts afresh; 0 means never.
    pub max_jobs: u64,
    /// Requests that wait; one more is refused at once. A given 0 is [`usize::MAX`] here: RoadRunner's "unlimited".
    pub max_queue_size: usize,
    /// How long a request may wait, and a worker script may boot; more than zero.
    pub allocate_timeout: Duration,
    /// How long a stop lets scripts go on.
    pub destroy_timeout: Duration,
    /// How long a reset waits until all workers have started afresh.
    pub reset_timeout: Duration,
    /// How long a worker script may go on with an answer on its way whose client has left.
    pub stream_timeout: Duration,
    /// When workers start afresh by themselves.
    pub supervisor: Supervisor,
    /// Further workers while works wait; none means the number of workers is fixed.
    pub dynamic_allocator: Option<DynamicAllocator>,
}

/// When workers start afresh (`http.pool.supervisor`). Only between two requests, but for `exec_ttl`; a zero asks for nothing.
///
/// # Defaults
/// - `*.pool.supervisor.watch_tick`: `5s`
/// - `*.pool.supervisor.ttl`: `0s`
/// - `*.pool.supervisor.idle_ttl`: `0s`
/// - `*.pool.supervisor.exec_ttl`: `0s`
/// - `*.pool.supervisor.max_worker_memory`: `0`
#[derive(Clone, Debug, PartialEq)]
pub struct Supervisor {
    /// How often workers are looked at.
    pub watch_tick: Duration,
    /// The longest that a worker lives.
    pub ttl: Duration,
    /// The longest that a worker idles after a request.
    pub idle_ttl: Duration,
    /// How long a request may take by the wall clock, as `http.request_timeout`.
    pub exec_ttl: Duration,
    /// The most that a worker may hold of PHP's heap, in bytes.
    pub max_worker_memory: u64,
}

/// Further workers (`http.pool.dynamic_allocator`).
///
/// # Defaults
/// - `*.pool.dynamic_allocator.max_workers`: `null`
/// - `*.pool.dynamic_allocator.spawn_rate`: `null`
/// - `*.pool.dynamic_allocator.idle_timeout`: `null`
#[derive(Clone, Debug, PartialEq)]
pub struct DynamicAllocator {
    /// How many there may be.
    pub max_workers: usize,
    /// How many are started at once.
    pub spawn_rate: usize,
    /// How long a worker idles before it is taken away.
    pub idle_timeout: Duration,
}

// === impl Pool ===

impl Default for Pool {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            carrier: Carrier::Auto,
            debug: false,
            num_workers: None,
            max_jobs: 0,
            max_queue_size: 1000,
            allocate_timeout: Duration::from_secs(30),
            destroy_timeout: Duration::from_secs(60),
            reset_timeout: Duration::from_secs(60),
            stream_timeout: Duration::from_secs(60),
            supervisor: Supervisor::default(),
            dynamic_allocator: None,
        }
    }
}

// === impl Supervisor ===

impl Default for Supervisor {
    fn default() -> Self {
        Self {
            watch_tick: Duration::from_secs(5),
            ttl: Duration::ZERO,
            idle_ttl: Duration::ZERO,
            exec_ttl: Duration::ZERO,
            max_worker_memory: 0,
        }
    }
}

// === impl DynamicAllocator ===

impl Default for DynamicAllocator {
    fn default() -> Self {
        Self { max_workers: 10, spawn_rate: 5, idle_timeout: Duration::from_secs(60) }
    }
}
