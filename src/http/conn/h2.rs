//! HTTP/2 connections.
//!
//! hyper runs each stream in a task of its own, so what streams do is counted here for the connection's timer: with no
//! stream the connection is idle, with one whose client takes nothing it is stalled.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::check::check;
use super::{
    Config, Handler, RefusedHead, Server,
    frames::Frames,
    link::{Expired, Link, NEVER, Timer, now},
};
use crate::http::{Body, Peer, crowd::Listened, date, drain::Timeout, response};

mod check;

/// The streams of one connection.
#[derive(Debug)]
struct Streams {
    link: Arc<Link>,
    active: AtomicUsize,
    // Streams that were given a frame and have not asked for the next: their clients have yet to take it.
    sending: AtomicUsize,
    idle_since: AtomicU64,
    is_leaving: AtomicBool,
    progress: AtomicU64,
    answered: AtomicUsize,
    // Streams that their client reset while a script was at work for them.
    abandoned: AtomicUsize,
}

/// A stream, for as long as its answer is not wholly sent.
#[derive(Debug)]
struct Active {
    streams: Arc<Streams>,
    is_sending: AtomicBool,
    is_answered: AtomicBool,
}

/// A body that tells when it is asked for more, and gives little at once.
#[derive(Debug)]
struct Watched {
    body: Body,
    // What is left of a large chunk.
    rest: Bytes,
    stream: Active,
}

/// The socket, with what was read of it before, and watched for a peer that takes nothing.
#[derive(Debug)]
struct Socket<I> {
    io: I,
    read: BytesMut,
    link: Arc<Link>,
    frames: Frames,
}

/// What hyper gets at once. Given all of a large body, it would let go of the stream long before the client has it.
const PIECE: usize = 32 * 1024;

/// How many more requests than were answered a client may leave before their answer. A browser leaves a page with some dozens open;
/// who does nothing else makes scripts run for nobody (CVE-2023-44487), which h2's own limits do not see.
const ABANDONED: usize = 100;

/// Serves `io`, from which `read` was already read.
pub(super) async fn serve<S, I>(server: &Server<S>, (io, read): (I, BytesMut), peer: Peer, listened: Listened)
where
    S: Handler,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let link = Arc::new(Link::new(server.config.clone(), server.drain.clone()));
    let _seat = server.drain.crowd().seat(link.clone(), listened);
    let streams = Arc::new(Streams::new(link.clone()));
    let service = service_fn(|request: Request<Incoming>| {
        link.count_request();
        let stream = Active::new(streams.clone());
        let (handler, config, peer) = (server.handler.clone(), server.config.clone(), peer.clone());
        async move { Ok::<_, Infallible>(answer(&handler, &config, request, peer, stream).await) }
    });
    let socket = TokioIo::new(Socket { io, read, link: link.clone(), frames: Frames::new() });
    let mut connection = pin!(server.http2.serve_connection(socket, service));
    let mut drain = server.drain.signal();
    let mut timer = Timer::default();
    let mut is_leaving = false;
    let result = poll_fn(|context| {
        link.set_task(context);
        loop {
            let is_crowded = link.takes_leave();
            let told = drain.hear(context) || link.is_last(link.requests()) || is_crowded;
            if told && !is_leaving {
                link.count_closed(is_crowded);
                is_leaving = true;
                streams.leave();
                connection.as_mut().graceful_shutdown();
            }
            if let Poll::Ready(result) = connection.as_mut().poll(context) {
                return Poll::Ready(result);
            }
            if link.is_closed() {
                return Poll::Ready(Ok(()));
            }
            if streams.is_abused() {
                link.drain.count_refusal();
                tracing::debug!(client = ?peer.remote, "connection closed: too many requests were left before their answer");
                return Poll::Ready(Ok(()));
            }
            // The request that was one too many may just have come.
            if !is_leaving && link.is_last(link.requests()) {
                continue;
            }
            if timer.poll(context, streams.deadline(is_leaving)).is_pending() {
                return Poll::Pending;
            }
            if !is_leaving && link.is_old() {
                continue;
            }
            let reason = streams.expired();
            if matches!(reason, Timeout::Idle | Timeout::First) && !is_leaving {
                link.drain.count_timeout(reason);
                is_leaving = true;
                streams.leave();
                connection.as_mut().graceful_shutdown();
            } else {
                if reason == Timeout::Write {
                    link.drain.count_timeout(reason);
                }
                return Poll::Ready(Ok(()));
            }
        }
    })
    .await;
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended early");
    }
}

async fn answer<S: Handler>(
    handler: &S,
    config: &Config,
    request: Request<Incoming>,
    peer: Peer,
    stream: Active,
) -> Response<Watched> {
    let method = request.method().clone();
    let mut response = match check(&request, config) {
        Ok(()) => handler.handle_hinted(request.map(Into::into), peer, None).await,
        Err(status) => {
            stream.streams.link.drain.count_refusal();
            let target = request.uri().path_and_query().map_or("", |target| target.as_str());
            handler.refused(&RefusedHead::new(status, request.version()).with_target(target.as_bytes()), &peer);
            handler.refuse(status).await
        }
    };
    stream.answer();
    response::settle(&mut response, &method);
    date::add(response.headers_mut());
    response.body().close_with(|| stream.streams.link.clone());
    response.map(|body| Watched { body, rest: Bytes::new(), stream })
}

// === impl Streams ===

impl Streams {
    fn new(link: Arc<Link>) -> Self {
        link.set_idle(true);
        let started = AtomicU64::new(now());
        let none = AtomicUsize::default;
        Self {
            link,
            active: none(),
            sending: none(),
            idle_since: started,
            is_leaving: AtomicBool::new(false),
            progress: AtomicU64::new(0),
            answered: none(),
            abandoned: none(),
        }
    }

    fn is_abused(&self) -> bool {
        self.abandoned.load(Relaxed) > self.answered.load(Relaxed) + ABANDONED
    }

    /// When to look again; a connection that is `leaving` was told to go.
    fn deadline(&self, is_leaving: bool) -> u64 {
        let config = &self.link.config;
        let since = |start: &AtomicU64, limit: std::time::Duration| {
            start.load(Relaxed).saturating_add(limit.as_millis() as u64).saturating_add(1)
        };
        let deadline = if self.active.load(SeqCst) == 0 {
            let limit = match self.link.requests() {
                _ if is_leaving => self.link.drain.idle(config.drain_idle),
                0 => config.header_timeout,
                _ => config.keepalive_timeout,
            };
            since(&self.idle_since, limit)
        } else if self.sending.load(SeqCst) > 0 {
            since(&self.progress, config.write_timeout)
        } else {
            u64::MAX
        };
        let old_at = if is_leaving { NEVER } else { self.link.old_at() };
        deadline.min(self.link.deadline()).min(old_at)
    }

    /// Starts the time of an idle connection to go, which nobody need ask for any more.
    fn leave(&self) {
        self.is_leaving.store(true, Relaxed);
        self.link.set_idle(false);
        self.idle_since.store(now(), Relaxed);
    }

    fn expired(&self) -> Timeout {
        let is_stalled = self.link.deadline() <= now() && self.link.expired() == Expired::Timeout(Timeout::Write);
        match self.link.requests() {
            _ if is_stalled || self.active.load(SeqCst) > 0 => Timeout::Write,
            0 => Timeout::First,
            _ => Timeout::Idle,
        }
    }
}

// === impl Active ===

impl Active {
    fn new(streams: Arc<Streams>) -> Self {
        streams.active.fetch_add(1, SeqCst);
        streams.link.set_idle(false);
        Self { streams, is_sending: AtomicBool::new(false), is_answered: AtomicBool::new(false) }
    }

    fn answer(&self) {
        self.is_answered.store(true, Relaxed);
        self.streams.answered.fetch_add(1, Relaxed);
    }

    fn set_sending(&self, is_sending: bool) {
        self.streams.progress.store(now(), Relaxed);
        if self.is_sending.swap(is_sending, Relaxed) != is_sending {
            if is_sending {
                self.streams.sending.fetch_add(1, SeqCst);
            } else {
                self.streams.sending.fetch_sub(1, SeqCst);
            }
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.set_sending(false);
        if !self.is_answered.load(Relaxed) {
            self.streams.abandoned.fetch_add(1, Relaxed);
            if self.streams.is_abused() {
                self.streams.link.wake();
            }
        }
        self.streams.idle_since.store(now(), Relaxed);
        if self.streams.active.fetch_sub(1, SeqCst) == 1 {
            self.streams.link.set_idle(!self.streams.is_leaving.load(Relaxed));
            // The connection may have been polled for the last time before this, with no idle deadline.
            self.streams.link.wake();
        }
    }
}

// === impl Watched ===

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => {
                    this.stream.set_sending(false);
                    return other;
                }
            }
        }
        this.stream.set_sending(true);
        let count = this.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(count)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked before the first frame only, when there is no rest.
        self.body.size_hint()
    }
}

// === impl Socket ===

impl<I> Socket<I> {
    fn wrote(&mut self, result: &Poll<io::Result<usize>>) {
        self.link.wrote(result);
        if let Poll::Ready(Ok(count)) = result {
            self.frames.wrote(*count);
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Socket<I> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = out.filled().len();
        if this.read.is_empty() {
            ready!(Pin::new(&mut this.io).poll_read(context, out))?;
        } else {
            let count = this.read.len().min(out.remaining());
            out.put_slice(&this.read[..count]);
            this.read.advance(count);
        }
        if this.frames.read(&out.filled()[before..]) {
            return Poll::Ready(Ok(()));
        }
        this.link.drain.count_refusal();
        Poll::Ready(Err(io::Error::other("too many frames that carry nothing")))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Socket<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(context, bytes);
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Under TLS a write is taken into memory, and it is the flush that finds the peer taking nothing.
        let result = Pin::new(&mut self.io).poll_flush(context);
        self.link.wrote(&result);
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Under TLS there is a goodbye to be written.
        let result = Pin::new(&mut self.io).poll_shutdown(context);
        self.link.wrote(&result);
        result
    }
}
