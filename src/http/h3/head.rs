//! The strict rules for a request's head (RFC 9114, 4.2 and 4.3), which are those of HTTP/1's heads as far as both know the thing.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version,
    header::{CONTENT_LENGTH, COOKIE, HOST, TE},
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::{
    frame::{self, Fault, HEADERS, Reader, code},
    qpack,
};
use crate::http::conn::{Config, is_host};

/// A request's head, and how long its body says it is.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: Parts,
    pub(super) content_length: Option<u64>,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The rules of HTTP/3 are broken.
    Fault(Fault),
    /// It can be answered.
    Status(StatusCode),
}

/// A request that is none.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    /// HEAD as long as it is not known: that answer has no body whatever was asked.
    pub(super) method: Method,
    /// What was asked for; empty as long as it is not known.
    pub(super) target: Vec<u8>,
}

/// What the pseudo-header fields say.
#[derive(Default)]
struct Pseudo {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
}

/// Those speak of a connection, and mean something else to every protocol but HTTP/1.
const OF_CONNECTIONS: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

const MALFORMED: Refusal = Refusal::Fault(Fault::Stream(code::MESSAGE));
const BAD: Refusal = Refusal::Status(StatusCode::BAD_REQUEST);
const TOO_LARGE: Refusal = Refusal::Status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);

/// Reads the head of the request that a stream begins with.
pub(super) async fn receive(reader: &mut Reader, config: &Config) -> Result<Head, Refused> {
    let fields = fields(reader, config).await;
    let fields = fields.map_err(|refusal| Refused { refusal, method: Method::HEAD, target: Vec::new() })?;
    let named = |name: &[u8]| fields.iter().find(|(field, _)| **field == *name).map(|(_, value)| &value[..]);
    let method = named(b":method").and_then(|method| Method::from_bytes(method).ok()).unwrap_or(Method::HEAD);
    let target = named(b":path").unwrap_or_default().to_vec();
    parse(fields, config).map_err(|refusal| Refused { refusal, method, target })
}

async fn fields(reader: &mut Reader, config: &Config) -> Result<Vec<qpack::Field>, Refusal> {
    let Some(frame) = reader.frame().await? else {
        return Err(Fault::Stream(code::INCOMPLETE).into());
    };
    if frame.kind != HEADERS {
        return Err(Fault::Connection(code::UNEXPECTED, "a request that begins without its head").into());
    }
    if frame.length > config.max_header_bytes as u64 {
        return Err(TOO_LARGE);
    }
    let section = reader.payload(frame.length).await?;
    qpack::decode(&section, config.max_header_bytes).map_err(|error| match error {
        qpack::Error::Malformed => Fault::Connection(code::DECOMPRESSION, "a field section that cannot be read").into(),
        qpack::Error::TooLong => TOO_LARGE,
    })
}

fn parse(fields: Vec<qpack::Field>, config: &Config) -> Result<Head, Refusal> {
    let mut pseudo = Pseudo::default();
    let mut headers = HeaderMap::with_capacity(fields.len());
    let mut is_in_fields = false;
    for (name, value) in fields {
        if name.first() == Some(&b':') {
            if is_in_fields {
                return Err(MALFORMED);
            }
            pseudo.take(&name, value.into_owned(), config)?;
        } else {
            is_in_fields = true;
            let (name, value) = field(&name, value.into_owned())?;
            headers.append(name, value);
        }
    }
    if headers.len() > config.max_headers {
        return Err(TOO_LARGE);
    }
    let content_length = content_length(&headers)?;
    let method = pseudo.method.take().ok_or(MALFORMED)?;
    if method == Method::CONNECT {
        return Err(Refusal::Status(StatusCode::METHOD_NOT_ALLOWED));
    }
    let uri = pseudo.uri(&method, &headers)?;
    let mut parts = http::Request::new(()).into_parts().0;
    (parts.method, parts.uri, parts.version, parts.headers) = (method, uri, Version::HTTP_3, headers);
    Ok(Head { parts, content_length })
}

fn field(name: &[u8], value: Vec<u8>) -> Result<(HeaderName, HeaderValue), Refusal> {
    // It refuses capitals, and all that is no token.
    let name = HeaderName::from_lowercase(name).map_err(|_| MALFORMED)?;
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if OF_CONNECTIONS.contains(&name.as_str())
        || name == TE && value != b"trailers"
        || is_space(value.first())
        || is_space(value.last()) && name != COOKIE
    {
        return Err(MALFORMED);
    }
    let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).map_err(|_| MALFORMED)?;
    Ok((name, value))
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.as_bytes();
        if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
            return Err(MALFORMED);
        }
        let value = digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        if length.replace(value).is_some_and(|other| other != value) {
            return Err(MALFORMED);
        }
    }
    Ok(length)
}

// === impl Pseudo ===

impl Pseudo {
    /// Each may occur once: of two paths, one would be checked and the other served.
    fn take(&mut self, name: &[u8], value: Vec<u8>, config: &Config) -> Result<(), Refusal> {
        let is_second = match name {
            b":method" => self.method.replace(Method::from_bytes(&value).map_err(|_| MALFORMED)?).is_some(),
            b":scheme" => {
                let scheme = Scheme::try_from(&value[..]).map_err(|_| MALFORMED)?;
                self.scheme.replace(scheme).is_some()
            }
            b":authority" => {
                if !is_host(&value) || value.is_empty() {
                    return Err(BAD);
                }
                self.authority.replace(Authority::from_maybe_shared(value).map_err(|_| BAD)?).is_some()
            }
            b":path" => {
                if value.len() > config.max_uri {
                    return Err(Refusal::Status(StatusCode::URI_TOO_LONG));
                }
                if value.iter().any(|&byte| byte <= b' ' || byte == 0x7f) || !matches!(value.first(), Some(b'/' | b'*')) {
                    return Err(MALFORMED);
                }
                self.path.replace(PathAndQuery::from_maybe_shared(value).map_err(|_| BAD)?).is_some()
            }
            _ => return Err(MALFORMED),
        };
        if is_second { Err(MALFORMED) } else { Ok(()) }
    }

    fn uri(self, method: &Method, headers: &HeaderMap) -> Result<Uri, Refusal> {
        let (scheme, path) = (self.scheme.ok_or(MALFORMED)?, self.path.ok_or(MALFORMED)?);
        if scheme != Scheme::HTTPS && scheme != Scheme::HTTP || path.path().starts_with('*') && method != Method::OPTIONS {
            return Err(BAD);
        }
        let mut hosts = headers.get_all(HOST).iter();
        let authority = match (self.authority, hosts.next(), hosts.next()) {
            (_, _, Some(_)) => return Err(BAD),
            (Some(authority), None, None) => authority,
            (Some(authority), Some(host), None) if host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
                authority
            }
            (None, Some(host), None) if is_host(host.as_bytes()) => Authority::try_from(host.as_bytes()).map_err(|_| BAD)?,
            _ => return Err(BAD),
        };
        let mut parts = http::uri::Parts::default();
        (parts.scheme, parts.authority, parts.path_and_query) = (Some(scheme), Some(authority), Some(path));
        Uri::from_parts(parts).map_err(|_| BAD)
    }
}

// === impl Refusal ===

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// An answer's head as a frame, without what speaks of connections.
pub(super) fn answer(status: StatusCode, mut headers: HeaderMap) -> bytes::Bytes {
    for name in OF_CONNECTIONS {
        headers.remove(name);
    }
    section(Some(status), &headers)
}

/// A field section as a frame.
pub(super) fn section(status: Option<StatusCode>, headers: &HeaderMap) -> bytes::Bytes {
    let section = qpack::encode(status, headers);
    let mut bytes = frame::head(HEADERS, section.len());
    bytes.extend_from_slice(&section);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn config() -> Config {
        let time = Duration::from_secs(1);
        Config {
            max_header_bytes: 1000,
            max_headers: 4,
            max_uri: 100,
            header_timeout: time,
            keepalive_timeout: time,
            write_timeout: time,
            keepalive_requests: 10,
            max_connections: 10,
            max_per_listener: usize::MAX,
            max_per_client: usize::MAX,
            exempt: crate::http::subnet::Subnets::default(),
            max_age: None,
            heads_make_room: false,
            h2c: false,
            max_concurrent_streams: 10,
            drain_idle: time,
        }
    }

    /// The status of a refusal; 0 if the head is malformed, and 200 if it is good.
    fn status(fields: &[(&'static str, &str)]) -> u16 {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes().into(), value.as_bytes().to_vec().into()));
        match parse(fields.collect(), &config()) {
            Ok(_) => 200,
            Err(Refusal::Status(status)) => status.as_u16(),
            Err(Refusal::Fault(_)) => 0,
        }
    }

    const GOOD: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/a?b=c")];

    #[test]
    fn a_request_is_what_its_pseudo_header_fields_say() {
        let fields = GOOD.iter().chain(&[("cookie", "a=b"), ("content-length", "5")]);
        let fields = fields.map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into())).collect();
        let Head { parts, content_length } = parse(fields, &config()).unwrap();
        assert_eq!((parts.method, parts.version), (Method::GET, Version::HTTP_3));
        assert_eq!((parts.uri.to_string(), content_length), ("https://a.test/a?b=c".into(), Some(5)));
        assert_eq!(parts.headers.len(), 2);
    }

    #[test]
    fn heads_that_could_mean_two_things_are_refused() {
        let with = |more: &[(&'static str, &'static str)]| status(&[&GOOD[..], more].concat());
        assert_eq!(with(&[("host", "A.test"), ("te", "trailers"), ("content-length", "5"), ("content-length", "5")]), 200);
        for malformed in [
            (":path", "/other"),
            (":status", "200"),
            (":protocol", "websocket"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("keep-alive", "5"),
            ("proxy-connection", "close"),
            ("te", "gzip"),
            ("X-Capital", "a"),
            ("a b", "c"),
            ("", "empty"),
            ("a", "b\r\nc: d"),
            ("a", "b\0"),
            ("a", " b"),
            ("a", "b\t"),
            ("content-length", "+5"),
            ("content-length", "5, 5"),
            ("content-length", ""),
        ] {
            assert_eq!(with(&[malformed]), 0, "{malformed:?}");
        }
        assert_eq!(with(&[("content-length", "5"), ("content-length", "6")]), 0);
        assert_eq!(with(&[("host", "b.test")]), 400);
        assert_eq!(with(&[("host", "a.test"), ("host", "a.test")]), 400);
        assert_eq!(with(&[("a", "b"); 5]), 431);
        assert_eq!(status(&[&[("a", "b")], &GOOD[..]].concat()), 0, "a pseudo-header field after others");
        for missing in [0, 1, 3] {
            let mut fields = GOOD.to_vec();
            fields.remove(missing);
            assert_eq!(status(&fields), 0, "without {}", GOOD[missing].0);
        }
    }

    #[test]
    fn what_is_asked_for_has_its_form() {
        let changed = |at: usize, value: &str| {
            let mut fields: Vec<(&'static str, &str)> = GOOD.to_vec();
            fields[at].1 = value;
            status(&fields)
        };
        for (at, value, expected) in [
            (0, "M-SEARCH", 200),
            (0, "CONNECT", 405),
            (0, "G T", 0),
            (0, "", 0),
            (1, "http", 200),
            (1, "ftp", 400),
            (1, "", 400),
            (2, "a.test:443", 200),
            (2, "user@a.test", 400),
            (2, "a.test/b", 400),
            (2, "", 400),
            (3, "", 0),
            (3, "a", 0),
            (3, "https://b.test/", 0),
            (3, "/a b", 0),
            (3, "/a\0", 0),
            (3, "*", 400),
        ] {
            assert_eq!(changed(at, value), expected, "{} {value:?}", GOOD[at].0);
        }
        assert_eq!(changed(3, &format!("/{}", "a".repeat(100))), 414);
        let mut options = GOOD.to_vec();
        (options[0].1, options[3].1) = ("OPTIONS", "*");
        assert_eq!(status(&options), 200);
        let mut hosted = GOOD.to_vec();
        hosted[2] = ("host", "a.test");
        hosted.rotate_left(3);
        assert_eq!(status(&hosted), 200, "host in the place of :authority");
    }
}
