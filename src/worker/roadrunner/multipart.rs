//! `multipart/form-data`, read as a stream: values into memory, files to disk.

use std::io::{self, Read};

use memchr::memmem;

use super::{
    Error, Settings,
    form::Fields,
    uploads::{Receiving, TemporaryFiles, Upload},
};

/// A form's values and files.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) values: Fields<String>,
    pub(super) uploads: Fields<Upload>,
    pub(super) files: TemporaryFiles,
}

/// What a part's headers say of it.
#[derive(Debug, Default)]
struct Part {
    name: String,
    filename: String,
    mime: String,
}

struct Parser<R> {
    source: R,
    buffer: Vec<u8>,
    /// Where what has not been used yet starts.
    at: usize,
    has_ended: bool,
    /// `--boundary`
    dashed: Vec<u8>,
    /// What lines end with: CRLF, or LF if the first line does.
    newline: &'static [u8],
}

/// Bytes of one part's headers.
const MAX_HEADERS: usize = 64 * 1024;
const CHUNK: usize = 64 * 1024;
const CUT_OFF: Error = Error::Multipart("it ends before its last boundary");

/// Reads a form; `content_type` names its boundary.
pub(super) fn read(source: impl Read, content_type: &str, settings: &Settings) -> Result<Form, Error> {
    let boundary = parameters(content_type).1.into_iter().find(|(name, _)| name == "boundary").map(|(_, value)| value);
    let boundary = boundary.filter(|boundary| !boundary.is_empty()).ok_or(Error::Multipart("no boundary in its content type"))?;
    let mut parser = Parser::new(source, &boundary);
    let mut form = Form { values: Fields::default(), uploads: Fields::default(), files: TemporaryFiles::default() };
    let (mut parts, mut memory) = (0, 0);
    let mut more = parser.skip_preamble()?;
    while more {
        parts += 1;
        if parts > settings.max_parts {
            return Err(Error::TooLarge { what: "parts", limit: settings.max_parts });
        }
        let Part { name, filename, mime } = parser.headers()?;
        memory += name.len() + filename.len() + mime.len();
        if name.is_empty() {
            parser.body(|_| Ok(()))?;
        } else if filename.is_empty() {
            let mut value = Vec::new();
            parser.body(|bytes| {
                memory += bytes.len();
                value.extend_from_slice(bytes);
                within(memory, settings)
            })?;
            form.values.push(name, String::from_utf8_lossy(&value).into_owned());
        } else {
            let mut receiving = Receiving::new(filename, mime, settings, &mut form.files);
            parser.body(|bytes| {
                receiving.write(bytes);
                Ok(())
            })?;
            form.uploads.push(name, receiving.finish());
        }
        within(memory, settings)?;
        more = parser.after_boundary()?;
    }
    Ok(form)
}

fn within(memory: usize, settings: &Settings) -> Result<(), Error> {
    let limit = settings.form_memory;
    if memory > limit { Err(Error::TooLarge { what: "bytes of names and values", limit }) } else { Ok(()) }
}

// === impl Parser ===

impl<R: Read> Parser<R> {
    fn new(source: R, boundary: &str) -> Self {
        let dashed = [b"--", boundary.as_bytes()].concat();
        Self { source, buffer: Vec::new(), at: 0, has_ended: false, dashed, newline: b"\r\n" }
    }

    /// Passes the first boundary; false if it is the last one too.
    fn skip_preamble(&mut self) -> Result<bool, Error> {
        loop {
            let line = self.line()?.ok_or(CUT_OFF)?;
            let Some(rest) = line.strip_prefix(self.dashed.as_slice()) else { continue };
            match rest {
                [b'-', b'-', ..] => return Ok(false),
                _ if rest.trim_ascii().is_empty() => {
                    if !rest.ends_with(b"\r\n") {
                        self.newline = b"\n";
                    }
                    return Ok(true);
                }
                _ => {}
            }
        }
    }

    fn headers(&mut self) -> Result<Part, Error> {
        let mut part = Part::default();
        let (mut length, mut header) = (0, Vec::new());
        loop {
            let line = self.line()?.ok_or(CUT_OFF)?;
            length += line.len();
            if length > MAX_HEADERS {
                return Err(Error::TooLarge { what: "bytes of a part's headers", limit: MAX_HEADERS });
            }
            // A line that starts with a space continues the one before.
            if !line.starts_with(b" ") && !line.starts_with(b"\t") {
                part.take(&header);
                header.clear();
            }
            if line.trim_ascii().is_empty() {
                part.take(&header);
                return Ok(part);
            }
            header.extend_from_slice(&line);
        }
    }

    /// Gives a part's body to `sink`, up to its boundary, which is passed.
    fn body(&mut self, mut sink: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        // An empty body may have its boundary at once: the line end before it is that of the headers.
        while self.rest().len() < self.dashed.len() + 2 && self.fill()? {}
        if self.rest().starts_with(&self.dashed) && is_boundary(&self.rest()[self.dashed.len()..]) {
            self.at += self.dashed.len();
            return Ok(());
        }
        let mark = [self.newline, &self.dashed].concat();
        let finder = memmem::Finder::new(&mark);
        loop {
            match finder.find(self.rest()) {
                Some(found) => {
                    let after = found + mark.len();
                    // What follows tells whether it is one; it may not have come yet.
                    while self.rest().len() < after + 2 && self.fill()? {}
                    let is_boundary = is_boundary(&self.rest()[after..]);
                    let taken = if is_boundary { found } else { found + 1 };
                    sink(&self.rest()[..taken])?;
                    self.at += if is_boundary { after } else { taken };
                    if is_boundary {
                        return Ok(());
                    }
                }
                None => {
                    // The end may be the start of a boundary.
                    let sure = self.rest().len().saturating_sub(mark.len() - 1);
                    sink(&self.rest()[..sure])?;
                    self.at += sure;
                    if !self.fill()? {
                        return Err(CUT_OFF);
                    }
                }
            }
        }
    }

    /// Reads the rest of a boundary's line; true if a part follows.
    fn after_boundary(&mut self) -> Result<bool, Error> {
        match self.line()? {
            Some(line) if line.starts_with(b"--") => Ok(false),
            Some(line) if line.trim_ascii().is_empty() => Ok(true),
            Some(_) => Err(Error::Multipart("a boundary is followed by something else on its line")),
            None => Err(CUT_OFF),
        }
    }

    /// The next line with its end; at the source's end, what is left.
    fn line(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut searched = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.rest()[searched..]) {
                let line = self.rest()[..=searched + end].to_vec();
                self.at += line.len();
                return Ok(Some(line));
            }
            searched = self.rest().len();
            if searched > MAX_HEADERS {
                return Err(Error::TooLarge { what: "bytes in a line", limit: MAX_HEADERS });
            }
            if !self.fill()? {
                let line = self.rest().to_vec();
                self.at += line.len();
                return Ok((!line.is_empty()).then_some(line));
            }
        }
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.has_ended {
            return Ok(false);
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK, 0);
        let read = loop {
            match self.source.read(&mut self.buffer[length..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        self.has_ended = read? == 0;
        Ok(!self.has_ended)
    }
}

/// Whether what follows a boundary lets it be one.
fn is_boundary(after: &[u8]) -> bool {
    matches!(after, [b' ' | b'\t' | b'\r' | b'\n', ..] | [b'-', b'-', ..])
}

// === impl Part ===

impl Part {
    fn take(&mut self, header: &[u8]) {
        let header = String::from_utf8_lossy(header);
        let Some((name, value)) = header.split_once(':') else { return };
        match name.trim().to_ascii_lowercase().as_str() {
            "content-type" if self.mime.is_empty() => value.trim().clone_into(&mut self.mime),
            "content-disposition" => {
                let (kind, parameters) = parameters(value);
                for (name, value) in parameters.into_iter().filter(|_| kind == "form-data") {
                    match name.as_str() {
                        "name" => self.name = value,
                        // A path is no name: what a client calls its directories is its own affair, and a way out of ours.
                        "filename" => {
                            self.filename = value.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// `kind; name=value; name="quoted"`, as Go reads it.
fn parameters(header: &str) -> (String, Vec<(String, String)>) {
    let (kind, mut rest) = header.split_once(';').unwrap_or((header, ""));
    let mut found: Vec<(String, String)> = Vec::new();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', '\t', ';', '\r', '\n']).to_ascii_lowercase();
        let (value, after) = value(after.trim_start());
        rest = after.split_once(';').map_or("", |(_, rest)| rest);
        match name.strip_suffix('*') {
            // RFC 5987; it counts for more than the plain one beside it.
            Some(name) => {
                let decoded = extended(&value);
                found.retain(|(other, _)| decoded.is_none() || other != name);
                found.extend(decoded.map(|value| (name.to_owned(), value)));
            }
            None if found.iter().all(|(other, _)| *other != name) => found.push((name, value)),
            None => {}
        }
    }
    (kind.trim().to_ascii_lowercase(), found)
}

/// A value, and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t', '\r', '\n']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            // Only before what needs it: Internet Explorer sends C:\names without escapes.
            '\\' if characters.peek().is_some_and(|(_, next)| "()<>@,;:\\\"/[]?=".contains(*next)) => {
                value.extend(characters.next().map(|(_, next)| next));
            }
            _ => value.push(character),
        }
    }
    (value, "")
}

/// `UTF-8''na%C3%AFve`
fn extended(value: &str) -> Option<String> {
    let mut pieces = value.splitn(3, '\'');
    let (charset, _language, text) = (pieces.next()?, pieces.next()?, pieces.next()?);
    let is_known = charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("us-ascii");
    is_known.then(|| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned())
}
