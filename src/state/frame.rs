//! What two engines say to each other: a length of four bytes, a kind of one, a number of four, and a body. Numbers are little-endian.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Frame {
    /// First, from the newer engine: the version it speaks, and its plugins with the form of their state.
    Hello { protocol: u32, forms: Vec<(String, u32)> },
    /// The older one does not speak that version.
    Refused(String),
    /// The newer one is ready to be the owner.
    Take,
    /// A part of a plugin's state, numbered from 0.
    Chunk { number: u32, plugin: u8, bytes: Bytes },
    /// A chunk is in its place.
    Placed(u32),
    /// That was all, in so many chunks.
    End(u32),
    /// All of it is in its place.
    Complete,
    /// The newer one is the owner.
    Yours,
    /// The older one stays the owner.
    Aborted(String),
    /// A call of a plugin; the number returns with its outcome.
    Call { number: u32, plugin: String, request: Bytes },
    /// Its result.
    Answer { number: u32, result: Bytes },
    /// It was not made: whoever asked is the owner now.
    Moved(u32),
    /// It could not be made.
    Failed { number: u32, why: String },
    /// What the other engine said makes no sense, and nothing more of it is heard; this one has not died.
    Severed(String),
}

/// Cuts what comes into frames.
#[derive(Debug, Default)]
pub(super) struct Frames(pub(super) BytesMut);

/// What the first frame names.
pub(super) const PROTOCOL: u32 = 1;
/// No frame's body is longer.
pub(super) const MAX_BODY: usize = 1 << 20;
const HEAD: usize = 9;
/// Texts for people are cut here.
const MAX_TEXT: usize = 1024;

// === impl Frame ===

impl Frame {
    /// As it is sent.
    pub(super) fn encode(&self) -> Bytes {
        let body = match self {
            Self::Chunk { bytes, .. } | Self::Call { request: bytes, .. } | Self::Answer { result: bytes, .. } => bytes.len(),
            _ => 0,
        };
        let mut into = BytesMut::with_capacity(256 + body);
        let (kind, number) = self.head();
        into.put_u32_le(0);
        into.put_u8(kind);
        into.put_u32_le(number);
        match self {
            Self::Hello { forms, .. } => {
                for (name, form) in forms {
                    put_name(&mut into, name);
                    into.put_u32_le(*form);
                }
            }
            Self::Refused(why) | Self::Aborted(why) | Self::Severed(why) | Self::Failed { why, .. } => {
                into.put_slice(&why.as_bytes()[..why.floor_char_boundary(MAX_TEXT)]);
            }
            Self::Chunk { plugin, bytes, .. } => {
                into.put_u8(*plugin);
                into.put_u32_le(crc32fast::hash(bytes));
                into.put_slice(bytes);
            }
            Self::Call { plugin, request, .. } => {
                put_name(&mut into, plugin);
                into.put_slice(request);
            }
            Self::Answer { result, .. } => into.put_slice(result),
            Self::Take | Self::Placed(_) | Self::End(_) | Self::Complete | Self::Yours | Self::Moved(_) => {}
        }
        // Bodies are far shorter than a number of 32 bits can say: chunks, requests and texts all have their bounds.
        let length = (into.len() - HEAD) as u32;
        into[..4].copy_from_slice(&length.to_le_bytes());
        into.freeze()
    }

    fn head(&self) -> (u8, u32) {
        match self {
            Self::Hello { protocol, .. } => (1, *protocol),
            Self::Refused(_) => (2, 0),
            Self::Take => (3, 0),
            Self::Chunk { number, .. } => (4, *number),
            Self::Placed(number) => (5, *number),
            Self::End(count) => (6, *count),
            Self::Complete => (7, 0),
            Self::Yours => (8, 0),
            Self::Aborted(_) => (9, 0),
            Self::Call { number, .. } => (10, *number),
            Self::Answer { number, .. } => (11, *number),
            Self::Moved(number) => (12, *number),
            Self::Failed { number, .. } => (13, *number),
            Self::Severed(_) => (14, 0),
        }
    }

    fn decode(kind: u8, number: u32, mut body: Bytes) -> io::Result<Self> {
        let text = |body: &Bytes| String::from_utf8_lossy(body).into_owned();
        Ok(match kind {
            1 => {
                let mut forms = Vec::new();
                while body.has_remaining() {
                    let name = take_name(&mut body)?;
                    forms.push((name, body.try_get_u32_le().map_err(|_| broken("a short form"))?));
                }
                Self::Hello { protocol: number, forms }
            }
            2 => Self::Refused(text(&body)),
            3 => Self::Take,
            4 => {
                let plugin = body.try_get_u8().map_err(|_| broken("a short chunk"))?;
                let sum = body.try_get_u32_le().map_err(|_| broken("a short chunk"))?;
                if sum != crc32fast::hash(&body) {
                    return Err(broken("a chunk with a wrong sum"));
                }
                Self::Chunk { number, plugin, bytes: body }
            }
            5 => Self::Placed(number),
            6 => Self::End(number),
            7 => Self::Complete,
            8 => Self::Yours,
            9 => Self::Aborted(text(&body)),
            10 => Self::Call { number, plugin: take_name(&mut body)?, request: body },
            11 => Self::Answer { number, result: body },
            12 => Self::Moved(number),
            13 => Self::Failed { number, why: text(&body) },
            14 => Self::Severed(text(&body)),
            _ => return Err(broken("a message of an unknown kind")),
        })
    }
}

// === impl Frames ===

impl Frames {
    /// The next one that is here as a whole.
    pub(super) fn next(&mut self) -> io::Result<Option<Frame>> {
        let Some((mut head, _)) = self.0.split_at_checked(HEAD) else { return Ok(None) };
        let (length, kind, number) = (head.get_u32_le() as usize, head.get_u8(), head.get_u32_le());
        if length > MAX_BODY {
            return Err(broken("a message that is too long"));
        }
        if self.0.len() < HEAD + length {
            self.0.reserve(HEAD + length - self.0.len());
            return Ok(None);
        }
        self.0.advance(HEAD);
        Frame::decode(kind, number, self.0.split_to(length).freeze()).map(Some)
    }
}

/// Names are those of plugins in this program.
fn put_name(into: &mut BytesMut, name: &str) {
    into.put_u8(name.len() as u8);
    into.put_slice(name.as_bytes());
}

fn take_name(body: &mut Bytes) -> io::Result<String> {
    let length = body.try_get_u8().map_err(|_| broken("a short name"))?;
    if body.len() < usize::from(length) {
        return Err(broken("a short name"));
    }
    Ok(String::from_utf8_lossy(&body.split_to(length.into())).into_owned())
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Frame> {
        let bytes = Bytes::from_static(b"\0bytes\xff");
        vec![
            Frame::Hello { protocol: 1, forms: vec![("lock".into(), 1), ("kv".into(), 7)] },
            Frame::Refused("no".into()),
            Frame::Take,
            Frame::Chunk { number: 3, plugin: 1, bytes: bytes.clone() },
            Frame::Placed(3),
            Frame::End(4),
            Frame::Complete,
            Frame::Yours,
            Frame::Aborted("why".into()),
            Frame::Call { number: 9, plugin: "lock".into(), request: bytes.clone() },
            Frame::Answer { number: 9, result: bytes },
            Frame::Moved(9),
            Frame::Failed { number: 9, why: "so".into() },
            Frame::Severed("bad".into()),
        ]
    }

    #[test]
    fn frames_come_as_they_were_sent_in_whatever_pieces() {
        let sent: Vec<u8> = all().iter().flat_map(|frame| frame.encode().to_vec()).collect();
        let (mut frames, mut received) = (Frames::default(), Vec::new());
        for piece in sent.chunks(3) {
            frames.0.extend_from_slice(piece);
            while let Some(frame) = frames.next().unwrap() {
                received.push(frame);
            }
        }
        assert_eq!(received, all());
    }

    #[test]
    fn a_wrong_sum_a_long_body_and_an_unknown_kind_are_refused() {
        let mut chunk = Frame::Chunk { number: 0, plugin: 0, bytes: Bytes::from_static(b"state") }.encode().to_vec();
        *chunk.last_mut().unwrap() ^= 1;
        let long = [&(MAX_BODY as u32 + 1).to_le_bytes()[..], &[4, 0, 0, 0, 0]].concat();
        for (bytes, expected) in [
            (chunk, "a chunk with a wrong sum"),
            (long, "a message that is too long"),
            (vec![0, 0, 0, 0, 99, 0, 0, 0, 0], "a message of an unknown kind"),
            (vec![0, 0, 0, 0, 4, 0, 0, 0, 0], "a short chunk"),
            (vec![1, 0, 0, 0, 10, 0, 0, 0, 0, 5], "a short name"),
        ] {
            let mut frames = Frames(BytesMut::from(&bytes[..]));
            assert_eq!(frames.next().unwrap_err().to_string(), expected);
        }
    }
}
