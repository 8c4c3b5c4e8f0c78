//! Knows where a request body ends, so that the next head is found.
//!
//! Stricter than hyper's decoder and never laxer: the two must not disagree about where a message ends.

use std::io;

/// What is left of a body.
#[derive(Debug)]
pub(super) struct Framing(State);

#[derive(Debug)]
enum State {
    Length(u64),
    Chunked(Chunk),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Chunk {
    /// In the size; how many digits were seen.
    Size {
        digits: u8,
        size: u64,
    },
    /// After the size: white space or an extension.
    Extension(u64),
    /// Before the line feed of a size line.
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    Trailer,
    TrailerLine,
    TrailerLf,
    LastLf,
    Done,
}

// === impl Framing ===

impl Framing {
    pub(super) fn length(length: u64) -> Self {
        Self(State::Length(length))
    }

    pub(super) fn chunked() -> Self {
        Self(State::Chunked(Chunk::START))
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.0, State::Length(0) | State::Chunked(Chunk::Done))
    }

    /// How many of `bytes` belong to the body.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            State::Length(left) => {
                let count = (bytes.len() as u64).min(*left);
                *left -= count;
                Ok(count as usize)
            }
            State::Chunked(chunk) => chunk.take(bytes),
        }
    }
}

// === impl Chunk ===

impl Chunk {
    const START: Self = Self::Size { digits: 0, size: 0 };

    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::Done {
            if let Self::Data(left) = self {
                let count = ((bytes.len() - at) as u64).min(*left);
                *left -= count;
                at += count as usize;
                if *left == 0 {
                    *self = Self::DataCr;
                }
            } else {
                *self = self.step(bytes[at]).ok_or_else(malformed)?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size { digits, size }, _) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = char::from(byte).to_digit(16)?;
                Self::Size { digits: digits + 1, size: size * 16 + u64::from(digit) }
            }
            (Self::Size { digits: 1.., size }, b'\r') => Self::SizeEnd(size),
            (Self::Size { digits: 1.., size }, b';' | b' ' | b'\t') => Self::Extension(size),
            (Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Extension(_), b'\t' | b' '..=b'~' | 0x80..) => self,
            (Self::SizeEnd(0), b'\n') => Self::Trailer,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::START,
            (Self::Trailer, b'\r') => Self::LastLf,
            (Self::LastLf, b'\n') => Self::Done,
            (Self::TrailerLine, b'\r') => Self::TrailerLf,
            (Self::TrailerLf, b'\n') => Self::Trailer,
            // A trailer line may not be folded.
            (Self::Trailer, b'!'..=b'~') | (Self::TrailerLine, b'\t' | b' '..=b'~' | 0x80..) => Self::TrailerLine,
            _ => return None,
        })
    }
}

#[cold]
pub(super) fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed chunked body")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(text: &str) -> Option<usize> {
        let mut whole = Framing::chunked();
        let count = whole.take(text.as_bytes());
        let mut pieces = Framing::chunked();
        let by_byte = text.bytes().try_fold(0, |sum, byte| pieces.take(&[byte]).map(|count| sum + count));
        assert_eq!(count.as_ref().ok(), by_byte.as_ref().ok(), "{text:?}");
        assert_eq!(count.is_ok() && whole.is_done(), by_byte.is_ok() && pieces.is_done(), "{text:?}");
        count.ok().filter(|_| whole.is_done())
    }

    #[test]
    fn finds_the_end_of_a_chunked_body() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "00000A;a=b\r\n0123456789\r\n0;x\r\n\r\n",
            "1 ;x=\"y\"\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\n",
        ] {
            assert_eq!(end_of(body), Some(body.len()), "{body:?}");
            assert_eq!(end_of(&format!("{body}GET / HTTP/1.1\r\n")), Some(body.len()), "{body:?}");
        }
    }

    #[test]
    fn refuses_what_others_might_read_differently() {
        for body in [
            "\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhelloo\r\n0\r\n\r\n",
            "0\r\n\n",
            "0\r\nA: b\n\r\n",
            "0\r\n A: b\r\n\r\n",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "5;a\0b\r\nhello\r\n0\r\n\r\n",
            "fffffffffffffffff\r\n",
        ] {
            assert_eq!(end_of(body), None, "{body:?}");
        }
    }

    #[test]
    fn counts_a_length_down() {
        let mut framing = Framing::length(5);
        assert_eq!(framing.take(b"abc").expect("any bytes"), 3);
        assert!(!framing.is_done());
        assert_eq!(framing.take(b"defgh").expect("any bytes"), 2);
        assert!(framing.is_done());
        assert!(Framing::length(0).is_done());
    }
}
