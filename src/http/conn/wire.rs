//! The socket as hyper's HTTP/1 sees it: whole, checked heads, bodies to their last byte, then the next head.
//!
//! Bytes are read into a buffer of the thread and go from there to hyper; a connection keeps a buffer of its own only
//! for an incomplete head or for pipelined requests, so an idle one costs none.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    mem,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use http::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    body::{Framing, malformed},
    head::{Head, Limits, Scan, escape},
    last_words::{LastWords, Refuses},
    link::{Link, Wait},
    refused::RefusedHead,
};
use crate::http::{Peer, accept::SendFile, files::Unseen};

/// A connection under HTTP/1.
pub(super) struct Wire<'h, I> {
    io: I,
    handler: &'h dyn Refuses,
    peer: &'h Peer,
    link: Arc<Link>,
    limits: Limits,
    // Read, but not given to hyper yet.
    stash: BytesMut,
    scan: Scan,
    // What hyper has still to get of a head that it would not have taken as it came.
    rewritten: BytesMut,
    // What hyper has still to get of a checked head, and of the body behind it.
    head_left: usize,
    framing: Framing,
    is_eof: bool,
    is_malformed: bool,
    refusal: Option<StatusCode>,
    // The request that hyper got last, and how far its answer is.
    request: u64,
    is_answering: bool,
    is_unflushed: bool,
    // To be written before anything of hyper's.
    ahead: BytesMut,
    closing: Closing<'h>,
}

enum Closing<'h> {
    Open,
    Refusing(LastWords<'h>),
    Flushing,
    Lingering(usize),
    Closed,
}

/// How long and how much a peer may go on sending after it was refused. Closing at once would reset the connection,
/// and the reset overtakes the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

const SCRATCH_BYTES: usize = 64 * 1024;

/// A head and a small body.
const GATHER: usize = 4096;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

// === impl Wire ===

impl<'h, I: AsyncRead + AsyncWrite + SendFile + Unpin> Wire<'h, I> {
    /// A wire over `io`, from which `read` was already read. `handler` has the words for a `peer` that is refused.
    pub(super) fn new((io, read): (I, BytesMut), link: Arc<Link>, (handler, peer): (&'h dyn Refuses, &'h Peer)) -> Self {
        let config = &link.config;
        let limits = Limits { bytes: config.max_header_bytes, fields: config.max_headers, uri: config.max_uri };
        Self {
            io,
            handler,
            peer,
            link,
            limits,
            stash: read,
            scan: Scan::default(),
            rewritten: BytesMut::new(),
            head_left: 0,
            framing: Framing::length(0),
            is_eof: false,
            is_malformed: false,
            refusal: None,
            request: 0,
            is_answering: true,
            is_unflushed: false,
            ahead: BytesMut::new(),
            closing: Closing::Open,
        }
    }

    fn is_between_requests(&self) -> bool {
        self.head_left == 0 && self.framing.is_done()
    }

    /// Gives hyper what it may have of `bytes` and tells how many are used up.
    fn admit(&mut self, bytes: &[u8], out: &mut ReadBufCursor<'_>) -> io::Result<usize> {
        if self.is_between_requests() {
            match self.scan.advance(bytes, &self.limits) {
                Ok(None) => return Ok(0),
                Ok(Some(head)) => match head.odd_target.clone() {
                    None => self.begin(head),
                    Some(target) => return Ok(self.admit_rewritten(bytes, head, target, out)),
                },
                Err(status) => {
                    self.refuse(status, bytes);
                    return Ok(0);
                }
            }
        }
        let head = self.head_left.min(out.remaining()).min(bytes.len());
        self.head_left -= head;
        let mut used = head;
        if self.head_left == 0 {
            let room = (out.remaining() - used).min(bytes.len() - used);
            match self.framing.take(&bytes[used..used + room]) {
                Ok(body) => used += body,
                // With the head, hyper can still have the error answered; so it comes at the next read.
                Err(_) if head > 0 => self.is_malformed = true,
                Err(error) => return Err(error),
            }
        }
        out.put_slice(&bytes[..used]);
        Ok(used)
    }

    /// Gives hyper a head whose target is another, and tells how much of `bytes` it was.
    #[cold]
    fn admit_rewritten(&mut self, bytes: &[u8], head: Head, target: Range<usize>, out: &mut ReadBufCursor<'_>) -> usize {
        let length = head.length;
        let escaped = escape(&bytes[target.clone()]);
        let rewritten = [&bytes[..target.start], &escaped, &bytes[target.end..length]].concat();
        if escaped.len() > self.limits.uri || rewritten.len() > self.limits.bytes {
            self.refuse(StatusCode::URI_TOO_LONG, bytes);
            return 0;
        }
        self.begin(Head { length: rewritten.len(), ..head });
        self.rewritten = rewritten[..].into();
        self.give_rewritten(out);
        length
    }

    fn give_rewritten(&mut self, out: &mut ReadBufCursor<'_>) {
        let given = self.rewritten.split_to(self.rewritten.len().min(out.remaining()));
        self.head_left -= given.len();
        out.put_slice(&given);
    }

    fn admit_stash(&mut self, out: &mut ReadBufCursor<'_>) -> io::Result<usize> {
        let mut stash = mem::take(&mut self.stash);
        let used = self.admit(&stash, out)?;
        stash.advance(used);
        if !stash.is_empty() {
            self.stash = stash;
        }
        Ok(used)
    }

    fn begin(&mut self, head: Head) {
        self.link.wait_for(Wait::Nothing, || Duration::ZERO);
        self.scan = Scan::default();
        self.head_left = head.length;
        self.framing = head.framing;
        self.request += 1;
        self.is_answering = false;
        // With the previous answer not flushed yet, an interim response would end up inside it.
        if head.is_http11 && !self.is_unflushed {
            self.link.hints.open(self.request);
        }
    }

    #[cold]
    fn refuse(&mut self, status: StatusCode, head: &[u8]) {
        tracing::debug!(status = status.as_u16(), "request head refused");
        self.link.drain.count_refusal();
        self.handler.note(&RefusedHead::of_head(status, head), self.peer);
        self.refusal = Some(status);
    }

    fn note_wait(&self) {
        if self.is_between_requests() {
            if self.stash.is_empty() {
                self.link.wait_for(Wait::FirstByte, || self.link.idle_limit());
            } else {
                self.link.wait_for(Wait::Head, || self.link.config.header_timeout);
            }
        }
    }

    fn fill(&mut self, context: &mut Context<'_>, out: &mut ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            loop {
                // No more than hyper has room for, so that nothing of a body has to be kept here.
                let room = out.remaining().min(scratch.len());
                let mut buffer = ReadBuf::new(&mut scratch[..room]);
                if Pin::new(&mut self.io).poll_read(context, &mut buffer)?.is_pending() {
                    self.note_wait();
                    return Poll::Pending;
                }
                let bytes = buffer.filled();
                if bytes.is_empty() {
                    self.is_eof = true;
                    return Poll::Ready(Ok(()));
                }
                let used = if self.stash.is_empty() {
                    let used = self.admit(bytes, out)?;
                    self.stash.extend_from_slice(&bytes[used..]);
                    used
                } else {
                    self.stash.extend_from_slice(bytes);
                    self.admit_stash(out)?
                };
                if used > 0 || self.refusal.is_some() {
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }

    /// Before hyper writes bytes that start with `start`, the whole of which is `length` long.
    fn before_write(&mut self, context: &mut Context<'_>, start: &[u8], length: usize) -> Poll<io::Result<()>> {
        if !self.is_answering && !self.is_unflushed && (length != CONTINUE.len() || start != CONTINUE) {
            self.is_answering = true;
            self.link.hints.close();
            self.take_hints();
        }
        self.is_unflushed = true;
        self.write_ahead(context)
    }

    fn take_hints(&mut self) {
        if let Some(bytes) = self.link.hints.take(self.request) {
            self.ahead.extend_from_slice(&bytes);
        }
    }

    fn write_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ahead.is_empty() {
            let result = Pin::new(&mut self.io).poll_write(context, &self.ahead);
            self.link.wrote(&result);
            match ready!(result)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.ahead.advance(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends from the file that `length` bytes of hyper's stand for.
    fn send_file(&mut self, context: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        let unseen = &self.link.unseen;
        let piece = unseen.next(length)?;
        let count = ready!(self.io.poll_send_file(context, &piece.file, piece.range.start, length))?;
        Poll::Ready(unseen.sent(count).map(|()| count))
    }

    /// Reads and forgets what a peer still sends, so that it sees our answer and no reset.
    fn linger(&mut self, context: &mut Context<'_>, left: usize) -> Poll<()> {
        let must_wait = self.refusal.is_some() || !self.is_between_requests() || !self.stash.is_empty();
        SCRATCH.with_borrow_mut(|scratch| {
            let mut left = left;
            loop {
                let mut buffer = ReadBuf::new(scratch);
                match Pin::new(&mut self.io).poll_read(context, &mut buffer) {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() && left > 0 => {
                        left = left.saturating_sub(buffer.filled().len());
                    }
                    // Nothing is under way that a close could reset.
                    Poll::Pending if !must_wait && left == LINGER_BYTES => return Poll::Ready(()),
                    Poll::Pending => {
                        self.link.wait_for(Wait::Close, || LINGER);
                        self.closing = Closing::Lingering(left);
                        return Poll::Pending;
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                }
            }
        })
    }
}

impl<I: AsyncRead + AsyncWrite + SendFile + Unpin> Read for Wire<'_, I> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, mut out: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.refusal.is_none() && this.is_between_requests() && this.link.is_head_expired() {
            let head = mem::take(&mut this.stash);
            this.refuse(StatusCode::REQUEST_TIMEOUT, &head);
            this.stash = head;
        }
        if this.refusal.is_some() || this.is_eof {
            // As an end of file, upon which hyper flushes and shuts down; the refusal is written there.
            return Poll::Ready(Ok(()));
        }
        if this.is_malformed {
            return Poll::Ready(Err(malformed()));
        }
        if !this.rewritten.is_empty() {
            this.give_rewritten(&mut out);
            return Poll::Ready(Ok(()));
        }
        if !this.stash.is_empty() && (this.admit_stash(&mut out)? > 0 || this.refusal.is_some()) {
            return Poll::Ready(Ok(()));
        }
        this.fill(context, &mut out)
    }
}

impl<I: AsyncRead + AsyncWrite + SendFile + Unpin> Write for Wire<'_, I> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.before_write(context, bytes, bytes.len()))?;
        let result = if Unseen::stands_in(bytes) {
            this.send_file(context, bytes.len())
        } else {
            Pin::new(&mut this.io).poll_write(context, bytes)
        };
        this.link.wrote(&result);
        result
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let start = slices.first().map_or(&[][..], |slice| slice);
        let length = if slices.len() == 1 { start.len() } else { usize::MAX };
        ready!(this.before_write(context, start, length))?;
        let slices = match slices.iter().position(|slice| Unseen::stands_in(slice)) {
            Some(0) => {
                let result = this.send_file(context, slices[0].len());
                this.link.wrote(&result);
                return result;
            }
            Some(first) => &slices[..first],
            None => slices,
        };
        let result = match gather(slices) {
            Some(total) => SCRATCH.with_borrow_mut(|scratch| {
                let mut at = 0;
                for slice in slices {
                    scratch[at..at + slice.len()].copy_from_slice(slice);
                    at += slice.len();
                }
                Pin::new(&mut this.io).poll_write(context, &scratch[..total])
            }),
            None => Pin::new(&mut this.io).poll_write_vectored(context, slices),
        };
        this.link.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper calls this only with nothing of its own left to write.
        this.is_unflushed = false;
        if !this.is_answering {
            this.take_hints();
        }
        ready!(this.write_ahead(context))?;
        // Under TLS a write is taken into memory, and it is the flush that finds the peer taking nothing.
        let result = Pin::new(&mut this.io).poll_flush(context);
        // hyper flushes before each try at a shutdown, whose time goes on.
        if matches!(this.closing, Closing::Open) {
            this.link.wrote(&result);
        }
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.closing {
                Closing::Open => {
                    this.link.hints.close();
                    this.closing = match this.refusal {
                        Some(status) => Closing::Refusing(this.handler.last_words(status)),
                        None => Closing::Flushing,
                    };
                }
                Closing::Refusing(words) => {
                    let Poll::Ready(words) = words.as_mut().poll(context) else {
                        // As long as a write may take, whoever it waits for.
                        this.link.wrote(&Poll::<io::Result<()>>::Pending);
                        return Poll::Pending;
                    };
                    this.ahead.unsplit(words);
                    this.closing = Closing::Flushing;
                }
                Closing::Flushing => {
                    ready!(this.write_ahead(context))?;
                    // Under TLS there is a goodbye to be written, which a peer that takes nothing holds up like any write.
                    let result = Pin::new(&mut this.io).poll_shutdown(context);
                    this.link.wrote(&result);
                    ready!(result)?;
                    this.closing = if this.is_eof { Closing::Closed } else { Closing::Lingering(LINGER_BYTES) };
                }
                &mut Closing::Lingering(left) => {
                    ready!(this.linger(context, left));
                    this.closing = Closing::Closed;
                }
                Closing::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<I> Drop for Wire<'_, I> {
    fn drop(&mut self) {
        self.link.hints.close();
    }
}

/// The length of `slices` together, if they are to be written as one: copying a little costs less than a vectored write does.
fn gather(slices: &[IoSlice<'_>]) -> Option<usize> {
    let total = slices.iter().map(|slice| slice.len()).sum();
    (total <= GATHER).then_some(total)
}
