//! Bytes to frames, in whatever pieces they come.

use bytes::{Buf, BytesMut};

use super::frame::{FIXED, Flags, Frame, Header, MAX_OPTIONS, Options, Stream, VERSION};

/// Takes bytes and gives frames.
///
/// Memory grows with what has come, never with the length that a header claims. After an error the decoder stays where it is:
/// frames have no mark at which another reading could begin.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    max_payload: usize,
}

/// Why what came is no frame, or one that is not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// The checksum does not match: as a rule this is text, printed where frames were expected.
    #[error("not a Goridge frame, for its checksum is wrong: it starts with \"{}\"", start.escape_ascii())]
    Checksum {
        /// The first bytes.
        start: [u8; FIXED],
    },
    /// A version other than 1.
    #[error("frame of Goridge's wire version {0}, which is unknown here; version {VERSION} is expected")]
    Version(u8),
    /// A header shorter than its fixed part, or longer than ten options make it.
    #[error("frame with a header of {0} words, where 3 to 13 are possible")]
    HeaderLength(u8),
    /// A payload larger than the bound.
    #[error("frame with a payload of {length} bytes, where at most {limit} are taken")]
    TooLarge {
        /// The frame without it.
        header: Header,
        /// Its length.
        length: usize,
        /// The bound.
        limit: usize,
    },
}

/// Room made for each read: as much as a socket's buffer gives at once.
const ROOM: usize = 16 * 1024;

// === impl Decoder ===

impl Decoder {
    /// A decoder of frames whose payload has at most `max_payload` bytes.
    pub fn new(max_payload: usize) -> Self {
        Self { buffer: BytesMut::new(), max_payload }
    }

    /// Takes `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Where the next bytes are to be appended, with room for some.
    pub fn room(&mut self) -> &mut BytesMut {
        self.buffer.reserve(ROOM);
        &mut self.buffer
    }

    /// Bytes taken that belong to no frame given yet.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// The length of the payload that is to come, if a header has come; whether that is a good one, [`next`](Self::next) says.
    pub fn announced(&self) -> Option<usize> {
        let fixed = self.buffer.first_chunk::<FIXED>()?;
        Some(payload_length(fixed))
    }

    /// The next frame; none while it is not whole.
    #[expect(clippy::should_implement_trait, reason = "an iterator's end is final; here more bytes may come")]
    pub fn next(&mut self) -> Result<Option<Frame>, Error> {
        let Some(fixed) = self.buffer.first_chunk::<FIXED>() else { return Ok(None) };
        let words = check(fixed)?;
        let length = payload_length(fixed);
        let (flags, stream) = (Flags(fixed[1]), Stream(fixed[10]));
        let head = usize::from(words) * 4;
        let Some(options) = self.buffer.get(FIXED..head) else { return Ok(None) };
        let header = Header { flags, stream, options: Options::read(options) };
        if length > self.max_payload {
            return Err(Error::TooLarge { header, length, limit: self.max_payload });
        }
        if self.buffer.len() - head < length {
            return Ok(None);
        }
        self.buffer.advance(head);
        let payload = self.buffer.split_to(length).freeze();
        Ok(Some(Frame { header, payload }))
    }
}

fn payload_length(fixed: &[u8; FIXED]) -> usize {
    u32::from_le_bytes([fixed[2], fixed[3], fixed[4], fixed[5]]) as usize
}

/// The header's length in words.
fn check(fixed: &[u8; FIXED]) -> Result<u8, Error> {
    let checksum = u32::from_le_bytes([fixed[6], fixed[7], fixed[8], fixed[9]]);
    // Before all else: a version read out of text would only mislead.
    if crc32fast::hash(&fixed[..6]) != checksum {
        return Err(Error::Checksum { start: *fixed });
    }
    let (version, words) = (fixed[0] >> 4, fixed[0] & 0x0f);
    if version != VERSION {
        return Err(Error::Version(version));
    }
    if !(FIXED / 4..=FIXED / 4 + MAX_OPTIONS).contains(&usize::from(words)) {
        return Err(Error::HeaderLength(words));
    }
    Ok(words)
}
