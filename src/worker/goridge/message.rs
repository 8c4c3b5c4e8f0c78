//! What frames mean between a server and a worker.
//!
//! A payload is a *context* (for HTTP the head of a request or an answer) followed by a *body*; the first option is the
//! context's length. Control frames carry JSON. Both directions are here: this program is the server of its own workers, and
//! its tests are workers.

use bytes::Bytes;
use serde_json::{Value, json};

use super::frame::{Flags, Frame, Head, Header, Options, Stream, TooLong};

/// What a worker says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FromWorker {
    /// An answer, or a part of one.
    Answer(Answer),
    /// It could not do the work (`Worker::error()`); it lives on.
    Error(Bytes),
    /// The process that it is.
    Pid(i64),
    /// It asks to be replaced (`Worker::stop()`); the work goes to another.
    Stop,
}

/// An answer, or a part of one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answer {
    /// How the context is encoded; nothing if the worker did not say.
    pub codec: Flags,
    /// The context.
    pub context: Bytes,
    /// The body.
    pub body: Bytes,
    /// More parts follow.
    pub more: bool,
    /// The worker waits for [`pong`], or for [`stop_stream`].
    pub ping: bool,
}

/// A worker's frame that means nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// The first option is longer than the payload.
    #[error("worker's frame claims a context of {context} bytes in a payload of {payload}")]
    Context {
        /// The context's claimed length.
        context: u32,
        /// The payload's length.
        payload: usize,
    },
    /// A control frame of an unknown kind.
    #[error("worker's control frame is neither a pid nor a stop: \"{}\"", .0.escape_ascii())]
    Control(Bytes),
}

/// Makes sense of a worker's frame.
pub fn read(frame: &Frame) -> Result<FromWorker, Error> {
    let Frame { header, payload } = frame;
    if header.flags.has(Flags::CONTROL) {
        return control(payload).ok_or_else(|| Error::Control(payload.slice(..payload.len().min(LONGEST_QUOTE))));
    }
    // An error has no context; its option, which some versions set, is 0.
    let split = header.options.first().copied().unwrap_or(0);
    let context = payload.get(..split as usize).ok_or(Error::Context { context: split, payload: payload.len() })?;
    let (context, body) = (payload.slice_ref(context), payload.slice(split as usize..));
    if header.flags.has(Flags::ERROR) {
        return Ok(FromWorker::Error(body));
    }
    if body.is_empty() && context.as_ref() == STOP {
        return Ok(FromWorker::Stop);
    }
    let codec = Flags(header.flags.0 & CODECS);
    let (more, ping) = (header.stream.has(Stream::MORE), header.stream.has(Stream::PING));
    Ok(FromWorker::Answer(Answer { codec, context, body, more, ping }))
}

/// The bytes that go before `context` and `body`; `codec` says how the context is encoded.
pub fn request(codec: Flags, context: &[u8], body: &[u8]) -> Result<Head, TooLong> {
    let split = u32::try_from(context.len()).map_err(|_| TooLong(context.len()))?;
    let header = Header { flags: codec, stream: Stream::default(), options: Options::new(&[split]) };
    header.encode(context.len() + body.len())
}

/// Asks a worker to leave its loop.
pub fn stop() -> Frame {
    Frame::new(Flags::CONTROL, STOP)
}

/// Tells a worker its server's process, and asks for its own.
pub fn pid(server: u32) -> Frame {
    Frame::new(Flags::CONTROL, json!({ "pid": server }).to_string())
}

/// Answers a ping: go on. The context's length stands there, as the PHP library reads it from every frame.
pub fn pong() -> Frame {
    Frame::default().with_options(&[0]).with_stream(Stream::PONG)
}

/// Asks a worker to end its stream.
pub fn stop_stream() -> Frame {
    Frame::default().with_options(&[0]).with_stream(Stream::STOP)
}

fn control(payload: &[u8]) -> Option<FromWorker> {
    let command: Value = serde_json::from_slice(payload).ok()?;
    match (command.get("pid"), command.get("stop")) {
        (Some(pid), _) => Some(FromWorker::Pid(pid.as_i64()?)),
        (None, Some(Value::Bool(true))) => Some(FromWorker::Stop),
        _ => None,
    }
}

const STOP: &[u8] = br#"{"stop":true}"#;
const CODECS: u8 = Flags::RAW.0 | Flags::JSON.0 | Flags::MSGPACK.0 | Flags::GOB.0 | Flags::PROTO.0;
const LONGEST_QUOTE: usize = 80;
