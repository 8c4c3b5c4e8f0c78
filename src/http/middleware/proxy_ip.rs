//! `proxy_ip_parser`: behind a proxy, the client is whom the proxy names.
//!
//! Of a list of addresses the last one counts that is no proxy of ours: what stands before it was sent by the client, and may be
//! anything. So the list may grow from proxy to proxy. For the same reason only those headers are read that the proxy is said to
//! set: all others it passes on as the client made them up. And lists are read from their end, byte by byte, so that nothing at
//! their start can hide what a proxy has added.

use std::{
    iter,
    net::{IpAddr, SocketAddr},
    str,
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request::Parts};

use super::{Note, Verdict};
use crate::http::{Peer, conn, subnet::Subnets};

/// Believes trusted proxies.
#[derive(Debug)]
pub struct ProxyIp {
    /// The proxies' addresses; whoever connects to a unix socket is one.
    pub trusted: Subnets,
    /// Where they tell it.
    pub headers: ProxyHeaders,
    /// What they are believed.
    pub trust: Vec<ProxyFact>,
}

/// The headers that a proxy sets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyHeaders {
    /// `X-Forwarded-For` and its kin; without that one, those of a single address.
    XForwarded,
    /// RFC 7239's `Forwarded`.
    Forwarded,
}

/// What a proxy may tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyFact {
    /// The client's address.
    For,
    /// Whether the client spoke TLS.
    Proto,
    /// The host it asked for.
    Host,
    /// The port it connected to, which `Forwarded` does not have.
    Port,
}

/// What a proxy tells.
#[derive(Debug, Default)]
struct Told<'a> {
    client: Option<SocketAddr>,
    scheme: Option<&'a str>,
    host: Option<&'a str>,
    port: Option<u16>,
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
        let told = match self.headers {
            ProxyHeaders::XForwarded => self.x_forwarded(&parts.headers),
            ProxyHeaders::Forwarded => self.forwarded(&parts.headers),
        };
        let is_trusted = |fact| self.trust.contains(&fact);
        match told.scheme.filter(|_| is_trusted(ProxyFact::Proto)) {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => _ = peer.secure.get_or_insert_with(Arc::default),
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => peer.secure = None,
            _ => {}
        }
        if let Some(port) = told.port.filter(|_| is_trusted(ProxyFact::Port)) {
            match &mut peer.local {
                Some(local) => local.set_port(port),
                None => peer.port = Some(port),
            }
        }
        if told.client.is_some() && is_trusted(ProxyFact::For) {
            peer.remote = told.client;
        }
        let host = told.host.filter(|host| is_trusted(ProxyFact::Host) && is_host(host));
        if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
            parts.headers.insert(header::HOST, host);
            // HTTP/2 names the host here, where it would go before the header.
            let target = parts.uri.path_and_query().cloned();
            parts.uri = target.map_or_else(Uri::default, Uri::from);
        }
    }

    fn forwarded<'a>(&self, headers: &'a HeaderMap) -> Told<'a> {
        let elements = || lines(headers, &header::FORWARDED).flat_map(|line| split(line, b','));
        let stranger = self.first_stranger(elements().map(|element| address(parameter(element, "for")?)));
        // Without an address, it is the proxy before us that tells the rest.
        let Some(element) = elements().nth(stranger.map_or(0, |(at, _)| at)) else { return Told::default() };
        let client = stranger.map(|(_, client)| client);
        Told { client, scheme: parameter(element, "proto"), host: parameter(element, "host"), port: None }
    }

    fn x_forwarded<'a>(&self, headers: &'a HeaderMap) -> Told<'a> {
        // Each proxy may have added to them as well; what the client has said stands before.
        let last = |name: &HeaderName| {
            str::from_utf8(lines(headers, name).next()?.rsplit(|byte| *byte == b',').next()?.trim_ascii()).ok()
        };
        let client = if headers.contains_key(FORWARDED_FOR) {
            let listed = lines(headers, &FORWARDED_FOR).flat_map(|line| line.rsplit(|byte| *byte == b','));
            self.first_stranger(listed.map(|element| address(str::from_utf8(element).ok()?))).map(|(_, client)| client)
        } else {
            // The first that is there, be it of use or not: the proxy may have passed on the others.
            let single = SINGLE.into_iter().find(|name| headers.contains_key(name));
            single.and_then(|name| address(str::from_utf8(lines(headers, &name).next()?).ok()?))
        };
        let port = last(&FORWARDED_PORT).and_then(|port| port.parse().ok());
        Told { client, scheme: last(&FORWARDED_PROTO), host: last(&FORWARDED_HOST), port }
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

/// The lines of that name, the last first.
fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).iter().rev().map(HeaderValue::as_bytes)
}

/// Parts between `separator`s that do not stand in quotes, the last first.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    iter::from_fn(move || {
        let text = rest?;
        let mut is_quoted = false;
        let found = (0..text.len()).rev().find(|&at| {
            is_quoted ^= text[at] == b'"' && !is_escaped(&text[..at]);
            text[at] == separator && !is_quoted
        });
        rest = found.map(|at| &text[..at]);
        Some(&text[found.map_or(0, |at| at + 1)..])
    })
}

/// Whether what comes after `before`, inside quotes, stands for itself.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// What an element says under that name, if it says it once.
fn parameter<'a>(element: &'a [u8], wanted: &str) -> Option<&'a str> {
    let mut values = split(element, b';').filter_map(|pair| {
        let (name, value) = pair.split_at_checked(pair.iter().position(|byte| *byte == b'=')?)?;
        name.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()).then(|| value[1..].trim_ascii())
    });
    let value = str::from_utf8(values.next()?).ok().filter(|_| values.next().is_none())?;
    match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"'),
        None => Some(value),
    }
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
    !text.is_empty() && conn::is_host(text.as_bytes())
}

#[cfg(test)]
mod tests;
