//! What plugins write their calls and chunks with. Numbers are little-endian, texts have their length before them.

use std::io;

use bytes::{Buf, BufMut};

use super::CHUNK;

/// A text shorter than a number of 32 bits can say, as all are that have a bound.
pub fn put_text(into: &mut Vec<u8>, text: &str) {
    into.put_u32_le(text.len() as u32);
    into.put_slice(text.as_bytes());
}

/// Where the next thing is written: the last of `chunks`, or a new one if there is none that is not long enough.
pub fn room(chunks: &mut Vec<Vec<u8>>) -> &mut Vec<u8> {
    if chunks.last().is_none_or(|chunk| chunk.len() >= CHUNK) {
        chunks.push(Vec::new());
    }
    chunks.last_mut().expect("there is one now")
}

/// The text that comes next.
pub fn take_text<'a>(from: &mut &'a [u8]) -> io::Result<&'a str> {
    let length = from.try_get_u32_le()? as usize;
    let text = from.get(..length).ok_or(io::ErrorKind::UnexpectedEof)?;
    from.advance(length);
    str::from_utf8(text).map_err(io::Error::other)
}
