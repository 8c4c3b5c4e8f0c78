//! A file too large for memory, read ahead of the client by one piece.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use super::threads::Threads;

/// The body of a large file, or of a part of one.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Mutex<State>>,
    threads: Arc<Threads>,
    /// Bytes the client has still to be given.
    remaining: u64,
}

#[derive(Debug)]
struct State {
    /// None while a thread reads, or once the reader is gone.
    file: Option<File>,
    /// Bytes still to be read.
    unread: u64,
    piece: Option<io::Result<Bytes>>,
    is_abandoned: bool,
    waker: Option<Waker>,
}

/// Bytes read at once: enough that a disk streams, and two of them a connection is all the memory a slow client costs.
const PIECE: u64 = 256 * 1024;

// === impl Stream ===

impl Stream {
    /// The bytes of `file` in `range`.
    pub(super) fn new(mut file: File, range: Range<u64>, threads: Arc<Threads>) -> io::Result<Self> {
        file.seek(SeekFrom::Start(range.start))?;
        let remaining = range.end - range.start;
        let state = State { file: Some(file), unread: remaining, piece: None, is_abandoned: false, waker: None };
        Ok(Self { shared: Arc::new(Mutex::new(state)), threads, remaining })
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if self.remaining == 0 {
                return Poll::Ready(None);
            }
            let mut state = self.shared.lock();
            let read_next = state.take_file();
            let piece = state.piece.take();
            if piece.is_none() && read_next.is_none() {
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            drop(state);
            if let Some((file, length)) = read_next {
                let shared = self.shared.clone();
                let reading = self.threads.submit(move || read(&shared, file, length));
                if let Err(job) = reading {
                    // The threads are behind: the client's own task reads, which slows down those who ask too much.
                    job();
                }
            }
            match piece {
                Some(Ok(bytes)) => {
                    self.remaining -= bytes.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Err(error)) => {
                    self.remaining = 0;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_abandoned = true;
        state.file = None;
        state.piece = None;
    }
}

// === impl State ===

impl State {
    /// The file and how much to read of it next, if nobody reads it now and there is more.
    fn take_file(&mut self) -> Option<(File, u64)> {
        let length = self.unread.min(PIECE);
        self.unread -= if self.file.is_some() { length } else { 0 };
        if length == 0 { None } else { self.file.take().map(|file| (file, length)) }
    }
}

/// Runs on a file thread.
fn read(shared: &Mutex<State>, mut file: File, length: u64) {
    if shared.lock().is_abandoned {
        return;
    }
    let mut bytes = Vec::with_capacity(length as usize);
    let piece = match (&mut file).take(length).read_to_end(&mut bytes) {
        Ok(count) if count as u64 == length => Ok(bytes.into()),
        // The length has been promised: only a broken response tells the client that it was not kept.
        Ok(_) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut short while it was sent")),
        Err(error) => Err(error),
    };
    let mut state = shared.lock();
    if state.is_abandoned {
        return;
    }
    state.file = piece.is_ok().then_some(file);
    state.piece = Some(piece);
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
