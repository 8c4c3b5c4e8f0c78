//! `request_id`: each request has a name, which its client, its script and the access log know.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use http::{HeaderName, HeaderValue, Response, request::Parts};

use super::{Note, Verdict};
use crate::http::Body;

/// Names requests.
#[derive(Debug)]
pub struct RequestId {
    header: HeaderName,
    trust: bool,
    keys: [RandomState; 2],
    counter: AtomicU64,
}

/// A request's name, for the access log.
#[derive(Clone, Debug)]
pub(crate) struct Name(pub(crate) HeaderValue);

/// Longer names are not taken over.
const LONGEST: usize = 128;

// === impl RequestId ===

impl RequestId {
    /// By `header`; `trust` takes over the names that requests come with.
    pub fn new(header: HeaderName, trust: bool) -> Self {
        Self { header, trust, keys: [RandomState::new(), RandomState::new()], counter: AtomicU64::new(0) }
    }

    pub(super) fn before(&self, parts: &mut Parts) -> Verdict {
        let given = parts.headers.get(&self.header).filter(|given| self.trust && is_name(given.as_bytes())).cloned();
        let name = given.unwrap_or_else(|| self.make());
        parts.headers.insert(&self.header, name.clone());
        parts.extensions.insert(Name(name.clone()));
        Verdict::Pass(Note::Name(name))
    }

    pub(super) fn after(&self, note: Note, mut response: Response<Body>) -> Response<Body> {
        if let Note::Name(name) = note {
            response.headers_mut().insert(&self.header, name);
        }
        response
    }

    /// A UUID of version 4, as far as anybody can tell: no two alike, and none that says how many came before.
    fn make(&self) -> HeaderValue {
        let number = self.counter.fetch_add(1, Relaxed);
        let [high, low] = [0, 1].map(|half| self.keys[half].hash_one(number));
        let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0x0fff);
        let (d, e) = (low >> 48 & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
        HeaderValue::try_from(format!("{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}")).expect("made of hexadecimal digits")
    }
}

/// What is safe in every log.
fn is_name(given: &[u8]) -> bool {
    let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(byte);
    (1..=LONGEST).contains(&given.len()) && given.iter().all(is_fit)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use http::Request;

    use super::*;

    #[test]
    fn a_good_name_is_taken_over_if_it_is_trusted_and_none_is_given_twice() {
        const HEADER: HeaderName = HeaderName::from_static("x-request-id");
        let name = |ids: &RequestId, given: &str| {
            let mut parts = Request::get("/").header(HEADER, given).body(()).unwrap().into_parts().0;
            assert!(matches!(ids.before(&mut parts), Verdict::Pass(Note::Name(_))));
            parts.headers[HEADER].to_str().unwrap().to_owned()
        };
        let (trusting, wary) = (RequestId::new(HEADER, true), RequestId::new(HEADER, false));
        assert_eq!(name(&trusting, "a-1:b"), "a-1:b");
        for (ids, given) in [(&wary, "a-1"), (&trusting, "a b"), (&trusting, ""), (&trusting, &*"x".repeat(LONGEST + 1))] {
            let made = name(ids, given);
            assert!(made != given && made.len() == 36 && made.as_bytes()[14] == b'4', "{made}");
        }
        let made: HashSet<_> = (0..1000).map(|_| name(&wary, "")).collect();
        assert_eq!(made.len(), 1000);
    }
}
