//! The URL path as the file system may see it: decoded once, without dot segments, never above its root.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The path `raw` of a request target, decoded and resolved; none if no honest client sends it.
///
/// A path that is not UTF-8 keeps going with replacement characters: it can name no file of ours, and an application with old
/// Latin-1 links reads `REQUEST_URI`, which stays as sent.
pub(in crate::http) fn decode(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('%') {
        return resolve(raw);
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            byte => byte,
        });
    }
    let decoded = String::from_utf8_lossy(&bytes);
    resolve(&decoded).map(|path| Cow::Owned(path.into_owned()))
}

/// `path`, which is decoded already, with slashes merged and dot segments resolved; none above the root.
pub(super) fn resolve(path: &str) -> Option<Cow<'_, str>> {
    let bytes = path.as_bytes();
    // NUL would end the name early in C; CR and LF could split a header that repeats the path.
    if bytes.first() != Some(&b'/') || memchr::memchr3(b'\0', b'\r', b'\n', bytes).is_some() {
        return None;
    }
    if !bytes.windows(2).any(|pair| pair == b"//" || pair == b"/.") {
        return Some(Cow::Borrowed(path));
    }
    let mut resolved = String::with_capacity(path.len());
    let mut is_directory = false;
    for segment in path[1..].split('/') {
        is_directory = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => resolved.truncate(resolved.rfind('/')?),
            segment => {
                resolved.push('/');
                resolved.push_str(segment);
            }
        }
    }
    if is_directory {
        resolved.push('/');
    }
    Some(Cow::Owned(resolved))
}

/// `path` as it stands in a `Location`: a path of this site whatever it contains.
pub(super) fn encode(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

/// `value` as it stands in a query string.
pub(super) fn encode_value(value: &str) -> String {
    utf8_percent_encode(value, VALUE).to_string()
}

/// Appends a query string as the client sent it, made safe for a header.
pub(in crate::http) fn push_query(location: &mut String, query: &str) {
    if !query.is_empty() {
        location.push(if location.contains('?') { '&' } else { '?' });
        location.extend(utf8_percent_encode(query, QUERY));
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

// The backslash is encoded: browsers read `/\host` as `//host`.
const PATH: &AsciiSet = &VALUE
    .remove(b'!')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

const QUERY: &AsciiSet = &percent_encoding::CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_once_and_resolves_like_nginx() {
        for (raw, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a%2fb", "/a/b"),
            ("/a//b///c", "/a/b/c"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/%2E./b", "/b"),
            ("/%252e%252e/a", "/%2e%2e/a"),
            ("/a%5c..%5cb", "/a\\..\\b"),
            ("/a+b%20c", "/a+b c"),
            ("/a%3fb%23c", "/a?b#c"),
            ("/...", "/..."),
            ("//evil.com/..", "/"),
            ("//evil.com/%2e%2e/", "/"),
            ("/caf%C3%A9", "/café"),
            ("/caf%E9", "/caf\u{fffd}"),
        ] {
            assert_eq!(decode(raw).as_deref(), Some(expected), "{raw}");
        }
    }

    #[test]
    fn refuses_what_no_honest_client_sends() {
        for raw in [
            "",
            "*",
            "a",
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/a%00b",
            "/a%0db",
            "/a%0ab",
            "/..",
            "/../etc/passwd",
            "/a/../../b",
            "/%2e%2e/etc/passwd",
            "/%2e%2e%2fetc/passwd",
            "/a/%2e%2e/%2e%2e/b",
            "/..%2f",
            "/a//../..",
        ] {
            assert_eq!(decode(raw), None, "{raw}");
        }
    }

    #[test]
    fn a_location_cannot_leave_the_site() {
        assert_eq!(encode("/\\evil.com/"), "/%5Cevil.com/");
        let mut location = encode("/a b/");
        push_query(&mut location, "x=1&y=\"");
        assert_eq!(location, "/a%20b/?x=1&y=%22");
    }
}
