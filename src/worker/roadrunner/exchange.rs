//! One request in the hands of a RoadRunner worker: the frame it is sent, and what its frames mean for the client.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Answer, Encoded, Error, Settings, TemporaryFiles, decode, encode, sniff::name_content_type};
use crate::worker::{
    Body, Failure, Head, Lifeline, NO_STREAMS, OutputLimits, OutputWriter, Reply, ReplyBody, Request, Source, Work,
    goridge::{
        self, Flags, Frame, TooLong,
        message::{self, FromWorker},
    },
};

/// What holds for all exchanges of a pool.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How requests are written.
    pub requests: Settings,
    /// Bounds of a streamed answer's buffer.
    pub output: Arc<OutputLimits>,
    /// The status for a request that a worker could not do (`http.internal_error_code`).
    pub error_status: StatusCode,
    /// Clients are told what a worker says of its failure.
    pub debug: bool,
    /// How long a worker may take to end a stream once it was asked to (`http.pool.stream_timeout`).
    pub stream_timeout: Duration,
}

/// A request that a worker has, until it is answered.
#[derive(Debug)]
pub struct Exchange {
    terms: Arc<Terms>,
    request: Box<Request>,
    codec: Flags,
    context: Bytes,
    body: Bytes,
    files: TemporaryFiles,
    handed_on: u32,
    submitted: Instant,
    lifeline: Arc<Lifeline>,
    state: State,
}

/// What a carrier does after it has passed on what a worker said.
#[derive(Debug)]
pub enum Step {
    /// Goes on listening.
    Listen,
    /// Tells the worker this, and goes on listening.
    Tell(Frame),
    /// Nothing: the worker is free.
    Done,
    /// Gives the work to another worker, and replaces this one.
    Renew,
}

#[derive(Debug)]
enum State {
    /// The head of the answer is still to come.
    Awaited,
    /// The head is out and the body follows.
    Streaming(OutputWriter, HeaderMap),
    /// The client takes no body, and the worker does not know.
    Swallowing,
    /// The client is gone and the worker has been asked to end its stream, by then at the latest.
    Ending(Instant),
    Over,
}

/// Workers that may hand a work on.
const MAX_HANDED_ON: u32 = 10;

/// The largest frame taken from a worker, in bytes. A worker builds each of its frames in memory.
pub const MAX_FRAME: usize = 1 << 30;

// === impl Exchange ===

impl Exchange {
    /// Makes what the worker is sent of `work`. None if that cannot be; the client has been told then.
    pub fn begin(work: Work, terms: &Arc<Terms>) -> Option<Self> {
        let Work { mut request, responder, submitted } = work;
        match encode(&mut request, &[], &terms.requests) {
            Ok(Encoded { codec, context, body, files, handed_on }) => Some(Self {
                terms: terms.clone(),
                request,
                codec,
                context: context.into(),
                body,
                files,
                handed_on,
                submitted,
                lifeline: Arc::new(Lifeline::new(responder)),
                state: State::Awaited,
            }),
            Err(error) => {
                tracing::error!(request = request.id, "request: {error}");
                let text = error.to_string();
                let is_task = request.task().is_some();
                responder.send(Ok(if is_task { Reply::task_error(text.as_bytes()) } else { plain(error.status(), text) }));
                None
            }
        }
    }

    /// The bytes for the worker, in pieces that follow each other.
    pub fn frame(&self) -> Result<[Bytes; 3], TooLong> {
        let head = message::request(self.codec, &self.context, &self.body)?;
        Ok([Bytes::copy_from_slice(&head), self.context.clone(), self.body.clone()])
    }

    /// What a watchdog can answer by.
    pub fn lifeline(&self) -> Arc<Lifeline> {
        self.lifeline.clone()
    }

    /// The request.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// When a stream that was asked to end must have.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Ending(deadline) => Some(deadline),
            _ => None,
        }
    }

    /// Passes on what the worker said.
    pub fn hear(&mut self, said: FromWorker) -> Step {
        match said {
            FromWorker::Answer(part) => self.part(part),
            FromWorker::Error(text) => {
                self.error(&text);
                Step::Done
            }
            FromWorker::Stop if matches!(self.state, State::Awaited) => Step::Renew,
            FromWorker::Stop => {
                self.fail(Failure::WorkerLost);
                Step::Done
            }
            FromWorker::Pid(_) => Step::Listen,
        }
    }

    /// Ends the client's wait with `failure`; a body on its way is broken off.
    pub fn fail(&mut self, failure: Failure) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Awaited => self.lifeline.send(Err(failure)),
            State::Streaming(writer, _) => writer.finish(Err(io::Error::other(failure))),
            State::Swallowing | State::Ending(_) | State::Over => {}
        }
    }

    /// Answers with the status of a failure and `reason`, as the client may know it.
    pub fn refuse_with(&mut self, reason: String) {
        self.state = State::Over;
        let reply = self.failure(reason);
        self.lifeline.send(Ok(reply));
    }

    /// The work, for another worker; none if something was answered already, or so many have handed it on that its client is told.
    pub fn into_work(mut self) -> Option<Work> {
        if self.handed_on >= MAX_HANDED_ON {
            tracing::error!(request = self.request.id, "every worker that gets this request asks to be replaced");
            self.fail(Failure::WorkerLost);
            return None;
        }
        let Self { mut request, codec, context, body, files, submitted, lifeline, handed_on, .. } = self;
        let responder = lifeline.take()?;
        let encoded = Encoded { codec, context: context.into(), body, files, handed_on: handed_on + 1 };
        request.body = Body::Encoded(Box::new(encoded));
        Some(Work { request, responder, submitted })
    }

    fn part(&mut self, part: message::Answer) -> Step {
        let message::Answer { context, body, more, ping, .. } = part;
        let step = match std::mem::replace(&mut self.state, State::Over) {
            State::Awaited if self.request.task().is_some() => self.first_of_task(&context, body, more),
            State::Awaited => self.first(&context, body, more),
            State::Streaming(writer, trailers) => self.pass_on(writer, trailers, body, more),
            State::Swallowing | State::Over if more => {
                self.state = State::Swallowing;
                Step::Listen
            }
            State::Ending(deadline) if more => {
                self.state = State::Ending(deadline);
                return Step::Listen;
            }
            State::Swallowing | State::Ending(_) | State::Over => Step::Done,
        };
        match step {
            Step::Listen if ping => Step::Tell(message::pong()),
            step => step,
        }
    }

    /// A part before which there was no head, and so its context is one.
    fn first(&mut self, context: &[u8], body: Bytes, more: bool) -> Step {
        if context.is_empty() && body.is_empty() && more {
            self.state = State::Awaited;
            return Step::Listen;
        }
        let answer = match decode(context) {
            Ok(answer) => answer,
            Err(error) => return self.refuse(&error, more),
        };
        if answer.is_interim() {
            self.interim(answer);
            self.state = State::Awaited;
            if more {
                return Step::Listen;
            }
            // As in Go: who says no more than that has said 200.
            return self.first(b"", Bytes::new(), false);
        }
        let spelled = matches!(self.request.source, Source::FastCgi(_));
        let lines = if spelled { answer.lines() } else { Vec::new() };
        let (mut head, trailers) = answer.into_head();
        head.lines = lines;
        name_content_type(&mut head, &body, spelled);
        if self.request.method() == b"HEAD" && more {
            self.lifeline.send(Ok(Reply { head, body: ReplyBody::Whole(Bytes::new()), log: String::new(), request: None }));
            self.state = State::Swallowing;
            return Step::Listen;
        }
        let body = if !more && trailers.is_empty() {
            match self.terms.output.whole(body) {
                Ok(body) => {
                    self.lifeline.send(Ok(Reply { head, body: ReplyBody::Whole(body), log: String::new(), request: None }));
                    return Step::Done;
                }
                Err(body) => body,
            }
        } else {
            body
        };
        announce(&trailers, &mut head);
        let (writer, reader) = OutputWriter::new(self.terms.output.clone());
        let reply = Reply { head, body: ReplyBody::Stream(reader), log: String::new(), request: None };
        self.lifeline.stream(reply, writer.cutter());
        self.pass_on(writer, trailers, body, more)
    }

    /// The same of a task's answer: whatever its context is, the asker reads it.
    fn first_of_task(&mut self, context: &[u8], body: Bytes, more: bool) -> Step {
        if !more {
            self.lifeline.send(Ok(Reply::of_task(context, ReplyBody::Whole(body))));
            return Step::Done;
        }
        if self.request.task().is_some_and(|task| task.streams) {
            let (writer, reader) = OutputWriter::new(self.terms.output.clone());
            self.lifeline.stream(Reply::of_task(context, ReplyBody::Stream(reader)), writer.cutter());
            return self.pass_on(writer, HeaderMap::new(), body, more);
        }
        tracing::error!(request = self.request.id, "worker: {NO_STREAMS}");
        self.lifeline.send(Ok(Reply::task_error(NO_STREAMS.as_bytes())));
        self.ask_to_end()
    }

    fn pass_on(&mut self, writer: OutputWriter, trailers: HeaderMap, body: Bytes, more: bool) -> Step {
        let written = if writer.is_abandoned() { Err(io::ErrorKind::BrokenPipe.into()) } else { writer.write(body) };
        match written {
            Ok(()) if more => {
                self.state = State::Streaming(writer, trailers);
                Step::Listen
            }
            Ok(()) => {
                writer.finish_with(trailers);
                Step::Done
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::BrokenPipe {
                    tracing::warn!(request = self.request.id, %error, "response: given up");
                }
                if more { self.ask_to_end() } else { Step::Done }
            }
        }
    }

    fn ask_to_end(&mut self) -> Step {
        self.state = State::Ending(Instant::now() + self.terms.stream_timeout);
        Step::Tell(message::stop_stream())
    }

    fn interim(&self, answer: Answer) {
        let (Head { status, headers, .. }, _) = answer.into_head();
        if let Some(interim) = &self.request.interim {
            interim.send(status, &headers);
        }
    }

    /// The worker could not do it, and lives on.
    fn error(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        tracing::error!(request = self.request.id, "worker: {}", text.trim_end());
        if matches!(self.state, State::Awaited) {
            self.state = State::Over;
            let is_told = self.terms.debug || self.request.task().is_some();
            let reply = self.failure(if is_told { text.into_owned() } else { String::new() });
            self.lifeline.send(Ok(reply));
        } else {
            self.fail(Failure::WorkerLost);
        }
    }

    /// What the asker gets for an answer.
    fn failure(&self, text: String) -> Reply {
        match self.request.task() {
            Some(_) => Reply::task_error(text.as_bytes()),
            None => plain(self.terms.error_status, text),
        }
    }

    /// The worker's answer is none.
    fn refuse(&mut self, error: &Error, more: bool) -> Step {
        tracing::error!(request = self.request.id, "{error}");
        self.lifeline.send(Ok(plain(self.terms.error_status, error.to_string())));
        if more { self.ask_to_end() } else { Step::Done }
    }
}

/// HTTP/1 sends only those trailers that the head names.
fn announce(trailers: &HeaderMap, head: &mut Head) {
    for name in trailers.keys() {
        head.headers.append(header::TRAILER, HeaderValue::from(name.clone()));
    }
}

fn plain(status: StatusCode, text: String) -> Reply {
    let mut headers = HeaderMap::new();
    if !text.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    Reply {
        head: Head { status, reason: None, headers, lines: Vec::new() },
        body: ReplyBody::Whole(text.into()),
        log: String::new(),
        request: None,
    }
}

/// A decoder of what workers say.
pub fn decoder() -> goridge::Decoder {
    goridge::Decoder::new(MAX_FRAME)
}
