//! Sends files: small hot ones from memory, large ones through threads of their own, all with the meaning of RFC 9110.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use quick_cache::{OptionsBuilder, Weighter, sync::Cache};

use self::{
    conditions::{Answer, Validators},
    entry::{Entry, Source, Terms, Variant},
};
use super::{Body, response::Ours};

mod conditions;
mod encoding;
mod entry;
mod forms;
mod media;
mod stream;
mod threads;

pub use encoding::Coding;
pub(crate) use encoding::choose;
pub use forms::Kept;
pub use stream::Stream;
pub(super) use stream::Unseen;
pub(super) use threads::Threads;

/// How files are sent (`http.files`).
#[derive(Clone, Debug)]
pub struct Config {
    /// The value of `Cache-Control`, if one is sent.
    pub cache_control: Option<String>,
    /// Bytes of files kept in memory.
    pub cache_memory: u64,
    /// Larger files are read anew each time.
    pub cache_max_file: u64,
    /// How long a file in memory is trusted before the one on disk is looked at.
    pub revalidate: Duration,
    /// Whether `x.css.br`, `x.css.zst` and `x.css.gz` are sent in place of `x.css` to those who accept them.
    pub precompressed: bool,
    /// Whether files have an `ETag`.
    pub etag: Etag,
    /// Threads that read files.
    pub threads: usize,
}

/// The `ETag` of files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Etag {
    /// Names the bytes.
    Strong,
    /// Names the state of the file, but does not vouch for each byte.
    Weak,
    /// None is sent.
    None,
}

/// Sends files. Clones share memory and threads.
#[derive(Clone, Debug)]
pub struct Files(Arc<Shared>);

/// A file that routing found: its path holds no symbolic link, and its name may be sent.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    // As bytes: a `Path` hashes and compares by its components.
    path: Arc<OsStr>,
    content_type: &'static str,
}

#[derive(Debug)]
struct Shared {
    terms: Terms,
    revalidate: Duration,
    cache: Cache<Target, Arc<Cached>, Weight>,
    threads: Arc<Threads>,
    started: Instant,
}

#[derive(Debug)]
struct Cached {
    entry: Entry,
    /// Nanoseconds after the start.
    checked: AtomicU64,
}

#[derive(Clone, Debug)]
struct Weight;

// === impl Config ===

impl Config {
    /// Starts the threads.
    pub fn build(self) -> io::Result<Files> {
        // Each shard has its part of the memory: too many, and none has room for the largest file and its precompressed siblings.
        let shards = (self.cache_memory / (8 * self.cache_max_file.max(1))).clamp(1, 64);
        let options = OptionsBuilder::new()
            .shards(1 << shards.ilog2())
            .estimated_items_capacity((self.cache_memory / AVERAGE_FILE) as usize)
            .weight_capacity(self.cache_memory)
            .build()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let cache = Cache::with_options(options, Weight, Default::default(), Default::default());
        let cache_control = self.cache_control.map(HeaderValue::try_from).transpose();
        let terms = Terms {
            etag: self.etag,
            cache_control: cache_control.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
            cache_max_file: self.cache_max_file,
            precompressed: self.precompressed,
        };
        let threads = Threads::start("rr-file", self.threads, self.threads * QUEUED_PER_THREAD)?;
        Ok(Files(Arc::new(Shared { terms, revalidate: self.revalidate, cache, threads, started: Instant::now() })))
    }
}

// === impl Target ===

impl Target {
    /// The file at `path`, whose type is that of the name it was asked by.
    pub(super) fn new(path: PathBuf, name: &OsStr) -> Self {
        Self { path: Arc::from(OsString::from(path)), content_type: media::content_type(Path::new(name)) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        Path::new(&self.path)
    }
}

// === impl Files ===

impl Files {
    /// The response to a request for `target`.
    pub async fn respond(&self, target: &Target, method: &Method, headers: &HeaderMap) -> Response<Body> {
        if method != Method::GET && method != Method::HEAD {
            let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match self.attempt(target, method, headers).await {
            // It was replaced since it was looked at; what is there now is told by a new look.
            Err(error) if error.kind() == io::ErrorKind::StaleNetworkFileHandle => {
                self.0.cache.remove(target);
                self.attempt(target, method, headers).await
            }
            result => result,
        }
        .unwrap_or_else(|error| bare(status_of(&error)))
    }

    /// Bytes of memory that cached files take.
    pub fn memory(&self) -> u64 {
        self.0.cache.weight()
    }

    async fn attempt(&self, target: &Target, method: &Method, headers: &HeaderMap) -> io::Result<Response<Body>> {
        let cached = self.entry(target).await?;
        self.send(target, cached.entry.choose(headers), method, headers)
    }

    async fn entry(&self, target: &Target) -> io::Result<Arc<Cached>> {
        let shared = &self.0;
        let now = shared.started.elapsed().as_nanos() as u64;
        let known = shared.cache.get(target);
        if let Some(cached) = &known {
            let checked = cached.checked.load(Relaxed);
            let is_fresh = u128::from(now.saturating_sub(checked)) < shared.revalidate.as_nanos();
            // One request looks at the disk; those beside it still trust the memory.
            if is_fresh || cached.checked.compare_exchange(checked, now, Relaxed, Relaxed).is_err() {
                return Ok(cached.clone());
            }
            if cached.entry.is_current(target.path()) {
                return Ok(cached.clone());
            }
        }
        let loading = shared.threads.call({
            let (target, terms) = (target.clone(), shared.terms.clone());
            move || Entry::load(target.path(), target.content_type, &terms)
        });
        match loading.await {
            Ok(entry) => {
                let cached = Arc::new(Cached { entry, checked: AtomicU64::new(now) });
                shared.cache.insert(target.clone(), cached.clone());
                Ok(cached)
            }
            Err(error) => {
                shared.cache.remove(target);
                Err(error)
            }
        }
    }

    fn send(&self, target: &Target, variant: &Variant, method: &Method, headers: &HeaderMap) -> io::Result<Response<Body>> {
        let etag = self.0.terms.etag;
        let validators = Validators {
            etag: Some(&variant.etag).filter(|_| etag != Etag::None),
            is_weak: etag == Etag::Weak,
            modified: variant.modified,
            length: variant.length,
        };
        let answer = conditions::evaluate(headers, method, &validators);
        let (range, status) = match answer {
            Answer::Whole => (0..variant.length, StatusCode::OK),
            Answer::Part(range) => (range, StatusCode::PARTIAL_CONTENT),
            Answer::NotModified => {
                let mut response = bare(StatusCode::NOT_MODIFIED);
                *response.headers_mut() = variant.headers.clone();
                // Of the fields of a 200, those that describe a body would describe this one.
                for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING] {
                    response.headers_mut().remove(name);
                }
                return Ok(response);
            }
            Answer::PreconditionFailed => return Ok(bare(StatusCode::PRECONDITION_FAILED)),
            Answer::Unsatisfiable => {
                let mut response = bare(StatusCode::RANGE_NOT_SATISFIABLE);
                response.headers_mut().insert(header::CONTENT_RANGE, text(format!("bytes */{}", variant.length)));
                return Ok(response);
            }
        };
        let mut head = variant.headers.clone();
        if status == StatusCode::PARTIAL_CONTENT {
            let content_range = format!("bytes {}-{}/{}", range.start, range.end - 1, variant.length);
            head.insert(header::CONTENT_RANGE, text(content_range));
            head.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
        }
        let body = match &variant.source {
            _ if method == Method::HEAD => Body::Empty,
            Source::Memory { bytes, forms: Some(forms) } if status == StatusCode::OK && !bytes.is_empty() => {
                Body::Kept(Kept::new(bytes.clone(), forms.clone()))
            }
            Source::Memory { bytes, .. } => Body::from(bytes.slice(range.start as usize..range.end as usize)),
            Source::Disk { coding } => {
                let file = variant.open(&coding.beside(target.path()))?;
                Body::File(Stream::new(file, range, self.0.threads.clone()))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = head;
        Ok(response)
    }
}

// === impl Weight ===

impl Weighter<Target, Arc<Cached>> for Weight {
    fn weight(&self, target: &Target, cached: &Arc<Cached>) -> u64 {
        cached.entry.memory() + target.path.len() as u64 + ENTRY_OVERHEAD
    }
}

fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    if status.is_client_error() || status.is_server_error() {
        response.extensions_mut().insert(Ours);
    }
    response
}

fn status_of(error: &io::Error) -> StatusCode {
    match error.raw_os_error() {
        // ELOOP: a symbolic link has come since routing looked.
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => StatusCode::NOT_FOUND,
        Some(libc::EACCES) => StatusCode::FORBIDDEN,
        Some(libc::EMFILE | libc::ENFILE) => StatusCode::SERVICE_UNAVAILABLE,
        None if error.kind() == io::ErrorKind::NotFound => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn text(value: String) -> HeaderValue {
    HeaderValue::try_from(value).expect("made of digits and ASCII letters")
}

/// Jobs that may wait for each thread: at 256 KiB a job, some 10 ms of work for a common disk.
const QUEUED_PER_THREAD: usize = 64;

/// For the cache's estimate of how many it will hold.
const AVERAGE_FILE: u64 = 16 * 1024;

/// Headers and bookkeeping of an entry, roughly; it bounds the number of empty files.
const ENTRY_OVERHEAD: u64 = 2048;

#[cfg(test)]
mod tests;
