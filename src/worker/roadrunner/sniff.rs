//! The content type of a body whose worker named none: RoadRunner's server names one, and applications have come to rely on it.

use http::{HeaderValue, StatusCode, header};

use crate::worker::Head;

/// Names the content type of `body` in `head`, unless that does or there is none; in its lines too if it is `spelled`.
pub(super) fn name_content_type(head: &mut Head, body: &[u8], spelled: bool) {
    let has_none = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) || body.is_empty();
    let is_named = head.headers.contains_key(header::CONTENT_TYPE);
    // What is packed says nothing of what it is.
    if has_none || is_named || head.headers.contains_key(header::CONTENT_ENCODING) {
        return;
    }
    let named = content_type(&body[..body.len().min(LOOKED_AT)]);
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(named));
    if spelled {
        head.lines.extend_from_slice(format!("Content-Type: {named}\r\n").as_bytes());
    }
}

/// By the rules of the MIME Sniffing Standard, as far as a web application's answers go.
fn content_type(body: &[u8]) -> &'static str {
    let text = body.trim_ascii_start();
    if HTML.iter().any(|tag| begins_with_tag(text, tag)) {
        return "text/html; charset=utf-8";
    }
    if text.starts_with(b"<?xml") {
        return "text/xml; charset=utf-8";
    }
    if body.starts_with(b"RIFF") && body.get(8..14) == Some(b"WEBPVP") {
        return "image/webp";
    }
    if let Some((_, named)) = MARKS.iter().find(|(mark, _)| body.starts_with(mark)) {
        return named;
    }
    let is_binary = |byte: &u8| matches!(byte, 0x00..=0x08 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
    if body.iter().any(is_binary) { "application/octet-stream" } else { "text/plain; charset=utf-8" }
}

fn begins_with_tag(text: &[u8], tag: &[u8]) -> bool {
    let begins = text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    begins && (tag == b"<!--" || matches!(text.get(tag.len()), Some(b' ' | b'>')))
}

/// Bytes of a body that are looked at.
const LOOKED_AT: usize = 512;

const HTML: &[&[u8]] = &[
    b"<!DOCTYPE HTML",
    b"<HTML",
    b"<HEAD",
    b"<SCRIPT",
    b"<IFRAME",
    b"<H1",
    b"<DIV",
    b"<FONT",
    b"<TABLE",
    b"<A",
    b"<STYLE",
    b"<TITLE",
    b"<B",
    b"<BODY",
    b"<BR",
    b"<P",
    b"<!--",
];

const MARKS: &[(&[u8], &str)] = &[
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"\xfe\xff", "text/plain; charset=utf-16be"),
    (b"\xff\xfe", "text/plain; charset=utf-16le"),
    (b"\xef\xbb\xbf", "text/plain; charset=utf-8"),
    (b"\0\0\x01\0", "image/x-icon"),
    (b"BM", "image/bmp"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"OggS\0", "application/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"\0asm", "application/wasm"),
];

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn named(status: u16, given: &[(header::HeaderName, &'static str)], body: &[u8]) -> Option<String> {
        let headers = given.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let mut head = Head {
            status: StatusCode::from_u16(status).unwrap(),
            reason: None,
            headers: HeaderMap::from_iter(headers),
            lines: Vec::new(),
        };
        name_content_type(&mut head, body, true);
        head.headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn bodies_are_known_by_how_they_begin() {
        for (body, expected) in [
            (&b"Hello"[..], "text/plain; charset=utf-8"),
            (br#"{"json":true}"#, "text/plain; charset=utf-8"),
            (b"\n  <!doctype html><html>", "text/html; charset=utf-8"),
            (b"<p>text", "text/html; charset=utf-8"),
            (b"<br/>", "text/plain; charset=utf-8"),
            (b"<pre>", "text/plain; charset=utf-8"),
            (b"<!--x", "text/html; charset=utf-8"),
            (b"<?xml version", "text/xml; charset=utf-8"),
            (b"%PDF-1.7", "application/pdf"),
            (b"\x89PNG\r\n\x1a\n\0", "image/png"),
            (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
            (b"a\0b", "application/octet-stream"),
            (b"caf\xc3\xa9", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(named(200, &[], body).as_deref(), Some(expected), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn what_is_named_packed_or_empty_is_left_alone() {
        assert_eq!(named(200, &[(header::CONTENT_TYPE, "a/b")], b"x").as_deref(), Some("a/b"));
        assert_eq!(named(200, &[(header::CONTENT_ENCODING, "br")], b"x"), None);
        assert_eq!(named(200, &[], b""), None);
        assert_eq!(named(304, &[], b"x"), None);
    }
}
