//! Interim responses (103 Early Hints): on HTTP/1.1, where hyper cannot send them, and on HTTP/3.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use http::{HeaderMap, header};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::link::Link;

/// Sends interim responses ahead of the answer to one request; from any thread.
///
/// [`Handler::handle_hinted`](super::Handler::handle_hinted) gets it.
#[derive(Clone, Debug)]
pub struct EarlyHints(Way);

#[derive(Clone, Debug)]
enum Way {
    /// Written between two answers of a connection.
    Link { link: Arc<Link>, request: u64 },
    /// Written by the task of a stream.
    Stream(mpsc::Sender<HeaderMap>),
}

/// Interim responses of the request that is being answered.
#[derive(Debug, Default)]
pub(super) struct Hints {
    // The request that may still send some; 0 for none.
    open: AtomicU64,
    has_queued: AtomicBool,
    queued: Mutex<Queued>,
}

#[derive(Debug, Default)]
struct Queued {
    request: u64,
    bytes: Vec<u8>,
}

/// Interim responses that wait to be written, in bytes.
const MAX_QUEUED: usize = 16 * 1024;

/// Interim responses of one stream that wait to be written.
const MAX_ON_STREAM: usize = 16;

// === impl EarlyHints ===

impl EarlyHints {
    pub(super) fn new(link: Arc<Link>, request: u64) -> Self {
        Self(Way::Link { link, request })
    }

    /// For a stream of its own, whose task takes them from the other end.
    pub(in crate::http) fn stream() -> (Self, mpsc::Receiver<HeaderMap>) {
        let (sender, receiver) = mpsc::channel(MAX_ON_STREAM);
        (Self(Way::Stream(sender)), receiver)
    }

    /// Queues a `103 Early Hints` with `headers`. False if it cannot be sent any more: the answer has begun, the
    /// connection is gone, or the client does not take what was queued before.
    pub fn send(&self, headers: &HeaderMap) -> bool {
        match &self.0 {
            Way::Link { link, request } => link.hint(*request, headers),
            Way::Stream(sender) => sender.try_send(headers.clone()).is_ok(),
        }
    }
}

impl Link {
    fn hint(&self, request: u64, headers: &HeaderMap) -> bool {
        let hints = &self.hints;
        let mut queued = hints.queued.lock();
        if hints.open.load(Ordering::Acquire) != request {
            return false;
        }
        if queued.request != request {
            queued.request = request;
            queued.bytes.clear();
        }
        let before = queued.bytes.len();
        encode(headers, &mut queued.bytes);
        if queued.bytes.len() > MAX_QUEUED {
            queued.bytes.truncate(before);
            return false;
        }
        hints.has_queued.store(true, Ordering::Release);
        drop(queued);
        self.wake();
        true
    }
}

fn encode(headers: &HeaderMap, into: &mut Vec<u8>) {
    into.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\n");
    for (name, value) in headers {
        // Those speak of the final answer or of the connection.
        if matches!(*name, header::CONNECTION | header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::UPGRADE) {
            continue;
        }
        into.extend_from_slice(name.as_str().as_bytes());
        into.extend_from_slice(b": ");
        into.extend_from_slice(value.as_bytes());
        into.extend_from_slice(b"\r\n");
    }
    into.extend_from_slice(b"\r\n");
}

// === impl Hints ===

impl Hints {
    /// The request numbered `request` may send.
    pub(super) fn open(&self, request: u64) {
        self.open.store(request, Ordering::Release);
    }

    /// The final answer begins, or the connection ends.
    pub(super) fn close(&self) {
        self.open.store(0, Ordering::Release);
    }

    /// What was queued by the request numbered `request`. One that loses a race with the answer is never sent.
    pub(super) fn take(&self, request: u64) -> Option<Vec<u8>> {
        if !self.has_queued.load(Ordering::Acquire) {
            return None;
        }
        let mut queued = self.queued.lock();
        self.has_queued.store(false, Ordering::Release);
        let bytes = mem::take(&mut queued.bytes);
        (queued.request == request && !bytes.is_empty()).then_some(bytes)
    }
}
