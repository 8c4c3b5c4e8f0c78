//! What is told of a request whose head is refused, and which nobody is asked to answer.

use http::{StatusCode, Version};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

/// A request that came to nothing.
#[derive(Debug)]
pub struct RefusedHead {
    /// What its client was told.
    pub status: StatusCode,
    /// What it was spoken in.
    pub version: Version,
    /// What was asked for as far as that can be told, shortened, with escapes for what is not to be seen; `-` if nothing is known.
    pub target: String,
}

/// What would not be seen as it is.
const UNSEEN: &AsciiSet = &CONTROLS.add(b' ');

/// Bytes of a target that are told.
const LONGEST: usize = 200;

// === impl RefusedHead ===

impl RefusedHead {
    /// One of whose target nothing is known.
    pub(in crate::http) fn new(status: StatusCode, version: Version) -> Self {
        Self { status, version, target: "-".into() }
    }

    /// The same with its target, whatever that is made of.
    pub(in crate::http) fn with_target(mut self, target: &[u8]) -> Self {
        if !target.is_empty() {
            let rest = if target.len() > LONGEST { "..." } else { "" };
            self.target = percent_encode(&target[..target.len().min(LONGEST)], UNSEEN).to_string() + rest;
        }
        self
    }

    /// One of HTTP/1, of which `head` has come. What does not begin as a request does is told as it is.
    pub(super) fn of_head(status: StatusCode, head: &[u8]) -> Self {
        let mut lines = head.split(|byte| matches!(byte, b'\r' | b'\n'));
        let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let target = match (words.next(), words.next()) {
            (Some(method), Some(target)) if http::Method::from_bytes(method).is_ok() && !target.is_empty() => target,
            _ => line,
        };
        Self::new(status, Version::HTTP_11).with_target(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_told_if_there_is_one() {
        let target = |head: &[u8]| RefusedHead::of_head(StatusCode::BAD_REQUEST, head).target;
        assert_eq!(target(b"GET /a\"b\xff HTTP/1.1\r\nHost: x"), "/a\"b%FF");
        assert_eq!(target(b"\r\nGET /a"), "/a");
        assert_eq!(target(b"\x16\x03 \x01\n"), "%16%03%20%01");
        assert_eq!(target(b"GET"), "GET");
        assert_eq!(target(b""), "-");
        assert_eq!(target(&[b"GET /", &[b'a'; 500][..]].concat()).len(), LONGEST + 3);
    }
}
