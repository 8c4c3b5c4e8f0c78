//! What requests pass on their way in, and answers on their way out: one file each.
//!
//! They wrap each other as RoadRunner's do: the last one listed is outermost. Each is two functions: what it does before, which may
//! be to answer, and what it does to the answer. What the first has to tell the second is a [`Note`].

mod compress;
mod cors;
mod headers;
mod https;
mod proxy_ip;
mod sendfile;
pub mod statics;

use http::{HeaderName, HeaderValue, Response, request::Parts};

pub use compress::{Compress, Compressed, Levels};
pub use cors::{Cors, Origins};
pub use headers::Headers;
pub use https::Https;
pub use proxy_ip::{ProxyFact, ProxyHeaders, ProxyIp};
pub use sendfile::{Config as SendfileConfig, Sendfile};
pub use statics::Statics;

use super::{
    Body, Peer,
    files::{Coding, Files},
};

/// One middleware.
#[derive(Debug)]
pub enum Middleware {
    /// Makes answers smaller.
    Compress(Compress),
    /// Adds headers, and speaks CORS.
    Headers(Headers),
    /// Answers without TLS with where to go.
    Https(Https),
    /// Learns from a proxy who the client is.
    ProxyIp(ProxyIp),
    /// Sends the files that scripts name.
    Sendfile(Sendfile),
}

/// Middlewares around each other.
#[derive(Debug)]
pub struct Chain {
    // The outermost first.
    layers: Vec<Middleware>,
}

/// What a middleware does with a request.
enum Verdict {
    Pass(Note),
    Answer(Box<Response<Body>>),
}

/// What a middleware has to remember until the answer comes.
#[derive(Debug)]
enum Note {
    Nothing,
    /// What the client takes.
    Coding(Option<Coding>),
    /// To be added to the answer.
    Headers(Vec<(HeaderName, HeaderValue)>),
    /// What the client asks of a file.
    Asked(Box<sendfile::Asked>),
    /// The request came over TLS.
    Secure,
}

/// The notes of one request, in the order of the layers that it has passed.
#[derive(Debug)]
pub(crate) struct Notes(Vec<Note>);

// === impl Chain ===

impl Chain {
    /// The middlewares in the order of the configuration, innermost first; none if there are none.
    pub fn new(mut listed: Vec<Middleware>) -> Option<Self> {
        listed.reverse();
        (!listed.is_empty()).then_some(Self { layers: listed })
    }

    /// Lets a request pass. The answer, if one of them has it already, still has to go through [`after`](Self::after).
    pub(crate) fn before(&self, parts: &mut Parts, peer: &mut Peer) -> (Notes, Option<Response<Body>>) {
        let mut notes = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            match layer.before(parts, peer) {
                Verdict::Pass(note) => notes.push(note),
                Verdict::Answer(response) => return (Notes(notes), Some(*response)),
            }
        }
        (Notes(notes), None)
    }

    /// Lets an answer pass those that the request has passed. A file that one of them answers with is sent by `files`.
    pub(crate) async fn after(&self, notes: Notes, mut response: Response<Body>, files: &Files) -> Response<Body> {
        for (layer, note) in self.layers.iter().zip(notes.0).rev() {
            response = match (layer, note) {
                (Middleware::Sendfile(sendfile), Note::Asked(asked)) => sendfile.after(*asked, response, files).await,
                (layer, note) => layer.after(note, response),
            };
        }
        response
    }
}

// === impl Middleware ===

impl Middleware {
    fn before(&self, parts: &mut Parts, peer: &mut Peer) -> Verdict {
        match self {
            Self::Compress(compress) => compress.before(parts),
            Self::Headers(headers) => headers.before(parts),
            Self::Https(https) => https.before(parts, peer),
            Self::ProxyIp(proxy_ip) => proxy_ip.before(parts, peer),
            Self::Sendfile(_) => Sendfile::before(parts),
        }
    }

    fn after(&self, note: Note, response: Response<Body>) -> Response<Body> {
        match self {
            Self::Compress(compress) => compress.after(&note, response),
            Self::Headers(headers) => headers.after(note, response),
            Self::Https(https) => https.after(&note, response),
            Self::ProxyIp(_) | Self::Sendfile(_) => response,
        }
    }
}
