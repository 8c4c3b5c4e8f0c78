//! `headers`: what is added to requests and to answers, and CORS.

use http::{HeaderMap, HeaderName, HeaderValue, Response, request::Parts};

use super::{Note, Verdict, cors::Cors};
use crate::http::Body;

/// Adds headers.
#[derive(Debug)]
pub struct Headers {
    /// To each request.
    pub request: Vec<(HeaderName, HeaderValue)>,
    /// To each answer that has none of that name.
    pub response: Vec<(HeaderName, HeaderValue)>,
    /// What other sites may ask; with none, browsers let them do nothing.
    pub cors: Option<Cors>,
}

// === impl Headers ===

impl Headers {
    pub(super) fn before(&self, parts: &mut Parts) -> Verdict {
        let allowed = match &self.cors {
            Some(cors) if Cors::is_preflight(parts) => {
                return Verdict::Answer(self.after(Note::Nothing, cors.preflight(&parts.headers)).into());
            }
            Some(cors) => Note::Headers(cors.actual(&parts.method, &parts.headers)),
            None => Note::Nothing,
        };
        for (name, value) in &self.request {
            parts.headers.append(name, value.clone());
        }
        Verdict::Pass(allowed)
    }

    pub(super) fn after(&self, note: Note, mut response: Response<Body>) -> Response<Body> {
        if let Note::Headers(headers) = note {
            merge(response.headers_mut(), headers);
        }
        for (name, value) in &self.response {
            response.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        response
    }
}

/// Adds `more`; a script's own words stand, but for lists, which grow.
fn merge(headers: &mut HeaderMap, more: Vec<(HeaderName, HeaderValue)>) {
    for (name, value) in more {
        if name == http::header::VARY {
            headers.append(name, value);
        } else {
            headers.entry(name).or_insert(value);
        }
    }
}
