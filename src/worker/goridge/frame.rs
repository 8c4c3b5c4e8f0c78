//! The frame itself, and how it is written.

use std::ops::{BitOr, BitOrAssign, Deref};

use bytes::Bytes;

/// Options that a frame may have: ten, by both libraries' reading of the header's length.
pub const MAX_OPTIONS: usize = 10;

/// What kind of frame it is, and how its payload is encoded. Several may be set.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags(pub u8);

/// Where a frame stands in a stream of answers. Several may be set.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stream(pub u8);

/// The numbers between the header and the payload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    words: [u32; MAX_OPTIONS],
    count: usize,
}

/// All of a frame but its payload.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Header {
    /// Kind and encoding.
    pub flags: Flags,
    /// Stream bits.
    pub stream: Stream,
    /// The options.
    pub options: Options,
}

/// A whole frame.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Frame {
    /// All but the payload.
    pub header: Header,
    /// The payload.
    pub payload: Bytes,
}

/// A header as bytes, for those who send the payload on its own.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    bytes: [u8; FIXED + 4 * MAX_OPTIONS],
    length: usize,
}

/// A payload of four gigabytes or more, whose length has no place in a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a payload of {0} bytes does not fit into one frame")]
pub struct TooLong(pub usize);

/// The part of a header that every frame has.
pub(super) const FIXED: usize = 12;
pub(super) const VERSION: u8 = 1;

// === impl Flags ===

impl Flags {
    /// Not a payload but a command, in JSON.
    pub const CONTROL: Self = Self(0x01);
    /// The payload is an error's text.
    pub const ERROR: Self = Self(0x40);
    /// Bytes.
    pub const RAW: Self = Self(0x04);
    /// JSON.
    pub const JSON: Self = Self(0x08);
    /// MessagePack.
    pub const MSGPACK: Self = Self(0x10);
    /// Go's own encoding.
    pub const GOB: Self = Self(0x20);
    /// Protocol buffers.
    pub const PROTO: Self = Self(0x80);

    /// True if all of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

// === impl Stream ===

impl Stream {
    /// More frames of the same answer follow.
    pub const MORE: Self = Self(0x01);
    /// The server asks the worker to end the stream.
    pub const STOP: Self = Self(0x02);
    /// The worker asks whether to go on; the server answers [`PONG`](Self::PONG) or [`STOP`](Self::STOP).
    pub const PING: Self = Self(0x04);
    /// Go on.
    pub const PONG: Self = Self(0x08);

    /// True if all of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Stream {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Stream {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

// === impl Options ===

impl Options {
    /// These numbers.
    ///
    /// # Panics
    /// With more than [`MAX_OPTIONS`] of them.
    pub fn new(options: &[u32]) -> Self {
        let mut words = [0; MAX_OPTIONS];
        words[..options.len()].copy_from_slice(options);
        Self { words, count: options.len() }
    }

    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut options = Self::default();
        for word in bytes.chunks_exact(4).take(MAX_OPTIONS) {
            options.words[options.count] = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            options.count += 1;
        }
        options
    }
}

impl Deref for Options {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.words[..self.count]
    }
}

impl PartialEq for Options {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Options {}

// === impl Header ===

impl Header {
    /// The bytes that go before a payload of `length` bytes.
    pub fn encode(&self, length: usize) -> Result<Head, TooLong> {
        let payload = u32::try_from(length).map_err(|_| TooLong(length))?;
        let mut bytes = [0; FIXED + 4 * MAX_OPTIONS];
        // At most 13, which a nibble holds.
        let words = (FIXED / 4 + self.options.count) as u8;
        bytes[0] = VERSION << 4 | words;
        bytes[1] = self.flags.0;
        bytes[2..6].copy_from_slice(&payload.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..6]);
        bytes[6..10].copy_from_slice(&checksum.to_le_bytes());
        bytes[10] = self.stream.0;
        for (place, option) in bytes[FIXED..].chunks_exact_mut(4).zip(self.options.iter()) {
            place.copy_from_slice(&option.to_le_bytes());
        }
        Ok(Head { bytes, length: usize::from(words) * 4 })
    }
}

// === impl Frame ===

impl Frame {
    /// A frame without options.
    pub fn new(flags: Flags, payload: impl Into<Bytes>) -> Self {
        Self { header: Header { flags, ..Header::default() }, payload: payload.into() }
    }

    /// The same with these options.
    ///
    /// # Panics
    /// With more than [`MAX_OPTIONS`] of them.
    pub fn with_options(mut self, options: &[u32]) -> Self {
        self.header.options = Options::new(options);
        self
    }

    /// The same with these stream bits as well.
    pub fn with_stream(mut self, stream: Stream) -> Self {
        self.header.stream |= stream;
        self
    }

    /// Appends the frame to `into`.
    pub fn write(&self, into: &mut Vec<u8>) -> Result<(), TooLong> {
        let head = self.header.encode(self.payload.len())?;
        into.reserve(head.len() + self.payload.len());
        into.extend_from_slice(&head);
        into.extend_from_slice(&self.payload);
        Ok(())
    }

    /// The frame as bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TooLong> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        Ok(bytes)
    }
}

// === impl Head ===

impl Deref for Head {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
