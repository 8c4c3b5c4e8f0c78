//! Tells clients that come over TLS that there is HTTP/3 too.

use http::{HeaderValue, Response, Version, header::ALT_SVC, request::Parts};

use super::{Note, Verdict};
use crate::http::{Body, Peer};

/// Where HTTP/3 is (RFC 7838).
#[derive(Debug)]
pub struct AltSvc(pub HeaderValue);

// === impl AltSvc ===

impl AltSvc {
    pub(super) fn before(parts: &Parts, peer: &Peer) -> Verdict {
        let knows_not = peer.secure.is_some() && parts.version != Version::HTTP_3;
        Verdict::Pass(if knows_not { Note::Secure } else { Note::Nothing })
    }

    pub(super) fn after(&self, note: &Note, mut response: Response<Body>) -> Response<Body> {
        if matches!(note, Note::Secure) {
            response.headers_mut().entry(ALT_SVC).or_insert_with(|| self.0.clone());
        }
        response
    }
}
