//! A blocking HTTP/1.1 client that sends exactly what it is told.

use std::{
    io::{self, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{PATIENCE, Reply, reply};

/// One connection, kept as long as its owner likes.
#[derive(Debug)]
pub(crate) struct Connection(BufReader<TcpStream>);

/// A request being written down.
#[derive(Clone, Debug)]
#[must_use]
pub(crate) struct Request {
    address: SocketAddr,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    chunked: bool,
}

// === impl Connection ===

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    pub(crate) fn read_timeout(&self, limit: Duration) {
        self.stream().set_read_timeout(Some(limit)).unwrap();
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        // A server that refuses may close while we still write; the test looks at what comes back.
        _ = self.0.get_mut().write_all(bytes.as_ref());
        self
    }

    pub(crate) fn send(&mut self, request: &Request) -> io::Result<Reply> {
        self.write(request.bytes(true));
        Reply::read(&mut self.0, &request.method)
    }

    /// Reads the answer to a request that was written by hand.
    pub(crate) fn read(&mut self) -> io::Result<Reply> {
        Reply::read(&mut self.0, "GET")
    }

    pub(crate) fn read_head(&mut self) -> io::Result<Reply> {
        Reply::read_head(&mut self.0)
    }

    /// Reads the next chunk of a response whose head was read.
    pub(crate) fn read_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        reply::read_chunk(&mut self.0)
    }

    /// Reads until the server closes.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the server has closed, or does within `limit`, without a further byte.
    pub(crate) fn closed_within(&mut self, limit: Duration) -> bool {
        self.read_timeout(limit);
        match self.0.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

// === impl Request ===

impl Request {
    pub(crate) fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { address, method, target, headers: Vec::new(), body: None, chunked: false }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a `Cookie` header when there is something to say.
    pub(crate) fn cookies(self, cookies: &[(String, String)]) -> Self {
        if cookies.is_empty() {
            return self;
        }
        let pairs: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.header("Cookie", &pairs.join("; "))
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        if content_type.is_empty() { self } else { self.header("Content-Type", content_type) }
    }

    pub(crate) fn form(self, fields: &[(&str, &str)]) -> Self {
        let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        self.body("application/x-www-form-urlencoded", pairs.join("&"))
    }

    /// Sends the body in chunks rather than with a length.
    pub(crate) fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    pub(crate) fn send(&self) -> Reply {
        self.try_send().unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.target))
    }

    pub(crate) fn try_send(&self) -> io::Result<Reply> {
        let mut connection = Connection::open(self.address)?;
        connection.write(self.bytes(false));
        Reply::read(&mut connection.0, &self.method)
    }

    /// Sends the request and returns the connection, for those who do not wait for the answer.
    pub(crate) fn fire(&self) -> Connection {
        let mut connection = Connection::open(self.address).unwrap();
        connection.write(self.bytes(false));
        connection
    }

    /// The request as it goes over the wire.
    pub(crate) fn bytes(&self, keep_alive: bool) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let mut line = |name: &str, value: &str| bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        let has = |name: &str| self.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
        if !has("host") {
            line("Host", &self.address.to_string());
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        if !keep_alive && !has("connection") {
            line("Connection", "close");
        }
        match &self.body {
            Some(_) if self.chunked => line("Transfer-Encoding", "chunked"),
            Some(body) if !has("content-length") => line("Content-Length", &body.len().to_string()),
            _ => {}
        }
        bytes.extend_from_slice(b"\r\n");
        match &self.body {
            Some(body) if self.chunked => {
                for chunk in body.chunks(1000) {
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
            Some(body) => bytes.extend_from_slice(body),
            None => {}
        }
        bytes
    }
}

/// Percent-encodes all but letters and digits.
fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A `multipart/form-data` body with its content type; a part is `(name, file name, content)`, a plain field if its file
/// name is empty.
pub(crate) fn multipart(parts: &[(&str, &str, &[u8])]) -> (String, Vec<u8>) {
    let boundary = "----rr-test-boundary-9f2c";
    let mut body = Vec::new();
    for (name, file, content) in parts {
        body.extend_from_slice(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"").as_bytes());
        if !file.is_empty() {
            body.extend_from_slice(format!("; filename=\"{file}\"\r\nContent-Type: application/octet-stream").as_bytes());
        }
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}
