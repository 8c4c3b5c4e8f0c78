//! From the configuration's types to those of TLS, of listeners and of middleware.

use std::{iter, net::SocketAddr, sync::Arc};

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::{guards, settings};
use crate::{
    config::{self, Middleware as Name},
    error::Error,
    http::{
        Metrics,
        conn::Entry,
        files::Coding,
        listen::Listeners,
        middleware::{
            Chain, Compress, Cors, Headers, HttpMetrics, Https, Levels, Middleware, Origins, ProxyFact, ProxyHeaders, ProxyIp,
            Sendfile, SendfileConfig,
        },
        proxy::Proxies,
        subnet::Subnets,
        tls::{self, Tls},
    },
};

/// Looks at all files and values there are, so that what is wrong is said before anything listens.
pub(super) fn check(http: &config::Http) -> Result<(), Error> {
    tls(http)?;
    middleware(http, &[], None)?;
    settings::access_template(&http.access_log)?;
    warn_of_proxies_address(&http.middleware);
    Ok(())
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

/// What requests pass before anything else looks at them; `ssl` is where TLS is spoken.
pub(super) fn middleware(
    http: &config::Http,
    ssl: &[SocketAddr],
    metrics: Option<&Arc<Metrics>>,
) -> Result<Option<Chain>, Error> {
    let mut listed = Vec::new();
    for name in &http.middleware {
        listed.push(match name {
            Name::BasicAuth => Middleware::BasicAuth(guards::basic_auth(&http.basic_auth)?),
            Name::BodyLimit => Middleware::BodyLimit(guards::body_limit(http)),
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
        });
    }
    if let Some(section) = http.ssl.as_ref().filter(|section| section.redirect) {
        let port = ssl.first().map_or(443, SocketAddr::port);
        let hsts = Some(&section.hsts).filter(|hsts| !hsts.is_empty());
        let hsts = hsts.map(|hsts| value("http.ssl.hsts", hsts)).transpose()?;
        // Around all others, but for whatever tells of the client's proxy, who may have spoken TLS with it, and what is around that.
        let told = listed.iter().rposition(|middleware| matches!(middleware, Middleware::ProxyIp(_)));
        listed.insert(told.unwrap_or(listed.len()), Middleware::Https(Https { port, hsts }));
    }
    Ok(Chain::new(listed))
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
    let section = &http.proxy_protocol;
    let proxies = Arc::new(Proxies { trusted: subnets(&section.trusted), timeout: section.timeout });
    let proxies = addresses.iter().map(|address| section.address.contains(address).then(|| proxies.clone()));
    Entry { listeners, proxies: proxies.collect(), tls }
}

pub(super) fn subnets(subnets: &[config::Subnet]) -> Subnets {
    Subnets::new(subnets.iter().map(|subnet| (subnet.address, subnet.bits)))
}

/// TLS, its files read; none if it is off.
pub(super) fn tls(http: &config::Http) -> Result<Option<Tls>, Error> {
    let Some(section) = &http.ssl else { return Ok(None) };
    let pairs = section.cert.iter().zip(&section.key).map(|(chain, key)| tls::Pair { chain: chain.clone(), key: key.clone() });
    let config = tls::Config {
        certificates: pairs.collect(),
        acme: super::acme::settings(&section.acme, http)?,
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
        handshake_timeout: section.handshake_timeout,
        max_handshakes: section.max_handshakes,
    };
    config.build().map(Some).map_err(|error| Error::Config(format!("http.ssl: {error}")))
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
            let chain = super::middleware(&http, &[], None).unwrap().unwrap();
            let request = Request::get("/").header("host", "a.test").header("x-forwarded-proto", proto).body(()).unwrap();
            let mut peer = Peer { remote: "10.0.0.1:5".parse().ok(), local: None, secure: None };
            let mut parts = request.into_parts().0;
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (_, answer) = runtime.block_on(chain.before(&mut parts, &mut peer));
            answer.map(|response| response.status().as_u16())
        };
        for order in [&[Name::ProxyIp][..], &[Name::Headers, Name::ProxyIp], &[Name::ProxyIp, Name::Headers, Name::Gzip]] {
            assert_eq!(status(order, "https"), None, "{order:?}");
            assert_eq!(status(order, "http"), Some(308), "{order:?}");
        }
        assert_eq!(status(&[Name::Headers], "https"), Some(308), "nobody is believed");
    }
}
