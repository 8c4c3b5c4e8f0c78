//! What requests pass on their way in, and answers on their way out: one file each.
//!
//! They wrap each other as RoadRunner's do: the last one listed is outermost. Each is two functions: what it does before, which may
//! be to answer, and what it does to the answer. What the first has to tell the second is a [`Note`].

mod alt_svc;
mod basic_auth;
mod body_limit;
mod circuit_breaker;
mod compress;
mod cors;
mod headers;
mod http_metrics;
mod https;
mod ip_filter;
mod maintenance;
mod paths;
mod proxy_ip;
mod rate_limit;
mod redirect;
mod remote;
mod request_id;
mod sendfile;
pub mod statics;

use http::{HeaderName, HeaderValue, Response, request::Parts};

pub use alt_svc::AltSvc;
pub(crate) use basic_auth::credentials;
pub use basic_auth::{BasicAuth, Config as BasicAuthConfig, Users};
pub use body_limit::BodyLimit;
pub(crate) use body_limit::Most;
pub use circuit_breaker::{CircuitBreaker, Config as CircuitBreakerConfig};
pub use compress::{Compress, Compressed, Levels};
pub use cors::{Cors, Origins};
pub use headers::Headers;
pub use http_metrics::HttpMetrics;
pub use https::Https;
pub use ip_filter::IpFilter;
pub use maintenance::{Config as MaintenanceConfig, Maintenance};
pub use paths::Paths;
pub use proxy_ip::{ProxyFact, ProxyHeaders, ProxyIp};
pub use rate_limit::{Config as RateLimitConfig, RateLimit};
pub use redirect::Redirect;
pub use remote::{Config as SendRemoteFileConfig, Hosts, Remote, SendRemoteFile};
pub(crate) use request_id::Name;
pub use request_id::RequestId;
pub use sendfile::{Config as SendfileConfig, Sendfile};
pub use statics::Statics;

use super::{
    Body, Peer,
    files::{Coding, Files},
    known::Known,
    service::host_of,
    site::{Sites, Way},
};

/// One middleware.
#[derive(Debug)]
pub enum Middleware {
    /// Tells of HTTP/3.
    AltSvc(AltSvc),
    /// Asks for a password.
    BasicAuth(BasicAuth),
    /// Bounds bodies by path.
    BodyLimit(BodyLimit),
    /// Turns requests away while too many fail.
    CircuitBreaker(CircuitBreaker),
    /// Makes answers smaller.
    Compress(Compress),
    /// Adds headers, and speaks CORS.
    Headers(Headers),
    /// Counts requests.
    HttpMetrics(HttpMetrics),
    /// Answers without TLS with where to go.
    Https(Https),
    /// Lets in by address.
    IpFilter(IpFilter),
    /// Sends all away for a while.
    Maintenance(Maintenance),
    /// Learns from a proxy who the client is.
    ProxyIp(ProxyIp),
    /// Bounds how often a client asks.
    RateLimit(RateLimit),
    /// Sends clients elsewhere.
    Redirect(Redirect),
    /// Names requests.
    RequestId(RequestId),
    /// Sends the files that scripts name.
    Sendfile(Sendfile),
    /// Sends those on other servers.
    SendRemoteFile(SendRemoteFile),
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
    /// What the client takes, and whether it asks for the head alone.
    Coding {
        chosen: Option<Coding>,
        is_head: bool,
    },
    /// It is counted among those in progress.
    Counted(http_metrics::Counted),
    /// To be added to the answer.
    Headers(Vec<(HeaderName, HeaderValue)>),
    /// What the client asks of a file.
    Asked(Box<sendfile::Asked>),
    /// What the request is called.
    Name(HeaderValue),
    /// The request came over TLS.
    Secure,
    /// In which phase of the circuit breaker it passed.
    Tried(u64),
}

/// Where a request goes that has passed, if that is known; or the answer that it has got.
pub(crate) type Passed<'s> = Result<Option<Way<'s>>, Box<Response<Body>>>;

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

    /// Lets a request pass, and tells where it goes if one of them had to know that. The answer, if one of them has it already, still
    /// has to go through [`after`](Self::after).
    pub(crate) async fn before<'s>(&self, parts: &mut Parts, peer: &mut Peer, sites: Option<&'s Sites>) -> (Notes, Passed<'s>) {
        let mut notes = Vec::with_capacity(self.layers.len());
        let mut way: Option<Way<'s>> = None;
        for layer in &self.layers {
            if layer.asks_for_paths() && way.is_none() {
                way = sites.map(|sites| sites.known_way(parts, peer));
            }
            match layer.before(parts, peer, way.as_ref().map_or(&Known::default(), |way| &way.known)).await {
                Verdict::Pass(note) => notes.push(note),
                Verdict::Answer(response) => return (Notes(notes), Err(response)),
            }
            if layer.changes_host() {
                way = None;
            }
        }
        (Notes(notes), Ok(way))
    }

    /// Lets an answer pass those that the request has passed. A file that one of them answers with is sent by `files`.
    pub(crate) async fn after(&self, notes: Notes, mut response: Response<Body>, files: &Files) -> Response<Body> {
        for (layer, note) in self.layers.iter().zip(notes.0).rev() {
            response = match (layer, note) {
                (Middleware::Sendfile(sendfile), Note::Asked(asked)) => sendfile.after(*asked, response, files).await,
                (Middleware::SendRemoteFile(remote), Note::Asked(asked)) => Box::pin(remote.after(&asked, response)).await,
                (layer, note) => layer.after(note, response),
            };
        }
        response
    }
}

// === impl Middleware ===

impl Middleware {
    /// Whether it is for some paths only.
    fn asks_for_paths(&self) -> bool {
        match self {
            Self::BasicAuth(auth) => auth.is_for_some(),
            Self::BodyLimit(_) => true,
            Self::IpFilter(filter) => filter.paths.are_some(),
            Self::RateLimit(limit) => limit.is_for_some(),
            _ => false,
        }
    }

    /// Whether a request may be for another host when it has passed.
    fn changes_host(&self) -> bool {
        matches!(self, Self::Headers(_) | Self::ProxyIp(_))
    }

    async fn before(&self, parts: &mut Parts, peer: &mut Peer, known: &Known) -> Verdict {
        match self {
            Self::AltSvc(_) => AltSvc::before(parts, peer),
            Self::BasicAuth(auth) => Box::pin(auth.before(parts, known)).await,
            Self::BodyLimit(limit) => limit.before(parts, known),
            Self::CircuitBreaker(breaker) => breaker.before(),
            Self::Compress(compress) => compress.before(parts),
            Self::Headers(headers) => headers.before(parts),
            Self::Https(https) => https.before(parts, peer),
            Self::HttpMetrics(metrics) => metrics.before(),
            Self::IpFilter(filter) => filter.before(known, peer),
            Self::Maintenance(maintenance) => maintenance.before(peer),
            Self::ProxyIp(proxy_ip) => proxy_ip.before(parts, peer),
            Self::RateLimit(limit) => limit.before(known, peer),
            Self::Redirect(redirect) => redirect.before(parts, &host_of(parts, peer)),
            Self::RequestId(ids) => ids.before(parts),
            Self::Sendfile(_) | Self::SendRemoteFile(_) => Sendfile::before(parts),
        }
    }

    fn after(&self, note: Note, response: Response<Body>) -> Response<Body> {
        match self {
            Self::AltSvc(alt_svc) => alt_svc.after(&note, response),
            Self::CircuitBreaker(breaker) => breaker.after(&note, response),
            Self::Compress(compress) => compress.after(&note, response),
            Self::Headers(headers) => headers.after(note, response),
            Self::Https(https) => https.after(&note, response),
            Self::HttpMetrics(metrics) => metrics.after(note, response),
            Self::RequestId(ids) => ids.after(note, response),
            Self::BasicAuth(_)
            | Self::BodyLimit(_)
            | Self::IpFilter(_)
            | Self::Maintenance(_)
            | Self::ProxyIp(_)
            | Self::RateLimit(_)
            | Self::Redirect(_)
            | Self::Sendfile(_)
            | Self::SendRemoteFile(_) => response,
        }
    }
}
