//! Answers: a script's head in CGI spelling, and the pages that are made here.
//!
//! What a script says with a status that has no body is passed on as php-fpm does it: HTTP is what the web server speaks.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::worker::{Failure, Head, Reply, ReplyBody};

/// Adds the head as php-fpm writes it, with the blank line that ends it.
pub(super) fn put_head(into: &mut BytesMut, head: &Head) {
    let own_status = head.status != StatusCode::OK || head.reason.is_some();
    // A script may have sent a `Status` field; it stands unless it also gave a reason phrase.
    let script_status = head.headers.contains_key(STATUS) && head.reason.is_none();
    if own_status && !script_status {
        into.put_slice(b"Status: ");
        into.put_slice(head.status.as_str().as_bytes());
        let reason = head.reason.as_deref().or_else(|| head.status.canonical_reason().map(str::as_bytes));
        if let Some(reason) = reason {
            into.put_u8(b' ');
            into.put_slice(reason);
        }
        into.put_slice(b"\r\n");
    }
    if !head.lines.is_empty() {
        into.put_slice(&head.lines);
        into.put_slice(b"\r\n");
        return;
    }
    for (name, value) in &head.headers {
        let repeated = name == STATUS && !script_status;
        if repeated || (head.status == StatusCode::NOT_MODIFIED && name == header::CONTENT_TYPE) {
            continue;
        }
        put_name(into, name);
        into.put_slice(b": ");
        into.put_slice(value.as_bytes());
        into.put_slice(b"\r\n");
    }
    into.put_slice(b"\r\n");
}

/// A page made here.
pub(super) fn page(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Reply {
        head: Head { status, reason: None, headers, lines: Vec::new() },
        body: ReplyBody::Whole(body.into()),
        log: String::new(),
        request: None,
    }
}

/// A page that says no more than its status.
pub(super) fn error(status: StatusCode) -> Reply {
    let mut reply = page(status, HTML, format!("{}\n", status.canonical_reason().unwrap_or("Error")));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply.head.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}

/// The page for work that got no reply.
pub(super) fn failure(failure: Failure) -> Reply {
    error(match failure {
        Failure::QueueTimeout | Failure::NoWorker | Failure::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        Failure::RequestTimeout => StatusCode::GATEWAY_TIMEOUT,
        Failure::WorkerLost | Failure::NoAnswer => StatusCode::INTERNAL_SERVER_ERROR,
    })
}

/// `content-type` → `Content-Type`: what hand-written clients look for.
fn put_name(into: &mut BytesMut, name: &HeaderName) {
    // PHP's own spelling of its default header, which its tests compare by the byte.
    if name == header::CONTENT_TYPE {
        return into.put_slice(b"Content-type");
    }
    let mut start = true;
    for byte in name.as_str().bytes() {
        into.put_u8(if start { byte.to_ascii_uppercase() } else { byte });
        start = byte == b'-';
    }
}

/// The content type of a page that php-fpm makes itself.
pub(super) const HTML: &str = "text/html; charset=UTF-8";

const STATUS: HeaderName = HeaderName::from_static("status");

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, reason: Option<&str>, headers: &[(&'static str, &'static str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        let reason = reason.map(|reason| reason.as_bytes().into());
        let mut bytes = BytesMut::new();
        put_head(&mut bytes, &Head { status, reason, headers: map, lines: Vec::new() });
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[test]
    fn the_status_is_said_when_it_is_not_the_usual() {
        assert_eq!(head(200, None, &[("x-a", "1")]), "X-A: 1\r\n\r\n");
        assert_eq!(head(404, None, &[]), "Status: 404 Not Found\r\n\r\n");
        assert_eq!(head(404, Some("Gone fishing"), &[]), "Status: 404 Gone fishing\r\n\r\n");
        assert_eq!(head(299, None, &[]), "Status: 299\r\n\r\n");
        assert_eq!(head(200, Some("Fine"), &[]), "Status: 200 Fine\r\n\r\n");
        assert_eq!(head(500, None, &[("status", "503 Busy")]), "Status: 503 Busy\r\n\r\n");
        assert_eq!(head(200, None, &[("status", "404 No")]), "Status: 404 No\r\n\r\n");
        assert_eq!(head(500, Some("Own"), &[("status", "503 Busy")]), "Status: 500 Own\r\n\r\n");
    }

    #[test]
    fn every_line_of_a_field_is_sent() {
        assert_eq!(
            head(200, None, &[("set-cookie", "a=1"), ("set-cookie", "b=2")]),
            "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"
        );
    }

    #[test]
    fn not_modified_has_no_type() {
        assert_eq!(head(304, None, &[("content-type", "text/html")]), "Status: 304 Not Modified\r\n\r\n");
    }
}
