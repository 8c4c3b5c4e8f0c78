//! From the configuration's types to those of TLS, of listeners and of middleware.

use std::{iter, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::{
    guards, settings,
    sockets::{Listening, Quic},
};
use crate::{
    config::{self, Middleware as Name},
    error::Error,
    http::{
        Drain, Metrics,
        conn::{self, Entry},
        files::Coding,
        h3,
        listen::Listeners,
        middleware::{
            AltSvc, Chain, Compress, Cors, Headers, HttpMetrics, Https, Levels, Middleware, Origins, ProxyFact, ProxyHeaders,
            ProxyIp, Sendfile, SendfileConfig,
        },
        proxy::Proxies,
        service::Service,
        subnet::Subnets,
        tls::{
            self, Tls,
            tickets::{Keys, Resumption, Tickets},
        },
    },
};

/// Looks at all files and values there are, so that what is wrong is said before anything listens.
pub(super) fn check(http: &config::Http) -> Result<(), Error> {
    let tickets = Tickets::new(Keys::new());
    let tls = tls(http, &tickets)?;
    tls_of_quic(http, Secrets { tls: tls.as_ref(), tickets: &tickets })?;
    middleware(http, At::default(), None)?;
    settings::access_template(&http.access_log)?;
    warn_of_proxies_address(&http.middleware);
    if http.fcgi.is_some() {
        warn_of_fastcgi(&http.middleware);
    }
    Ok(())
}

/// A web server that speaks FastCGI has done all that middleware does, or could have; whoever thinks otherwise should know.
fn warn_of_fastcgi(listed: &[Name]) {
    let guards = [Name::BasicAuth, Name::BodyLimit, Name::CircuitBreaker, Name::IpFilter, Name::Maintenance, Name::RateLimit];
    let names: Vec<_> = listed.iter().filter(|name| guards.contains(name)).map(|name| name.name()).collect();
    if !names.is_empty() {
        tracing::warn!(
            "http.middleware: {} do not hold for requests by http.fcgi.address: the web server that sends them must see to that",
            names.join(", ")
        );
    }
}

/// What goes by the client's address has that of the proxy before `proxy_ip_parser` has told it who the client is.
fn warn_of_proxies_address(listed: &[Name]) {
    let told = listed.iter().position(|name| *name == Name::ProxyIp).unwrap_or(usize::MAX);
    for name in listed.iter().skip(told.saturating_add(1)) {
        let name = match name {
            Name::IpFilter => "ip_filter",
            Name::Maintenance => "maintenance",
            Name::RateLimit => "rate_limit",
            _ => continue,
        };
        tracing::warn!("http.middleware: {name} is listed after proxy_ip_parser, and so goes by the proxy's address");
    }
}

/// Where others are told to come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct At {
    /// The port of HTTP over TLS.
    pub(super) ssl: Option<u16>,
    /// That of HTTP/3.
    pub(super) quic: Option<u16>,
}

/// What TLS is spoken with.
#[derive(Clone, Copy)]
pub(super) struct Secrets<'a> {
    /// That of `http.ssl`, if there is any.
    pub(super) tls: Option<&'a Tls>,
    pub(super) tickets: &'a Tickets,
}

/// What connections lead to, whatever they speak.
pub(super) struct Behind {
    pub(super) config: Arc<conn::Config>,
    pub(super) service: Service,
    pub(super) drain: Drain,
}

/// The files that the section called `section` names.
struct Files<'a> {
    section: &'a str,
    chains: &'a [PathBuf],
    keys: &'a [PathBuf],
}

// === impl At ===

impl At {
    pub(super) fn of(sockets: &Listening) -> Self {
        let quic = sockets.quic.sockets.first().and_then(|socket| socket.local_addr().ok());
        Self { ssl: sockets.ssl.addresses().first().map(SocketAddr::port), quic: quic.map(|address| address.port()) }
    }
}

/// Keeps the certificates of whatever speaks TLS up to date.
pub(super) async fn keep(tls: Option<Tls>, quic: Option<Tls>) {
    let of_quic = quic.filter(|quic| !tls.as_ref().is_some_and(|tls| tls.is_same(quic)));
    let keep = async |tls: Option<Tls>| {
        if let Some(tls) = tls {
            tls.keep().await;
        }
    };
    tokio::join!(keep(tls), keep(of_quic));
}

/// What requests pass before anything else looks at them.
pub(super) fn middleware(http: &config::Http, at: At, metrics: Option<&Arc<Metrics>>) -> Result<Option<Chain>, Error> {
    let mut listed = Vec::new();
    for name in &http.middleware {
        listed.push(match name {
            Name::BasicAuth => Middleware::BasicAuth(guards::basic_auth(&http.basic_auth)?),
            Name::BodyLimit => Middleware::BodyLimit(guards::body_limit(http)),
            Name::CircuitBreaker => Middleware::CircuitBreaker(guards::circuit_breaker(&http.circuit_breaker, metrics)?),
            Name::Compress => Middleware::Compress(compress(&http.compress, &http.compress.encodings)),
            Name::Gzip => Middleware::Compress(compress(&http.compress, &[config::Coding::Gzip])),
            Name::Headers => Middleware::Headers(headers(&http.headers)?),
            // Not one that wraps others: it goes before the worker.
            Name::Static => continue,
            // Nobody reads what it would count.
            Name::HttpMetrics => match metrics {
                Some(metrics) => Middleware::HttpMetrics(HttpMetrics(metrics.clone())),
                None => continue,
            },
            Name::IpFilter => Middleware::IpFilter(guards::ip_filter(&http.ip_filter)),
            Name::Maintenance => Middleware::Maintenance(guards::maintenance(&http.maintenance)?),
            Name::RateLimit => Middleware::RateLimit(guards::rate_limit(&http.rate_limit)),
            Name::Redirect => Middleware::Redirect(guards::redirect(http)?),
            Name::RequestId => Middleware::RequestId(guards::request_id(&http.request_id)?),
            Name::ProxyIp => Middleware::ProxyIp(proxy_ip(http)),
            Name::Sendfile => Middleware::Sendfile(sendfile(&http.sendfile)?),
            Name::SendRemoteFile => Middleware::SendRemoteFile(guards::sendremotefile(&http.sendremotefile)?),
        });
    }
    if let Some(section) = http.ssl.as_ref().filter(|section| section.redirect) {
        let port = at.ssl.unwrap_or(443);
        let hsts = Some(&section.hsts).filter(|hsts| !hsts.is_empty());
        let hsts = hsts.map(|hsts| value("http.ssl.hsts", hsts)).transpose()?;
        // Around all others, but for whatever tells of the client's proxy, who may have spoken TLS with it, and what is around that.
        let told = listed.iter().rposition(|middleware| matches!(middleware, Middleware::ProxyIp(_)));
        listed.insert(told.unwrap_or(listed.len()), Middleware::Https(Https { port, hsts }));
    }
    if let (Some(section), Some(port)) = (&http.http3, at.quic)
        && !section.alt_svc.is_zero()
    {
        let seconds = section.alt_svc.as_secs();
        let told = value("http.http3.alt_svc", &format!("h3=\":{port}\"; ma={seconds}"))?;
        listed.push(Middleware::AltSvc(AltSvc(told)));
    }
    Ok(Chain::new(listed))
}

/// What serves HTTP/3 on `sockets`, if there is a key for it, and it is this engine that does; the TLS is that of `http.ssl`.
pub(super) fn quic(
    http: &config::Http,
    Quic { sockets, terms }: Quic,
    secrets: Secrets<'_>,
    behind: Behind,
) -> Result<Option<h3::Server<Service>>, Error> {
    let (Some(section), Some(tls)) = (&http.http3, tls_of_quic(http, secrets)?) else { return Ok(None) };
    if !terms.reads {
        return Ok(None);
    }
    let window = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    let quic = h3::Config {
        idle_timeout: section.idle_timeout,
        receive_window: window(section.receive_window),
        stream_receive_window: window(section.stream_receive_window),
        send_window: window(section.send_window),
        retry_above: section.retry_above,
    };
    let Behind { config, service, drain } = behind;
    let needs = h3::Needs { sockets, terms, tls, quic, config, drain };
    Ok(Some(h3::Server::new(needs, service)))
}

/// What HTTP/3 speaks TLS with: certificates of its own, or `tls`.
fn tls_of_quic(http: &config::Http, secrets: Secrets<'_>) -> Result<Option<Tls>, Error> {
    match &http.http3 {
        None => Ok(None),
        Some(section) if section.cert.is_empty() => Ok(secrets.tls.cloned()),
        Some(section) => {
            let ssl = http.ssl.clone().unwrap_or_default();
            let files = Files { section: "http.http3", chains: &section.cert, keys: &section.key };
            build_tls(files, &ssl, None, secrets.tickets).map(Some)
        }
    }
}

fn proxy_ip(http: &config::Http) -> ProxyIp {
    let fact = |fact: &config::ProxyFact| match fact {
        config::ProxyFact::For => ProxyFact::For,
        config::ProxyFact::Proto => ProxyFact::Proto,
        config::ProxyFact::Host => ProxyFact::Host,
        config::ProxyFact::Port => ProxyFact::Port,
    };
    let headers = match http.proxy_headers {
        config::ProxyHeaders::XForwarded => ProxyHeaders::XForwarded,
        config::ProxyHeaders::Forwarded => ProxyHeaders::Forwarded,
    };
    ProxyIp { trusted: subnets(&http.trusted_subnets), headers, trust: http.proxy_trust.iter().map(fact).collect() }
}

fn sendfile(section: &config::Sendfile) -> Result<Sendfile, Error> {
    let locations = section.locations.iter().map(|(prefix, directory)| (prefix.clone(), directory.into()));
    let config = SendfileConfig { roots: section.roots.clone(), locations: locations.collect() };
    config.build().map_err(|error| Error::Config(format!("http.sendfile: {error}")))
}

pub(super) fn compress(section: &config::Compress, codings: &[config::Coding]) -> Compress {
    let coding = |coding: &config::Coding| match coding {
        config::Coding::Brotli => Coding::Brotli,
        config::Coding::Gzip => Coding::Gzip,
        config::Coding::Zstd => Coding::Zstd,
    };
    Compress {
        codings: codings.iter().map(coding).collect(),
        min_size: section.min_size,
        levels: Levels { gzip: section.gzip_level, brotli: section.brotli_level, zstd: section.zstd_level },
    }
}

fn headers(section: &config::Headers) -> Result<Headers, Error> {
    let pairs = |key: &str, pairs: &[(String, String)]| {
        let pair = |(header, text): &(String, String)| {
            let key = format!("{key}.{header}");
            Ok((name(&key, header)?, value(&key, text)?))
        };
        pairs.iter().map(pair).collect::<Result<Vec<_>, Error>>()
    };
    Ok(Headers {
        request: pairs("http.headers.request", &section.request)?,
        response: pairs("http.headers.response", &section.response)?,
        cors: section.cors.as_ref().map(cors).transpose()?,
    })
}

fn cors(section: &config::Cors) -> Result<Cors, Error> {
    let origins = match &section.allowed_origin_regex {
        Some(pattern) => {
            let wrong = |error| Error::Config(format!("http.headers.cors.allowed_origin_regex: {error}"));
            Origins::Matching(regex::Regex::new(pattern).map_err(wrong)?)
        }
        None => Origins::listed(section.allowed_origin.clone()),
    };
    let method = |text: &String| {
        let wrong = |_| Error::Config(format!("http.headers.cors.allowed_methods: {text:?} is no method"));
        Method::from_bytes(text.to_uppercase().as_bytes()).map_err(wrong)
    };
    let header = |text: &String| name("http.headers.cors.allowed_headers", text);
    let any_header = section.allowed_headers.iter().any(|name| name == "*");
    let allowed = (!any_header).then(|| section.allowed_headers.iter().map(header).collect::<Result<_, _>>());
    let exposed = Some(section.exposed_headers.join(", ")).filter(|names| !names.is_empty());
    Ok(Cors {
        origins,
        methods: section.allowed_methods.iter().map(method).collect::<Result<_, _>>()?,
        headers: allowed.transpose()?,
        exposed: exposed.map(|names| value("http.headers.cors.exposed_headers", &names)).transpose()?,
        credentials: section.allow_credentials,
        max_age: section.max_age,
        success: StatusCode::from_u16(section.options_success_status).unwrap_or(StatusCode::OK),
        debug: section.debug,
    })
}

pub(super) fn name(key: &str, text: &str) -> Result<HeaderName, Error> {
    text.parse().map_err(|_| Error::Config(format!("{key}: {text:?} is no header's name")))
}

fn value(key: &str, text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text).map_err(|_| Error::Config(format!("{key}: {text:?} is no header's value")))
}

/// What listens, and how connections begin there; that of TLS only where there is some.
pub(super) fn entries(http: &config::Http, plain: Listeners, ssl: Listeners, tls: Option<Tls>) -> Arc<[Entry]> {
    let secure = http.ssl.as_ref().zip(tls).map(|(section, tls)| entry(http, &section.address, ssl, Some(tls)));
    iter::once(entry(http, &http.address, plain, None)).chain(secure).collect()
}

/// Sockets that listen on `addresses`, in that order.
fn entry(http: &config::Http, addresses: &[config::Address], listeners: Listeners, tls: Option<Tls>) -> Entry {
    if let Err(error) = listeners.keep_unsent(u32::try_from(http.output.unsent).unwrap_or(u32::MAX)) {
        tracing::warn!("http.output.unsent is not in force: {error}");
    }
    let section = &http.proxy_protocol;
    let proxies = Arc::new(Proxies { trusted: subnets(&section.trusted), timeout: section.timeout });
    let proxies = addresses.iter().map(|address| section.address.contains(address).then(|| proxies.clone()));
    Entry { listeners, proxies: proxies.collect(), tls }
}

pub(super) fn subnets(subnets: &[config::Subnet]) -> Subnets {
    Subnets::new(subnets.iter().map(|subnet| (subnet.address, subnet.bits)))
}

/// TLS, its files read; none if it is off.
pub(super) fn tls(http: &config::Http, tickets: &Tickets) -> Result<Option<Tls>, Error> {
    let Some(section) = &http.ssl else { return Ok(None) };
    let acme = super::acme::settings(&section.acme, http)?;
    let files = Files { section: "http.ssl", chains: &section.cert, keys: &section.key };
    build_tls(files, section, acme, tickets).map(Some)
}

/// The same for an engine, which gathers randomness for handshakes before it serves.
pub(super) fn tls_with_randomness(http: &config::Http, tickets: &Tickets) -> Result<Option<Tls>, Error> {
    let tls = tls(http, tickets)?;
    if tls.is_some() || http.http3.is_some() {
        tls::gather_randomness();
    }
    Ok(tls)
}

/// How often the keys of tickets are replaced.
pub(super) fn ticket_lifetime(http: &config::Http) -> Duration {
    http.ssl.as_ref().map_or_else(|| config::Ssl::default().ticket_lifetime, |section| section.ticket_lifetime)
}

fn build_tls(files: Files<'_>, section: &config::Ssl, acme: Option<tls::acme::Config>, tickets: &Tickets) -> Result<Tls, Error> {
    let pairs = files.chains.iter().zip(files.keys).map(|(chain, key)| tls::Pair { chain: chain.clone(), key: key.clone() });
    let config = tls::Config {
        certificates: pairs.collect(),
        acme,
        root_ca: section.root_ca.clone(),
        client_auth: match section.client_auth {
            config::ClientAuth::NoClientCert => tls::ClientAuth::None,
            config::ClientAuth::RequestClientCert => tls::ClientAuth::Request,
            config::ClientAuth::RequireAnyClientCert => tls::ClientAuth::RequireAny,
            config::ClientAuth::VerifyClientCertIfGiven => tls::ClientAuth::VerifyIfGiven,
            config::ClientAuth::RequireAndVerifyClientCert => tls::ClientAuth::RequireAndVerify,
        },
        profile: match section.profile {
            config::TlsProfile::Intermediate => tls::Profile::Intermediate,
            config::TlsProfile::Modern => tls::Profile::Modern,
        },
        resumption: match section.tickets {
            true => Resumption::Tickets { keys: tickets.clone(), lifetime: section.ticket_lifetime },
            false => Resumption::Off,
        },
        handshake_timeout: section.handshake_timeout,
        max_handshakes: section.max_handshakes,
    };
    config.build().map_err(|error| Error::Config(format!("{}: {error}", files.section)))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::http::Peer;

    #[test]
    fn whoever_spoke_tls_with_the_proxy_is_not_sent_to_it_again() {
        let trusted = vec![config::Subnet { address: "10.0.0.0".parse().unwrap(), bits: 8 }];
        let ssl = config::Ssl { redirect: true, ..config::Ssl::default() };
        let status = |middleware: &[Name], proto: &str| {
            let (middleware, ssl, trusted_subnets) = (middleware.to_vec(), Some(ssl.clone()), trusted.clone());
            let proxy_trust = vec![config::ProxyFact::Proto];
            let http = config::Http { middleware, ssl, trusted_subnets, proxy_trust, ..config::Http::default() };
            let chain = super::middleware(&http, At::default(), None).unwrap().unwrap();
            let request = Request::get("/").header("host", "a.test").header("x-forwarded-proto", proto).body(()).unwrap();
            let mut peer = Peer { remote: "10.0.0.1:5".parse().ok(), ..Peer::default() };
            let mut parts = request.into_parts().0;
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (_, answer) = runtime.block_on(chain.before(&mut parts, &mut peer, None));
            answer.err().map(|response| response.status().as_u16())
        };
        for order in [&[Name::ProxyIp][..], &[Name::Headers, Name::ProxyIp], &[Name::ProxyIp, Name::Headers, Name::Gzip]] {
            assert_eq!(status(order, "https"), None, "{order:?}");
            assert_eq!(status(order, "http"), Some(308), "{order:?}");
        }
        assert_eq!(status(&[Name::Headers], "https"), Some(308), "nobody is believed");
    }
}
