//! Addresses by their first bits.

use std::net::IpAddr;

/// A set of addresses.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subnets(Vec<(u128, u128)>);

// === impl Subnets ===

impl Subnets {
    /// The addresses that have the first so many bits of one of these.
    pub fn new(subnets: impl IntoIterator<Item = (IpAddr, u8)>) -> Self {
        let pair = |(address, bits): (IpAddr, u8)| {
            let bits = if address.is_ipv4() { 96 + u32::from(bits) } else { u32::from(bits) };
            let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
            (number(address) & mask, mask)
        };
        Self(subnets.into_iter().map(pair).collect())
    }

    /// True if `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = number(address);
        self.0.iter().any(|(network, mask)| address & mask == *network)
    }
}

/// IPv4 addresses as the part of IPv6 that is theirs.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_addresses() {
        let subnets = [("10.0.0.0", 8), ("192.168.1.7", 32), ("fd00::", 8), ("::1", 128), ("172.16.5.5", 12)];
        let subnets = Subnets::new(subnets.map(|(address, bits)| (address.parse().unwrap(), bits)));
        for inside in ["10.1.2.3", "192.168.1.7", "fdab::1", "::1", "::ffff:10.0.0.1", "172.31.255.255"] {
            assert!(subnets.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.0", "192.168.1.8", "fe80::1", "::2", "::a00:1", "172.32.0.0"] {
            assert!(!subnets.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(!Subnets::default().contains("127.0.0.1".parse().unwrap()));
        let all = Subnets::new([("0.0.0.0".parse().unwrap(), 0)]);
        assert!(all.contains("8.8.8.8".parse().unwrap()) && !all.contains("2001:db8::1".parse().unwrap()));
    }
}
