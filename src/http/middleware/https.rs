//! `http.ssl.redirect`: whoever comes without TLS is told to come with it, and to remember.

use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use super::{Note, Verdict};
use crate::http::{Body, Peer, response};

/// Redirects to the TLS listener.
#[derive(Debug)]
pub struct Https {
    /// Where that listens.
    pub port: u16,
    /// `Strict-Transport-Security`, unless a script has its own.
    pub hsts: Option<HeaderValue>,
}

/// The port that a URL need not name.
const USUAL: u16 = 443;

// === impl Https ===

impl Https {
    pub(super) fn before(&self, parts: &Parts, peer: &Peer) -> Verdict {
        if peer.secure.is_some() {
            return Verdict::Pass(Note::Secure);
        }
        let named = parts.uri.authority().map(|authority| authority.as_str());
        let named = named.or_else(|| parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()));
        let local = peer.local.map(|local| local.to_string());
        let Some(host) = named.or(local.as_deref()).and_then(without_port) else {
            return Verdict::Answer(response::plain(StatusCode::BAD_REQUEST).into());
        };
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let location = match self.port {
            USUAL => format!("https://{host}{target}"),
            port => format!("https://{host}:{port}{target}"),
        };
        Verdict::Answer(response::redirect(StatusCode::PERMANENT_REDIRECT, &location).into())
    }

    pub(super) fn after(&self, note: &Note, mut response: Response<Body>) -> Response<Body> {
        if let (Note::Secure, Some(hsts)) = (note, &self.hsts) {
            response.headers_mut().entry(header::STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.clone());
        }
        response
    }
}

/// A host that may stand in a URL as it is.
fn without_port(host: &str) -> Option<&str> {
    let bare = match host.strip_prefix('[') {
        Some(rest) => &host[..rest.find(']')? + 2],
        None => host.split_once(':').map_or(host, |(bare, _)| bare),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    (!bare.is_empty() && bare.bytes().all(is_plain)).then_some(bare)
}
