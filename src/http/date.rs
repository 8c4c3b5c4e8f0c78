//! The `Date` of answers, RFC 9110 §6.6.1.
//!
//! hyper would add one, but keeps it until the clock passes the second that follows: when the clock is set back, for as long.

use std::{
    cell::RefCell,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderValue, header::DATE};

thread_local! {
    /// A second and its date, for all answers in it.
    static NOW: RefCell<(u64, HeaderValue)> = const { RefCell::new((u64::MAX, HeaderValue::from_static(""))) };
}

/// Dates an answer, unless it is.
pub(super) fn add(headers: &mut HeaderMap) {
    headers.entry(DATE).or_insert_with(now);
}

/// The date of an answer that is made now.
pub(super) fn now() -> HeaderValue {
    at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// The last second that has a date, 9999-12-31 23:59:59: a year has four digits.
pub(super) const LAST_SECOND: u64 = 253_402_300_799;

/// The date that many seconds after 1970.
fn at(second: u64) -> HeaderValue {
    let second = second.min(LAST_SECOND);
    NOW.with_borrow_mut(|(of, date)| {
        if *of != second {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            (*of, *date) = (second, HeaderValue::from_str(&text).expect("a date has no control characters"));
        }
        date.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_follows_the_clock_in_both_directions() {
        for (second, expected) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_778, "Sun, 06 Nov 1994 08:49:38 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(at(second), expected);
        }
    }

    #[test]
    fn an_answer_keeps_a_date_of_its_own() {
        let mut headers = HeaderMap::new();
        add(&mut headers);
        assert!(httpdate::parse_http_date(headers[DATE].to_str().unwrap()).is_ok());
        headers.insert(DATE, HeaderValue::from_static("mine"));
        add(&mut headers);
        assert_eq!(headers[DATE], "mine");
    }
}
