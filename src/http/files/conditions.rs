//! Conditional and range requests, in the order of RFC 9110, section 13.2.2.

use std::{
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// What is known of the file.
#[derive(Debug)]
pub(super) struct Validators<'a> {
    /// Without the mark of a weak one; none if none is sent.
    pub(super) etag: Option<&'a HeaderValue>,
    /// The same tag may come with other bytes.
    pub(super) is_weak: bool,
    /// In whole seconds.
    pub(super) modified: SystemTime,
    pub(super) length: u64,
}

/// What is sent of it.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Answer {
    NotModified,
    Part(Range<u64>),
    PreconditionFailed,
    Unsatisfiable,
    Whole,
}

pub(super) fn evaluate(headers: &HeaderMap, method: &Method, file: &Validators<'_>) -> Answer {
    let later = |name| date(headers, name).map(|date| file.modified > date);
    let failed = if headers.contains_key(header::IF_MATCH) {
        !matches(headers, header::IF_MATCH, file, Comparison::Strong)
    } else {
        later(header::IF_UNMODIFIED_SINCE).unwrap_or(false)
    };
    if failed {
        return Answer::PreconditionFailed;
    }
    let not_modified = if headers.contains_key(header::IF_NONE_MATCH) {
        matches(headers, header::IF_NONE_MATCH, file, Comparison::Weak)
    } else {
        later(header::IF_MODIFIED_SINCE).is_some_and(|later| !later)
    };
    if not_modified {
        return Answer::NotModified;
    }
    // A range of a HEAD has no meaning (RFC 9110, 14.2).
    if method != Method::GET || !if_range(headers, file) {
        return Answer::Whole;
    }
    let mut ranges = headers.get_all(header::RANGE).iter();
    match (ranges.next().and_then(|value| value.to_str().ok()), ranges.next()) {
        (Some(value), None) => range(value, file.length),
        _ => Answer::Whole,
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Comparison {
    Strong,
    Weak,
}

fn matches(headers: &HeaderMap, name: HeaderName, file: &Validators<'_>, comparison: Comparison) -> bool {
    headers.get_all(name).iter().any(|value| {
        let mut rest = value.as_bytes().trim_ascii();
        if rest == b"*" {
            return true;
        }
        // A tag may hold a comma, so the list is read tag by tag.
        while !rest.is_empty() {
            let (is_weak, tag) = rest.strip_prefix(b"W/").map_or((false, rest), |tag| (true, tag));
            let Some(length) = tag.strip_prefix(b"\"").and_then(|tag| memchr::memchr(b'"', tag)) else { return false };
            let (tag, after) = tag.split_at(length + 2);
            let is_same = file.etag.is_some_and(|etag| tag == etag.as_bytes());
            if is_same && (comparison == Comparison::Weak || !is_weak && !file.is_weak) {
                return true;
            }
            let start = after.iter().position(|byte| !matches!(byte, b',' | b' ' | b'\t')).unwrap_or(after.len());
            rest = &after[start..];
        }
        false
    })
}

/// False if the client's part is of another state of the file.
fn if_range(headers: &HeaderMap, file: &Validators<'_>) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else { return true };
    if value.as_bytes().contains(&b'"') {
        return !file.is_weak && file.etag.is_some_and(|etag| value == etag);
    }
    date(headers, header::IF_RANGE) == Some(file.modified)
}

/// The date in a field; none if it is absent, repeated or no date, in which cases the field does not count.
fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    httpdate::parse_http_date(value.to_str().ok()?).ok().filter(|date| *date >= UNIX_EPOCH)
}

/// A single range. Several at once are answered with the whole, which RFC 9110 (14.2) allows: nothing that asks for files needs
/// them, and overlapping ones were an attack (CVE-2011-3192).
fn range(value: &str, length: u64) -> Answer {
    let Some((unit, set)) = value.split_once('=') else { return Answer::Whole };
    let Some((first, last)) = set.trim().split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes")) else {
        return Answer::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits beyond 64 bits are a position beyond any file.
        true if !text.is_empty() => Some(text.parse().unwrap_or(u64::MAX)),
        _ => None,
    };
    let (start, end) = match (number(first), number(last)) {
        (Some(start), None) if last.is_empty() => (start, length),
        (Some(start), Some(end)) if start <= end => (start, length.min(end.saturating_add(1))),
        (None, Some(suffix)) if first.is_empty() && suffix > 0 => (length.saturating_sub(suffix), length),
        (None, Some(_)) if first.is_empty() => (length, length),
        _ => return Answer::Whole,
    };
    if start >= length { Answer::Unsatisfiable } else { Answer::Part(start..end) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MODIFIED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    const EARLIER: &str = "Tue, 14 Nov 2023 22:13:19 GMT";
    const LATER: &str = "Tue, 14 Nov 2023 22:13:21 GMT";

    fn answer(fields: &[(&str, &str)]) -> Answer {
        answer_to(&Method::GET, fields)
    }

    fn answer_to(method: &Method, fields: &[(&str, &str)]) -> Answer {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let etag = HeaderValue::from_static("\"a,b\"");
        let modified = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let file = Validators { etag: Some(&etag), is_weak: false, modified, length: 100 };
        evaluate(&headers, method, &file)
    }

    #[test]
    fn a_known_state_is_not_sent_again() {
        for fields in [
            &[("if-none-match", "\"a,b\"")][..],
            &[("if-none-match", "W/\"a,b\"")],
            &[("if-none-match", "\"x\", W/\"y\" , \"a,b\"")],
            &[("if-none-match", "\"x\""), ("if-none-match", "\"a,b\"")],
            &[("if-none-match", "*")],
            &[("if-modified-since", MODIFIED)],
            &[("if-modified-since", LATER)],
            &[("if-none-match", "\"a,b\""), ("if-modified-since", EARLIER), ("range", "bytes=0-1")],
        ] {
            assert_eq!(answer(fields), Answer::NotModified, "{fields:?}");
        }
        for fields in [
            &[("if-none-match", "\"x\"")][..],
            &[("if-none-match", "a,b")],
            &[("if-none-match", "\"a")],
            &[("if-none-match", "\"x\""), ("if-modified-since", LATER)],
            &[("if-modified-since", EARLIER)],
            &[("if-modified-since", "yesterday")],
        ] {
            assert_eq!(answer(fields), Answer::Whole, "{fields:?}");
        }
    }

    #[test]
    fn a_weak_tag_or_none_vouches_for_no_bytes() {
        let ask = |etag: Option<&HeaderValue>, name: HeaderName, value: &'static str| {
            let mut headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-1"));
            let file = Validators { etag, is_weak: true, modified: UNIX_EPOCH, length: 100 };
            evaluate(&headers, &Method::GET, &file)
        };
        let etag = HeaderValue::from_static("\"a\"");
        assert_eq!(ask(Some(&etag), header::IF_NONE_MATCH, "W/\"a\""), Answer::NotModified);
        assert_eq!(ask(Some(&etag), header::IF_MATCH, "\"a\""), Answer::PreconditionFailed);
        assert_eq!(ask(Some(&etag), header::IF_RANGE, "\"a\""), Answer::Whole);
        assert_eq!(ask(None, header::IF_NONE_MATCH, "\"a\""), Answer::Part(0..2));
        assert_eq!(ask(None, header::IF_RANGE, "\"a\""), Answer::Whole);
    }

    #[test]
    fn a_precondition_comes_first() {
        for fields in [
            &[("if-match", "\"x\"")][..],
            &[("if-match", "W/\"a,b\"")],
            &[("if-unmodified-since", EARLIER)],
            &[("if-match", "\"x\""), ("if-none-match", "\"a,b\"")],
        ] {
            assert_eq!(answer(fields), Answer::PreconditionFailed, "{fields:?}");
        }
        for fields in [
            &[("if-match", "*")][..],
            &[("if-match", "\"a,b\"")],
            &[("if-match", "\"a,b\""), ("if-unmodified-since", EARLIER)],
            &[("if-unmodified-since", MODIFIED)],
        ] {
            assert_eq!(answer(fields), Answer::Whole, "{fields:?}");
        }
    }

    #[test]
    fn one_range_is_a_part() {
        for (value, expected) in [
            ("bytes=0-0", Answer::Part(0..1)),
            ("bytes=10-19", Answer::Part(10..20)),
            ("bytes=90-", Answer::Part(90..100)),
            ("bytes=90-1000", Answer::Part(90..100)),
            ("bytes=-10", Answer::Part(90..100)),
            ("bytes=-1000", Answer::Part(0..100)),
            ("Bytes = 0-18446744073709551615", Answer::Part(0..100)),
            ("bytes=0-99999999999999999999999", Answer::Part(0..100)),
            ("bytes=100-", Answer::Unsatisfiable),
            ("bytes=99999999999999999999999-", Answer::Unsatisfiable),
            ("bytes=-0", Answer::Unsatisfiable),
            ("bytes=5-4", Answer::Whole),
            ("bytes=-", Answer::Whole),
            ("bytes=0-1,4-5", Answer::Whole),
            ("bytes=+1-2", Answer::Whole),
            ("lines=0-1", Answer::Whole),
            ("bytes", Answer::Whole),
        ] {
            assert_eq!(answer(&[("range", value)]), expected, "{value}");
        }
        assert_eq!(answer_to(&Method::HEAD, &[("range", "bytes=0-1")]), Answer::Whole);
    }

    #[test]
    fn a_part_of_another_state_is_the_whole() {
        for value in ["\"a,b\"", MODIFIED] {
            assert_eq!(answer(&[("range", "bytes=0-1"), ("if-range", value)]), Answer::Part(0..2), "{value}");
        }
        for value in ["\"x\"", "W/\"a,b\"", EARLIER, LATER, "x"] {
            assert_eq!(answer(&[("range", "bytes=0-1"), ("if-range", value)]), Answer::Whole, "{value}");
        }
    }
}
