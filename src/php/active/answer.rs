//! The answer to a request that a script has pulled: it comes whole or in parts, past the engine's output layer.

use std::ffi::{c_char, c_int, c_void};

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{Active, Answer, Head, parse_head};
use crate::{
    php::{ffi, sapi::enter},
    worker::{Failure, Reply, Source},
};

/// A long text leaves in pieces of this size, so that the bounds of the client's buffer hold for it too.
const PIECE: usize = 256 * 1024;

// === impl Active ===

impl Active {
    /// What is printed is not the answer: the script gives that by the functions below.
    pub(crate) fn pull(&mut self) {
        self.pulled = true;
    }

    /// The head of the answer, or another in its place as long as nothing has left; false if something has.
    fn answer(&mut self, head: Head) -> bool {
        let Answer::Pending { head: place } = &mut self.answer else { return false };
        *place = Some(head);
        self.output.clear();
        true
    }

    /// The whole body.
    fn answer_whole(&mut self, bytes: &[u8]) -> ffi::Verdict {
        if bytes.len() <= self.limits.stream.memory || self.request.task().is_some() {
            let gone = self.lifeline.is_abandoned();
            self.output.extend_from_slice(bytes);
            self.finish();
            return if gone { ffi::Verdict::Aborted } else { ffi::Verdict::GoOn };
        }
        if let Answer::Pending { head: Some(head) } = &mut self.answer {
            head.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
        }
        for piece in bytes.chunks(PIECE) {
            let verdict = self.answer_part(piece, true);
            if verdict != ffi::Verdict::GoOn {
                return verdict;
            }
        }
        self.finish();
        ffi::Verdict::GoOn
    }

    /// A part of the body.
    fn answer_part(&mut self, bytes: &[u8], flush: bool) -> ffi::Verdict {
        if matches!(self.answer, Answer::Pending { .. }) && self.lifeline.is_abandoned() {
            return ffi::Verdict::Aborted;
        }
        self.output.extend_from_slice(bytes);
        if self.request.task().is_some_and(|task| !task.streams) {
            return ffi::Verdict::GoOn;
        }
        if flush || self.output.len() >= self.limits.first_chunk { self.pass_on() } else { ffi::Verdict::GoOn }
    }

    /// The end of a body given in parts. A FastCGI client can have no trailers.
    fn answer_end(&mut self, trailers: HeaderMap) {
        if trailers.is_empty() || matches!(self.request.source, Source::FastCgi(_)) {
            self.finish();
            return;
        }
        self.pass_on();
        match std::mem::replace(&mut self.answer, Answer::Over) {
            Answer::Streaming(writer) => writer.finish_with(trailers),
            // A HEAD request was answered by its head.
            answer => self.answer = answer,
        }
    }

    /// There is no answer, or no more of it; `said` if the log has the reason already.
    fn answer_fail(&mut self, said: bool) {
        if !said {
            let (method, target) = (self.request.method().escape_ascii(), self.request.target().escape_ascii());
            tracing::error!(request = self.request.id, "{method} {target}: the worker script left it without a complete answer");
        }
        self.fail(Failure::NoAnswer);
    }

    /// The task could not be done.
    fn answer_task_error(&mut self, text: &[u8]) {
        match std::mem::replace(&mut self.answer, Answer::Over) {
            Answer::Pending { .. } => self.lifeline.send(Ok(Reply::task_error(text))),
            answer => {
                self.answer = answer;
                self.fail(Failure::NoAnswer);
            }
        }
    }

    fn answer_interim(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let Answer::Pending { .. } = self.answer else { return false };
        self.request.interim.as_ref().is_some_and(|interim| interim.send(status, headers))
    }
}

/// Puts `fields` over what `lines` say; only cookies add up.
fn head<'a>(
    status: i32,
    reason: &[u8],
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    lines: impl Iterator<Item = &'a [u8]>,
) -> Head {
    let mut head = parse_head(status, None, lines, false);
    head.status = u16::try_from(status).ok().and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or_default();
    head.reason = (!reason.is_empty()).then(|| reason.into());
    merge(&mut head.headers, fields);
    head
}

fn merge<'a>(headers: &mut HeaderMap, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    // One buffer for all values, as in `parse_head`.
    let mut text = BytesMut::with_capacity(256);
    let mut set: Vec<HeaderName> = Vec::new();
    for (name, value) in fields {
        let Ok(name) = HeaderName::from_bytes(name) else { continue };
        if [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE].contains(&name) || name == "keep-alive" {
            continue;
        }
        text.put_slice(value.trim_ascii());
        let Ok(value) = HeaderValue::from_maybe_shared(text.split().freeze()) else { continue };
        if name == header::SET_COOKIE || set.contains(&name) {
            headers.append(name, value);
        } else {
            set.push(name.clone());
            headers.insert(name, value);
        }
    }
}

// === callbacks ===

/// # Safety
/// `at` points to `count` entries that outlive `'a`; it may be null if there are none.
unsafe fn lent<'a, T>(at: *const T, count: usize) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY: the caller vouches for pointer, length and lifetime.
    unsafe { std::slice::from_raw_parts(at, count) }
}

/// # Safety
/// As for [`lent`], and what the pairs view outlives `'a` too.
unsafe fn pairs<'a>(fields: *const ffi::Pair, count: usize) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    // SAFETY: the caller vouches for pointer, length and lifetime.
    let pairs = unsafe { lent(fields, count) };
    pairs.iter().map(|pair| {
        // SAFETY: the caller vouches for what the pairs view.
        let name = unsafe { pair.name.view() };
        // SAFETY: as above.
        (name, unsafe { pair.value.view() })
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_answer(
    context: *mut c_void,
    status: c_int,
    reason: ffi::Bytes,
    fields: *const ffi::Pair,
    count: usize,
    lines: *const ffi::Bytes,
    line_count: usize,
) -> bool {
    // SAFETY: C lends the text until this call returns.
    let reason = unsafe { reason.view() };
    // SAFETY: C holds the fields and what they view until this call returns.
    let fields = unsafe { pairs(fields, count) };
    // SAFETY: C lends `line_count` entries on its stack.
    let lines = unsafe { lent(lines, line_count) };
    // SAFETY: each entry views a header line of the engine's that lives until this call returns.
    let lines = lines.iter().map(|line| unsafe { line.view() });
    // SAFETY: C passes the context of the running request.
    unsafe { enter(context, false, |active| active.answer(head(status, reason, fields, lines))) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_answer_whole(context: *mut c_void, bytes: *const c_char, length: usize) -> ffi::Verdict {
    // SAFETY: C holds the string until this call returns.
    let bytes = unsafe { ffi::view(bytes, length) };
    // SAFETY: C passes the context of the running request.
    unsafe { enter(context, ffi::Verdict::Fatal, |active| active.answer_whole(bytes)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_answer_part(context: *mut c_void, bytes: *const c_char, length: usize, flush: bool) -> ffi::Verdict {
    // SAFETY: C holds the bytes until this call returns.
    let bytes = unsafe { ffi::view(bytes, length) };
    // SAFETY: C passes the context of the running request.
    unsafe { enter(context, ffi::Verdict::Fatal, |active| active.answer_part(bytes, flush)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_answer_end(context: *mut c_void, trailers: *const ffi::Pair, count: usize) {
    // SAFETY: C holds the fields and what they view until this call returns.
    let fields = unsafe { pairs(trailers, count) };
    let act = |active: &mut Active| {
        let mut trailers = HeaderMap::new();
        merge(&mut trailers, fields);
        active.answer_end(trailers);
    };
    // SAFETY: C passes the context of the running request.
    unsafe { enter(context, (), act) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_answer_fail(context: *mut c_void, said: bool) {
    // SAFETY: C passes the context of the running request.
    unsafe { enter(context, (), |active| active.answer_fail(said)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_answer_interim(context: *mut c_void, status: c_int, fields: *const ffi::Pair, count: usize) -> bool {
    // SAFETY: C holds the fields and what they view until this call returns.
    let fields = unsafe { pairs(fields, count) };
    let act = |active: &mut Active| {
        let mut headers = HeaderMap::new();
        merge(&mut headers, fields);
        let status = u16::try_from(status).ok().and_then(|code| StatusCode::from_u16(code).ok());
        status.is_some_and(|status| active.answer_interim(status, &headers))
    };
    // SAFETY: C passes the context of the running request.
    unsafe { enter(context, false, act) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_task(context: *mut c_void) -> ffi::Bytes {
    let act = |active: &mut Active| active.request().task().map_or(ffi::Bytes::of(b""), |task| ffi::Bytes::of(&task.context));
    // SAFETY: C passes the context of the running task.
    unsafe { enter(context, ffi::Bytes::of(b""), act) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_task_streams(context: *mut c_void) -> bool {
    // SAFETY: C passes the context of the running task.
    unsafe { enter(context, false, |active| active.request().task().is_some_and(|task| task.streams)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_answer_task(context: *mut c_void, bytes: *const c_char, length: usize) -> bool {
    // SAFETY: C holds the string until this call returns.
    let bytes = unsafe { ffi::view(bytes, length) };
    // SAFETY: C passes the context of the running task.
    unsafe { enter(context, false, |active| active.answer(Head::of_task(bytes))) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_answer_task_error(context: *mut c_void, text: *const c_char, length: usize) {
    // SAFETY: C holds the string until this call returns.
    let text = unsafe { ffi::view(text, length) };
    // SAFETY: C passes the context of the running task.
    unsafe { enter(context, (), |active| active.answer_task_error(text)) }
}
