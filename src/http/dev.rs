//! What development mode adds to answers: pages load themselves anew, and a worker script that does not boot says why.
//!
//! Pages get a script of ours at their end. It listens to `/.rr/reload`, a stream of events that names the present state of the
//! files, and loads the page anew when that is no longer the state which the page was made from; so a change while the page was
//! on its way, or a restart of the server, is not missed. The paths below `/.rr/` are answered here and by nobody else; no file
//! collides with them, for names with a dot in front are not served.
//!
//! The script comes as a file, which a `Content-Security-Policy` allows by `script-src 'self'` or by the nonce that it names, and
//! needs `connect-src 'self'`. Where a policy allows neither, the browser refuses it, and pages are as without it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use parking_lot::Mutex;

use super::{Body, body::Appended, response};
use crate::worker::{OutputBudget, OutputLimits, OutputWriter};

/// Development mode, as the front knows it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dev(Arc<Shared>);

/// What [`Dev`] is made of.
pub struct Needs {
    /// Whether pages load themselves anew.
    pub reload: bool,
    /// Why no script can run at all, if that is so.
    pub outage: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

/// An answer to be that is a page in a browser's tab.
#[derive(Debug)]
pub(super) struct Page {
    state: String,
}

/// Word of why no script can run, for one asker.
#[derive(Debug)]
pub(super) struct Outage {
    dev: Dev,
    to_browser: bool,
}

struct Shared {
    needs: Needs,
    limits: Arc<OutputLimits>,
    /// Tells this run of the server from others.
    started: u128,
    changes: AtomicU64,
    /// None once the server stops.
    listeners: Mutex<Option<Vec<OutputWriter>>>,
}

/// Tabs that listen at once; the one that came first makes room, and comes back.
const MOST_LISTENERS: usize = 256;
const EVENTS: &str = "/.rr/reload";
const SCRIPT: &str = "/.rr/reload.js";

// === impl Dev ===

impl Dev {
    /// Development mode made of `needs`.
    pub fn new(needs: Needs) -> Self {
        // A message is some bytes long: a tab that takes none of them is gone.
        let limits = OutputLimits {
            memory: 4096,
            file: 0,
            write_timeout: Duration::ZERO,
            directory: std::path::PathBuf::from("/nonexistent"),
            budget: OutputBudget::unlimited(),
        };
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
        let listeners = Mutex::new(Some(Vec::new()));
        Self(Arc::new(Shared { needs, limits: Arc::new(limits), started, changes: AtomicU64::new(0), listeners }))
    }

    /// The files have changed: pages load themselves anew.
    pub fn tell(&self) {
        self.0.changes.fetch_add(1, SeqCst);
        let message = self.message();
        if let Some(listeners) = &mut *self.0.listeners.lock() {
            listeners.retain(|listener| listener.write(message.clone()).is_ok());
        }
    }

    /// The server stops: nobody is kept listening.
    pub fn close(&self) {
        for listener in self.0.listeners.lock().take().into_iter().flatten() {
            listener.finish(Ok(()));
        }
    }

    /// The answer to a request for what is ours.
    pub(super) fn answer(&self, parts: &Parts) -> Option<Response<Body>> {
        let path = parts.uri.path();
        if !self.0.needs.reload || !path.starts_with("/.rr/") {
            return None;
        }
        let (mut response, content_type) = match path {
            EVENTS if parts.method == Method::GET => (self.listen(), "text/event-stream"),
            SCRIPT => (Response::new(Body::from(Bytes::from_static(include_bytes!("dev.js")))), "text/javascript; charset=utf-8"),
            _ => (response::plain(StatusCode::NOT_FOUND), "text/plain; charset=utf-8"),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }

    /// What is to become of the answer to a request, if that is for a page in a tab: its state is that of now, before it is made.
    pub(super) fn page(&self, parts: &mut Parts) -> Option<Page> {
        if !self.0.needs.reload || parts.method != Method::GET || !is_navigation(&parts.headers) {
            return None;
        }
        // The page is to come whole: with other pages' validators it would be answered from a cache, which has none of this.
        for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::RANGE, header::IF_RANGE] {
            parts.headers.remove(name);
        }
        Some(Page { state: self.state() })
    }

    /// What to tell whoever sent `headers` when no script can run.
    pub(super) fn outage_for(&self, headers: &HeaderMap) -> Outage {
        Outage { dev: self.clone(), to_browser: is_navigation(headers) }
    }

    fn listen(&self) -> Response<Body> {
        let (writer, reader) = OutputWriter::new(self.0.limits.clone());
        let mut listeners = self.0.listeners.lock();
        let Some(listeners) = &mut *listeners else { return response::overloaded() };
        listeners.retain(|listener| !listener.is_abandoned());
        if listeners.len() >= MOST_LISTENERS {
            listeners.remove(0).finish(Ok(()));
        }
        // Never refused: the buffer is empty.
        drop(writer.write(self.message()));
        listeners.push(writer);
        Response::new(Body::Output(reader))
    }

    fn message(&self) -> Bytes {
        // A server that restarts is back soon.
        Bytes::from(format!("retry: 300\ndata: {}\n\n", self.state()))
    }

    fn state(&self) -> String {
        format!("{:x}-{:x}", self.0.started, self.0.changes.load(SeqCst))
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("changes", &self.changes).finish_non_exhaustive()
    }
}

// === impl Outage ===

impl Outage {
    /// The answer, if no script can run now.
    pub(super) fn tell(&self) -> Option<Response<Body>> {
        let reason = (self.dev.0.needs.outage)()?;
        let mut response = response::plain(StatusCode::INTERNAL_SERVER_ERROR);
        response.extensions_mut().remove::<response::Ours>();
        if !self.to_browser {
            *response.body_mut() = Body::from(Bytes::from(format!("{reason}\n")));
            return Some(response);
        }
        let reason = reason.replace('&', "&amp;").replace('<', "&lt;");
        let page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>The worker script does not boot</title></head>\n\
             <body><h1>The worker script does not boot</h1>\n<pre style=\"white-space: pre-wrap\">{reason}</pre>\n\
             <p>It is tried again when a file changes.</p></body></html>\n"
        );
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        *response.body_mut() = Body::from(Bytes::from(page));
        Some(response)
    }
}

// === impl Page ===

impl Page {
    /// Adds the script to `response` if it is a page. A body on its way gets it at its end, a whole one before `</body>`.
    pub(super) fn finish(self, mut response: Response<Body>) -> Response<Body> {
        if !is_page(&response) {
            return response;
        }
        let nonce = nonce(response.headers()).map_or(String::new(), |nonce| format!(" nonce=\"{nonce}\""));
        let script = Bytes::from(format!("<script src=\"{SCRIPT}\" data-page=\"{}\" async{nonce}></script>", self.state));
        let headers = response.headers_mut();
        if let Some(length) = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok()) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length + script.len() as u64));
        }
        // From a cache it would come with a state that is over, and load itself anew for ever.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.remove(header::ETAG);
        headers.remove(header::LAST_MODIFIED);
        let body = std::mem::take(response.body_mut());
        *response.body_mut() = match body {
            Body::Bytes(page) => Body::from(insert(&page, &script)),
            Body::Kept(page) => Body::from(insert(&page.bytes, &script)),
            Body::Empty => Body::from(script),
            body => Body::Appended(Box::new(Appended::new(body, script))),
        };
        response
    }
}

/// Whether a browser asks for a page in a tab or a frame, rather than a script of that page for something.
fn is_navigation(headers: &HeaderMap) -> bool {
    let value = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    if value("x-requested-with").is_some() {
        return false;
    }
    // Browsers do not send it to plain HTTP on other machines.
    match value("sec-fetch-dest") {
        Some(destination) => [&b"document"[..], b"iframe", b"frame"].contains(&destination),
        None => value("accept").is_some_and(|accept| memchr::memmem::find(accept, b"text/html").is_some()),
    }
}

fn is_page(response: &Response<Body>) -> bool {
    let status = response.status();
    let headers = response.headers();
    let is_html = headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let name = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"text/html")
    });
    // Pages that speak of a fault are to go when it is mended.
    let is_shown = status == StatusCode::OK || status.is_client_error() || status.is_server_error();
    is_html
        && is_shown
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && !headers.get(header::CONTENT_DISPOSITION).is_some_and(|value| value.as_bytes().starts_with(b"attachment"))
}

/// What a policy asks of scripts to be let run.
fn nonce(headers: &HeaderMap) -> Option<&str> {
    headers.get_all(header::CONTENT_SECURITY_POLICY).iter().find_map(|policy| {
        let (_, rest) = policy.to_str().ok()?.split_once("'nonce-")?;
        let (nonce, _) = rest.split_once('\'')?;
        nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte)).then_some(nonce)
    })
}

/// Puts `script` before the last `</body>`, else at the end.
fn insert(page: &[u8], script: &[u8]) -> Bytes {
    let tag = b"</body";
    let at = memchr::memrchr_iter(b'<', page)
        .find(|at| page.get(*at..at + tag.len()).is_some_and(|found| found.eq_ignore_ascii_case(tag)))
        .unwrap_or(page.len());
    let mut whole = BytesMut::with_capacity(page.len() + script.len());
    whole.extend_from_slice(&page[..at]);
    whole.extend_from_slice(script);
    whole.extend_from_slice(&page[at..]);
    whole.freeze()
}
