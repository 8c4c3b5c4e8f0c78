//! Whom files may come from: names that are listed, and addresses that anybody could reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Hosts that are listed.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Vec<Host>);

#[derive(Clone, Debug)]
struct Host {
    name: Name,
    /// None is the scheme's own.
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Name {
    Any,
    Exactly(String),
    /// With its dot.
    Below(String),
}

// === impl Hosts ===

impl Hosts {
    /// Names (`files.example.com`), all below one (`*.example.com`), addresses, or `*`; each perhaps with a port.
    pub fn listed(hosts: &[String]) -> Self {
        Self(hosts.iter().map(|host| Host::read(host)).collect())
    }

    /// Whether `host`, without brackets, may be asked on `port`, of which its scheme's own is told.
    pub(super) fn have(&self, host: &str, port: u16, usual: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.0.iter().any(|listed| listed.port.unwrap_or(usual) == port && listed.name.is(&host))
    }

    /// The same for an address, which must be listed as such.
    pub(super) fn name(&self, address: IpAddr, port: u16, usual: u16) -> bool {
        let address = address.to_string();
        let is_named = |listed: &Host| matches!(&listed.name, Name::Exactly(name) if *name == address);
        self.0.iter().any(|listed| listed.port.unwrap_or(usual) == port && is_named(listed))
    }
}

// === impl Host ===

impl Host {
    fn read(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let (name, port) = match text.rsplit_once(':') {
            // An IPv6 address has brackets if it has a port.
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => match port.parse() {
                Ok(port) => (name, Some(port)),
                Err(_) => (text.as_str(), None),
            },
            _ => (text.as_str(), None),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let name = match name.strip_prefix('*') {
            Some("") => Name::Any,
            Some(rest) => Name::Below(rest.to_owned()),
            None => Name::Exactly(name.to_owned()),
        };
        Self { name, port }
    }
}

// === impl Name ===

impl Name {
    fn is(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(name) => name == host,
            Self::Below(end) => host.len() > end.len() && host.ends_with(end.as_str()),
        }
    }
}

/// Whether `address` is one that the whole internet reaches: not this machine, not its networks, and none of either in disguise.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By IANA's registry of special addresses.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || matches!((a, b, c), (0 | 240.., ..) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18 | 19, _)))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match segments {
        // NAT64 leads to an IPv4 address, 6to4 through one.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => is_public_v4(embedded(high, low)),
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_those_listed() {
        let listed = ["Files.example.com", "*.cdn.example", "other.example:8443", "192.0.2.1", "[2001:db8::1]:81"];
        let hosts = Hosts::listed(&listed.map(str::to_owned));
        for (host, port) in [
            ("files.EXAMPLE.com", 443),
            ("files.example.com.", 443),
            ("a.b.cdn.example", 443),
            ("other.example", 8443),
            ("192.0.2.1", 443),
            ("2001:db8::1", 81),
        ] {
            assert!(hosts.have(host, port, 443), "{host}:{port}");
        }
        for (host, port) in [
            ("files.example.com", 444),
            ("cdn.example", 443),
            ("evilcdn.example", 443),
            ("other.example", 443),
            ("example.com", 443),
            ("2001:db8::1", 443),
        ] {
            assert!(!hosts.have(host, port, 443), "{host}:{port}");
        }
        let named = |address: &str, port| hosts.name(address.parse().unwrap(), port, 443);
        assert!(named("192.0.2.1", 443) && !named("192.0.2.1", 80) && !named("192.0.2.2", 443));
        assert!(Hosts::listed(&["*".to_owned()]).have("any.example", 80, 80));
        assert!(!Hosts::default().have("any.example", 80, 80));
    }

    #[test]
    fn this_machine_and_its_networks_are_not_public_in_any_disguise() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:a00:1::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
            "2001:4860::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
