//! What the access log is told of a request, gathered while it passes.

use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Response, Version, header, request::Parts};
use http_body::Body as _;

use super::{
    Body, Peer,
    access::{Log, Ran, Record, Remote},
    conn::RefusedHead,
    middleware, response,
};
use crate::worker::OutputReader;

/// One request's facts, kept until its answer is complete.
#[derive(Debug)]
pub(crate) struct Facts {
    log: Log,
    method: http::Method,
    target: String,
    url: String,
    host: String,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    content_length: Option<u64>,
    version: Version,
    remote: Remote,
    user: String,
    request_id: Option<HeaderValue>,
    request: Option<HeaderMap>,
    response: Option<HeaderMap>,
    ran: Option<Ran>,
    began: Instant,
    start: SystemTime,
    status: u16,
}

/// A streamed body that is recorded when it ends, however it ends.
#[derive(Debug)]
pub struct Recorded {
    pub(super) body: OutputReader,
    pub(super) written: u64,
    facts: Facts,
}

// === impl Facts ===

impl Facts {
    /// The facts of a request; none if nobody wants them.
    pub(crate) fn gather(log: &Log, parts: &Parts, peer: &Peer) -> Option<Self> {
        if !log.is_enabled() {
            return None;
        }
        let text = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let host = parts.uri.authority().map(|authority| authority.as_str()).or(text(header::HOST)).unwrap_or_default();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        Some(Self {
            log: log.clone(),
            method: parts.method.clone(),
            url: format!("{}://{host}{target}", if peer.secure.is_some() { "https" } else { "http" }),
            target: target.to_owned(),
            host: host.to_owned(),
            user_agent: parts.headers.get(header::USER_AGENT).cloned(),
            referer: parts.headers.get(header::REFERER).cloned(),
            content_length: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            version: parts.version,
            remote: peer.remote.map_or(Remote::Unix, Remote::Socket),
            user: parts
                .headers
                .get(header::AUTHORIZATION)
                .and_then(middleware::credentials)
                .map_or_else(String::new, |(user, _)| user),
            request_id: parts.extensions.get::<middleware::Name>().map(|name| name.0.clone()),
            request: log.needs_headers().then(|| parts.headers.clone()),
            response: None,
            ran: None,
            began: Instant::now(),
            start: SystemTime::now(),
            status: 0,
        })
    }

    /// Records `response` now, or when its stream ends.
    pub(crate) fn attach(mut self, response: Response<Body>) -> Response<Body> {
        self.status = response.status().as_u16();
        self.response = self.request.is_some().then(|| response.headers().clone());
        let (mut parts, body) = response.into_parts();
        self.ran = parts.extensions.remove::<Ran>();
        let body = match body {
            Body::Output(body) => Body::Recorded(Box::new(Recorded { body, written: 0, facts: self })),
            body => {
                let has_body = response::may_have_body(parts.status, &self.method);
                self.write(body.size_hint().exact().filter(|_| has_body).unwrap_or(0));
                body
            }
        };
        Response::from_parts(parts, body)
    }

    fn write(&self, written: u64) {
        self.log.write(&Record {
            status: self.status,
            method: self.method.as_str(),
            uri: &self.target,
            url: &self.url,
            version: self.version,
            remote: self.remote,
            user: &self.user,
            request_id: self.request_id.as_ref().map(HeaderValue::as_bytes).unwrap_or_default(),
            read_bytes: self.content_length.unwrap_or(0),
            write_bytes: written,
            start: self.start,
            elapsed: self.began.elapsed(),
            query: self.target.split_once('?').map_or("", |(_, query)| query),
            content_length: self.content_length,
            host: self.host.as_bytes(),
            user_agent: self.user_agent.as_ref().map(HeaderValue::as_bytes).unwrap_or_default(),
            referer: self.referer.as_ref().map(HeaderValue::as_bytes).unwrap_or_default(),
            request: self.request.as_ref(),
            response: self.response.as_ref(),
            ran: self.ran.as_ref(),
        });
    }
}

/// Records a request that nobody was asked to answer.
pub(super) fn refused(log: &Log, refused: &RefusedHead, peer: &Peer) {
    log.write(&Record {
        status: refused.status.as_u16(),
        method: "-",
        uri: &refused.target,
        url: &refused.target,
        version: refused.version,
        remote: peer.remote.map_or(Remote::Unix, Remote::Socket),
        user: "",
        request_id: b"",
        read_bytes: 0,
        write_bytes: 0,
        start: SystemTime::now(),
        elapsed: Duration::ZERO,
        query: "",
        content_length: None,
        host: b"",
        user_agent: b"",
        referer: b"",
        request: None,
        response: None,
        ran: None,
    });
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.facts.write(self.written);
    }
}
