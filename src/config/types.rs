//! The resolved configuration, but for [`Http`], [`Server`] and [`Dev`].

use std::time::Duration;

use super::{
    dev::Dev,
    fileserver::Fileserver,
    http::{Address, Http},
    lock::Lock,
    metrics::Metrics,
    server::Server,
    site::Site,
    tcp::Tcp,
};

/// Everything the operator asked for, resolved.
///
/// # Defaults
/// - `sites`: `[]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The process.
    pub engine: Engine,
    /// The interpreter.
    pub php: Php,
    /// Workers of RoadRunner's kind.
    pub server: Server,
    /// The web server.
    pub http: Http,
    /// Further sites, each for hosts of its own.
    pub sites: Vec<Site>,
    /// TCP servers.
    pub tcp: Tcp,
    /// Directories on a listener of their own.
    pub fileserver: Fileserver,
    /// Remote procedure calls, if asked for.
    pub rpc: Option<Rpc>,
    /// Locks for those who call.
    pub lock: Lock,
    /// Health checks.
    pub status: Status,
    /// Figures for Prometheus.
    pub metrics: Metrics,
    /// The server's own log.
    pub logs: Logs,
    /// Development.
    pub dev: Dev,
}

/// The process (`engine`).
///
/// # Defaults
/// - `engine.supervisor`: `true`
/// - `engine.processes`: `1`
/// - `engine.io_threads`: `auto`
/// - `engine.sapi`: `auto`
/// - `engine.grace_period`: `25s`
/// - `engine.shutdown_delay`: `0s`
/// - `engine.warm_up`: `10s`
/// - `engine.probation`: `30s`
/// - `engine.memory.guard`: `true`
/// - `engine.memory.limit`: `auto`
/// - `engine.memory.recycle_at`: `85`
/// - `engine.memory.shed_at`: `92`
/// - `engine.memory.replace_after`: `30s`
#[derive(Clone, Debug, PartialEq)]
pub struct Engine {
    /// A process of its own keeps the sockets and starts a new engine when one dies or a reload is asked for.
    pub supervisor: bool,
    /// Engines that serve side by side, each with its own pools. Calls concern all of them, metrics have a label that tells them apart
    /// (`engine`), the first serves HTTP/3, and what lives in the memory of one (`lock`, `rate_limit`) cannot be had with several.
    pub processes: usize,
    /// Threads that speak to clients; none means sized from the CPUs.
    pub io_threads: Option<usize>,
    /// How long a graceful stop may take; `endure.grace_period` is the same key.
    pub grace_period: Duration,
    /// The name PHP reports as `PHP_SAPI`; none means it follows from the scripts.
    pub sapi: Option<String>,
    /// How long to go on accepting after the signal to stop.
    pub shutdown_delay: Duration,
    /// How long an engine compiles what the engine before it had compiled, before it takes that one's place.
    pub warm_up: Duration,
    /// How long a release that a reload has brought is on probation: if its engines die twice in that time, the release before it serves
    /// again. Zero: never.
    pub probation: Duration,
    /// What is done while memory is short.
    pub memory: Memory,
}

/// What is done while memory is short (`engine.memory`).
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// Whether anything is.
    pub guard: bool,
    /// Bytes that the server may hold; none means what its control groups, else the machine, leave it.
    pub limit: Option<u64>,
    /// In percent of the limit: from here on workers start afresh, the largest first.
    pub recycle_at: u8,
    /// In percent of the limit: from here on half of the workers work, and further requests are refused.
    pub shed_at: u8,
    /// After so long of that another engine takes over, if that gives memory back. Where there is no room for two, this one ends
    /// first, and nobody accepts until the other serves: that is put off while requests run that are older than a second, and for five
    /// seconds after them, but no longer than `engine.grace_period`. Meanwhile requests are refused as before.
    pub replace_after: Duration,
}

/// The interpreter (`php`).
///
/// # Defaults
/// - `php.ini`: `{}`
/// - `php.reset`: `strict`
/// - `php.clear_env`: `false`
/// - `php.env`: `{}`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Php {
    /// Ini values, in the order given.
    pub ini: Vec<(String, String)>,
    /// What is undone between two requests of a worker script.
    pub reset: Reset,
    /// Hide the server's environment from scripts, as php-fpm's `clear_env` does.
    pub clear_env: bool,
    /// Environment variables that scripts see, in the order given.
    pub env: Vec<(String, String)>,
}

/// How much of what a request changed is undone before the next one of the same worker.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reset {
    /// What belongs to the client.
    Basic,
    /// Also ini values, handlers, shutdown functions, working directory, umask, locale, time zone and environment.
    #[default]
    Strict,
}

/// Remote procedure calls (`rpc`): what PHP's RoadRunner packages and `rr workers` speak.
///
/// # Defaults
/// - `rpc.listen`: `null`
/// - `rpc.max_connections`: `1000`
/// - `rpc.max_calls`: `100`
/// - `rpc.max_message`: `64M`
/// - `rpc.max_memory`: `256M`
/// - `rpc.timeout`: `30s`
#[derive(Clone, Debug, PartialEq)]
pub struct Rpc {
    /// Where to listen: `127.0.0.1:6001` if the section is there and does not say.
    pub listen: Address,
    /// Connections at once.
    pub max_connections: usize,
    /// Calls in progress on one connection.
    pub max_calls: usize,
    /// The largest request, in bytes.
    pub max_message: usize,
    /// All large requests at once, in bytes.
    pub max_memory: usize,
    /// How long half a request, or an answer that nobody reads, may stand still.
    pub timeout: Duration,
}

/// Health checks (`status`): what RoadRunner's `status` plugin answers, and Kubernetes' two questions.
///
/// # Defaults
/// - `status.address`: `null`
/// - `status.unavailable_status_code`: `503`
/// - `status.check_timeout`: `1m`
/// - `status.max_connections`: `64`
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Where to listen, if anywhere.
    pub address: Option<Address>,
    /// The status code that says no.
    pub unavailable_status_code: u16,
    /// How long a connection may wait for its request, and an answer for its reader.
    pub check_timeout: Duration,
    /// Connections at once; for one more the oldest is closed.
    pub max_connections: usize,
}

/// The server's own log (`logs`).
///
/// # Defaults
/// - `logs.mode`: `development`
/// - `logs.level`: `null`
/// - `logs.encoding`: `null`
/// - `logs.output`: `[stderr]`
/// - `logs.err_output`: `[stderr]`
/// - `logs.write_timeout`: `100ms`
#[derive(Clone, Debug, PartialEq)]
pub struct Logs {
    /// The style of a record.
    pub mode: LogMode,
    /// The least severe record written: `debug`, but `info` in production mode.
    pub level: Level,
    /// How a record is written: `console`, but `json` in production mode.
    pub encoding: Encoding,
    /// `stderr`, `stdout` or file paths.
    pub output: Vec<String>,
    /// Where the log's own troubles go: `stderr`, `stdout` or file paths.
    pub err_output: Vec<String>,
    /// How long a line waits for whoever reads standard error or output. Then lines are lost until they read again.
    pub write_timeout: Duration,
}

/// The style of a log record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogMode {
    /// For people.
    Development,
    /// For machines.
    Production,
    /// The message alone.
    Raw,
    /// Nothing is written.
    Off,
}

/// A record's severity, least severe first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// What happened.
    Info,
    /// What may need attention.
    Warn,
    /// What failed.
    Error,
    /// What ends the process.
    Panic,
}

/// How a log record is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// A line for people.
    Console,
    /// A JSON object per line.
    Json,
}

// === impl Config ===

impl Config {
    /// Whether anything listens for requests, by HTTP, with or without TLS, or FastCGI.
    pub fn serves_http(&self) -> bool {
        !self.http.address.is_empty() || self.http.ssl.is_some() || self.http.fcgi.is_some()
    }
}

// === impl Engine ===

impl Engine {
    /// What is wrong with several processes, if there are several.
    pub(super) fn fault(&self, needs_one: Option<&'static str>) -> Option<(&'static str, String)> {
        let why = match self.processes {
            0 | 1 => return None,
            _ if !self.supervisor => "more than one needs engine.supervisor",
            _ => needs_one?,
        };
        Some(("engine.processes", why.into()))
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            supervisor: true,
            processes: 1,
            io_threads: None,
            // With the shutdown delay it must end before the 30 s after which a container runtime kills.
            grace_period: Duration::from_secs(25),
            sapi: None,
            shutdown_delay: Duration::ZERO,
            warm_up: Duration::from_secs(10),
            probation: Duration::from_secs(30),
            memory: Memory::default(),
        }
    }
}

// === impl Memory ===

impl Default for Memory {
    fn default() -> Self {
        Self { guard: true, limit: None, recycle_at: 85, shed_at: 92, replace_after: Duration::from_secs(30) }
    }
}

// === impl Rpc ===

impl Default for Rpc {
    fn default() -> Self {
        Self {
            listen: Address::Tcp("127.0.0.1:6001".into()),
            max_connections: 1000,
            max_calls: 100,
            max_message: 64 << 20,
            max_memory: 256 << 20,
            timeout: Duration::from_secs(30),
        }
    }
}

// === impl Status ===

impl Default for Status {
    fn default() -> Self {
        Self { address: None, unavailable_status_code: 503, check_timeout: Duration::from_secs(60), max_connections: 64 }
    }
}

// === impl Logs ===

impl Default for Logs {
    fn default() -> Self {
        let mode = LogMode::Development;
        Self {
            mode,
            level: Level::of(mode),
            encoding: Encoding::of(mode),
            output: vec!["stderr".into()],
            err_output: vec!["stderr".into()],
            write_timeout: Duration::from_millis(100),
        }
    }
}

// === impl Level ===

impl Level {
    /// The level of a log whose mode alone was given.
    pub(super) fn of(mode: LogMode) -> Self {
        if mode == LogMode::Production { Self::Info } else { Self::Debug }
    }
}

// === impl Encoding ===

impl Encoding {
    /// The encoding of a log whose mode alone was given.
    pub(super) fn of(mode: LogMode) -> Self {
        if mode == LogMode::Production { Self::Json } else { Self::Console }
    }
}
