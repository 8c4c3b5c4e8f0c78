//! HTTP/3's frames (RFC 9114, 7) on their way in, with a bound on everything that has to be kept.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quinn::{ReadError, RecvStream, VarInt};

/// What a peer did wrong, or that it is gone.
#[derive(Debug)]
pub(super) enum Fault {
    /// The whole connection cannot go on.
    Connection(VarInt, &'static str),
    /// One stream cannot.
    Stream(VarInt),
    /// The stream was reset, or the connection has ended.
    Gone,
}

/// A frame's head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Frame {
    pub(super) kind: u64,
    pub(super) length: u64,
}

/// A stream that is read frame by frame.
#[derive(Debug)]
pub(super) struct Reader {
    stream: RecvStream,
    read: Bytes,
    // Frames that carried nothing, since one that did.
    idle: usize,
    has_ended: bool,
}

pub(super) const DATA: u64 = 0x0;
pub(super) const HEADERS: u64 = 0x1;
pub(super) const CANCEL_PUSH: u64 = 0x3;
pub(super) const SETTINGS: u64 = 0x4;
pub(super) const PUSH_PROMISE: u64 = 0x5;
pub(super) const GOAWAY: u64 = 0x7;
pub(super) const MAX_PUSH_ID: u64 = 0xd;

/// Those of HTTP/2 that must not occur.
const NOT_HERE: [u64; 4] = [0x2, 0x6, 0x8, 0x9];

/// Error codes (RFC 9114, 8.1, and RFC 9204, 8.3).
pub(super) mod code {
    use quinn::VarInt;

    pub(in super::super) const NO_ERROR: VarInt = VarInt::from_u32(0x100);
    pub(in super::super) const GENERAL: VarInt = VarInt::from_u32(0x101);
    pub(in super::super) const INTERNAL: VarInt = VarInt::from_u32(0x102);
    pub(in super::super) const STREAM_CREATION: VarInt = VarInt::from_u32(0x103);
    pub(in super::super) const CLOSED_CRITICAL: VarInt = VarInt::from_u32(0x104);
    pub(in super::super) const UNEXPECTED: VarInt = VarInt::from_u32(0x105);
    pub(in super::super) const FRAME: VarInt = VarInt::from_u32(0x106);
    pub(in super::super) const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(0x107);
    pub(in super::super) const ID: VarInt = VarInt::from_u32(0x108);
    pub(in super::super) const SETTINGS: VarInt = VarInt::from_u32(0x109);
    pub(in super::super) const MISSING_SETTINGS: VarInt = VarInt::from_u32(0x10a);
    pub(in super::super) const REJECTED: VarInt = VarInt::from_u32(0x10b);
    pub(in super::super) const INCOMPLETE: VarInt = VarInt::from_u32(0x10d);
    pub(in super::super) const MESSAGE: VarInt = VarInt::from_u32(0x10e);
    pub(in super::super) const DECOMPRESSION: VarInt = VarInt::from_u32(0x200);
    pub(in super::super) const ENCODER_STREAM: VarInt = VarInt::from_u32(0x201);
}

/// What is taken from a stream at once.
const CHUNK: usize = 64 * 1024;

/// Frames in a row that carry nothing, empty ones and unknown ones, which are there to grease the wheels; who sends more makes us work
/// for nothing.
const MAX_IDLE: usize = 100;

/// Bytes of such a frame.
const MAX_UNKNOWN: u64 = 64 * 1024;

/// A frame's or a stream's number as it is sent.
pub(super) fn put_integer(into: &mut BytesMut, value: u64) {
    match value {
        0..0x40 => into.put_u8(value as u8),
        0x40..0x4000 => into.put_u16(0x4000 | value as u16),
        0x4000..0x4000_0000 => into.put_u32(0x8000_0000 | value as u32),
        _ => into.put_u64(0xc000_0000_0000_0000 | value),
    }
}

/// A frame's head as it is sent.
pub(super) fn head(kind: u64, length: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(16);
    put_integer(&mut bytes, kind);
    put_integer(&mut bytes, length as u64);
    bytes
}

// === impl Fault ===

impl From<ReadError> for Fault {
    fn from(_: ReadError) -> Self {
        Self::Gone
    }
}

// === impl Frame ===

impl Frame {
    fn is_known(self) -> bool {
        matches!(self.kind, DATA | HEADERS | CANCEL_PUSH | SETTINGS | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID)
    }
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { stream, read: Bytes::new(), idle: 0, has_ended: false }
    }

    /// The next frame that means something; none at the end of the stream. What it carries is still to be read.
    pub(super) async fn frame(&mut self) -> Result<Option<Frame>, Fault> {
        loop {
            let Some(frame) = self.next().await? else { return Ok(None) };
            self.idle = if frame.is_known() && frame.length > 0 { 0 } else { self.idle + 1 };
            if self.idle > MAX_IDLE {
                return Err(Fault::Connection(code::EXCESSIVE_LOAD, "too many frames that carry nothing"));
            }
            if frame.is_known() {
                return Ok(Some(frame));
            }
            self.skip(frame.length).await?;
        }
    }

    /// The next frame, whatever it is.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, Fault> {
        if !self.fill().await? {
            return Ok(None);
        }
        let frame = Frame { kind: self.integer().await?, length: self.integer().await? };
        if NOT_HERE.contains(&frame.kind) {
            return Err(Fault::Connection(code::UNEXPECTED, "a frame of HTTP/2"));
        }
        if !frame.is_known() && frame.length > MAX_UNKNOWN {
            return Err(Fault::Connection(code::EXCESSIVE_LOAD, "a long frame that means nothing"));
        }
        Ok(Some(frame))
    }

    /// A number of the stream itself, such as its type; none if it ends before.
    pub(super) async fn first(&mut self) -> Result<Option<u64>, Fault> {
        if self.fill().await? { self.integer().await.map(Some) } else { Ok(None) }
    }

    /// All of what a frame carries, which the caller has found short enough.
    pub(super) async fn payload(&mut self, length: u64) -> Result<Bytes, Fault> {
        let length = length as usize;
        if self.read.len() >= length {
            return Ok(self.read.split_to(length));
        }
        let mut payload = BytesMut::with_capacity(length);
        while payload.len() < length {
            let piece = self.piece((length - payload.len()) as u64).await?;
            payload.put_slice(&piece);
        }
        Ok(payload.freeze())
    }

    /// Some of the `left` bytes of a frame.
    pub(super) async fn piece(&mut self, left: u64) -> Result<Bytes, Fault> {
        if !self.fill().await? {
            return Err(Fault::Connection(code::FRAME, "a frame that is cut off"));
        }
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.read.len());
        Ok(self.read.split_to(count))
    }

    /// Drops whatever comes until the end; the peer may send it for as long as it likes.
    pub(super) async fn discard(&mut self) {
        while self.fill().await.is_ok_and(|is_more| is_more) {
            self.read.clear();
        }
    }

    /// Asks the peer to send no more.
    pub(super) fn stop(&mut self, code: VarInt) {
        if !self.has_ended {
            // It fails on a stream that is over.
            _ = self.stream.stop(code);
        }
    }

    /// Drops what a frame carries.
    pub(super) async fn skip(&mut self, mut left: u64) -> Result<(), Fault> {
        while left > 0 {
            left -= self.piece(left).await?.len() as u64;
        }
        Ok(())
    }

    async fn integer(&mut self) -> Result<u64, Fault> {
        let first = self.byte().await?;
        let mut value = u64::from(first & 0x3f);
        for _ in 1..1 << (first >> 6) {
            value = value << 8 | u64::from(self.byte().await?);
        }
        Ok(value)
    }

    async fn byte(&mut self) -> Result<u8, Fault> {
        if !self.fill().await? {
            return Err(Fault::Connection(code::FRAME, "a frame that is cut off"));
        }
        Ok(self.read.get_u8())
    }

    /// False at the end of the stream.
    async fn fill(&mut self) -> Result<bool, Fault> {
        while self.read.is_empty() {
            if self.has_ended {
                return Ok(false);
            }
            match self.stream.read_chunk(CHUNK, true).await? {
                Some(chunk) => self.read = chunk.bytes,
                None => self.has_ended = true,
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_numbers_as_the_rfc_has_them() {
        let written = |value| {
            let mut bytes = BytesMut::new();
            put_integer(&mut bytes, value);
            bytes.to_vec()
        };
        assert_eq!(written(37), [0x25]);
        assert_eq!(written(15_293), [0x7b, 0xbd]);
        assert_eq!(written(494_878_333), [0x9d, 0x7f, 0x3e, 0x7d]);
        assert_eq!(written(151_288_809_941_952_652), [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]);
    }
}
