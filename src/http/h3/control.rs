//! What a client says beside its requests: its settings, and that it is about to leave.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::Relaxed},
};

use bytes::{Buf, Bytes, BytesMut};
use quinn::RecvStream;

use super::{
    Faults,
    connection::Streams,
    frame::{CANCEL_PUSH, DATA, Fault, GOAWAY, HEADERS, MAX_PUSH_ID, PUSH_PROMISE, Reader, SETTINGS, code, head, put_integer},
};

/// The streams of which there may be one each.
#[derive(Debug, Default)]
pub(super) struct Unique(AtomicU8);

/// Types of streams.
const CONTROL: u64 = 0x0;
const PUSH: u64 = 0x1;
const ENCODER: u64 = 0x2;
const DECODER: u64 = 0x3;

/// A setting of ours: the longest field section that we take.
const MAX_FIELD_SECTION_SIZE: u64 = 0x6;

/// Settings that HTTP/2 has and HTTP/3 has not.
const NOT_HERE: [u64; 5] = [0x0, 0x2, 0x3, 0x4, 0x5];

/// Bytes of a frame of settings, of which few are known.
const MAX_SETTINGS: u64 = 4096;

/// Frames that mean nothing to us: a priority for each request is usual.
const MAX_IDLE: u64 = 100;
const MAX_IDLE_PER_REQUEST: u64 = 4;

/// What our own control stream begins with.
pub(super) fn greeting(max_header_bytes: usize) -> Bytes {
    let mut settings = BytesMut::new();
    put_integer(&mut settings, MAX_FIELD_SECTION_SIZE);
    put_integer(&mut settings, max_header_bytes as u64);
    let mut bytes = BytesMut::new();
    put_integer(&mut bytes, CONTROL);
    bytes.extend_from_slice(&head(SETTINGS, settings.len()));
    bytes.extend_from_slice(&settings);
    bytes.freeze()
}

/// Requests from `limit` on were not looked at, and may be sent again elsewhere.
pub(super) fn goaway(limit: u64) -> Bytes {
    let mut id = BytesMut::new();
    put_integer(&mut id, limit);
    let mut bytes = head(GOAWAY, id.len());
    bytes.extend_from_slice(&id);
    bytes.freeze()
}

/// Reads a stream that goes one way, as long as it lasts.
pub(super) async fn receive(stream: RecvStream, unique: Arc<Unique>, streams: Arc<Streams>, faults: Faults) {
    let mut reader = Reader::new(stream);
    let outcome = match reader.first().await {
        Ok(Some(CONTROL)) => match unique.claim(CONTROL) {
            Ok(()) => control(&mut reader, &streams).await,
            Err(fault) => Err(fault),
        },
        Ok(Some(kind @ (ENCODER | DECODER))) => match unique.claim(kind) {
            Ok(()) if kind == ENCODER => encoder(&mut reader).await,
            Ok(()) => {
                reader.discard().await;
                Err(closed())
            }
            Err(fault) => Err(fault),
        },
        Ok(Some(PUSH)) => Err(Fault::Connection(code::STREAM_CREATION, "a push, by a client")),
        Ok(Some(_)) => {
            reader.stop(code::STREAM_CREATION);
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(fault) => Err(fault),
    };
    if let Err(Fault::Connection(code, reason)) = outcome {
        faults.raise(code, reason);
    }
}

async fn control(reader: &mut Reader, streams: &Streams) -> Result<(), Fault> {
    let lasting = |fault| if matches!(fault, Fault::Gone) { closed() } else { fault };
    let first = reader.next().await.map_err(lasting)?.ok_or_else(closed)?;
    if first.kind != SETTINGS {
        return Err(Fault::Connection(code::MISSING_SETTINGS, "a connection that begins without settings"));
    }
    if first.length > MAX_SETTINGS {
        return Err(Fault::Connection(code::EXCESSIVE_LOAD, "too many settings"));
    }
    settings(reader.payload(first.length).await?)?;
    let mut idle = 0;
    while let Some(frame) = reader.next().await.map_err(lasting)? {
        match frame.kind {
            DATA | HEADERS | SETTINGS | PUSH_PROMISE => {
                return Err(Fault::Connection(code::UNEXPECTED, "a frame that has no place on a control stream"));
            }
            CANCEL_PUSH => return Err(Fault::Connection(code::ID, "a push that was never promised")),
            GOAWAY | MAX_PUSH_ID if frame.length > 8 => {
                return Err(Fault::Connection(code::FRAME, "a number that is too long"));
            }
            _ => {}
        }
        idle += 1;
        if idle > MAX_IDLE + MAX_IDLE_PER_REQUEST * streams.requests() {
            return Err(Fault::Connection(code::EXCESSIVE_LOAD, "too many frames that mean nothing"));
        }
        reader.skip(frame.length).await?;
    }
    Err(closed())
}

fn closed() -> Fault {
    Fault::Connection(code::CLOSED_CRITICAL, "a stream that must last was closed")
}

/// None of them binds us, who send little, but they have their rules.
fn settings(mut payload: Bytes) -> Result<(), Fault> {
    let mut seen = Vec::new();
    while payload.has_remaining() {
        let short = Fault::Connection(code::FRAME, "settings that are cut off");
        let (Some(name), Some(_)) = (integer(&mut payload), integer(&mut payload)) else { return Err(short) };
        if NOT_HERE.contains(&name) || seen.contains(&name) {
            return Err(Fault::Connection(code::SETTINGS, "settings that are not allowed"));
        }
        seen.push(name);
    }
    Ok(())
}

fn integer(bytes: &mut Bytes) -> Option<u64> {
    let first = *bytes.first()?;
    let length = 1 << (first >> 6);
    if bytes.len() < length {
        return None;
    }
    let read = bytes.split_to(length);
    Some(read[1..].iter().fold(u64::from(first & 0x3f), |value, &byte| value << 8 | u64::from(byte)))
}

/// There is no dynamic table, and all that may be said of it is that it has no room.
async fn encoder(reader: &mut Reader) -> Result<(), Fault> {
    const NO_ROOM: u8 = 0b0010_0000;
    loop {
        let piece = match reader.piece(1024).await {
            Ok(piece) => piece,
            Err(_) => return Err(closed()),
        };
        if piece.iter().any(|&byte| byte != NO_ROOM) {
            return Err(Fault::Connection(code::ENCODER_STREAM, "an entry for a table that has no room"));
        }
    }
}

// === impl Unique ===

impl Unique {
    fn claim(&self, kind: u64) -> Result<(), Fault> {
        if self.0.fetch_or(1 << kind, Relaxed) & 1 << kind == 0 {
            Ok(())
        } else {
            Err(Fault::Connection(code::STREAM_CREATION, "a second stream of a kind that there is one of"))
        }
    }
}
