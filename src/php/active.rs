//! The request that a PHP thread is running: where its body comes from and where its output goes.

mod answer;

use std::{
    ffi::c_char,
    io::{self, Read},
    ptr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    engine::{Reset, ScriptKind},
    ffi,
    thread::Settings,
    watchdog::cpu_time_of_this_thread,
};
use crate::worker::{
    Body, BodyReader, Failure, Head, IniValue, Lifeline, OutputLimits, OutputWriter, Reply, ReplyBody, Request, Script, Source,
    Used, Variables, Work,
};

/// One request while its script runs.
pub(crate) struct Active {
    request: Box<Request>,
    body: BodyReader,
    answer: Answer,
    lifeline: Arc<Lifeline>,
    limits: Arc<Limits>,
    output: BytesMut,
    /// What is printed goes to the log: the script answers in another way.
    pulled: bool,
    /// What is to be logged, up to the end of its line.
    printed: BytesMut,
    log: String,
    variables: Variables,
    extra: Arc<[(String, String)]>,
    pairs: Vec<ffi::Pair>,
    /// What this thread had used of the CPU, if somebody wants to know how much the script does.
    cpu_at_start: Option<Duration>,
}

/// Bounds of an answer.
#[derive(Debug)]
pub(crate) struct Limits {
    /// An answer that grows past this starts on its way while its script still runs.
    pub(crate) first_chunk: usize,
    /// What holds for it then.
    pub(crate) stream: Arc<OutputLimits>,
}

enum Answer {
    /// Nothing has left yet; the lifeline has the responder.
    Pending { head: Option<Head> },
    /// The head is out, and the body follows.
    Streaming(OutputWriter),
    /// Complete, or given up: further output is discarded.
    Over,
    /// There is no client: a worker script boots, or waits. What it prints is logged by lines.
    Nobody,
}

/// Room for the strings of a usual request.
const STRINGS: usize = 512;

/// Bytes of log lines that a FastCGI client is sent; our own log has all of them.
const MAX_NOTED: usize = 64 * 1024;

/// The strings that C reads while a request runs: in one piece of memory, each by where it begins.
pub(crate) struct Strings {
    bytes: Vec<u8>,
    method: usize,
    query: usize,
    uri: usize,
    path_info: usize,
    script: usize,
    document_root: usize,
    server_name: usize,
    content_type: Option<usize>,
    authorization: Option<usize>,
    cookies: Option<usize>,
    ini: Vec<ffi::Ini>,
    argv: Vec<*mut c_char>,
}

// === impl Active ===

impl Active {
    pub(crate) fn new(work: Work, settings: &Settings, variables: Variables) -> Self {
        let Work { mut request, responder, .. } = work;
        let body = std::mem::take(&mut request.body).into_reader();
        let is_measured = request.phases.as_ref().is_some_and(|phases| phases.is_measured);
        Self {
            request,
            body,
            answer: Answer::Pending { head: None },
            lifeline: Arc::new(Lifeline::new(responder)),
            limits: settings.limits.clone(),
            output: BytesMut::new(),
            pulled: false,
            printed: BytesMut::new(),
            log: String::new(),
            variables,
            extra: settings.variables.clone(),
            pairs: Vec::new(),
            cpu_at_start: is_measured.then(cpu_time_of_this_thread),
        }
    }

    /// A worker script that boots as `script`: there is no client yet.
    pub(crate) fn boot(script: Script, settings: &Settings) -> Self {
        let request = Box::new(Request {
            id: 0,
            received: SystemTime::now(),
            script,
            source: Source::Boot,
            body: Body::Empty,
            ini: Vec::new(),
            interim: None,
            phases: None,
        });
        Self {
            request,
            body: Body::Empty.into_reader(),
            answer: Answer::Nobody,
            lifeline: Arc::default(),
            limits: settings.limits.clone(),
            output: BytesMut::new(),
            pulled: false,
            printed: BytesMut::new(),
            log: String::new(),
            variables: Variables::default(),
            extra: settings.variables.clone(),
            pairs: Vec::new(),
            cpu_at_start: None,
        }
    }

    /// Bytes of the body that are still to be read.
    pub(crate) fn body_length(&self) -> u64 {
        self.body.len()
    }

    /// The client has had its answer; until the next request there is none.
    pub(crate) fn retire(&mut self) {
        self.body = Body::Empty.into_reader();
        self.output.clear();
        self.pulled = false;
        self.answer = Answer::Nobody;
    }

    pub(crate) fn lifeline(&self) -> Arc<Lifeline> {
        self.lifeline.clone()
    }

    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    /// Gives back what the next request can use again.
    pub(crate) fn take_variables(&mut self) -> Variables {
        std::mem::take(&mut self.variables)
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> usize {
        self.fill(buffer, |body, _, rest| body.read(rest))
    }

    /// The body's bytes from `offset` on; for a body that [`Self::read`] has not touched.
    pub(crate) fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> usize {
        self.fill(buffer, |body, filled, rest| body.read_at(offset + filled as u64, rest))
    }

    fn fill(&mut self, buffer: &mut [u8], read: impl Fn(&mut BodyReader, usize, &mut [u8]) -> io::Result<usize>) -> usize {
        let mut filled = 0;
        while filled < buffer.len() {
            match read(&mut self.body, filled, &mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::error!(request = self.request.id, %error, "spooled request body: cannot be read");
                    break;
                }
            }
        }
        filled
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> ffi::Verdict {
        match &self.answer {
            Answer::Nobody => self.print(bytes),
            _ if self.pulled => self.print(bytes),
            Answer::Over => ffi::Verdict::GoOn,
            Answer::Pending { .. } if self.lifeline.is_abandoned() => {
                self.output.clear();
                // What a script still says that the watchdog ends is for nobody, and no reason to stop it in its shutdown functions.
                if self.lifeline.is_cut() { ffi::Verdict::GoOn } else { ffi::Verdict::Aborted }
            }
            _ => {
                self.output.extend_from_slice(bytes);
                if self.output.len() >= self.limits.first_chunk { self.pass_on() } else { ffi::Verdict::GoOn }
            }
        }
    }

    fn print(&mut self, bytes: &[u8]) -> ffi::Verdict {
        self.printed.extend_from_slice(bytes);
        self.log_lines(false);
        ffi::Verdict::GoOn
    }

    /// Logs what was printed for nobody, `all` of it or up to the last line's end.
    fn log_lines(&mut self, all: bool) {
        // A line without an end is not kept for ever.
        let all = all || self.printed.len() > 8192;
        let end = if all { self.printed.len() } else { memchr::memrchr(b'\n', &self.printed).map_or(0, |at| at + 1) };
        let text = self.printed.split_to(end);
        for line in String::from_utf8_lossy(&text).lines().filter(|line| !line.is_empty()) {
            tracing::info!(target: "php::stdout", request = self.request.id, "{line}");
        }
    }

    /// What the script has printed leaves now.
    pub(crate) fn flush(&mut self) -> ffi::Verdict {
        if self.pulled { ffi::Verdict::GoOn } else { self.pass_on() }
    }

    fn pass_on(&mut self) -> ffi::Verdict {
        if matches!(self.answer, Answer::Nobody) {
            return ffi::Verdict::GoOn;
        }
        if self.request.method() == b"HEAD" {
            // There is no body to stream, and so no reader whose leaving would mean anything: the head is all.
            self.output.clear();
            if matches!(self.answer, Answer::Pending { head: Some(_) }) {
                self.finish();
            }
            return ffi::Verdict::GoOn;
        }
        if let Answer::Pending { head, .. } = &mut self.answer {
            if self.lifeline.is_cut() {
                self.output.clear();
                return ffi::Verdict::GoOn;
            }
            let Some(head) = head.take() else { return ffi::Verdict::GoOn };
            let (writer, reader) = OutputWriter::new(self.limits.stream.clone());
            let reply = Reply { head, body: ReplyBody::Stream(reader), log: std::mem::take(&mut self.log), request: None };
            self.lifeline.stream(reply, writer.cutter());
            self.answer = Answer::Streaming(writer);
        }
        let Answer::Streaming(writer) = &self.answer else { return ffi::Verdict::GoOn };
        let chunk = self.output.split().freeze();
        let result =
            if chunk.is_empty() && writer.is_abandoned() { Err(io::ErrorKind::BrokenPipe.into()) } else { writer.write(chunk) };
        match result {
            Ok(()) => ffi::Verdict::GoOn,
            Err(error) => {
                if error.kind() != io::ErrorKind::BrokenPipe {
                    tracing::warn!(request = self.request.id, %error, "response: given up");
                }
                ffi::Verdict::Aborted
            }
        }
    }

    pub(crate) fn headers<'a>(&mut self, status: i32, status_line: Option<&[u8]>, lines: impl Iterator<Item = &'a [u8]>) {
        let Answer::Pending { head, .. } = &mut self.answer else { return };
        let spelled = matches!(self.request.source, Source::FastCgi(_));
        *head = Some(parse_head(status, status_line, lines, spelled));
    }

    /// Notes a line of the log for a FastCGI client, which shows such lines in its own.
    pub(crate) fn note(&mut self, message: &str) {
        if matches!(self.request.source, Source::FastCgi(_)) && self.log.len() + message.len() < MAX_NOTED {
            self.log.push_str("PHP message: ");
            self.log.push_str(message);
            self.log.push('\n');
        }
    }

    /// Sends an interim response, where the protocol allows one.
    pub(crate) fn interim<'a>(&mut self, status: i32, lines: impl Iterator<Item = &'a [u8]>) -> bool {
        let Answer::Pending { .. } = self.answer else { return false };
        let Some(interim) = &self.request.interim else { return false };
        let head = parse_head(status, None, lines, false);
        interim.send(head.status, &head.headers)
    }

    /// Completes the answer at the script's wish, which may go on; false if it was complete before.
    pub(crate) fn finish_early(&mut self) -> bool {
        !self.pulled && self.finish()
    }

    /// Says what the script has used, if somebody wants to know; `memory` at most at once.
    fn tell_used(&self, memory: impl FnOnce() -> usize) {
        if let (Some(phases), Some(began)) = (&self.request.phases, self.cpu_at_start) {
            let cpu = cpu_time_of_this_thread().saturating_sub(began);
            phases.end(Used { memory: memory() as u64, cpu });
        }
    }

    /// Completes the answer while the script may go on; false if it was complete before.
    pub(crate) fn finish(&mut self) -> bool {
        self.log_lines(true);
        // SAFETY: this thread has a context.
        self.tell_used(|| unsafe { ffi::rr_php_memory_peak_so_far() });
        let whole = self.take_whole();
        match std::mem::replace(&mut self.answer, Answer::Over) {
            Answer::Over => false,
            Answer::Nobody => {
                self.answer = Answer::Nobody;
                false
            }
            Answer::Pending { head } => {
                let body = ReplyBody::Whole(whole);
                let log = std::mem::take(&mut self.log);
                self.lifeline.send(head.map(|head| Reply { head, body, log, request: None }).ok_or(Failure::WorkerLost));
                true
            }
            Answer::Streaming(writer) => {
                let rest = self.output.split().freeze();
                // The client is gone or takes nothing: there is nobody left to tell.
                drop(writer.write(rest));
                writer.finish(Ok(()));
                true
            }
        }
    }

    /// The whole answer, if it leaves as such: with no memory for it, it is streamed.
    fn take_whole(&mut self) -> Bytes {
        if !matches!(self.answer, Answer::Pending { .. }) {
            return Bytes::new();
        }
        let whole = self.output.split().freeze();
        if self.request.task().is_some() {
            return whole;
        }
        self.limits.stream.whole(whole).unwrap_or_else(|whole| {
            self.output.extend_from_slice(&whole);
            drop(whole);
            self.pass_on();
            Bytes::new()
        })
    }

    /// Completes the answer of a script that has ended, with the request on its way home. Gives back what the next request can use
    /// again.
    pub(crate) fn conclude(mut self) -> Variables {
        // SAFETY: this thread has a context, whose script has ended.
        self.tell_used(|| unsafe { ffi::rr_php_memory_peak() });
        let variables = self.take_variables();
        if !matches!(self.answer, Answer::Pending { head: Some(_) }) {
            self.finish();
            return variables;
        }
        let whole = self.take_whole();
        if matches!(self.answer, Answer::Streaming(_)) {
            self.finish();
            return variables;
        }
        let Self { request, answer, lifeline, log, .. } = self;
        if let Answer::Pending { head: Some(head) } = answer {
            let body = ReplyBody::Whole(whole);
            lifeline.send(Ok(Reply { head, body, log, request: Some(request) }));
        }
        variables
    }

    /// Completes the answer of a script that a fatal error cut off. A body that is on its way already is broken off: its end would
    /// say that nothing is missing.
    pub(crate) fn finish_cut_off(&mut self) {
        match &self.answer {
            Answer::Streaming(_) => {
                self.pass_on();
                self.fail(Failure::WorkerLost);
            }
            _ => drop(self.finish()),
        }
    }

    /// Ends the asker's wait with `failure`; a body on its way is broken off.
    pub(crate) fn fail(&mut self, failure: Failure) {
        match std::mem::replace(&mut self.answer, Answer::Over) {
            Answer::Over | Answer::Nobody => {}
            Answer::Pending { .. } => self.lifeline.send(Err(failure)),
            Answer::Streaming(writer) => writer.finish(Err(io::Error::other(failure))),
        }
    }

    /// For C to borrow until the next call.
    pub(crate) fn variables(&mut self, which: ffi::Variables) -> &[ffi::Pair] {
        self.variables.clear();
        match which {
            ffi::Variables::Headers => self.variables.fill_headers(&self.request),
            ffi::Variables::HeaderLines => self.variables.fill_header_lines(&self.request),
            ffi::Variables::Server => {
                self.variables.fill_server(&self.request);
                for (name, value) in &*self.extra {
                    self.variables.push(name, value);
                }
            }
        }
        self.pairs.clear();
        let pairs =
            self.variables.iter().map(|(name, value)| ffi::Pair { name: ffi::Bytes::of(name), value: ffi::Bytes::of(value) });
        self.pairs.extend(pairs);
        &self.pairs
    }
}

/// Turns the engine's header lines into a head, by the rules that nginx has for a FastCGI answer; `spelled` keeps the lines too.
fn parse_head<'a>(status: i32, status_line: Option<&[u8]>, lines: impl Iterator<Item = &'a [u8]>, spelled: bool) -> Head {
    let mut code = StatusCode::from_u16(status.try_into().unwrap_or(0)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reason = status_line.and_then(custom_reason);
    let mut headers = HeaderMap::with_capacity(8);
    // One buffer for all values: a header value is then a slice of it, not an allocation.
    let mut text = BytesMut::with_capacity(256);
    let mut spelling = Vec::new();
    for line in lines {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"status") {
            if code == StatusCode::OK
                && let Some((given, phrase)) = parse_status(value)
            {
                code = given;
                reason = phrase;
            }
            continue;
        }
        let Ok(name) = HeaderName::from_bytes(name) else { continue };
        // These describe our connection, which the script does not know.
        if name == header::CONNECTION || name == header::TRANSFER_ENCODING || name == header::UPGRADE || name == "keep-alive" {
            continue;
        }
        if code == StatusCode::NOT_MODIFIED && name == header::CONTENT_TYPE {
            continue;
        }
        if spelled {
            spelling.extend_from_slice(line);
            spelling.extend_from_slice(b"\r\n");
        }
        text.put_slice(value);
        if let Ok(value) = HeaderValue::from_maybe_shared(text.split().freeze()) {
            headers.append(name, value);
        }
    }
    Head { status: code, reason, headers, lines: spelling }
}

/// The phrase of `HTTP/1.1 404 Gone fishing`, if it is not the usual one.
fn custom_reason(line: &[u8]) -> Option<Box<[u8]>> {
    let (_, rest) = split_once(line, b' ')?;
    parse_status(rest)?.1
}

fn parse_status(text: &[u8]) -> Option<(StatusCode, Option<Box<[u8]>>)> {
    let (code, phrase) = split_once(text, b' ').unwrap_or((text, b""));
    let code = StatusCode::from_bytes(code).ok()?;
    let phrase = phrase.trim_ascii();
    let usual = phrase.is_empty() || code.canonical_reason().is_some_and(|reason| reason.as_bytes() == phrase);
    Some((code, (!usual).then(|| phrase.into())))
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = memchr::memchr(at, text)?;
    Some((&text[..index], &text[index + 1..]))
}

// === impl Strings ===

impl Strings {
    /// Those of `request`, whose ini values come after those that are always in force.
    pub(crate) fn new(request: &Request, always: &[IniValue]) -> Self {
        let script = &request.script;
        let server_name = match &request.source {
            Source::Http(head) => head.server_name.as_bytes(),
            Source::FastCgi(_) | Source::Task(_) | Source::Boot => request.param(b"SERVER_NAME").unwrap_or_default(),
        };
        let ini = always.iter().chain(&request.ini).map(|ini| ffi::Ini {
            name: ffi::Bytes::of(ini.name.as_bytes()),
            value: ffi::Bytes::of(ini.value.as_bytes()),
            locked: ini.locked,
        });
        let mut bytes = Vec::with_capacity(STRINGS);
        let mut push = |text: &[u8]| c_string(&mut bytes, |bytes| bytes.extend_from_slice(text));
        let method = push(request.method());
        let query = push(request.query());
        let uri = push(&script.name);
        let path_info = push(&script.path_info);
        let filename = push(&script.filename);
        let document_root = push(&script.document_root);
        let server_name = push(server_name);
        let content_type = request.header(header::CONTENT_TYPE).map(&mut push);
        let authorization = request.header(header::AUTHORIZATION).map(&mut push);
        let cookies = c_string(&mut bytes, |bytes| request.cookies(bytes));
        let cookies = (bytes[cookies] != 0).then_some(cookies);
        Self {
            bytes,
            method,
            query,
            uri,
            path_info,
            script: filename,
            document_root,
            server_name,
            content_type,
            authorization,
            cookies,
            ini: ini.collect(),
            argv: Vec::new(),
        }
    }

    /// The C view; valid as long as `self` and `request` are.
    pub(crate) fn view(&mut self, request: &Request, body_length: u64, settings: &Settings) -> ffi::Request {
        let (kind, reset) = match &settings.script {
            ScriptKind::Classic => (ffi::Kind::Classic, ffi::Reset::Basic),
            ScriptKind::Worker { reset: Reset::Basic, .. } => (ffi::Kind::Worker, ffi::Reset::Basic),
            ScriptKind::Worker { reset: Reset::Strict, .. } => (ffi::Kind::Worker, ffi::Reset::Strict),
            ScriptKind::RoadRunner { .. } => (ffi::Kind::RoadRunner, ffi::Reset::Basic),
        };
        let is_command = kind == ffi::Kind::RoadRunner;
        let answers_request = !is_command && request.task().is_none();
        if let ScriptKind::RoadRunner { arguments, .. } = &settings.script {
            let bytes = &mut self.bytes;
            let starts: Vec<usize> =
                arguments.iter().map(|argument| c_string(bytes, |bytes| bytes.extend_from_slice(argument.as_bytes()))).collect();
            self.argv = starts.into_iter().map(|start| self.at(start).cast_mut()).chain([ptr::null_mut()]).collect();
        }
        ffi::Request {
            kind,
            reset,
            tasks: matches!(&settings.script, ScriptKind::Worker { tasks: true, .. }),
            // A command answers no request.
            method: if answers_request { self.at(self.method) } else { ptr::null() },
            query: if answers_request { self.at(self.query).cast_mut() } else { ptr::null_mut() },
            uri: self.at(self.uri).cast_mut(),
            path_info: self.at(self.path_info),
            script: self.at(self.script).cast_mut(),
            document_root: self.at(self.document_root),
            server_name: self.at(self.server_name),
            content_type: self.at_optional(self.content_type),
            authorization: self.at_optional(self.authorization),
            cookies: self.at_optional(self.cookies).cast_mut(),
            content_length: body_length.try_into().unwrap_or(i64::MAX),
            received: request.received.duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()),
            ini: self.ini.as_ptr(),
            ini_count: self.ini.len(),
            argv: if self.argv.is_empty() { ptr::null_mut() } else { self.argv.as_mut_ptr() },
            argc: self.argv.len().saturating_sub(1).try_into().unwrap_or(0),
        }
    }

    fn at(&self, start: usize) -> *const c_char {
        self.bytes[start..].as_ptr().cast()
    }

    fn at_optional(&self, start: Option<usize>) -> *const c_char {
        start.map_or(ptr::null(), |start| self.at(start))
    }
}

/// Adds what `write` writes, as a C string; says where it begins. The front refuses NUL in all it passes on; from a FastCGI client a
/// value ends at one, as it does in php-fpm.
fn c_string(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = bytes.len();
    write(bytes);
    if let Some(end) = memchr::memchr(0, &bytes[start..]) {
        bytes.truncate(start + end);
    }
    bytes.push(0);
    start
}
