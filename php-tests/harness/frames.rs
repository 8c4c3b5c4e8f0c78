//! HTTP/2 frame by frame, without TLS, for clients that break its rules.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::PATIENCE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A connection that has said hello.
#[derive(Debug)]
pub(crate) struct Frames(TcpStream);

/// What became of a request or of its connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It was answered.
    Answer(u16, Vec<u8>),
    /// Its stream was reset, with this code.
    Reset(u32),
    /// The connection was closed, with this code if a goodbye came before.
    Closed(Option<u32>),
}

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Header fields as they are, each a literal that no table remembers.
pub(crate) fn fields<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            length(&mut bytes, text.len());
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

/// An integer with a prefix of seven bits.
fn length(bytes: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        return bytes.push(value as u8);
    }
    bytes.push(127);
    value -= 127;
    while value >= 128 {
        bytes.push((value % 128) as u8 | 128);
        value /= 128;
    }
    bytes.push(value as u8);
}

/// A request's head that ends its stream.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    let head = fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", path)]);
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head)
}

/// The status that a head of an answer begins with, as the first one of its connection.
fn status(section: &[u8]) -> Option<u16> {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A change of the table's size may come first.
    let start = section.iter().position(|byte| byte & 0xe0 != 0x20)?;
    match section[start..] {
        [index @ 0x88..=0x8e, ..] => Some(INDEXED[usize::from(index - 0x88)]),
        [0x48 | 0x08, 0x03, a, b, c, ..] => std::str::from_utf8(&[a, b, c]).ok()?.parse().ok(),
        [0x48 | 0x08, coded @ 0x82..=0x83, ..] => digits(&section[start + 2..][..usize::from(coded & 0x7f)]),
        _ => None,
    }
}

/// Three digits in Huffman's code: 0 to 2 have five bits, the others six.
fn digits(bytes: &[u8]) -> Option<u16> {
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut number = 0;
    for _ in 0..3 {
        let five = bits.by_ref().take(5).fold(0, |value, bit| value * 2 + bit);
        let digit = if five <= 2 { five } else { (five * 2 + bits.next()?).checked_sub(0x16)? };
        number = number * 10 + digit;
    }
    Some(number)
}

// === impl Frames ===

impl Frames {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut this = Self(stream);
        this.send([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(SETTINGS, 0, 0, &[])].concat());
        this
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.0
    }

    /// False once the server takes no more.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).is_ok()
    }

    /// The next frame: its kind, flags, stream and payload.
    pub(crate) fn read(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload)?;
        Ok((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// Waits for what becomes of a stream; the end of the connection is everybody's.
    pub(crate) fn outcome(&mut self, of: u32) -> Outcome {
        let (mut answer, mut body, mut goodbye) = (None, Vec::new(), None);
        loop {
            let Ok((kind, flags, stream, payload)) = self.read() else { return Outcome::Closed(goodbye) };
            match kind {
                SETTINGS if flags == 0 => _ = self.send(frame(SETTINGS, 1, 0, &[])),
                GOAWAY => goodbye = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap())),
                RESET if stream == of => match answer {
                    // An answer before all of the body has come is followed by word that the rest is not wanted.
                    Some(status) if payload == [0; 4] => return Outcome::Answer(status, body),
                    _ => return Outcome::Reset(u32::from_be_bytes(payload[..4].try_into().unwrap())),
                },
                HEADERS if stream == of && answer.is_none() => {
                    answer = Some(status(&payload).unwrap_or_else(|| panic!("no status in {payload:x?}")));
                }
                DATA if stream == of => body.extend_from_slice(&payload),
                _ => {}
            }
            if let Some(status) = answer.filter(|_| stream == of && flags & END_STREAM != 0 && matches!(kind, HEADERS | DATA)) {
                return Outcome::Answer(status, body);
            }
        }
    }
}
