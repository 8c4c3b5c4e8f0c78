//! What a script is asked: the request, its body, and the script that answers it.

use std::{
    borrow::Cow,
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, StatusCode};

use super::{HttpHead, Responder, Task, roadrunner::Encoded};

/// A request on its way to a worker, with the way back.
#[derive(Debug)]
pub struct Work {
    /// What is asked.
    pub request: Box<Request>,
    /// Where the answer goes.
    pub responder: Responder,
    /// When it was handed to the pool, for the queue-wait metric.
    pub submitted: Instant,
}

impl Work {
    /// True if its client has taken it back, by a word of HTTP/2 or 3 for that. Who leaves after a whole request over HTTP/1 may mean it
    /// all the same: WordPress calls its cron so.
    pub(crate) fn is_taken_back(&self) -> bool {
        let can_be = matches!(&self.request.source, Source::Http(head) if head.version > http::Version::HTTP_11);
        can_be && self.responder.is_abandoned()
    }
}

/// One request, independent of the protocol that brought it.
#[derive(Debug)]
pub struct Request {
    /// Unique within the process; appears in the logs.
    pub id: u64,
    /// When its head was complete (`REQUEST_TIME`).
    pub received: SystemTime,
    /// The script that answers it.
    pub script: Script,
    /// The protocol's view of it.
    pub source: Source,
    /// The body, wholly read.
    pub body: Body,
    /// Ini values in force for this request alone.
    pub ini: Vec<IniValue>,
    /// Sends interim responses (103), where the protocol has them.
    pub interim: Option<Interim>,
    /// How long it took so far, if somebody wants to know.
    pub phases: Option<Arc<Phases>>,
}

/// What a request's time went to before its script began.
#[derive(Debug)]
pub struct Phases {
    /// How long its body took to arrive.
    pub arriving: Duration,
    began: OnceLock<Instant>,
    /// Whether somebody wants to know what its script uses.
    pub(crate) is_measured: bool,
    used: OnceLock<Used>,
}

/// What a script had used by the time that its answer was complete.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// The most memory at once, in bytes; of a worker script since it booted.
    pub memory: u64,
    /// Time of the CPU.
    pub cpu: Duration,
}

/// A way to send interim responses before the answer.
#[derive(Clone)]
pub struct Interim(Arc<SendInterim>);

type SendInterim = dyn Fn(StatusCode, &HeaderMap) -> bool + Send + Sync;

/// The script chosen by routing, in the terms of RFC 3875. These are bytes, for file names are.
#[derive(Clone, Debug)]
pub struct Script {
    /// Absolute path of the file (`SCRIPT_FILENAME`).
    pub filename: Bytes,
    /// Its URL path, decoded (`SCRIPT_NAME`).
    pub name: Bytes,
    /// What follows it in the URL path, decoded (`PATH_INFO`); empty when nothing does.
    pub path_info: Bytes,
    /// The site's root without a trailing slash (`DOCUMENT_ROOT`).
    pub document_root: Bytes,
}

/// Where a request came from, and so how its variables are made.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are of the largest kind, and a box would be an allocation for each")]
pub enum Source {
    /// Our own HTTP front; the variables are those that nginx's `fastcgi_params` would set.
    Http(HttpHead),
    /// A FastCGI client, whose parameters are passed on as they are, in their order.
    FastCgi(Vec<(Bytes, Bytes)>),
    /// A plugin that has a task, not a request.
    Task(Task),
    /// Nobody: a worker script that boots.
    Boot,
}

/// An ini value sent with a request (`PHP_VALUE`, `PHP_ADMIN_VALUE`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IniValue {
    /// The directive's name.
    pub name: String,
    /// Its value, as php.ini would spell it.
    pub value: String,
    /// True if the script may not change it (`PHP_ADMIN_VALUE`).
    pub locked: bool,
}

/// A request body, wholly received before a worker is taken.
#[derive(Debug, Default)]
pub enum Body {
    /// No body.
    #[default]
    Empty,
    /// A small one.
    Memory(Bytes),
    /// A large one, in an unlinked temporary file positioned at its start.
    File {
        /// The file.
        file: File,
        /// Bytes in it.
        length: u64,
    },
    /// One that was made into what a RoadRunner worker is sent; the worker asked to be replaced, and another gets it.
    Encoded(Box<Encoded>),
}

/// Reads a [`Body`] from the worker's thread.
#[derive(Debug)]
pub struct BodyReader(Body);

// === impl Phases ===

impl Phases {
    /// Of a request whose body took so long to arrive, and whose script is measured if somebody wants that.
    pub fn new(arriving: Duration, is_measured: bool) -> Self {
        Self { arriving, began: OnceLock::new(), is_measured, used: OnceLock::new() }
    }

    /// The answer is complete; what is said first counts.
    pub(crate) fn end(&self, used: Used) {
        _ = self.used.set(used);
    }

    /// What its script has used, if that is known.
    pub fn used(&self) -> Option<Used> {
        self.used.get().copied()
    }

    /// A worker has it now; returns how long its body took to arrive.
    pub(crate) fn begin(&self, now: Instant) -> Duration {
        // A worker may hand it on: the first began it.
        _ = self.began.set(now);
        self.arriving
    }

    /// When a worker got it, if one has.
    pub fn began(&self) -> Option<Instant> {
        self.began.get().copied()
    }
}

// === impl Script ===

impl Script {
    /// Its path as text, for messages.
    pub fn shown(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.filename)
    }
}

// === impl Interim ===

impl Interim {
    /// Wraps what sends one: it returns false if the client cannot have it.
    pub fn new(send: impl Fn(StatusCode, &HeaderMap) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }

    /// Sends one; false if the client cannot have it.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        (self.0)(status, headers)
    }
}

impl fmt::Debug for Interim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Interim")
    }
}

// === impl Body ===

impl Body {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
            Self::Encoded(encoded) => encoded.body.len() as u64,
        }
    }

    /// True if it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader over it.
    pub fn into_reader(self) -> BodyReader {
        BodyReader(self)
    }
}

// === impl BodyReader ===

impl BodyReader {
    /// Bytes still to be read.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads from `offset` on, of a body of which nothing was taken by [`Read`]; returns 0 from its end on.
    ///
    /// # Errors
    ///
    /// Those of reading a file.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.len().saturating_sub(offset);
        let count = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        let bytes = match &self.0 {
            Body::Empty => return Ok(0),
            Body::Memory(bytes) => bytes,
            Body::File { file, .. } => return file.read_at(&mut buffer[..count], offset),
            Body::Encoded(encoded) => &encoded.body,
        };
        let from = bytes.len() - usize::try_from(rest).unwrap_or(0);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Body::Empty => Ok(0),
            Body::Memory(bytes) => {
                let count = bytes.len().min(buffer.len());
                bytes.copy_to_slice(&mut buffer[..count]);
                Ok(count)
            }
            Body::File { file, length } => {
                // The file may be longer than the body: a web server's own, lent to us.
                let wanted = usize::try_from(*length).unwrap_or(usize::MAX).min(buffer.len());
                let count = file.read(&mut buffer[..wanted])?;
                *length -= count as u64;
                Ok(count)
            }
            Body::Encoded(encoded) => {
                let count = encoded.body.len().min(buffer.len());
                encoded.body.copy_to_slice(&mut buffer[..count]);
                Ok(count)
            }
        }
    }
}
