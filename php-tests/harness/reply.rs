//! An HTTP/1.1 response, read from a socket by the letter.

use std::io::{self, BufRead, Read};

/// A response, and the interim responses that came before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) version: String,
    /// In the order they came, names as they were spelt.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The chunks as the server cut them, when it did.
    pub(crate) chunks: Vec<usize>,
    pub(crate) interim: Vec<Reply>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All headers of that name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}: {}", self.status, self.text()))
    }

    /// `name=value; …` cookies of all `Set-Cookie` headers, as a client sends them back.
    pub(crate) fn cookies(&self) -> Vec<(String, String)> {
        self.all("set-cookie")
            .filter_map(|cookie| cookie.split(';').next()?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Reads a whole response to a request with `method`.
    pub(crate) fn read(from: &mut impl BufRead, method: &str) -> io::Result<Self> {
        let mut interim = Vec::new();
        loop {
            let mut reply = Self::read_head(from)?;
            if (100..200).contains(&reply.status) && reply.status != 101 {
                interim.push(reply);
                continue;
            }
            reply.interim = interim;
            let empty = method == "HEAD" || matches!(reply.status, 101 | 204 | 304);
            if !empty {
                reply.read_body(from)?;
            }
            return Ok(reply);
        }
    }

    /// Reads up to the empty line after the headers.
    pub(crate) fn read_head(from: &mut impl BufRead) -> io::Result<Self> {
        let line = read_line(from)?;
        let mut parts = line.splitn(3, ' ');
        let version = parts.next().unwrap_or_default().to_owned();
        let status = parts.next().and_then(|status| status.parse().ok());
        let Some(status) = status.filter(|_| version.starts_with("HTTP/1.")) else {
            return Err(invalid(format!("not a status line: {line:?}")));
        };
        let reason = parts.next().unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        loop {
            let line = read_line(from)?;
            if line.is_empty() {
                return Ok(Self { status, reason, version, headers, ..Self::default() });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(format!("not a header: {line:?}")))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn read_body(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            while let Some(chunk) = read_chunk(from)? {
                self.chunks.push(chunk.len());
                self.body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = self.header("content-length") {
            let length = length.parse().map_err(|_| invalid(format!("content-length: {length:?}")))?;
            self.body = vec![0; length];
            from.read_exact(&mut self.body)?;
        } else {
            from.read_to_end(&mut self.body)?;
        }
        Ok(())
    }
}

/// Reads one chunk; none after the last one and its trailers.
pub(crate) fn read_chunk(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let line = read_line(from)?;
    let size = line.split(';').next().unwrap_or_default();
    let size = usize::from_str_radix(size, 16).map_err(|_| invalid(format!("not a chunk size: {line:?}")))?;
    if size == 0 {
        while !read_line(from)?.is_empty() {}
        return Ok(None);
    }
    let mut chunk = vec![0; size];
    from.read_exact(&mut chunk)?;
    let end = read_line(from)?;
    if end.is_empty() { Ok(Some(chunk)) } else { Err(invalid(format!("after a chunk: {end:?}"))) }
}

fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    from.by_ref().take(1 << 20).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if !line.ends_with(b"\r\n") {
        return Err(invalid(format!("not ended by CR LF: {:?}", String::from_utf8_lossy(&line))));
    }
    line.truncate(line.len() - 2);
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
