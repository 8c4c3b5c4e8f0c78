//! FastCGI records: bytes to [`Record`] and back.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// One record, whole.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Record {
    pub(super) kind: u8,
    /// The request's id; 0 in management records.
    pub(super) id: u16,
    pub(super) content: Bytes,
}

/// How the application ended a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    Complete = 0,
    CannotMultiplex = 1,
    UnknownRole = 3,
}

pub(super) const BEGIN_REQUEST: u8 = 1;
pub(super) const ABORT_REQUEST: u8 = 2;
pub(super) const END_REQUEST: u8 = 3;
pub(super) const PARAMS: u8 = 4;
pub(super) const STDIN: u8 = 5;
pub(super) const STDOUT: u8 = 6;
pub(super) const STDERR: u8 = 7;
pub(super) const GET_VALUES: u8 = 9;
pub(super) const GET_VALUES_RESULT: u8 = 10;
pub(super) const UNKNOWN_TYPE: u8 = 11;

pub(super) const RESPONDER: u16 = 1;
pub(super) const KEEP_CONN: u8 = 1;

pub(super) const HEADER: usize = 8;

/// The largest content that needs no padding: 65535 is no multiple of 8.
pub(super) const CHUNK: usize = 65528;

/// Bytes asked for at once, unless a record is known to be larger.
pub(super) const READ: usize = 16 * 1024;

const VERSION: u8 = 1;

/// Takes the next whole record from the front of `input`; none if it has not all arrived.
pub(super) fn decode(input: &mut BytesMut) -> io::Result<Option<Record>> {
    let Some(&version) = input.first() else { return Ok(None) };
    if version != VERSION {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("FastCGI version {version}")));
    }
    if input.len() < HEADER {
        return Ok(None);
    }
    let length = usize::from(u16::from_be_bytes([input[4], input[5]]));
    let whole = HEADER + length + usize::from(input[6]);
    if input.len() < whole {
        input.reserve(whole - input.len());
        return Ok(None);
    }
    let mut record = input.split_to(whole).freeze();
    let (kind, id) = (record[1], u16::from_be_bytes([record[2], record[3]]));
    record.advance(HEADER);
    record.truncate(length);
    Ok(Some(Record { kind, id, content: record }))
}

/// The next record; none if the client hung up between two. Nothing is lost if it is dropped before it ends.
pub(super) async fn receive(stream: &mut (impl AsyncRead + Unpin), input: &mut BytesMut) -> io::Result<Option<Record>> {
    loop {
        if let Some(record) = decode(input)? {
            return Ok(Some(record));
        }
        if input.capacity() == input.len() {
            input.reserve(READ);
        }
        if stream.read_buf(input).await? == 0 {
            return if input.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

/// A record's header; the padding that it promises is returned, for the caller to add after the content.
pub(super) fn header(kind: u8, id: u16, length: u16) -> ([u8; HEADER], usize) {
    let padding = length.wrapping_neg() as u8 % 8;
    let [id_high, id_low] = id.to_be_bytes();
    let [length_high, length_low] = length.to_be_bytes();
    ([VERSION, kind, id_high, id_low, length_high, length_low, padding, 0], usize::from(padding))
}

/// Adds one record.
pub(super) fn put(into: &mut BytesMut, kind: u8, id: u16, content: &[u8]) {
    let length = u16::try_from(content.len()).expect("callers cut content into chunks");
    let (header, padding) = header(kind, id, length);
    into.reserve(HEADER + content.len() + padding);
    into.put_slice(&header);
    into.put_slice(content);
    into.put_bytes(0, padding);
}

/// Adds as many records of a stream as `content` needs: none for nothing, which would end it.
pub(super) fn put_stream(into: &mut BytesMut, kind: u8, id: u16, content: &[u8]) {
    content.chunks(CHUNK).for_each(|chunk| put(into, kind, id, chunk));
}

/// Adds the end of a request.
pub(super) fn put_end(into: &mut BytesMut, id: u16, protocol: Protocol) {
    put(into, END_REQUEST, id, &[0, 0, 0, 0, protocol as u8, 0, 0, 0]);
}

/// Adds the answer to a management record of a type that we do not know.
pub(super) fn put_unknown_type(into: &mut BytesMut, kind: u8) {
    put(into, UNKNOWN_TYPE, 0, &[kind, 0, 0, 0, 0, 0, 0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_taken_once_its_last_byte_is_there() {
        let mut whole = BytesMut::new();
        put(&mut whole, STDIN, 513, b"hello");
        put(&mut whole, STDIN, 513, b"");
        let mut input = BytesMut::new();
        let mut seen = Vec::new();
        for &byte in &whole {
            input.put_u8(byte);
            seen.extend(decode(&mut input).expect("version 1"));
        }
        let expected = [&b"hello"[..], b""].map(|content| Record { kind: STDIN, id: 513, content: Bytes::from_static(content) });
        assert_eq!(seen, expected);
        assert!(input.is_empty());
    }

    #[test]
    fn another_version_is_an_error() {
        assert!(decode(&mut BytesMut::from(&b"\x02"[..])).is_err());
    }

    #[test]
    fn every_record_is_a_multiple_of_eight_bytes() {
        for length in 0..40 {
            let mut record = BytesMut::new();
            put(&mut record, STDOUT, 1, &vec![b'x'; length]);
            assert_eq!(record.len() % 8, 0, "{length}");
        }
    }

    #[test]
    fn a_long_stream_is_cut() {
        let mut records = BytesMut::new();
        put_stream(&mut records, STDOUT, 1, &vec![b'x'; CHUNK * 2 + 1]);
        let mut lengths = Vec::new();
        while let Some(record) = decode(&mut records).expect("version 1") {
            lengths.push(record.content.len());
        }
        assert_eq!(lengths, [CHUNK, CHUNK, 1]);
    }
}
