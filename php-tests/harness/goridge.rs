//! A blocking caller of the server's RPC, on the codec under test; a test of its bytes spells them out instead.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
};

use rr::worker::goridge::{Decoder, Flags, Frame};
use serde_json::Value;

use super::PATIENCE;

/// One connection.
pub(crate) struct Rpc {
    stream: Box<dyn Stream>,
    decoder: Decoder,
    sequence: u32,
}

pub(crate) trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

// === impl Rpc ===

impl Rpc {
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(Box::new(stream))
    }

    pub(crate) fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::new(Box::new(stream))
    }

    fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, decoder: Decoder::new(64 << 20), sequence: 0 }
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame; none once the server has closed.
    pub(crate) fn read(&mut self) -> Option<Frame> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                return Some(frame);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                read => self.decoder.extend(&chunk[..read.unwrap()]),
            }
        }
    }

    pub(crate) fn send(&mut self, method: &str, argument: &Value) -> u32 {
        self.try_send(method, argument).unwrap()
    }

    fn try_send(&mut self, method: &str, argument: &Value) -> io::Result<u32> {
        self.sequence += 1;
        let frame = Frame::new(Flags::JSON, format!("{method}{argument}"));
        let frame = frame.with_options(&[self.sequence, u32::try_from(method.len()).unwrap()]);
        self.write(&frame.to_bytes().unwrap())?;
        Ok(self.sequence)
    }

    /// Calls and waits; an error is the server's text.
    pub(crate) fn call(&mut self, method: &str, argument: &Value) -> Result<Value, String> {
        self.try_call(method, argument).unwrap_or_else(|| panic!("{method}: the server closed the connection"))
    }

    /// The same; none if the server closes the connection, in which case the call may have been made.
    pub(crate) fn try_call(&mut self, method: &str, argument: &Value) -> Option<Result<Value, String>> {
        let sequence = self.try_send(method, argument).ok()?;
        let frame = self.read()?;
        assert_eq!(frame.header.options[..], [sequence, u32::try_from(method.len()).unwrap()], "{method}");
        let body = frame.payload.strip_prefix(method.as_bytes()).unwrap();
        Some(if frame.header.flags.has(Flags::ERROR) {
            Err(String::from_utf8(body.to_vec()).unwrap())
        } else {
            Ok(serde_json::from_slice(body).unwrap())
        })
    }
}
