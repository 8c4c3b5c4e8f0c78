//! `proxy_ip_parser`: behind a proxy, the client is whom the proxy names.
//!
//! Of a list of addresses the last one counts that is no proxy of ours: what stands before it was sent by the client, and may be
//! anything. So the list may grow from proxy to proxy.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request::Parts};

use super::{Note, Verdict};
use crate::http::{Peer, subnet::Subnets};

/// Believes trusted proxies.
#[derive(Debug)]
pub struct ProxyIp {
    /// The proxies' addresses; whoever connects to a unix socket is one.
    pub trusted: Subnets,
}

/// What a proxy tells.
#[derive(Debug, Default)]
struct Told<'a> {
    client: Option<SocketAddr>,
    scheme: Option<&'a str>,
    host: Option<&'a str>,
}

/// Headers of a single address, in the order that RoadRunner asks them.
const SINGLE: [HeaderName; 3] = [
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("cf-connecting-ip"),
];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

// === impl ProxyIp ===

impl ProxyIp {
    pub(super) fn before(&self, parts: &mut Parts, peer: &mut Peer) -> Verdict {
        if peer.remote.is_none_or(|proxy| self.trusted.contains(proxy.ip())) {
            self.believe(parts, peer);
        }
        Verdict::Pass(Note::Nothing)
    }

    fn believe(&self, parts: &mut Parts, peer: &mut Peer) {
        let headers = &parts.headers;
        let told = self.forwarded(headers).unwrap_or_else(|| self.x_forwarded(headers));
        match told.scheme {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => _ = peer.secure.get_or_insert_with(Arc::default),
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => peer.secure = None,
            _ => {}
        }
        if let (Some(local), Some(port)) = (&mut peer.local, text(headers, &FORWARDED_PORT).and_then(|port| port.parse().ok())) {
            local.set_port(port);
        }
        if told.client.is_some() {
            peer.remote = told.client;
        }
        if let Some(host) = told.host.filter(|host| is_host(host)).and_then(|host| HeaderValue::from_str(host).ok()) {
            parts.headers.insert(header::HOST, host);
            // HTTP/2 names the host here, where it would go before the header.
            let target = parts.uri.path_and_query().cloned();
            parts.uri = target.map_or_else(Uri::default, Uri::from);
        }
    }

    /// RFC 7239's header.
    fn forwarded<'a>(&self, headers: &'a HeaderMap) -> Option<Told<'a>> {
        let elements: Vec<_> = all(headers, &header::FORWARDED).flat_map(|line| split(line, ',')).collect();
        let parameter = |element: &'a str, wanted: &str| {
            let mut parameters = split(element, ';').filter_map(|pair| pair.split_once('='));
            parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim().trim_matches('"'))
        };
        let clients = elements.iter().rev().map(|element| parameter(element, "for").and_then(address));
        let at = self.first_stranger(clients)?;
        let element = elements[elements.len() - 1 - at.0];
        Some(Told { client: Some(at.1), scheme: parameter(element, "proto"), host: parameter(element, "host") })
    }

    fn x_forwarded<'a>(&self, headers: &'a HeaderMap) -> Told<'a> {
        let listed: Vec<_> = all(headers, &FORWARDED_FOR).flat_map(|line| line.split(',')).map(str::trim).collect();
        let client = self.first_stranger(listed.iter().rev().map(|text| address(text))).map(|(_, client)| client);
        let single = || SINGLE.iter().find_map(|name| text(headers, name).and_then(address));
        // Each proxy may have added to them as well; what the client has said stands before.
        let last = |name| text(headers, name).and_then(|text| text.rsplit(',').next()).map(str::trim);
        Told { client: client.or_else(single), scheme: last(&FORWARDED_PROTO), host: last(&FORWARDED_HOST) }
    }

    /// Of addresses, the last first, the one that is no proxy of ours; if all are, the last of them. It ends at what is none.
    fn first_stranger(&self, addresses: impl Iterator<Item = Option<SocketAddr>>) -> Option<(usize, SocketAddr)> {
        let mut best = None;
        for (at, address) in addresses.enumerate() {
            let Some(address) = address else { break };
            best = Some((at, address));
            if !self.trusted.contains(address.ip()) {
                break;
            }
        }
        best
    }
}

fn all<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

/// The last line of that name.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    all(headers, name).last().map(str::trim)
}

/// Parts between `separator`s that do not stand in quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |letter| {
        is_quoted ^= letter == '"';
        letter == separator && !is_quoted
    })
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(SocketAddr::new(ip.to_canonical(), 0));
    }
    text.parse().ok()
}

fn is_host(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    !text.is_empty() && text.bytes().all(is_fit)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The client's address, port, scheme and host, told by a proxy at `from`.
    fn told(from: &str, lines: &[(&str, &str)]) -> String {
        let subnets = [("10.0.0.0", 8), ("fd00::", 8)].map(|(address, bits)| (address.parse().unwrap(), bits));
        let middleware = ProxyIp { trusted: Subnets::new(subnets) };
        let mut request = Request::get("http://inner/a?b").header("host", "inner");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let mut peer = Peer { remote: from.parse().ok(), local: "10.0.0.9:8080".parse().ok(), secure: None };
        assert!(matches!(middleware.before(&mut parts, &mut peer), Verdict::Pass(Note::Nothing)));
        let scheme = if peer.secure.is_some() { "https" } else { "http" };
        let host = parts.uri.authority().map_or_else(|| parts.headers["host"].to_str().unwrap().into(), ToString::to_string);
        format!("{} {scheme} {host} {}", peer.remote.unwrap().ip(), peer.local.unwrap().port())
    }

    #[test]
    fn trusted_proxies_are_believed() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "10.0.0.1 http inner 8080"),
            (&[("x-forwarded-for", "192.0.2.1")], "192.0.2.1 http inner 8080"),
            (&[("x-forwarded-for", "1.1.1.1, 192.0.2.1, 10.0.0.7")], "192.0.2.1 http inner 8080"),
            (&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1 http inner 8080"),
            (&[("x-forwarded-for", "10.1.1.1, 10.0.0.7")], "10.1.1.1 http inner 8080"),
            (&[("x-forwarded-for", "nonsense, 10.0.0.7")], "10.0.0.7 http inner 8080"),
            (&[("x-forwarded-for", "nonsense"), ("x-real-ip", "2001:db8::1")], "2001:db8::1 http inner 8080"),
            (&[("true-client-ip", "192.0.2.2"), ("cf-connecting-ip", "192.0.2.3")], "192.0.2.2 http inner 8080"),
            (&[("cf-connecting-ip", "192.0.2.3:99")], "192.0.2.3 http inner 8080"),
            (
                &[("x-forwarded-proto", "https"), ("x-forwarded-host", "a.test:8443"), ("x-forwarded-port", "8443")],
                "10.0.0.1 https a.test:8443 8443",
            ),
            (&[("x-forwarded-proto", "http, https"), ("x-forwarded-host", "evil\"")], "10.0.0.1 https inner 8080"),
            (
                &[("forwarded", "for=1.1.1.1;host=x, For=\"[2001:db8::9]:4711\";proto=https;host=\"b.test\", for=10.0.0.3")],
                "2001:db8::9 https b.test 8080",
            ),
            (&[("forwarded", "for=_hidden"), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1 http inner 8080"),
        ];
        for (lines, expected) in cases {
            assert_eq!(told("10.0.0.1:5", lines), *expected, "{lines:?}");
        }
    }

    #[test]
    fn others_are_not() {
        let lies = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "a.test")];
        assert_eq!(told("11.0.0.1:5", &lies), "11.0.0.1 http inner 8080");
        assert_eq!(told("11.0.0.1:5", &[("forwarded", "for=192.0.2.1;proto=https")]), "11.0.0.1 http inner 8080");
    }
}
