//! One connection: requests come one after another, each answered before the next.

use std::{
    future::{self, poll_fn},
    io,
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::{Instant, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::time::{Duration, timeout};

use super::{
    Shared, body,
    params::Params,
    record::{self, Protocol, Record},
    reply,
    request::{Answer, Decision, Run, decide},
};
use crate::{
    http::{
        accept::Stream,
        drain::{OpenConnection, Signal},
        spool::{Spool, status_without},
    },
    telemetry::Seldom,
    worker::{self, Body, Refused, Request, Responder, Source, Wake, Work},
};

mod send;

/// A connection.
pub(super) struct Connection {
    stream: Stream,
    input: BytesMut,
    /// The client has said all it will say, and may still listen.
    is_half_closed: bool,
    stop: Signal,
    shared: Arc<Shared>,
    // Counted until everything else is gone.
    _open: OpenConnection,
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

// === impl Connection ===

impl Connection {
    pub(super) fn new(stream: Stream, shared: Arc<Shared>, open: OpenConnection) -> Self {
        let stop = shared.drain.signal();
        Self { stream, input: BytesMut::new(), is_half_closed: false, stop, shared, _open: open }
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
            if !begin.keep || refused.is_some() || self.is_half_closed || self.shared.drain.is_started() {
                break;
            }
            kept = true;
        }
        Ok(())
    }

    /// The next request; none if the client has hung up, or we should.
    async fn begin(&mut self, kept: bool) -> io::Result<Option<Begin>> {
        let mut patience = if kept { self.shared.settings.idle_timeout } else { self.shared.settings.body_timeout };
        loop {
            let is_idle = kept && self.input.is_empty();
            let record = tokio::select! {
                biased;
                record = record::receive(&mut self.stream, &mut self.input) => record?,
                // A connection just accepted is served, even now.
                () = poll_fn(|context| if self.stop.hear(context) { Poll::Ready(()) } else { Poll::Pending }), if is_idle => {
                    if self.input.is_empty() {
                        patience = patience.min(self.shared.drain.idle(Duration::ZERO));
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
            phases: None,
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
        let mut spool = Spool::new(&shared.settings.place, Some(run.length));
        while spool.len() < run.length {
            match self.event(id).await? {
                Event::Abort => return Ok(None),
                Event::Stdin(part) if part.is_empty() => break,
                Event::Stdin(mut part) => {
                    let wanted = run.length - spool.len();
                    part.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
                    if let Err(error) = spool.push(part) {
                        static SELDOM: Seldom = Seldom::new();
                        if let Some(unsaid) = SELDOM.say() {
                            tracing::error!(%error, unsaid, directory = %shared.settings.place.directory().display(), "no room for a body");
                        }
                        return Err(Refusal(status_without(&error)).into());
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

/// True if nothing can be written to the other end any more.
fn has_hung_up(stream: &impl AsFd) -> bool {
    let mut asked = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
    poll(&mut asked, PollTimeout::ZERO).is_ok() && asked[0].revents().is_some_and(|events| events.intersects(gone))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
