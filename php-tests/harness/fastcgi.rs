//! A blocking FastCGI client that sends exactly what it is told.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

use super::PATIENCE;

pub(crate) const BEGIN: u8 = 1;
pub(crate) const ABORT: u8 = 2;
pub(crate) const END: u8 = 3;
pub(crate) const PARAMS: u8 = 4;
pub(crate) const STDIN: u8 = 5;
pub(crate) const STDOUT: u8 = 6;
pub(crate) const STDERR: u8 = 7;
pub(crate) const GET_VALUES: u8 = 9;
pub(crate) const GET_VALUES_RESULT: u8 = 10;
pub(crate) const UNKNOWN_TYPE: u8 = 11;

/// A connection to a FastCGI server.
#[derive(Debug)]
pub(crate) struct Fcgi(TcpStream);

/// What came back for one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct FcgiReply {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) app_status: u32,
    pub(crate) protocol_status: u8,
}

// === impl Fcgi ===

impl Fcgi {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Sends one record, in parts if it is too long for one.
    pub(crate) fn record(&mut self, kind: u8, id: u16, content: &[u8]) -> &mut Self {
        let mut parts: Vec<&[u8]> = content.chunks(65_528).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        for part in parts {
            let [id_high, id_low] = id.to_be_bytes();
            let [length_high, length_low] = u16::try_from(part.len()).unwrap().to_be_bytes();
            let mut bytes = vec![1, kind, id_high, id_low, length_high, length_low, 0, 0];
            bytes.extend_from_slice(part);
            _ = self.0.write_all(&bytes);
        }
        self
    }

    /// Sends bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        _ = self.0.write_all(bytes);
        self
    }

    pub(crate) fn begin(&mut self, id: u16, keep: bool) -> &mut Self {
        self.record(BEGIN, id, &[0, 1, u8::from(keep), 0, 0, 0, 0, 0])
    }

    /// Runs one request from `BEGIN_REQUEST` to `END_REQUEST`.
    pub(crate) fn request(&mut self, keep: bool, params: &[u8], body: &[u8]) -> io::Result<FcgiReply> {
        self.begin(1, keep).record(PARAMS, 1, params);
        if !params.is_empty() {
            self.record(PARAMS, 1, &[]);
        }
        if !body.is_empty() {
            self.record(STDIN, 1, body);
        }
        self.record(STDIN, 1, &[]);
        self.reply()
    }

    /// Reads records up to `END_REQUEST`.
    pub(crate) fn reply(&mut self) -> io::Result<FcgiReply> {
        let mut reply = FcgiReply::default();
        loop {
            let (kind, _, content) = self.read()?;
            match kind {
                STDOUT => reply.stdout.extend_from_slice(&content),
                STDERR => reply.stderr.extend_from_slice(&content),
                END => {
                    reply.app_status = u32::from_be_bytes(content[..4].try_into().unwrap());
                    reply.protocol_status = content[4];
                    return Ok(reply);
                }
                _ => return Err(io::Error::other(format!("unexpected record of type {kind}"))),
            }
        }
    }

    /// Reads one record: type, request id, content.
    pub(crate) fn read(&mut self) -> io::Result<(u8, u16, Vec<u8>)> {
        let mut head = [0; 8];
        self.0.read_exact(&mut head)?;
        let mut content = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]])) + usize::from(head[6])];
        self.0.read_exact(&mut content)?;
        content.truncate(usize::from(u16::from_be_bytes([head[4], head[5]])));
        Ok((head[1], u16::from_be_bytes([head[2], head[3]]), content))
    }

    /// Says that nothing more will be sent.
    pub(crate) fn close_half(&mut self) -> &mut Self {
        self.0.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Whether the server has closed, as far as can be seen now.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let seen = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        !seen.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether the server closes without a further byte.
    pub(crate) fn closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}

// === impl FcgiReply ===

impl FcgiReply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The part after the CGI headers.
    pub(crate) fn body(&self) -> String {
        self.text().split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())
    }

    pub(crate) fn head(&self) -> String {
        self.text().split_once("\r\n\r\n").map_or_else(String::new, |(head, _)| head.to_owned())
    }
}

/// Name-value pairs as FastCGI spells them.
pub(crate) fn params(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        for length in [name.len(), value.len()] {
            match u8::try_from(length) {
                Ok(short @ 0..=127) => bytes.push(short),
                _ => bytes.extend_from_slice(&(u32::try_from(length).unwrap() | 0x8000_0000).to_be_bytes()),
            }
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}
