//! THE path of a request: route, file or script; body; pool; reply.

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};

use super::{
    Body, Incoming, Peer, access,
    conn::{EarlyHints, Handler, RefusedHead},
    dev::{Dev, Outage},
    files::{Files, Target},
    middleware::{self, Chain, Statics},
    record::{self, Facts},
    request, response,
    route::Route,
    site::{Site, Sites, Way, target},
    slow::Timing,
    tls::acme::Acme,
};
use crate::{
    telemetry::Seldom,
    worker::{self, Failure, HttpHead, Interim, Phases, Responder, Script, Source, Submitted, Wake, Work},
};

/// What a [`Service`] needs.
#[derive(Debug)]
pub struct Needs {
    /// What requests and answers pass; none if there is none.
    pub middleware: Option<Chain>,
    /// What answers, by host and path.
    pub sites: Sites,
    /// Answers an authority that issues certificates.
    pub acme: Option<Acme>,
    /// Files that go before all else.
    pub statics: Option<Statics>,
    /// Sends files.
    pub files: Files,
    /// Bounds of request bodies.
    pub body: request::Limits,
    /// Who wants to know how long requests take.
    pub timing: Timing,
    /// Where requests are recorded.
    pub access: access::Log,
    /// The source of request ids, shared with the other fronts.
    pub request_ids: Arc<AtomicU64>,
    /// Development mode, if that is on.
    pub dev: Option<Dev>,
}

/// Answers requests; cheap to clone.
#[derive(Clone, Debug)]
pub struct Service(Arc<Needs>);

/// What a script is asked.
struct Asked {
    script: Script,
    head: HttpHead,
    body: worker::Body,
    interim: Option<Interim>,
    /// How long the body took to arrive, if requests are timed.
    arriving: Option<Duration>,
}

// === impl Service ===

impl Service {
    /// A service made of these parts.
    pub fn new(needs: Needs) -> Self {
        Self(Arc::new(needs))
    }

    /// Answers what is to go `way`, if that is known already.
    async fn answer(
        &self,
        (parts, body): (Parts, Incoming),
        peer: Peer,
        passed: (Option<Way<'_>>, Option<EarlyHints>),
    ) -> Response<Body> {
        let (way, hints) = passed;
        if let Some(response) = self.static_file(&parts).await {
            return response;
        }
        let Way { site, route, host, .. } = way.unwrap_or_else(|| self.0.sites.way(&parts, &peer));
        match route {
            Route::Script { script, query } => {
                let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
                let arrived = self.now_if_timed();
                let most = parts.extensions.get::<middleware::Most>();
                let limits = most.map_or(Cow::Borrowed(&self.0.body), |most| Cow::Owned(self.0.body.within(most.0)));
                let body = match limits.receive(body).await {
                    Ok(body) => body,
                    Err(error) => return self.refuse_body(&error),
                };
                let outage = self.0.dev.as_ref().map(|dev| dev.outage_for(&parts.headers));
                if let Some(told) = outage.as_ref().and_then(Outage::tell) {
                    return told;
                }
                let head = head(parts, target, query, host, &body, peer);
                let arriving = arrived.map(|arrived| arrived.elapsed());
                let response = self.run(site, Asked { script, head, body, interim: hints.map(interim), arriving }).await;
                match outage.filter(|_| response.status() == site.internal_error_code).and_then(|outage| outage.tell()) {
                    Some(told) => told,
                    None => response,
                }
            }
            Route::File(file) => {
                let response = self.0.files.respond(&file, &parts.method, &parts.headers).await;
                match response.status() {
                    // Gone or closed since it was routed. The other errors carry headers that belong to them.
                    status @ (StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => self.error(site, status, parts, host, peer).await,
                    _ => response,
                }
            }
            Route::Redirect { status, location } => response::redirect(status, &location),
            Route::Refuse(status) => self.error(site, status, parts, host, peer).await,
        }
    }

    async fn static_file(&self, parts: &Parts) -> Option<Response<Body>> {
        let statics = self.0.statics.as_ref()?;
        statics.respond(target(parts).0, &parts.method, &parts.headers).await
    }

    /// Hands a script to the pool and waits for its answer.
    async fn run(&self, site: &Site, asked: Asked) -> Response<Body> {
        let Asked { script, head, body, interim, arriving } = asked;
        let (responder, answer) = Responder::new();
        let mut request = Box::new(worker::Request {
            id: self.0.request_ids.fetch_add(1, Relaxed),
            received: SystemTime::now(),
            script,
            source: Source::Http(head),
            body,
            ini: Vec::new(),
            interim,
            phases: None,
        });
        let (id, name) = (request.id, request.given_name().cloned());
        let is_measured = self.0.access.needs_script();
        if arriving.is_some() || is_measured {
            request.phases = Some(Arc::new(Phases::new(arriving.unwrap_or_default(), is_measured)));
        }
        let timed = arriving.zip(request.phases.clone()).map(|(_, phases)| self.0.timing.start(&request, phases));
        let ran = request.phases.clone().filter(|_| is_measured).map(|phases| {
            let (script, pool) = (request.script.filename.clone(), site.name.clone());
            access::Ran { script, pool, phases }
        });
        let work = Work { request, responder, submitted: Instant::now() };
        let Ok(submitted) = site.pool.submit(work, Wake::WhenParked) else {
            static SELDOM: Seldom = Seldom::new();
            if let Some(unsaid) = SELDOM.say() {
                let why = site.pool.why_refused();
                tracing::warn!(request = id, pool = site.name, unsaid, "refused: {why}");
            }
            return response::overloaded();
        };
        // Bounded by others: the wait for a worker by the pool, the script by its watchdog.
        if submitted == Submitted::Queued {
            site.nudge.later(&site.pool);
        }
        let mut response = match answer.await {
            // Those are no answers, and a proxy would take 101 for the end of HTTP.
            Ok(reply) if reply.head.status.is_informational() => {
                let status = reply.head.status.as_u16();
                tracing::error!(request = id, status, "no answer: a script's last word needs a status of 200 or above");
                response::plain(site.internal_error_code)
            }
            Ok(reply) => response::from_reply(reply),
            Err(failure) => {
                // The worker has said why.
                if failure != Failure::NoAnswer {
                    let name = name.as_ref().and_then(|name| name.to_str().ok());
                    tracing::error!(request = id, id = name, "no answer: {failure}");
                }
                match failure {
                    Failure::QueueTimeout | Failure::NoWorker => response::overloaded(),
                    Failure::Stopped => response::plain(StatusCode::SERVICE_UNAVAILABLE),
                    Failure::RequestTimeout => response::plain(StatusCode::GATEWAY_TIMEOUT),
                    Failure::WorkerLost | Failure::NoAnswer => response::plain(site.internal_error_code),
                }
            }
        };
        if let Some(timed) = timed {
            timed.answered(&mut response);
        }
        if let Some(ran) = ran {
            response.extensions_mut().insert(ran);
        }
        response
    }

    /// The time, if somebody wants to know.
    fn now_if_timed(&self) -> Option<Instant> {
        self.0.timing.is_wanted().then(Instant::now)
    }

    fn refuse_body(&self, error: &request::Error) -> Response<Body> {
        static SELDOM: Seldom = Seldom::new();
        if matches!(error, request::Error::Spool { .. })
            && let Some(unsaid) = SELDOM.say()
        {
            tracing::error!(unsaid, "{error}");
        }
        let mut response = match error.status() {
            StatusCode::SERVICE_UNAVAILABLE => response::overloaded(),
            status => response::plain(status),
        };
        // What is left of the body stays unread, so nothing after it can be a request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }

    /// Answers with the site's own page for `status` if it has one.
    async fn error(&self, site: &Site, status: StatusCode, parts: Parts, host: String, peer: Peer) -> Response<Body> {
        let page = site.router.as_ref().and_then(|router| router.error_page(status.as_u16()));
        let mut response = match page {
            Some(Route::File(file)) => self.0.files.respond(&file, &http::Method::GET, &http::HeaderMap::new()).await,
            Some(Route::Script { script, query }) => {
                let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
                let head = head(parts, target, query, host, &worker::Body::Empty, peer);
                let arriving = self.now_if_timed().map(|_| Duration::ZERO);
                self.run(site, Asked { script, head, body: worker::Body::Empty, interim: None, arriving }).await
            }
            _ => return response::plain(status),
        };
        if response.status().is_success() {
            *response.status_mut() = status;
        }
        response
    }

    /// An error in the words of its site, if that has some: a file, for whatever went wrong may be with scripts.
    async fn dressed(&self, site: Option<&Site>, response: Response<Body>) -> Response<Body> {
        let status = response.status();
        let Some(site) = site.filter(|_| status.is_client_error() || status.is_server_error()) else { return response };
        let is_ours = response.extensions().get::<response::Ours>().is_some();
        let page = site
            .router
            .as_ref()
            .filter(|_| is_ours || site.intercept_errors)
            .and_then(|router| router.error_page(status.as_u16()));
        match page {
            Some(Route::File(file)) => self.with_page(&file, response).await,
            _ => response,
        }
    }

    async fn with_page(&self, file: &Target, response: Response<Body>) -> Response<Body> {
        let page = Box::pin(self.0.files.respond(file, &http::Method::GET, &http::HeaderMap::new())).await;
        if !page.status().is_success() {
            return response;
        }
        let (page, body) = page.into_parts();
        let (mut parts, _) = response.into_parts();
        parts.extensions.remove::<response::Ours>();
        for name in [
            header::ACCEPT_RANGES,
            header::CONTENT_DISPOSITION,
            header::CONTENT_ENCODING,
            header::CONTENT_LANGUAGE,
            header::CONTENT_LENGTH,
            header::ETAG,
            header::LAST_MODIFIED,
            header::TRANSFER_ENCODING,
        ] {
            parts.headers.remove(name);
        }
        for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
            if let Some(value) = page.headers.get(&name) {
                parts.headers.insert(name, value.clone());
            }
        }
        Response::from_parts(parts, body)
    }
}

impl Handler for Service {
    /// In the words of the site that answers for hosts that are nobody's.
    async fn refuse(&self, status: StatusCode) -> Response<Body> {
        self.dressed(self.0.sites.with_pages(String::new), response::plain(status)).await
    }

    async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        self.handle_hinted(request, peer, None).await
    }

    fn refused(&self, refused: &RefusedHead, peer: &Peer) {
        record::refused(&self.0.access, refused, peer);
    }

    async fn handle_hinted(&self, request: Request<Incoming>, mut peer: Peer, hints: Option<EarlyHints>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let dev = self.0.dev.as_ref();
        if let Some(response) = dev.and_then(|dev| dev.answer(&parts)) {
            return response;
        }
        if let Some(response) = self.0.acme.as_ref().and_then(|acme| acme.respond(&parts.method, parts.uri.path())) {
            return response;
        }
        let passed = match &self.0.middleware {
            Some(chain) => Some((chain, chain.before(&mut parts, &mut peer, Some(&self.0.sites)).await)),
            None => None,
        };
        let page = dev.and_then(|dev| dev.page(&mut parts));
        let site = self.0.sites.with_pages(|| host_of(&parts, &peer));
        // Recorded inside of all middleware, as RoadRunner does it, but for what that answers itself, which is recorded too.
        let facts = Facts::gather(&self.0.access, &parts, &peer);
        let (around, way, answered) = match passed {
            Some((chain, (notes, Ok(way)))) => (Some((chain, notes)), way, None),
            Some((chain, (notes, Err(answered)))) => (Some((chain, notes)), None, Some(*answered)),
            None => (None, None, None),
        };
        let response = match answered {
            Some(response) => response,
            None => self.answer((parts, body), peer, (way, hints)).await,
        };
        let response = self.dressed(site, response).await;
        let response = match facts {
            Some(facts) => facts.attach(response),
            None => response,
        };
        let response = match page {
            Some(page) => page.finish(response),
            None => response,
        };
        match around {
            Some((chain, notes)) => {
                let response = chain.after(notes, response, &self.0.files).await;
                // What a middleware makes of the answer may be an error of its own.
                match response.extensions().get::<response::Ours>() {
                    Some(_) => self.dressed(site, response).await,
                    None => response,
                }
            }
            None => response,
        }
    }
}

fn interim(hints: EarlyHints) -> Interim {
    Interim::new(move |status, headers| status == StatusCode::from_u16(103).unwrap_or_default() && hints.send(headers))
}

/// The host asked for, without its port, in lower case; our own address if the client names none.
pub(super) fn host_of(parts: &Parts, peer: &Peer) -> String {
    let named = parts.uri.authority().map(|authority| authority.as_str());
    let named = named.or_else(|| parts.headers.get(header::HOST).and_then(|host| host.to_str().ok())).unwrap_or_default();
    let without_port = match named.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(named, |(host, _)| &named[..host.len() + 2]),
        None => named.split_once(':').map_or(named, |(host, _)| host),
    };
    if without_port.is_empty() {
        return peer.local.map_or_else(|| "localhost".into(), |local| ip_text(local.ip()));
    }
    without_port.to_ascii_lowercase()
}

fn ip_text(ip: IpAddr) -> String {
    ip.to_canonical().to_string()
}

pub(super) fn head(
    mut parts: Parts,
    target: String,
    query: String,
    server_name: String,
    body: &worker::Body,
    peer: Peer,
) -> HttpHead {
    // Chunked framing was ours to undo: a script sees a body of known length, as behind nginx.
    if parts.headers.contains_key(header::TRANSFER_ENCODING) {
        parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    }
    // HTTP/2 and 3 put the host elsewhere; scripts look for it here.
    if !parts.headers.contains_key(header::HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(header::HOST, value);
    }
    HttpHead {
        method: parts.method,
        target,
        query,
        version: parts.version,
        headers: parts.headers,
        remote: peer.remote,
        local: peer.local,
        port: peer.port,
        name: parts.extensions.get::<middleware::Name>().map(|name| name.0.clone()),
        secure: peer.secure,
        server_name,
    }
}
