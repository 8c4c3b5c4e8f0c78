//! The blocking end of a connection, for the command line.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::worker::goridge::{Decoder, Flags, Frame};

/// A connection to a server.
pub struct Client {
    stream: Box<dyn Stream>,
    decoder: Decoder,
    sequence: u32,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server says why.
    #[error("{0}")]
    Server(String),
    /// The connection broke, or nothing came in time.
    #[error("{0}")]
    Broken(io::Error),
    /// What came is not what was asked for.
    #[error("the answer makes no sense: {0}")]
    Nonsense(String),
}

trait Stream: Read + Write + Send {
    /// How long it may stand still.
    fn set_patience(&self, patience: Duration) -> io::Result<()>;
}

/// How long a server may take to accept.
const CONNECT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 256 << 20;

// === impl Client ===

impl Client {
    /// Connects to `host:port`; no host means this machine. An answer may take as long as `patience`.
    pub fn tcp(address: &str, patience: Duration) -> io::Result<Self> {
        let address = match address.strip_prefix(':') {
            Some(port) => format!("127.0.0.1:{port}"),
            None => address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:"),
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Self::new(Box::new(stream), patience);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects to a socket's path.
    pub fn unix(path: &Path, patience: Duration) -> io::Result<Self> {
        Self::new(Box::new(UnixStream::connect(path)?), patience)
    }

    fn new(stream: Box<dyn Stream>, patience: Duration) -> io::Result<Self> {
        stream.set_patience(patience)?;
        Ok(Self { stream, decoder: Decoder::new(MAX_ANSWER), sequence: 0 })
    }

    /// An answer may take so long from here on.
    pub fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        self.stream.set_patience(patience)
    }

    /// Calls `method` and waits for its result.
    pub fn call<T: DeserializeOwned>(&mut self, method: &str, argument: &impl Serialize) -> Result<T, CallError> {
        let nonsense = |error: &dyn std::fmt::Display| CallError::Nonsense(error.to_string());
        self.sequence += 1;
        let mut payload = method.as_bytes().to_vec();
        serde_json::to_writer(&mut payload, argument).map_err(|error| nonsense(&error))?;
        let frame = Frame::new(Flags::JSON, payload).with_options(&[self.sequence, method.len() as u32]);
        self.stream.write_all(&frame.to_bytes().map_err(|error| nonsense(&error))?).map_err(CallError::Broken)?;
        let answer = self.receive()?;
        let [sequence, length] = answer.header.options[..] else { return Err(nonsense(&"it has no sequence number")) };
        let body = answer.payload.get(length as usize..).ok_or_else(|| nonsense(&"its method's name is longer than it"))?;
        if sequence != self.sequence {
            return Err(nonsense(&format_args!("it is to call {sequence}, and not to {}", self.sequence)));
        }
        if answer.header.flags.has(Flags::ERROR) {
            return Err(CallError::Server(String::from_utf8_lossy(body).into_owned()));
        }
        serde_json::from_slice(body).map_err(|error| nonsense(&error))
    }

    fn receive(&mut self) -> Result<Frame, CallError> {
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.decoder.next() {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(error) => return Err(CallError::Nonsense(error.to_string())),
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    return Err(CallError::Broken(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the server closed the connection",
                    )));
                }
                Ok(count) => self.decoder.extend(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(CallError::Broken(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")));
                }
                Err(error) => return Err(CallError::Broken(error)),
            }
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

// === impl Stream ===

impl Stream for TcpStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))?;
        self.set_write_timeout(Some(patience))
    }
}

impl Stream for UnixStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))?;
        self.set_write_timeout(Some(patience))
    }
}
