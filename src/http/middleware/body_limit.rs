//! `body_limit`: the largest request body by path, within `http.max_request_size`.

use http::{HeaderValue, StatusCode, header, request::Parts};

use super::{Note, Verdict};
use crate::http::{known::Known, response};

/// Refuses large bodies where none are wanted.
#[derive(Debug)]
pub struct BodyLimit {
    /// Paths, or those that begin alike, and bytes; the first that matches counts.
    pub limits: Vec<(String, u64)>,
}

/// The bytes that a request's body may have, for whoever receives it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most(pub(crate) u64);

// === impl BodyLimit ===

impl BodyLimit {
    pub(super) fn before(&self, parts: &mut Parts, known: &Known) -> Verdict {
        let Some(most) = known.least(&self.limits) else { return Verdict::Pass(Note::Nothing) };
        let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|announced| announced > most) {
            let mut response = response::plain(StatusCode::PAYLOAD_TOO_LARGE);
            // The body stays unread, so nothing after it can be a request.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return Verdict::Answer(response.into());
        }
        parts.extensions.insert(Most(most));
        Verdict::Pass(Note::Nothing)
    }
}
