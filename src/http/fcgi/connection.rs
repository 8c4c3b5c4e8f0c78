//! One connection: requests come one after another, each answered before the next.

use std::{
    future, io,
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Instant, SystemTime},
};

use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::{Duration, timeout},
};

use super::{
    Place, Shared, body,
    params::Params,
    record::{self, Protocol, Record},
    reply,
    request::{Answer, Decision, Run, decide},
};
use crate::{
    http::spool::Spool,
    worker::{self, Body, OutputReader, Refused, Reply, ReplyBody, Request, Responder, Source, Wake, Work},
};

/// A connection.
pub(super) struct Connection<S> {
    stream: S,
    input: BytesMut,
    /// The client has said all it will say, and may still listen.
    is_half_closed: bool,
    stop: watch::Receiver<bool>,
    shared: Arc<Shared>,
    // Counted until everything else is gone.
    _place: Place,
}

/// A request's beginning.
#[derive(Clone, Copy, Debug)]
struct Begin {
    id: u16,
    keep: bool,
}

/// What a record means to the request under way.
#[derive(Debug)]
enum Event {
    Abort,
    Begin(Begin),
    /// A request was turned down that had asked for the connection to be closed after it.
    Close,
    /// It is dealt with, or means nothing.
    Nothing,
    Params(Bytes),
    Stdin(Bytes),
}

/// The request is answered with this, and then the connection closed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("answered with {0}")]
struct Refusal(StatusCode);

/// Bytes of a request's parameters.
const MAX_PARAMS: usize = 1 << 20;

/// Chunks from this size on are sent from where they are; smaller ones are gathered first.
const GATHER: usize = 16 * 1024;

/// How long a client may take to hear that we hung up.
const LINGER: Duration = Duration::from_secs(5);

// === impl Connection ===

impl<S: AsyncRead + AsyncWrite + AsFd + Unpin> Connection<S> {
    pub(super) fn new(stream: S, place: Place) -> Self {
        let shared = place.shared.clone();
        let stop = shared.stop.subscribe();
        Self { stream, input: BytesMut::new(), is_half_closed: false, stop, shared, _place: place }
    }

    /// Serves it to its end.
    pub(super) async fn run(mut self) {
        match self.requests().await {
            Ok(()) => self.hang_up().await,
            Err(error) => tracing::debug!(%error, "FastCGI connection cut"),
        }
    }

    async fn requests(&mut self) -> io::Result<()> {
        let mut kept = false;
        while let Some(begin) = self.begin(kept).await? {
            self.shared.requests.fetch_add(1, Relaxed);
            let refused = match self.request(begin.id).await {
                Ok(()) => None,
                Err(error) => Some(Refusal::of(error)?),
            };
            if let Some(Refusal(status)) = refused {
                self.answer(begin.id, reply::error(status), None).await?;
            }
            // After a refusal the rest of the request is still on its way.
            if !begin.keep || refused.is_some() || self.is_half_closed || *self.stop.borrow() {
                break;
            }
            kept = true;
        }
        Ok(())
    }

    /// The next request; none if the client has hung up, or we should.
    async fn begin(&mut self, kept: bool) -> io::Result<Option<Begin>> {
        let patience = if kept { self.shared.settings.idle_timeout } else { self.shared.settings.body_timeout };
        loop {
            let record = tokio::select! {
                biased;
                record = record::receive(&mut self.stream, &mut self.input) => record?,
                // A connection just accepted is served, even now.
                _ = self.stop.wait_for(|stop| *stop), if kept && self.input.is_empty() => {
                    if self.input.is_empty() {
                        return Ok(None);
                    }
                    continue;
                }
                () = tokio::time::sleep(patience) => return Ok(None),
            };
            let Some(record) = record else { return Ok(None) };
            match self.heed(record, None).await? {
                Event::Begin(begin) => return Ok(Some(begin)),
                Event::Close => return Ok(None),
                _ => {}
            }
        }
    }

    async fn request(&mut self, id: u16) -> io::Result<()> {
        let params = match self.params(id).await? {
            Some(params) => params,
            None => return self.end(id).await,
        };
        let run = match decide(&self.shared, params) {
            Decision::Answer(Answer { reply, log }) => return self.answer(id, reply, log.as_deref()).await,
            Decision::Run(run) => run,
        };
        let body = match self.body(id, &run).await? {
            Some(body) => body,
            None => return self.end(id).await,
        };
        let Some(mut answer) = self.submit(run, body) else {
            return self.answer(id, reply::error(StatusCode::SERVICE_UNAVAILABLE), None).await;
        };
        loop {
            let record = tokio::select! {
                biased;
                reply = &mut answer => {
                    let mut reply = reply.unwrap_or_else(reply::failure);
                    let log = std::mem::take(&mut reply.log);
                    return self.answer(id, reply, Some(&log)).await;
                }
                record = self.while_answering() => record?,
            };
            // The receiver is dropped on the way out: that is how the worker learns of it.
            if matches!(self.heed(record, Some(id)).await?, Event::Abort) {
                return self.end(id).await;
            }
        }
    }

    fn submit(&self, run: Run, body: Body) -> Option<worker::Answer> {
        let (responder, answer) = Responder::new();
        let request = Box::new(Request {
            id: self.shared.settings.request_ids.fetch_add(1, Relaxed),
            received: SystemTime::now(),
            script: run.script,
            source: Source::FastCgi(run.params.into_inner()),
            body,
            ini: run.ini,
            interim: None,
        });
        match self.shared.pool.submit(Work { request, responder, submitted: Instant::now() }, Wake::Now) {
            Ok(_) => Some(answer),
            Err(Refused(_)) => None,
        }
    }

    /// The parameters; none if the request is aborted.
    async fn params(&mut self, id: u16) -> io::Result<Option<Params>> {
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        loop {
            match self.event(id).await? {
                Event::Abort => return Ok(None),
                Event::Params(part) if part.is_empty() => break,
                Event::Params(part) if first.is_empty() => first = part,
                Event::Params(part) => {
                    if joined.is_empty() {
                        joined.extend_from_slice(&first);
                    }
                    joined.extend_from_slice(&part);
                    if joined.len() > MAX_PARAMS {
                        return Err(Refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).into());
                    }
                }
                Event::Stdin(_) => return Err(invalid("a body before the parameters end")),
                Event::Begin(_) | Event::Close | Event::Nothing => {}
            }
        }
        let bytes = if joined.is_empty() { first } else { joined.freeze() };
        let mut params = Params::decode(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        params.set("FCGI_ROLE", Bytes::from_static(b"RESPONDER"));
        Ok(Some(params))
    }

    /// The body; none if the request is aborted.
    ///
    /// As under php-fpm it is what the stream holds, up to `CONTENT_LENGTH`, and the end of the stream is not waited for.
    async fn body(&mut self, id: u16, run: &Run) -> io::Result<Option<Body>> {
        if let Some(path) = run.params.get("REQUEST_BODY_FILE").filter(|path| !path.is_empty() && run.length > 0) {
            return Ok(Some(body::from_file(path, run.length)));
        }
        let shared = self.shared.clone();
        let mut spool = Spool::new(shared.settings.body_memory, &shared.settings.temp_dir);
        while spool.len() < run.length {
            match self.event(id).await? {
                Event::Abort => return Ok(None),
                Event::Stdin(part) if part.is_empty() => break,
                Event::Stdin(mut part) => {
                    let wanted = run.length - spool.len();
                    part.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
                    if let Err(error) = spool.push(part) {
                        tracing::error!(%error, directory = %shared.settings.temp_dir.display(), "no room for a body");
                        return Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR).into());
                    }
                }
                Event::Params(_) => return Err(invalid("parameters after their end")),
                Event::Begin(_) | Event::Close | Event::Nothing => {}
            }
        }
        Ok(Some(spool.finish()))
    }

    async fn event(&mut self, id: u16) -> io::Result<Event> {
        let record = timeout(self.shared.settings.body_timeout, record::receive(&mut self.stream, &mut self.input)).await;
        let Some(record) = record.map_err(|_| Refusal(StatusCode::REQUEST_TIMEOUT))?? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        self.heed(record, Some(id)).await
    }

    /// The next record of a client whose request is complete. It may have closed its half of the connection, and is answered all
    /// the same: over TCP that looks as if it had hung up, which then shows when something is written to it, as under php-fpm.
    async fn while_answering(&mut self) -> io::Result<Record> {
        if !self.is_half_closed {
            if let Some(record) = record::receive(&mut self.stream, &mut self.input).await? {
                return Ok(record);
            }
            self.is_half_closed = true;
        }
        if has_hung_up(&self.stream) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        future::pending().await
    }

    /// Deals with what is not part of the request `active`.
    async fn heed(&mut self, record: Record, active: Option<u16>) -> io::Result<Event> {
        let mut answer = BytesMut::new();
        let event = match (record.kind, record.id) {
            (record::BEGIN_REQUEST, id) => {
                let &[role_high, role_low, flags, ..] = record.content.as_ref() else { return Err(invalid("a short beginning")) };
                let begin = Begin { id, keep: flags & record::KEEP_CONN != 0 };
                if id == 0 || active == Some(id) {
                    return Err(invalid("a request's id twice"));
                } else if active.is_some() {
                    record::put_end(&mut answer, id, Protocol::CannotMultiplex);
                    Event::Nothing
                } else if u16::from_be_bytes([role_high, role_low]) != record::RESPONDER {
                    record::put_end(&mut answer, id, Protocol::UnknownRole);
                    if begin.keep { Event::Nothing } else { Event::Close }
                } else {
                    Event::Begin(begin)
                }
            }
            (record::ABORT_REQUEST, id) if active == Some(id) => Event::Abort,
            (record::PARAMS, id) if active == Some(id) => Event::Params(record.content),
            (record::STDIN, id) if active == Some(id) => Event::Stdin(record.content),
            (record::GET_VALUES, 0) => {
                let asked = Params::decode(record.content).map_err(|_| invalid("malformed names of values"))?;
                record::put(&mut answer, record::GET_VALUES_RESULT, 0, &asked.answer(self.shared.settings.max_connections));
                Event::Nothing
            }
            (kind, 0) => {
                record::put_unknown_type(&mut answer, kind);
                Event::Nothing
            }
            // The rest of a request that was answered early or turned down.
            _ => Event::Nothing,
        };
        if !answer.is_empty() {
            self.write(answer).await?;
        }
        Ok(event)
    }

    async fn answer(&mut self, id: u16, reply: Reply, log: Option<&str>) -> io::Result<()> {
        let mut out = BytesMut::with_capacity(1024);
        record::put_stream(&mut out, record::STDERR, id, log.unwrap_or_default().as_bytes());
        let mut head = BytesMut::with_capacity(1024);
        reply::put_head(&mut head, &reply.head);
        match reply.body {
            ReplyBody::Whole(body) => {
                if body.len() <= GATHER {
                    head.extend_from_slice(&body);
                    record::put_stream(&mut out, record::STDOUT, id, &head);
                } else {
                    record::put_stream(&mut out, record::STDOUT, id, &head);
                    self.write_chunk(id, &mut out, body).await?;
                }
                put_last(&mut out, id);
                self.write(out).await
            }
            ReplyBody::Stream(output) => {
                record::put_stream(&mut out, record::STDOUT, id, &head);
                self.stream(id, out, output).await
            }
        }
    }

    /// Passes on what the script writes; what is at hand leaves together.
    async fn stream(&mut self, id: u16, mut out: BytesMut, mut output: OutputReader) -> io::Result<()> {
        enum Next {
            Flush,
            Frame(Option<io::Result<http_body::Frame<Bytes>>>),
            Record(Record),
        }
        loop {
            let next = tokio::select! {
                biased;
                frame = output.frame() => Next::Frame(frame),
                () = future::ready(()), if !out.is_empty() => Next::Flush,
                record = self.while_answering() => Next::Record(record?),
            };
            match next {
                Next::Flush => self.write(out.split()).await?,
                Next::Frame(Some(frame)) => {
                    // Broken off: with no end of the request the client can tell.
                    let chunk = frame?.into_data().unwrap_or_default();
                    self.write_chunk(id, &mut out, chunk).await?;
                }
                Next::Frame(None) => {
                    put_last(&mut out, id);
                    return self.write(out).await;
                }
                Next::Record(record) => {
                    if matches!(self.heed(record, Some(id)).await?, Event::Abort) {
                        return self.end(id).await;
                    }
                }
            }
        }
    }

    /// Adds `chunk` to `out`, or writes both if it is large.
    async fn write_chunk(&mut self, id: u16, out: &mut BytesMut, mut chunk: Bytes) -> io::Result<()> {
        if chunk.len() <= GATHER && out.len() <= record::CHUNK {
            record::put_stream(out, record::STDOUT, id, &chunk);
            return Ok(());
        }
        while !chunk.is_empty() {
            let part = chunk.split_to(chunk.len().min(record::CHUNK));
            let (header, padding) = record::header(record::STDOUT, id, part.len() as u16);
            out.extend_from_slice(&header);
            self.write(out.split().freeze().chain(part)).await?;
            out.extend_from_slice(&[0; record::HEADER][..padding]);
        }
        Ok(())
    }

    async fn end(&mut self, id: u16) -> io::Result<()> {
        let mut out = BytesMut::new();
        record::put_end(&mut out, id, Protocol::Complete);
        self.write(out).await
    }

    async fn write(&mut self, mut bytes: impl Buf) -> io::Result<()> {
        while bytes.has_remaining() {
            let written = timeout(self.shared.settings.write_timeout, self.stream.write_buf(&mut bytes)).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Closes it so that the client gets all we wrote: unread input at `close` would make the kernel cut the connection.
    async fn hang_up(&mut self) {
        let rest = async {
            self.stream.shutdown().await?;
            loop {
                self.input.clear();
                self.input.reserve(record::READ);
                if self.stream.read_buf(&mut self.input).await? == 0 {
                    return io::Result::Ok(());
                }
            }
        };
        drop(timeout(LINGER, rest).await);
    }
}

// === impl Refusal ===

impl Refusal {
    fn of(error: io::Error) -> io::Result<Self> {
        error.downcast()
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::other(refusal)
    }
}

fn put_last(out: &mut BytesMut, id: u16) {
    record::put(out, record::STDOUT, id, b"");
    record::put_end(out, id, Protocol::Complete);
}

/// True if nothing can be written to the other end any more.
fn has_hung_up(stream: &impl AsFd) -> bool {
    let mut asked = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
    poll(&mut asked, PollTimeout::ZERO).is_ok() && asked[0].revents().is_some_and(|events| events.intersects(gone))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
