//! The text of a record.

use std::{
    fmt::{self, Write as _},
    io::Write as _,
    time::{Duration, SystemTime},
};

use super::{Encoding, Record};

/// How records become text.
#[derive(Clone, Debug)]
pub(super) struct Format {
    pub(super) extended: bool,
    pub(super) encoding: Encoding,
    pub(super) colour: bool,
}

/// Appends the members of one JSON object.
struct Members<'a>(&'a mut Vec<u8>);

/// A moment as `httpdate` spells it (`Sun, 06 Nov 1994 08:49:37 GMT`), whose parts lie at fixed places.
struct Moment([u8; 29]);

/// Makes a byte string safe inside a line; `"` and `\` are escaped as JSON wants it.
pub(super) struct Escaped<'a>(pub(super) &'a [u8]);

// === impl Format ===

impl Format {
    /// Appends the line of `record`.
    pub(super) fn encode(&self, record: &Record<'_>, line: &mut Vec<u8>) {
        match &self.encoding {
            Encoding::Template(template) => template.encode(record, line),
            Encoding::Json => self.json(record, line),
            Encoding::Console => self.console(record, line),
        }
        line.push(b'\n');
    }

    /// Whether records are to have all headers.
    pub(super) fn needs_headers(&self) -> bool {
        matches!(&self.encoding, Encoding::Template(template) if template.needs_headers())
    }

    /// Whether they are to say which script ran.
    pub(super) fn needs_script(&self) -> bool {
        matches!(&self.encoding, Encoding::Template(template) if template.needs_script())
    }

    /// RoadRunner's names, order and units (Octane reads them): times in ns since the epoch, `elapsed` in ms.
    fn json(&self, record: &Record<'_>, line: &mut Vec<u8>) {
        let end = nanoseconds(record.start + record.elapsed);
        let message = if self.extended { "http access log" } else { "http log" };
        put(line, format_args!(r#"{{"level":"info","ts":{end},"logger":"http","msg":"{message}""#));
        let mut members = Members(line);
        if self.extended {
            members.number("read_bytes", record.read_bytes);
            members.number("write_bytes", record.write_bytes);
        }
        members.number("status", record.status);
        members.text("method", record.method.as_bytes());
        members.text("URI", record.uri.as_bytes());
        members.text("URL", record.url.as_bytes());
        members.quoted("remote_address", record.remote);
        if self.extended {
            members.text("query", record.query.as_bytes());
            match record.content_length {
                Some(length) => members.number("content_len", length),
                None => members.number("content_len", -1),
            }
            members.text("host", record.host);
            members.text("user_agent", record.user_agent);
            members.text("referer", record.referer);
            members.quoted("time_local", Moment::new(record.start + record.elapsed));
            members.number("request_time", end);
        } else {
            members.number("read_bytes", record.read_bytes);
            members.number("write_bytes", record.write_bytes);
        }
        members.number("start", nanoseconds(record.start));
        members.number("elapsed", record.elapsed.as_millis());
        if !record.request_id.is_empty() {
            members.text("request_id", record.request_id);
        }
        line.push(b'}');
    }

    fn console(&self, record: &Record<'_>, line: &mut Vec<u8>) {
        let (on, off) = match record.status {
            _ if !self.colour => ("", ""),
            500.. => ("\x1b[31m", "\x1b[0m"),
            400.. => ("\x1b[33m", "\x1b[0m"),
            300.. => ("\x1b[36m", "\x1b[0m"),
            _ => ("\x1b[32m", "\x1b[0m"),
        };
        let moment = Moment::new(record.start + record.elapsed);
        put(line, format_args!("{} INFO http {on}{}{off} {} ", moment.clock(), record.status, Escaped(record.method.as_bytes())));
        put(line, format_args!("{} {}ms", Escaped(record.uri.as_bytes()), record.elapsed.as_millis()));
        put(line, format_args!(" in={} out={} from={}", record.read_bytes, record.write_bytes, record.remote));
        if !record.request_id.is_empty() {
            put(line, format_args!(" id={}", Escaped(record.request_id)));
        }
        if self.extended {
            put(line, format_args!(" host={} agent=\"{}\"", Escaped(record.host), Escaped(record.user_agent)));
            put(line, format_args!(" referer=\"{}\"", Escaped(record.referer)));
        }
    }
}

pub(super) fn put(line: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    line.write_fmt(text).expect("memory takes all bytes");
}

fn nanoseconds(moment: SystemTime) -> u128 {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos()
}

// === impl Members ===

impl Members<'_> {
    fn number(&mut self, name: &str, number: impl fmt::Display) {
        put(self.0, format_args!(r#","{name}":{number}"#));
    }

    fn quoted(&mut self, name: &str, text: impl fmt::Display) {
        put(self.0, format_args!(r#","{name}":"{text}""#));
    }

    fn text(&mut self, name: &str, text: &[u8]) {
        self.quoted(name, Escaped(text));
    }
}

// === impl Escaped ===

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some(at) = rest.bytes().position(|byte| byte < b' ' || matches!(byte, b'"' | b'\\' | 0x7f)) {
                formatter.write_str(&rest[..at])?;
                match rest.as_bytes()[at] {
                    byte @ (b'"' | b'\\') => write!(formatter, "\\{}", char::from(byte))?,
                    byte => write!(formatter, "\\u{byte:04x}")?,
                }
                rest = &rest[at + 1..];
            }
            formatter.write_str(rest)?;
            if !chunk.invalid().is_empty() {
                formatter.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

// === impl Moment ===

impl Moment {
    fn new(moment: SystemTime) -> Self {
        let mut bytes = [b' '; 29];
        write!(&mut bytes[..], "{}", httpdate::HttpDate::from(moment)).expect("a date of 29 bytes");
        Self(bytes)
    }

    fn part(&self, start: usize, end: usize) -> &str {
        std::str::from_utf8(&self.0[start..end]).unwrap_or("")
    }

    fn clock(&self) -> &str {
        self.part(17, 25)
    }
}

impl fmt::Display for Moment {
    /// As Go writes `02/Jan/06:15:04:05 -0700`, always in UTC.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}:{} +0000", self.part(5, 7), self.part(8, 11), self.part(14, 16), self.clock())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Remote;
    use super::*;

    fn line(extended: bool, encoding: Encoding, colour: bool) -> String {
        let record = Record {
            status: 404,
            method: "POST",
            uri: "/a?q=\"\\",
            url: "/a?q=\"\\",
            version: http::Version::HTTP_11,
            user: "",
            request_id: b"",
            remote: Remote::Socket(([127, 0, 0, 1], 5000).into()),
            read_bytes: 3,
            write_bytes: 4,
            start: SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777),
            elapsed: Duration::from_millis(7),
            query: "q=\"\\",
            content_length: Some(3),
            host: b"a.b",
            user_agent: b"evil\x1b[31m\n\xff",
            referer: b"",
            request: None,
            response: None,
            ran: None,
        };
        let mut line = Vec::new();
        Format { extended, encoding, colour }.encode(&record, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn json_is_roadrunners() {
        assert_eq!(
            line(false, Encoding::Json, false),
            concat!(
                r#"{"level":"info","ts":784111777007000000,"logger":"http","msg":"http log","status":404,"method":"POST","#,
                r#""URI":"/a?q=\"\\","URL":"/a?q=\"\\","remote_address":"127.0.0.1:5000","read_bytes":3,"write_bytes":4,"#,
                r#""start":784111777000000000,"elapsed":7}"#,
                "\n"
            )
        );
        assert_eq!(
            line(true, Encoding::Json, false),
            concat!(
                r#"{"level":"info","ts":784111777007000000,"logger":"http","msg":"http access log","read_bytes":3,"#,
                r#""write_bytes":4,"status":404,"method":"POST","URI":"/a?q=\"\\","URL":"/a?q=\"\\","#,
                r#""remote_address":"127.0.0.1:5000","query":"q=\"\\","content_len":3,"host":"a.b","#,
                r#""user_agent":"evil\u001b[31m\u000a"#,
                "\u{fffd}",
                r#"","referer":"","time_local":"06/Nov/94:08:49:37 +0000","request_time":784111777007000000,"#,
                r#""start":784111777000000000,"elapsed":7}"#,
                "\n"
            )
        );
        serde_json::from_str::<serde_json::Value>(&line(true, Encoding::Json, false)).expect("JSON");
    }

    #[test]
    fn a_console_line_cannot_be_forged() {
        assert_eq!(
            line(false, Encoding::Console, false),
            "08:49:37 INFO http 404 POST /a?q=\\\"\\\\ 7ms in=3 out=4 from=127.0.0.1:5000\n"
        );
        let extended = line(true, Encoding::Console, true);
        assert!(extended.contains("\x1b[33m404\x1b[0m"), "{extended}");
        assert!(extended.ends_with(" host=a.b agent=\"evil\\u001b[31m\\u000a\u{fffd}\" referer=\"\"\n"), "{extended}");
    }
}
