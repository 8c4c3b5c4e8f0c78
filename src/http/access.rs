//! The access log: formatted where the request was answered, written by one thread.
//!
//! Records go as text into one buffer of bounded size, which the writer swaps for an empty one and writes at once; a
//! record costs no allocation, and one that finds the buffer full is dropped and counted.

mod encode;
mod file;
mod moment;
mod template;

use std::{
    cell::RefCell,
    fmt,
    io::{self, IsTerminal, Write},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Version};
use parking_lot::{Condvar, Mutex};

pub use file::Rotation;
pub use template::Template;

use crate::{
    telemetry::{Lines, Seldom, Standard, logs},
    worker::Phases,
};

/// Whether and how requests are logged.
#[derive(Clone, Debug)]
pub enum Config {
    /// Not at all, at no cost.
    Disabled,
    /// A line for each.
    Enabled(Settings),
}

/// How requests are logged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// RoadRunner's `http.access_logs`: the record `http access log` in place of `http log`.
    pub extended: bool,
    /// The form of a line.
    pub encoding: Encoding,
    /// Where lines go.
    pub output: Output,
    /// When a file makes room for another.
    pub rotation: Rotation,
    /// One of so many requests is logged, and every one that failed with 5xx.
    pub sample: u64,
    /// Bytes that may wait for the writer.
    pub max_queued_bytes: usize,
    /// How long the writer waits for whoever reads standard error or output. Then lines are lost until they read again.
    pub write_timeout: Duration,
}

/// The form of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoding {
    /// As RoadRunner writes it with `logs.mode: production`.
    Json,
    /// For people; coloured on a terminal.
    Console,
    /// As somebody wants it.
    Template(Template),
}

/// Where lines go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// One answered request.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The status code.
    pub status: u16,
    /// The method.
    pub method: &'a str,
    /// The request target as it was sent.
    pub uri: &'a str,
    /// The URL that came of it.
    pub url: &'a str,
    /// The protocol's version.
    pub version: Version,
    /// Who asked.
    pub remote: Remote,
    /// The name that they gave for a password; empty if none.
    pub user: &'a str,
    /// What `request_id` calls the request; empty if it does not.
    pub request_id: &'a [u8],
    /// Bytes of the request's body that were read.
    pub read_bytes: u64,
    /// Bytes of the answer's body.
    pub write_bytes: u64,
    /// When the request came.
    pub start: SystemTime,
    /// How long it took.
    pub elapsed: Duration,
    /// The query without its question mark; extended.
    pub query: &'a str,
    /// The length that the request gave of its body; extended.
    pub content_length: Option<u64>,
    /// The host asked for; extended.
    pub host: &'a [u8],
    /// `User-Agent`; extended.
    pub user_agent: &'a [u8],
    /// `Referer`; extended.
    pub referer: &'a [u8],
    /// The request's headers, if [`Log::needs_headers`].
    pub request: Option<&'a HeaderMap>,
    /// The answer's headers, if so.
    pub response: Option<&'a HeaderMap>,
    /// The script that answered, if one did and [`Log::needs_script`].
    pub ran: Option<&'a Ran>,
}

/// A script that was run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its path.
    pub script: Bytes,
    /// The pool that ran it.
    pub pool: String,
    /// What it took.
    pub phases: Arc<Phases>,
}

/// Who asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Remote {
    /// The client itself.
    Socket(SocketAddr),
    /// A client that a trusted proxy has named.
    Proxied(IpAddr),
    /// Someone on a unix socket.
    Unix,
}

/// Takes records from any thread. The last clone writes what is left when it is dropped.
#[derive(Clone, Debug)]
pub struct Log(Option<Arc<Running>>);

#[derive(Debug)]
struct Running {
    queue: Arc<Queue>,
    format: encode::Format,
    sample: u64,
    seen: AtomicU64,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Queue {
    max_bytes: usize,
    state: Mutex<State>,
    filled: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    is_closed: bool,
}

/// How long the writer gathers lines once there is one. More would not save much, and people watch logs.
const GATHER: Duration = Duration::from_millis(10);

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

// === impl Config ===

impl Config {
    /// Opens the output and starts the writer.
    pub fn build(self) -> io::Result<Log> {
        let Self::Enabled(settings) = self else {
            return Ok(Log(None));
        };
        let turn = logs::turn();
        let sink = settings.open()?;
        let sample = settings.sample.max(1);
        let format = encode::Format {
            extended: settings.extended,
            encoding: settings.encoding.clone(),
            colour: settings.output.is_terminal(),
        };
        let queue = Arc::new(Queue {
            max_bytes: settings.max_queued_bytes,
            state: Mutex::default(),
            filled: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let writer = thread::Builder::new().name("access-log".into()).spawn({
            let queue = queue.clone();
            move || queue.write_all(Lines::new(sink), &settings, turn)
        })?;
        Ok(Log(Some(Arc::new(Running { queue, format, sample, seen: AtomicU64::new(0), writer: Some(writer) }))))
    }
}

impl Settings {
    fn open(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match &self.output {
            Output::Stderr => Box::new(Standard::error(self.write_timeout)),
            Output::Stdout => Box::new(Standard::output(self.write_timeout)),
            Output::File(path) => Box::new(file::LogFile::open(path, self.rotation.clone())?),
        })
    }
}

impl Output {
    fn is_terminal(&self) -> bool {
        match self {
            Self::Stderr => io::stderr().is_terminal(),
            Self::Stdout => io::stdout().is_terminal(),
            Self::File(_) => false,
        }
    }
}

// === impl Log ===

impl Log {
    /// A log that takes nothing.
    pub fn disabled() -> Self {
        Self(None)
    }

    /// False if making a record would be for nothing.
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Whether records are to have all headers.
    pub fn needs_headers(&self) -> bool {
        self.0.as_ref().is_some_and(|running| running.format.needs_headers())
    }

    /// Whether records are to say which script ran, and what that took.
    pub fn needs_script(&self) -> bool {
        self.0.as_ref().is_some_and(|running| running.format.needs_script())
    }

    /// Adds a record. It never waits for the output.
    pub fn write(&self, record: &Record<'_>) {
        let Some(running) = &self.0 else {
            return;
        };
        let is_left_out = running.sample > 1 && !running.seen.fetch_add(1, Relaxed).is_multiple_of(running.sample);
        if is_left_out && record.status < 500 {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            running.format.encode(record, line);
            running.queue.push(line);
        });
    }

    /// Records lost because the output was too slow or failed.
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |running| running.queue.dropped.load(Relaxed))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.queue.state.lock().is_closed = true;
        self.queue.filled.notify_one();
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
    }
}

// === impl Queue ===

impl Queue {
    fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.bytes.len() + line.len() > self.max_bytes {
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        let was_empty = state.bytes.is_empty();
        state.bytes.extend_from_slice(line);
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
    }

    fn write_all(&self, mut sink: Lines<Box<dyn Write + Send>>, settings: &Settings, mut turn: u64) {
        let mut batch = Vec::new();
        while self.swap(&mut batch) {
            if std::mem::replace(&mut turn, logs::turn()) != turn {
                match settings.open() {
                    Ok(opened) => sink = Lines::new(opened),
                    Err(error) => tracing::error!(%error, output = ?settings.output, "cannot reopen the access log"),
                }
            }
            if let Err(error) = sink.write(&batch) {
                static SELDOM: Seldom = Seldom::new();
                let lines = memchr::memchr_iter(b'\n', &batch).count();
                let lost = self.dropped.fetch_add(lines as u64, Relaxed) + lines as u64;
                if SELDOM.say().is_some() {
                    tracing::error!(%error, output = ?settings.output, lost, "the access log loses lines");
                }
            }
            batch.clear();
        }
    }

    /// Waits for lines and takes them all. False once there will be no more.
    fn swap(&self, batch: &mut Vec<u8>) -> bool {
        let mut state = self.state.lock();
        while state.bytes.is_empty() && !state.is_closed {
            self.filled.wait(&mut state);
        }
        if !state.is_closed {
            // Nobody notifies a queue that is not empty, but its end.
            self.filled.wait_for(&mut state, GATHER);
        }
        std::mem::swap(&mut state.bytes, batch);
        !batch.is_empty()
    }
}

// === impl Remote ===

impl fmt::Display for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(formatter),
            Self::Proxied(address) => address.fmt(formatter),
            // What Go calls the unnamed end of a unix socket.
            Self::Unix => formatter.write_str("@"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record<'static> {
        Record {
            status: 200,
            method: "GET",
            uri: "/a?b",
            url: "/a?b",
            version: Version::HTTP_11,
            remote: Remote::Unix,
            user: "",
            request_id: b"",
            read_bytes: 0,
            write_bytes: 5,
            start: SystemTime::UNIX_EPOCH,
            elapsed: Duration::from_millis(7),
            query: "b",
            content_length: None,
            host: b"a",
            user_agent: b"",
            referer: b"",
            request: None,
            response: None,
            ran: None,
        }
    }

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("rr-access-{}-{name}.log", std::process::id()))
    }

    fn log(path: &std::path::Path, max_queued_bytes: usize) -> Log {
        sampled(path, max_queued_bytes, 1)
    }

    fn sampled(path: &std::path::Path, max_queued_bytes: usize, sample: u64) -> Log {
        let output = Output::File(path.into());
        let rotation = Rotation::default();
        let write_timeout = Duration::from_secs(1);
        let settings =
            Settings { extended: false, encoding: Encoding::Json, output, rotation, sample, max_queued_bytes, write_timeout };
        Config::Enabled(settings).build().unwrap()
    }

    #[test]
    fn every_record_of_every_thread_is_written() {
        let path = file("threads");
        let log = log(&path, 1 << 24);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| log.write(&record())));
            }
        });
        assert_eq!(log.dropped(), 0);
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text.lines().count(), 4000);
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["status"] == 200));
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let path = file("full");
        let log = log(&path, 10);
        log.write(&record());
        assert_eq!(log.dropped(), 1);
        drop(log);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_sample_has_one_of_so_many_and_all_that_failed() {
        let path = file("sample");
        let log = sampled(&path, 1 << 20, 10);
        (0..100).for_each(|_| log.write(&record()));
        (0..5).for_each(|_| log.write(&Record { status: 500, ..record() }));
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((text.matches(r#""status":200"#).count(), text.matches(r#""status":500"#).count()), (10, 5));
    }

    #[test]
    fn follows_a_rotation() {
        let (path, rotated) = (file("current"), file("rotated"));
        let log = log(&path, 1 << 20);
        log.write(&record());
        while std::fs::metadata(&path).unwrap().len() == 0 {
            thread::yield_now();
        }
        std::fs::rename(&path, &rotated).unwrap();
        logs::reopen();
        log.write(&record());
        drop(log);
        for path in [path, rotated] {
            assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn disabled_takes_nothing() {
        let log = Config::Disabled.build().unwrap();
        assert!(!log.is_enabled());
        log.write(&record());
        assert_eq!(log.dropped(), 0);
    }
}
