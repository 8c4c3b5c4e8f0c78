//! One connection: requests in, answers out in the order they come about.

use std::{collections::VecDeque, io, pin::Pin, sync::Arc, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::OwnedSemaphorePermit,
    task::JoinSet,
    time::Instant,
};

use super::{Codec, Error, MEMORY_UNIT, Payload, Shared, Stop, Stream};
use crate::worker::goridge::{self, Decoder, Flags, Frame, Header, Options};

pub(super) struct Connection {
    shared: Arc<Shared>,
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    decoder: Decoder,
    calls: JoinSet<Outcome>,
    outbox: VecDeque<Bytes>,
    input: Input,
    /// Memory set apart for the large request that is being received.
    memory: Option<OwnedSemaphorePermit>,
    /// The wait for it.
    reserving: Option<Reservation>,
    /// Whether the client was told that nothing more comes.
    has_hung_up: bool,
    /// When half a request, or an answer, has stood still for too long.
    read_by: Option<Instant>,
    write_by: Option<Instant>,
}

/// What becomes of further bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Input {
    /// They are requests.
    Requests,
    /// None are read; the requests that have come are still served.
    Ended,
    /// They are thrown away until then: closing a socket with bytes unread would take the last answer from its reader.
    Discarded(Instant),
    /// None are read, nor is anything made of those that have come.
    Refused,
}

type Reservation = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// A finished call.
struct Outcome {
    call: Call,
    result: Result<Payload, Error>,
}

/// What an answer repeats.
struct Call {
    sequence: u32,
    method: String,
    flags: Flags,
}

/// What woke the connection.
enum Event {
    Stop,
    Call(Option<Outcome>),
    Wrote(io::Result<usize>),
    Read(io::Result<usize>),
    Memory(Option<OwnedSemaphorePermit>),
    Late,
}

/// A request that is larger than this takes part in the memory of all.
const LARGE: usize = 64 * 1024;
/// How long a refused client is listened to, so that it may read why.
const LINGER: Duration = Duration::from_secs(2);

// === impl Connection ===

impl Connection {
    pub(super) fn new(stream: Box<dyn Stream>, shared: Arc<Shared>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            decoder: Decoder::new(shared.config.max_message),
            calls: JoinSet::new(),
            outbox: VecDeque::new(),
            input: Input::Requests,
            memory: None,
            reserving: None,
            has_hung_up: false,
            read_by: None,
            write_by: None,
            shared,
            reader,
            writer,
        }
    }

    pub(super) async fn run(mut self) {
        let mut stop = self.shared.stop.subscribe();
        loop {
            self.take_requests();
            self.reserve();
            self.hang_up().await;
            if self.is_finished() {
                break;
            }
            let deadline = [self.read_by, self.write_by, self.discards_until()].into_iter().flatten().min();
            let wants_input = self.wants_input();
            let event = tokio::select! {
                _ = stop.wait_for(|stop| *stop == Stop::Calls), if self.input == Input::Requests => Event::Stop,
                Some(outcome) = self.calls.join_next() => Event::Call(outcome.ok()),
                wrote = write(&mut self.writer, self.outbox.front()), if !self.outbox.is_empty() => Event::Wrote(wrote),
                read = self.reader.read_buf(self.decoder.room()), if wants_input => Event::Read(read),
                permit = granted(self.reserving.as_mut()) => Event::Memory(permit),
                () = sleep_until(deadline) => Event::Late,
            };
            if !self.handle(event) {
                break;
            }
        }
        // Whoever has gone away does not undo what was asked for; nor is the place given away before it is done.
        while self.calls.join_next().await.is_some() {}
    }

    /// False if the connection is to be cut.
    fn handle(&mut self, event: Event) -> bool {
        let limit = self.shared.config.timeout;
        match event {
            Event::Stop => self.input = Input::Ended,
            Event::Call(Some(outcome)) => self.answer(&outcome.call, outcome.result),
            Event::Call(None) => {
                tracing::error!("an RPC service panicked; its caller's connection is closed");
                return false;
            }
            Event::Wrote(Ok(count @ 1..)) => {
                self.wrote(count);
                self.write_by = (!self.outbox.is_empty()).then(|| Instant::now() + limit);
            }
            Event::Wrote(_) | Event::Read(Err(_)) => return false,
            // It may still read: a client that shuts its side down has asked all it wanted.
            Event::Read(Ok(0)) => self.input = if self.input == Input::Requests { Input::Ended } else { Input::Refused },
            Event::Read(Ok(_)) if self.input == Input::Requests => self.read_by = Some(Instant::now() + limit),
            Event::Read(Ok(_)) => self.decoder.room().clear(),
            Event::Memory(permit) => {
                self.memory = permit;
                self.reserving = None;
                self.read_by = Some(Instant::now() + limit);
            }
            Event::Late => return self.late(),
        }
        true
    }

    fn late(&mut self) -> bool {
        if self.discards_until().is_some_and(|until| Instant::now() >= until) {
            self.input = Input::Refused;
            return true;
        }
        let what = match (&self.reserving, self.outbox.is_empty()) {
            (Some(_), _) => "rpc.max_memory is taken by other requests",
            (None, true) => "half a request stood still for rpc.timeout",
            (None, false) => "an answer was not read for rpc.timeout",
        };
        tracing::warn!("an RPC connection is closed: {what}");
        false
    }

    /// Starts the calls whose requests have come, as many as may be in progress.
    fn take_requests(&mut self) {
        while matches!(self.input, Input::Requests | Input::Ended) && self.has_room() {
            match self.decoder.next() {
                Ok(Some(frame)) => self.request(frame),
                Ok(None) => break,
                Err(error) => self.refuse(&error),
            }
        }
        if self.decoder.pending() > 0 && self.has_room() && self.input == Input::Requests {
            self.read_by.get_or_insert_with(|| Instant::now() + self.shared.config.timeout);
        } else {
            self.read_by = None;
        }
    }

    /// Sets memory apart for a large request of which a part has come.
    fn reserve(&mut self) {
        let waits = self.input == Input::Requests && self.has_room() && self.memory.is_none() && self.reserving.is_none();
        let Some(length) = self.decoder.announced().filter(|length| waits && *length > LARGE) else { return };
        let units = u32::try_from(length.div_ceil(MEMORY_UNIT)).unwrap_or(u32::MAX);
        let permit = self.shared.memory.clone().acquire_many_owned(units);
        self.reserving = Some(Box::pin(async move { permit.await.ok() }));
    }

    /// Tells a client that was refused, and has been told why, that nothing more comes.
    async fn hang_up(&mut self) {
        let is_done = matches!(self.input, Input::Discarded(_)) && self.calls.is_empty() && self.outbox.is_empty();
        if is_done && !self.has_hung_up {
            self.has_hung_up = true;
            // Fails if the client is gone, which its reader finds out.
            drop(self.writer.shutdown().await);
        }
    }

    fn request(&mut self, frame: Frame) {
        let memory = self.memory.take();
        let [sequence, length] = frame.header.options[..] else {
            let count = frame.header.options.len();
            tracing::warn!(
                "an RPC connection is closed: a request has {count} options, where a sequence number and a length belong"
            );
            self.input = Input::Discarded(Instant::now() + LINGER);
            return;
        };
        let mut payload = frame.payload;
        let flags = frame.header.flags;
        if length as usize > payload.len() {
            let error = format!("rpc: a method's name of {length} bytes is claimed in a payload of {}", payload.len());
            return self.answer(&Call { sequence, method: String::new(), flags: codec_of(flags) }, Err(Error::Failed(error)));
        }
        let method = String::from_utf8_lossy(&payload.split_to(length as usize)).into_owned();
        let call = Call { sequence, method, flags: codec_of(flags) };
        let argument = match Codec::of(flags) {
            Ok(codec) => Payload { codec, body: payload },
            Err(error) => return self.answer(&call, Err(error)),
        };
        let services = self.shared.services.clone();
        self.calls.spawn(async move {
            let result = services.call(&call.method, argument).await;
            drop(memory);
            Outcome { call, result }
        });
    }

    /// Nothing more can be read after a frame that is none; a request that is merely too large is answered first.
    fn refuse(&mut self, error: &goridge::Error) {
        tracing::warn!("an RPC connection is closed: {error}");
        self.input = Input::Discarded(Instant::now() + LINGER);
        if let goridge::Error::TooLarge { header, length, limit } = error
            && let [sequence, _] = header.options[..]
        {
            let text = format!("rpc: a request of {length} bytes is larger than rpc.max_message, {limit}");
            self.answer(&Call { sequence, method: String::new(), flags: codec_of(header.flags) }, Err(Error::Failed(text)));
        }
        self.decoder.room().clear();
    }

    fn answer(&mut self, call: &Call, result: Result<Payload, Error>) {
        let (flags, body) = match result {
            Ok(payload) => (payload.codec.flags(), payload.body),
            Err(error) => {
                tracing::debug!(method = call.method, %error, "RPC call failed");
                (call.flags | Flags::ERROR, error.to_string().into())
            }
        };
        // Its length was a number of 32 bits.
        let method = call.method.len() as u32;
        let header = Header { flags, options: Options::new(&[call.sequence, method]), ..Header::default() };
        match header.encode(call.method.len() + body.len()) {
            Ok(head) => {
                let mut start = BytesMut::with_capacity(head.len() + call.method.len());
                start.extend_from_slice(&head);
                start.extend_from_slice(call.method.as_bytes());
                self.outbox.push_back(start.freeze());
                self.outbox.extend((!body.is_empty()).then_some(body));
                self.write_by.get_or_insert_with(|| Instant::now() + self.shared.config.timeout);
            }
            Err(error) => {
                tracing::error!(method = call.method, "an RPC connection is closed: the result is {error}");
                self.input = Input::Refused;
            }
        }
    }

    fn wrote(&mut self, count: usize) {
        if let Some(front) = self.outbox.front_mut() {
            front.advance(count);
            if front.is_empty() {
                self.outbox.pop_front();
            }
        }
    }

    fn has_room(&self) -> bool {
        // An answer may be in two pieces.
        self.calls.len() + self.outbox.len() / 2 < self.shared.config.max_calls
    }

    fn wants_input(&self) -> bool {
        match self.input {
            Input::Requests => self.has_room() && self.reserving.is_none(),
            Input::Discarded(_) => true,
            Input::Ended | Input::Refused => false,
        }
    }

    fn discards_until(&self) -> Option<Instant> {
        match self.input {
            Input::Discarded(until) => Some(until),
            _ => None,
        }
    }

    /// True once everything that has come is answered, and nothing more is to come.
    fn is_finished(&self) -> bool {
        matches!(self.input, Input::Ended | Input::Refused) && self.calls.is_empty() && self.outbox.is_empty()
    }
}

/// The codec flags of a request, to be repeated.
fn codec_of(flags: Flags) -> Flags {
    Flags(flags.0 & !(Flags::CONTROL | Flags::ERROR).0)
}

async fn write(writer: &mut WriteHalf<Box<dyn Stream>>, piece: Option<&Bytes>) -> io::Result<usize> {
    writer.write(piece.map_or(&[], |piece| piece)).await
}

async fn granted(reservation: Option<&mut Reservation>) -> Option<OwnedSemaphorePermit> {
    match reservation {
        Some(reservation) => reservation.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
