//! php-fpm's status and ping pages, so that what monitors php-fpm monitors us.

use std::time::{Duration, SystemTime};

/// Gives the figures of the status page; called once for each view of it.
pub trait StatusSource: Send + Sync {
    /// The figures now; `full` asks for the processes too.
    fn snapshot(&self, full: bool) -> FpmStatus;
}

/// What php-fpm's status page shows of a pool.
#[derive(Clone, Debug)]
pub struct FpmStatus {
    /// The pool's name.
    pub pool: String,
    /// `static`, `dynamic` or `ondemand`.
    pub process_manager: &'static str,
    /// When the pool started.
    pub start_time: SystemTime,
    /// Requests accepted since.
    pub accepted_conn: u64,
    /// Works waiting.
    pub listen_queue: u64,
    /// The most works that have waited.
    pub max_listen_queue: u64,
    /// How many may wait.
    pub listen_queue_len: u64,
    /// Workers without work.
    pub idle_processes: u64,
    /// Workers with work.
    pub active_processes: u64,
    /// The most workers that had work at once.
    pub max_active_processes: u64,
    /// How often more workers were wanted than allowed.
    pub max_children_reached: u64,
    /// Requests that took longer than the slow log's threshold.
    pub slow_requests: u64,
    /// The most memory that a request took, in bytes.
    pub memory_peak: u64,
    /// The workers.
    pub processes: Vec<ProcessStatus>,
}

/// What the full status page shows of a worker.
#[derive(Clone, Debug)]
pub struct ProcessStatus {
    /// Its number: a process's or a thread's.
    pub pid: u32,
    /// What it does.
    pub state: ProcessState,
    /// When it started.
    pub start_time: SystemTime,
    /// Requests it has had.
    pub requests: u64,
    /// How long the current request, or else the last one, has taken.
    pub request_duration: Duration,
    /// The request's method.
    pub request_method: String,
    /// The request's URI, with its query if that is known.
    pub request_uri: String,
    /// The length of the request's body.
    pub content_length: u64,
    /// The user of HTTP authentication.
    pub user: String,
    /// The script.
    pub script: String,
    /// Per cent of one core that the last request took.
    pub last_request_cpu: f64,
    /// The most memory that the last request took, in bytes.
    pub last_request_memory: u64,
}

/// What a worker does, in php-fpm's words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProcessState {
    /// It starts.
    Creating,
    /// The request ends.
    Ending,
    /// What the request left is put away.
    Finishing,
    /// It waits for work.
    Idle,
    /// The request's variables are made.
    Info,
    /// The request is received.
    ReadingHeaders,
    /// The script runs.
    Running,
}

/// How the status page is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Format {
    /// The syntax.
    pub syntax: Syntax,
    /// With every worker.
    pub full: bool,
}

/// The syntax of a status page.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Syntax {
    /// A page for a browser.
    Html,
    /// An object.
    Json,
    /// Metrics for Prometheus.
    OpenMetrics,
    /// Lines.
    #[default]
    Text,
    /// A document.
    Xml,
}

// === impl Format ===

impl Format {
    /// What a query string asks for: `full&json`.
    pub fn from_query(query: &[u8]) -> Self {
        let asked = |name: &[u8]| {
            query.split(|&byte| byte == b'&').any(|pair| {
                let key = pair.split(|&byte| byte == b'=' || byte == b'[').next().unwrap_or_default();
                percent_encoding::percent_decode(key).eq(name.iter().copied())
            })
        };
        let syntaxes: [(&[u8], Syntax); 4] =
            [(b"html", Syntax::Html), (b"xml", Syntax::Xml), (b"json", Syntax::Json), (b"openmetrics", Syntax::OpenMetrics)];
        let syntax = syntaxes.into_iter().find(|(name, _)| asked(name)).map_or(Syntax::Text, |(_, syntax)| syntax);
        Self { syntax, full: asked(b"full") }
    }
}

// === impl ProcessState ===

impl ProcessState {
    /// Its name on the page.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "Creating",
            Self::Ending => "Ending",
            Self::Finishing => "Finishing",
            Self::Idle => "Idle",
            Self::Info => "Getting request information",
            Self::ReadingHeaders => "Reading headers",
            Self::Running => "Running",
        }
    }
}
