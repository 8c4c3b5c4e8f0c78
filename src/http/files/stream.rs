//! A file too large for our memory. What the kernel has in its own is taken from there at once, and by a connection without TLS
//! unseen; for the rest a thread reads, ahead of the client by one piece.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    ops::Range,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use super::threads::Threads;
use crate::sys::file;

/// The body of a large file, or of a part of one.
#[derive(Debug)]
pub struct Stream {
    file: Arc<File>,
    /// What the client has still to be given.
    range: Range<u64>,
    threads: Arc<Threads>,
    reading: Arc<Mutex<Reading>>,
    /// Set if the connection takes pieces of files.
    unseen: Option<Arc<Unseen>>,
}

/// What a thread does for a stream.
#[derive(Debug, Default)]
struct Reading {
    is_busy: bool,
    piece: Option<io::Result<Bytes>>,
    is_abandoned: bool,
    waker: Option<Waker>,
}

/// Pieces of files on their way to a connection, in whose answers bytes that mean nothing stand for them.
#[derive(Debug, Default)]
pub(in crate::http) struct Unseen(Mutex<VecDeque<Piece>>);

/// Some bytes of a file.
#[derive(Clone, Debug)]
pub(in crate::http) struct Piece {
    pub(in crate::http) file: Arc<File>,
    pub(in crate::http) range: Range<u64>,
}

/// Bytes read at once, for a few clients: enough that a disk streams. Two of them a connection is all the memory a slow client costs.
const PIECE: usize = 256 * 1024;

/// Bytes copied at once from the kernel's memory: few enough to be still in the processor's when they are sent.
const COPIED: usize = 64 * 1024;

/// Stands for a piece.
static NOTHING: [u8; PIECE] = [0; PIECE];

/// The least, for very many.
const LEAST: usize = 16 * 1024;

/// Pieces of all clients together, as far as they are not the least.
const TOGETHER: usize = 32 * 1024 * 1024;

/// Streams there are.
static STREAMS: AtomicUsize = AtomicUsize::new(0);

// === impl Stream ===

impl Stream {
    /// The bytes of `file` in `range`.
    pub(super) fn new(file: File, range: Range<u64>, threads: Arc<Threads>) -> Self {
        STREAMS.fetch_add(1, Relaxed);
        Self { file: Arc::new(file), range, threads, reading: Arc::default(), unseen: None }
    }

    /// From now on, frames may stand for pieces that are in `unseen`, in the same order.
    pub(in crate::http) fn go_unseen(&mut self, unseen: Arc<Unseen>) {
        self.unseen = Some(unseen);
    }

    fn left(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn next(&self, most: usize) -> usize {
        usize::try_from(self.left()).unwrap_or(usize::MAX).min(most)
    }

    /// What the kernel has in memory; nothing if it has not.
    fn at_once(&self) -> Option<Bytes> {
        let start = self.range.start;
        if let Some(unseen) = &self.unseen {
            let length = self.next(PIECE);
            if !file::is_in_memory(&self.file, start, length) {
                return None;
            }
            unseen.0.lock().push_back(Piece { file: self.file.clone(), range: start..start + length as u64 });
            return Some(Bytes::from_static(&NOTHING[..length]));
        }
        let mut bytes = Vec::new();
        let length = file::read_at_once(&self.file, &mut bytes, start, self.next(share(COPIED)));
        (length > 0).then(|| bytes.into())
    }

    /// Has a thread read the next piece.
    fn read(&self) {
        self.reading.lock().is_busy = true;
        let (file, start, length, reading) = (self.file.clone(), self.range.start, self.next(share(PIECE)), self.reading.clone());
        if let Err(job) = self.threads.submit(move || read(&file, start, length, &reading)) {
            // The threads are behind: the client's own task reads, which slows down those who ask too much.
            job();
        }
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left() == 0 {
            return Poll::Ready(None);
        }
        let mut reading = self.reading.lock();
        let mut piece = reading.piece.take();
        let is_first = piece.is_none() && !reading.is_busy;
        drop(reading);
        if is_first {
            piece = self.at_once().map(Ok);
            if piece.is_none() {
                self.read();
            }
        }
        if piece.is_none() {
            let mut reading = self.reading.lock();
            piece = reading.piece.take();
            if piece.is_none() {
                reading.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        match piece.transpose() {
            Ok(bytes) => {
                let bytes = bytes.unwrap_or_default();
                self.range.start += bytes.len() as u64;
                // The disk is slow, or there would be no thread: it goes on while the client takes this.
                if !is_first && self.left() > 0 && !file::is_in_memory(&self.file, self.range.start, self.next(PIECE)) {
                    self.read();
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Err(error) => {
                self.range.start = self.range.end;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        STREAMS.fetch_sub(1, Relaxed);
        let mut reading = self.reading.lock();
        reading.is_abandoned = true;
        reading.piece = None;
    }
}

/// Runs on a file thread.
fn read(file: &File, start: u64, length: usize, reading: &Mutex<Reading>) {
    if reading.lock().is_abandoned {
        return;
    }
    let mut bytes = Vec::new();
    let piece = match file::read(file, &mut bytes, start, length) {
        Ok(count) if count == length => Ok(bytes.into()),
        // The length has been promised: only a broken response tells the client that it was not kept.
        Ok(_) => Err(cut_short()),
        Err(error) => Err(error),
    };
    let mut state = reading.lock();
    state.is_busy = false;
    if state.is_abandoned {
        return;
    }
    state.piece = Some(piece);
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut short while it was sent")
}

/// How many bytes one stream may have at once, of as many as it would like.
fn share(most: usize) -> usize {
    (TOGETHER / STREAMS.load(Relaxed).max(1)).clamp(LEAST, most)
}

// === impl Unseen ===

impl Unseen {
    /// Whether `bytes` stand for a piece.
    pub(in crate::http) fn stands_in(bytes: &[u8]) -> bool {
        NOTHING.as_ptr_range().contains(&bytes.as_ptr())
    }

    /// The piece that `length` such bytes stand for, which are the next to be sent.
    pub(in crate::http) fn next(&self, length: usize) -> io::Result<Piece> {
        let pieces = self.0.lock();
        let next = pieces.front().filter(|piece| piece.range.end - piece.range.start == length as u64);
        next.cloned().ok_or_else(|| io::Error::other("no piece of a file has this length"))
    }

    /// So many bytes of that piece were sent.
    pub(in crate::http) fn sent(&self, count: usize) -> io::Result<()> {
        let mut pieces = self.0.lock();
        match pieces.front_mut() {
            Some(_) if count == 0 => Err(cut_short()),
            Some(piece) => {
                piece.range.start += count as u64;
                if piece.range.is_empty() {
                    pieces.pop_front();
                }
                Ok(())
            }
            None => Err(io::Error::other("no piece of a file is to be sent")),
        }
    }
}
