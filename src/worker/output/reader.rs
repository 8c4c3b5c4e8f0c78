//! The client's end: it takes what is there, first from memory, then from the file, and never waits on this thread.

use std::{
    fmt, io,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http_body::Frame;

use super::{Connection, Shared, memory::LITTLE};

/// The client's end: an HTTP body.
#[derive(Debug)]
pub struct OutputReader(pub(super) Arc<Shared>, pub(super) Option<Kept>);

/// Knows when the other end has written all.
#[derive(Debug)]
pub struct Written(Arc<Shared>);

/// Something that lives as long as a reader.
pub(super) type Kept = Box<dyn fmt::Debug + Send + Sync>;

/// Bytes read from a temporary file at once.
const FILE_READ: usize = 256 * 1024;

// === impl OutputReader ===

impl OutputReader {
    /// Drops `guard` when the body has been read, or nobody reads it any more.
    pub fn keep(&mut self, guard: Kept) {
        self.1 = Some(guard);
    }

    /// To ask when all was written.
    pub fn written(&self) -> Written {
        Written(self.0.clone())
    }

    /// Closes `connection` when the body is given up because nobody reads it. A connection that waits to send would not ask.
    pub fn close_with(&self, connection: Arc<dyn Connection>) {
        self.0.state.lock().connection = Some(connection);
    }
}

// === impl Written ===

impl Written {
    /// When it was, or when the body was broken off; none while it is being written.
    pub fn at(&self) -> Option<Instant> {
        self.0.state.lock().ended
    }
}

// === impl Body, Drop ===

impl http_body::Body for OutputReader {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut state = self.0.state.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            state.in_memory -= chunk.len();
            state.taken += chunk.len() as u64;
            if let Some(spool) = &state.spool {
                spool.ticket.touch();
            }
            self.0.drained.notify_one();
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if let Some(spool) = &mut state.spool
            && spool.read < spool.written
        {
            let budget = &self.0.limits.budget;
            let most = if budget.has_memory(FILE_READ) { FILE_READ } else { LITTLE };
            let count = most.min((spool.written - spool.read) as usize);
            let mut buffer = vec![0; count];
            if let Err(error) = spool.file.read_exact_at(&mut buffer, spool.read) {
                return Poll::Ready(Some(Err(error)));
            }
            spool.read += count as u64;
            spool.ticket.touch();
            if spool.read == spool.written {
                // Emptied: give the space back, and let the next chunk go through memory again.
                state.spool = None;
            }
            state.taken += count as u64;
            self.0.drained.notify_one();
            return Poll::Ready(Some(Ok(Frame::data(budget.force(buffer.into())))));
        }
        // hyper drops what it has not yet written when a body fails; it writes while a body has nothing more for it.
        if matches!(state.end, Some(Err(_))) && !state.flushed {
            state.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if matches!(state.end, Some(Ok(())))
            && let Some(trailers) = state.trailers.take()
        {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        match &mut state.end {
            Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).err().map(Err)),
            None => {
                state.waker = Some(context.waker().clone());
                // A chunk that there is no memory for is let through to a client that waits.
                self.0.drained.notify_one();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.state.lock();
        matches!(state.end, Some(Ok(()))) && state.chunks.is_empty() && state.spool.is_none() && state.trailers.is_none()
    }
}

impl Drop for OutputReader {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.reader_gone = true;
        state.chunks.clear();
        state.in_memory = 0;
        state.spool = None;
        let connection = state.connection.take();
        drop(state);
        drop(connection);
        self.0.drained.notify_all();
    }
}
