//! The strict rules for an HTTP/1 request head, checked before the parser sees a byte of it.
//!
//! The scan goes on where it stopped, so a head that comes byte by byte is still looked at once.

use std::{net::Ipv6Addr, ops::Range};

use http::StatusCode;
use memchr::memchr;

use super::body::Framing;

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes: usize,
    pub(super) fields: usize,
    pub(super) uri: usize,
}

/// A complete head.
#[derive(Debug)]
pub(super) struct Head {
    /// Its length, with the empty line.
    pub(super) length: usize,
    /// What follows it.
    pub(super) framing: Framing,
    /// True for HTTP/1.1, whose clients know interim responses.
    pub(super) is_http11: bool,
    /// Where its target is, if the parser would not take that as it is: it is to be [escaped](escape).
    pub(super) odd_target: Option<Range<usize>>,
}

/// How far a head has been looked at.
#[derive(Debug, Default)]
pub(super) struct Scan {
    line: usize,
    searched: usize,
    fields: usize,
    has_request_line: bool,
    is_http11: bool,
    odd_target: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    host: Option<Range<usize>>,
    content_length: Option<u64>,
    is_chunked: bool,
}

type Checked<T> = Result<T, StatusCode>;

const BAD: StatusCode = StatusCode::BAD_REQUEST;

/// Longer than any registered method.
const MAX_METHOD: usize = 32;

// === impl Scan ===

impl Scan {
    /// Looks at what is new in `bytes`, which begin where the head does.
    pub(super) fn advance(&mut self, bytes: &[u8], limits: &Limits) -> Checked<Option<Head>> {
        while let Some(offset) = memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + offset;
            let start = self.line;
            self.searched = end + 1;
            self.line = end + 1;
            self.check_size(end + 1, end - start, limits)?;
            let line = bytes[start..end].strip_suffix(b"\r").ok_or(BAD)?;
            if !self.has_request_line {
                // RFC 9112, 2.2: empty lines before a request line are skipped.
                if !line.is_empty() {
                    self.request_line(line, start, limits)?;
                }
            } else if line.is_empty() {
                return self.finish(bytes).map(Some);
            } else {
                self.field(line, start, limits)?;
            }
        }
        self.searched = bytes.len();
        self.check_size(bytes.len(), bytes.len() - self.line, limits)?;
        Ok(None)
    }

    fn check_size(&self, total: usize, line: usize, limits: &Limits) -> Checked<()> {
        if !self.has_request_line && line > limits.uri + MAX_METHOD + " HTTP/1.1 \r".len() {
            return Err(StatusCode::URI_TOO_LONG);
        }
        if total > limits.bytes { Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) } else { Ok(()) }
    }

    fn request_line(&mut self, line: &[u8], start: usize, limits: &Limits) -> Checked<()> {
        let space = line.iter().position(|&byte| CLASS[byte as usize] & TOKEN == 0).ok_or(BAD)?;
        let (method, rest) = (&line[..space], &line[space..]);
        let rest = rest.strip_prefix(b" ").ok_or(BAD)?;
        if method.is_empty() || method.len() > MAX_METHOD {
            return Err(BAD);
        }
        let mut seen = 0;
        let is_end = |&byte: &u8| {
            seen |= CLASS[byte as usize];
            CLASS[byte as usize] & TARGET == 0
        };
        let space = rest.iter().position(is_end).ok_or(BAD)?;
        let (target, rest) = (&rest[..space], &rest[space..]);
        let version = rest.strip_prefix(b" ").ok_or(BAD)?;
        self.is_http11 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                return Err(StatusCode::HTTP_VERSION_NOT_SUPPORTED);
            }
            _ => return Err(BAD),
        };
        if target.len() > limits.uri {
            return Err(StatusCode::URI_TOO_LONG);
        }
        self.has_request_line = true;
        let at = start + method.len() + 1;
        if seen & ODD != 0 || seen & HIGH != 0 && str::from_utf8(target).is_err() {
            self.odd_target = Some(at..at + target.len());
        }
        match target {
            _ if method == b"CONNECT" => Err(StatusCode::METHOD_NOT_ALLOWED),
            [b'/', ..] => Ok(()),
            b"*" if method == b"OPTIONS" => Ok(()),
            _ => {
                let range = absolute_authority(target).ok_or(BAD)?;
                self.authority = Some(at + range.start..at + range.end);
                Ok(())
            }
        }
    }

    fn field(&mut self, line: &[u8], start: usize, limits: &Limits) -> Checked<()> {
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        // The first byte that no name may have must be the colon: so neither a folded line nor a space before it passes.
        let colon = line.iter().position(|&byte| CLASS[byte as usize] & TOKEN == 0).ok_or(BAD)?;
        if colon == 0 || line[colon] != b':' || has_control(&line[colon + 1..]) {
            return Err(BAD);
        }
        let name = &line[..colon];
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                let value = trim(line, colon + 1);
                if self.host.is_some() || !is_host(&line[value.clone()]) {
                    return Err(BAD);
                }
                self.host = Some(start + value.start..start + value.end);
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = decimal(&line[trim(line, colon + 1)]).ok_or(BAD)?;
                match self.content_length.replace(length) {
                    Some(other) if other != length => Err(BAD),
                    _ => Ok(()),
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if std::mem::replace(&mut self.is_chunked, true) {
                    return Err(BAD);
                }
                let is_chunked = line[trim(line, colon + 1)].eq_ignore_ascii_case(b"chunked");
                if is_chunked { Ok(()) } else { Err(StatusCode::NOT_IMPLEMENTED) }
            }
            _ => Ok(()),
        }
    }

    fn finish(&self, bytes: &[u8]) -> Checked<Head> {
        let host = self.host.clone().map(|range| &bytes[range]);
        if self.is_http11 && host.is_none() {
            return Err(BAD);
        }
        if let (Some(authority), Some(host)) = (self.authority.clone(), host)
            && !bytes[authority].eq_ignore_ascii_case(host)
        {
            return Err(BAD);
        }
        let framing = match (self.is_chunked, self.content_length) {
            (true, Some(_)) => return Err(BAD),
            (true, None) if !self.is_http11 => return Err(BAD),
            (true, None) => Framing::chunked(),
            (false, length) => Framing::length(length.unwrap_or(0)),
        };
        Ok(Head { length: self.line, framing, is_http11: self.is_http11, odd_target: self.odd_target.clone() })
    }
}

/// `target` as browsers would have sent it. What stands in no URL some clients send all the same, and web servers serve it.
pub(super) fn escape(target: &[u8]) -> Vec<u8> {
    let is_text = str::from_utf8(target).is_ok();
    let mut escaped = Vec::with_capacity(target.len() + 16);
    for &byte in target {
        let class = CLASS[byte as usize];
        if class & ODD != 0 || class & HIGH != 0 && !is_text {
            let digit = |digit: u8| b"0123456789ABCDEF"[usize::from(digit)];
            escaped.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            escaped.push(byte);
        }
    }
    escaped
}

/// Where the authority of an absolute-form target is.
fn absolute_authority(target: &[u8]) -> Option<Range<usize>> {
    let start = [&b"http://"[..], b"https://"]
        .iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))?
        .len();
    let rest = &target[start..];
    let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let is_valid = length > 0 && is_host(&rest[..length]);
    is_valid.then_some(start..start + length)
}

/// The part of `line` from `start`, without surrounding white space.
fn trim(line: &[u8], start: usize) -> Range<usize> {
    let is_space = |&byte: &u8| byte == b' ' || byte == b'\t';
    let start = start + line[start..].iter().take_while(|byte| is_space(byte)).count();
    let end = line.len() - line[start..].iter().rev().take_while(|byte| is_space(byte)).count();
    start..end
}

/// Whether these bytes may be a host and its port (RFC 9112, 3.2), or nothing; nobody before it, and nothing after it. A name is
/// what resolvers take: no escapes, of which everybody makes something else, and no empty label but for that of the root.
pub(in crate::http) fn is_host(bytes: &[u8]) -> bool {
    let (is_name, port) = match bytes.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = memchr(b']', rest) else { return false };
            let address = str::from_utf8(&rest[..end]).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
            (address.is_some(), &rest[end + 1..])
        }
        None => {
            let (name, port) = bytes.split_at(memchr(b':', bytes).unwrap_or(bytes.len()));
            let has_empty_label = name.first() == Some(&b'.') || memchr::memmem::find(name, b"..").is_some();
            (are_all(name, HOST) && !has_empty_label && name.is_empty() == bytes.is_empty(), port)
        }
    };
    is_name && is_port(port)
}

/// Nothing, or a colon and a number that may be left out.
fn is_port(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        None | Some((b':', [])) => true,
        Some((b':', digits)) => digits.len() <= 5 && decimal(digits).is_some_and(|port| port <= u16::MAX.into()),
        Some(_) => false,
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
}

/// Without an early exit, so that it compiles to vector instructions: values are long.
fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, &byte| found | ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f))
}

fn are_all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|&byte| CLASS[byte as usize] & class != 0)
}

/// What a byte may be part of.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let is_alphanumeric = (byte as u8).is_ascii_alphanumeric();
        if is_alphanumeric || contains(b"!#$%&'*+-.^_`|~", byte as u8) {
            table[byte] |= TOKEN;
        }
        if is_alphanumeric || contains(b"-._~!$&'()*+;=", byte as u8) {
            table[byte] |= HOST;
        }
        if byte > 0x20 && byte != 0x7f {
            table[byte] |= TARGET;
        }
        if contains(b"\"<>`", byte as u8) {
            table[byte] |= ODD;
        }
        if byte >= 0x80 {
            table[byte] |= HIGH;
        }
        byte += 1;
    }
    table
};

const TOKEN: u8 = 1;
const HOST: u8 = 2;
const TARGET: u8 = 4;
const ODD: u8 = 8;
const HIGH: u8 = 16;

const fn contains(bytes: &[u8], byte: u8) -> bool {
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes: 512, fields: 8, uri: 128 };

    fn scan(head: &str) -> Checked<Option<Head>> {
        Scan::default().advance(head.as_bytes(), &LIMITS)
    }

    fn status(head: &str) -> u16 {
        match scan(head) {
            Ok(Some(_)) => 200,
            Ok(None) => 0,
            Err(status) => status.as_u16(),
        }
    }

    #[test]
    fn request_lines() {
        let line = |line: &str| status(&format!("{line}\r\nHost: a.b:80\r\n\r\n"));
        for good in [
            "GET / HTTP/1.1",
            "GET /?a=b HTTP/1.0",
            "OPTIONS * HTTP/1.1",
            "GET http://a.b:80/x HTTP/1.1",
            "GET HTTPS://A.B:80 HTTP/1.1",
            "M-SEARCH / HTTP/1.1",
            "\r\n\r\nGET / HTTP/1.1",
        ] {
            assert_eq!(line(good), 200, "{good}");
        }
        for bad in [
            "GET /",
            "GET",
            " GET / HTTP/1.1",
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET /a b HTTP/1.1",
            "GET / http/1.1",
            "GET / HTTP/1.10",
            "GET /\t HTTP/1.1",
            "GET /\0 HTTP/1.1",
            "GET * HTTP/1.1",
            "GET a HTTP/1.1",
            "GET ftp://a.b:80/ HTTP/1.1",
            "GET http:/// HTTP/1.1",
            "GET http://user@a.b:80/ HTTP/1.1",
            "GET http://other/ HTTP/1.1",
            "G(T / HTTP/1.1",
            "\nGET / HTTP/1.1",
        ] {
            assert_eq!(line(bad), 400, "{bad}");
        }
        assert_eq!(line("PRI * HTTP/2.0"), 505);
        assert_eq!(line("GET / HTTP/1.2"), 505);
        assert_eq!(line("CONNECT a.b:80 HTTP/1.1"), 405);
        assert_eq!(line(&format!("GET /{} HTTP/1.1", "a".repeat(LIMITS.uri))), 414);
    }

    #[test]
    fn odd_targets_are_escaped() {
        for (target, expected) in [
            (&b"/a?b={c}|^\\"[..], None),
            ("/\u{e9}".as_bytes(), None),
            (b"/\"<>`?\"<>`", Some("/%22%3C%3E%60?%22%3C%3E%60")),
            (b"/\xe9?\xff", Some("/%E9?%FF")),
            ("/\u{e9}<".as_bytes(), Some("/\u{e9}%3C")),
        ] {
            let head = [b"\r\nGET ", target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            let found = Scan::default().advance(&head, &LIMITS).unwrap().unwrap().odd_target;
            let escaped = found.map(|range| String::from_utf8(escape(&head[range])).unwrap());
            assert_eq!(escaped.as_deref(), expected);
        }
    }

    #[test]
    fn hosts() {
        for good in
            ["", "a", "a.b", "a.b.", "a_b-c", "a:", "a:80", "a:65535", "127.0.0.1:1", "[::1]", "[::1]:80", "[::ffff:1.2.3.4]:"]
        {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        let bad =
            ["[::1", "[::1]a", "[::1]80", "[]", "[1.2.3.4]", "[fe80::1%25eth0]", "::1", "a:b", "a:99999", "a:65536", "a:080000"];
        let odd = [
            ":", ":80", "a:80:80", "a..b", ".a", ".", "a%00b", "a%2eb", "a]", "a[b", "a b", "a,b", "a/b", "a@b", "a\\b", "\u{e9}",
        ];
        for bad in bad.iter().chain(&odd) {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(status(&format!("GET /{}", "a".repeat(LIMITS.uri + 64))), 414, "before the line is complete");
        let field = |length| format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}", "a".repeat(length));
        assert_eq!(status(&field(400)), 0);
        assert_eq!(status(&field(500)), 431, "before the head is complete");
        assert_eq!(status(&format!("{}\r\n\r\n", field(500))), 431);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(7))), 200);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(8))), 431);
    }

    #[test]
    fn one_byte_at_a_time_gives_the_same() {
        let head = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
        let mut scan = Scan::default();
        let mut found = None;
        for length in 0..=head.len() {
            found = scan.advance(&head.as_bytes()[..length], &LIMITS).expect("good");
            if found.is_some() {
                break;
            }
        }
        assert_eq!(found.expect("complete").length, head.len() - 5);
    }
}
