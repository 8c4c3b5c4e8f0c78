//! `compress` and `gzip`: answers made smaller for clients that take it.

mod body;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body::Body as _;

pub use body::Compressed;

use super::{Note, Verdict};
use crate::http::{
    Body,
    files::{Coding, choose},
};

/// Compresses what is worth it.
#[derive(Debug)]
pub struct Compress {
    /// What may be chosen, the preferred one first.
    pub codings: Vec<Coding>,
    /// Answers known to be shorter are left alone.
    pub min_size: u64,
    /// How hard each tries.
    pub levels: Levels,
}

/// How hard each coding tries.
#[derive(Clone, Copy, Debug)]
pub struct Levels {
    /// 1 to 9.
    pub gzip: u32,
    /// 0 to 11.
    pub brotli: u32,
    /// 1 to 19.
    pub zstd: u32,
}

// === impl Compress ===

impl Compress {
    pub(super) fn before(&self, parts: &Parts) -> Verdict {
        let chosen = choose(self.codings.iter().copied(), &parts.headers).map(|index| self.codings[index]);
        Verdict::Pass(Note::Coding { chosen, is_head: parts.method == Method::HEAD })
    }

    pub(super) fn after(&self, note: &Note, response: Response<Body>) -> Response<Body> {
        let Note::Coding { chosen, is_head } = *note else { return response };
        if !self.is_worth_it(&response, is_head) {
            return varied(response, chosen.is_some());
        }
        let (mut parts, body) = response.into_parts();
        vary(&mut parts.headers);
        // Of a HEAD whose GET has a length that nobody knows, it is not known whether that would be compressed.
        let is_known = !is_head || parts.headers.contains_key(header::CONTENT_LENGTH);
        let Some(coding) = chosen.filter(|_| is_known) else { return Response::from_parts(parts, body) };
        let known = known(&body, coding);
        let length = known.as_ref().map(Bytes::len);
        let body = match known {
            Some(bytes) => Ok(Body::from(bytes)),
            None => Compressed::new(body, coding, self.levels).map(|compressed| Body::Compressed(Box::new(compressed))),
        };
        let body = match body {
            Ok(_) if is_head => Body::Empty,
            Ok(body) => body,
            Err((body, error)) => {
                tracing::warn!(%error, coding = coding.name(), "not compressed");
                return Response::from_parts(parts, body);
            }
        };
        parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        for name in WRONG_NOW {
            parts.headers.remove(name);
        }
        if let Some(length) = length {
            parts.headers.insert(header::CONTENT_LENGTH, length.into());
        }
        weaken(&mut parts.headers);
        Response::from_parts(parts, body)
    }

    fn is_worth_it(&self, response: &Response<Body>, is_head: bool) -> bool {
        let headers = response.headers();
        let status = response.status();
        let has_body = !status.is_informational()
            && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT);
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        // A script's answer to HEAD has no body, and perhaps the fields of the one that GET has.
        let sent = response.body().size_hint().exact().filter(|length| *length > 0 || !is_head);
        let length = sent.or(declared);
        has_body
            && length.is_none_or(|length| length >= self.min_size.max(1))
            && !headers.contains_key(header::CONTENT_ENCODING)
            && !headers.contains_key(header::CONTENT_RANGE)
            && !forbids(headers)
            && headers.get(header::CONTENT_TYPE).is_some_and(|kind| is_compressible(kind.as_bytes()))
    }
}

/// An answer that stands for another one: what the whole answer would depend on is said here too (RFC 9110, 15.3.7 and 15.4.5).
fn varied(mut response: Response<Body>, is_understood: bool) -> Response<Body> {
    let of_file = || response.headers().get(header::CONTENT_TYPE).is_none_or(|kind| is_compressible(kind.as_bytes()));
    let is_part = matches!(response.status(), StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT);
    if is_part && !forbids(response.headers()) && of_file() {
        vary(response.headers_mut());
        // The tag of the whole answer, which is not sent as it was.
        if is_understood && response.status() == StatusCode::NOT_MODIFIED {
            weaken(response.headers_mut());
        }
    }
    response
}

/// What others were sent of a file.
fn known(body: &Body, coding: Coding) -> Option<Bytes> {
    if let Body::Kept(kept) = body { kept.form(coding) } else { None }
}

/// `no-transform` is about us.
fn forbids(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

/// What is text in one way or another; images, films and archives are compressed already. Events are to be seen one by one, and
/// there are proxies and clients that hold them back until they can decode a whole block.
fn is_compressible(kind: &[u8]) -> bool {
    let Ok(kind) = std::str::from_utf8(kind) else { return false };
    let kind = kind.split(';').next().unwrap_or(kind).trim().to_ascii_lowercase();
    let kind = kind.as_str();
    (kind.starts_with("text/") && kind != "text/event-stream")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || kind.ends_with("+text")
        || TEXTUAL.contains(&kind)
}

fn vary(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::VARY).iter().filter_map(|value| value.to_str().ok());
    let names =
        |line: &str| line.split(',').any(|name| matches!(name.trim().to_ascii_lowercase().as_str(), "*" | "accept-encoding"));
    if !lines.any(names) {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Other bytes under the same tag are allowed for a weak one only (RFC 9110, 8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let weak =
        headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")).map(|tag| [b"W/", tag.as_bytes()].concat());
    if let Some(tag) = weak.and_then(|tag| HeaderValue::from_bytes(&tag).ok()) {
        headers.insert(header::ETAG, tag);
    }
}

/// Headers that speak of the bytes as they were; digests are of the encoded ones (RFC 9530, 2 and 3).
const WRONG_NOW: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

const TEXTUAL: &[&str] = &[
    "application/ecmascript",
    "application/javascript",
    "application/json",
    "application/manifest+json",
    "application/rtf",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/x-icon",
];

#[cfg(test)]
mod tests;
