//! What a PROXY header says.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use crate::worker::Secure;

/// Whose connection it is.
#[derive(Debug)]
pub(super) enum Claim {
    /// The proxy's own, such as a health check, or nobody's it knows.
    Own,
    /// A client's.
    Client {
        remote: SocketAddr,
        /// Where the client connected to.
        local: SocketAddr,
        /// Set if the client spoke TLS to the proxy.
        secure: Option<Arc<Secure>>,
    },
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(super) &'static str);

/// How a header of version 2 begins.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end.
pub(super) const MAX_V1: usize = 107;
/// What may follow the fixed part of version 2; real ones have some hundred bytes.
pub(super) const MAX_V2: usize = 4096;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const TYPE_SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 1;
const CLIENT_CERT: u8 = 6;
const SUBTYPE_VERSION: u8 = 0x21;
const SUBTYPE_CN: u8 = 0x22;
const SUBTYPE_CIPHER: u8 = 0x23;

/// A line, with its end.
pub(super) fn version1(line: &[u8]) -> Result<Claim, Malformed> {
    let wrong = Malformed("it is no line of version 1");
    let line = std::str::from_utf8(line).map_err(|_| wrong)?;
    let line = line.strip_prefix("PROXY ").and_then(|line| line.strip_suffix("\r\n")).ok_or(wrong)?;
    let (family, rest) = line.split_once(' ').unwrap_or((line, ""));
    if family == "UNKNOWN" {
        return Ok(Claim::Own);
    }
    let fields: Vec<_> = rest.split(' ').collect();
    let [source, destination, source_port, destination_port] = fields[..] else { return Err(wrong) };
    let address = |text: &str| match family {
        "TCP4" => Ipv4Addr::from_str(text).map(IpAddr::V4).map_err(|_| wrong),
        "TCP6" => Ipv6Addr::from_str(text).map(IpAddr::V6).map_err(|_| wrong),
        _ => Err(wrong),
    };
    let port = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u16>().map_err(|_| wrong),
        false => Err(wrong),
    };
    Ok(Claim::Client {
        remote: SocketAddr::new(address(source)?, port(source_port)?),
        local: SocketAddr::new(address(destination)?, port(destination_port)?),
        secure: None,
    })
}

/// What follows the signature: the version and command, the family, and after its length the rest.
pub(super) fn version2(command: u8, family: u8, rest: &[u8]) -> Result<Claim, Malformed> {
    match command {
        LOCAL => return Ok(Claim::Own),
        PROXY => {}
        _ => return Err(Malformed("its version or command is unknown")),
    }
    let short = Malformed("its addresses are cut");
    // The high half is the family, the low one how it is carried, which changes nothing here.
    let (remote, local, extra) = match family >> 4 {
        1 => {
            let (addresses, extra) = rest.split_at_checked(12).ok_or(short)?;
            let address = |at: usize| IpAddr::from([addresses[at], addresses[at + 1], addresses[at + 2], addresses[at + 3]]);
            let (source, destination) = (address(0), address(4));
            (SocketAddr::new(source, port(addresses, 8)), SocketAddr::new(destination, port(addresses, 10)), extra)
        }
        2 => {
            let (addresses, extra) = rest.split_at_checked(36).ok_or(short)?;
            let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&addresses[at..at + 16]).unwrap_or_default());
            (SocketAddr::new(address(0), port(addresses, 32)), SocketAddr::new(address(16), port(addresses, 34)), extra)
        }
        // Unspecified, or a unix socket's path.
        0 | 3 => return Ok(Claim::Own),
        _ => return Err(Malformed("its family is unknown")),
    };
    let secure = tls(extra)?;
    Ok(Claim::Client { remote: canonical(remote), local: canonical(local), secure })
}

fn port(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn canonical(mut address: SocketAddr) -> SocketAddr {
    address.set_ip(address.ip().to_canonical());
    address
}

fn tls(extra: &[u8]) -> Result<Option<Arc<Secure>>, Malformed> {
    let mut found = None;
    for value in Values(extra) {
        let (kind, content) = value?;
        let (TYPE_SSL, Some((client, [v1, v2, v3, v4, inner @ ..]))) = (kind, content.split_first()) else { continue };
        if client & CLIENT_SSL == 0 {
            continue;
        }
        let mut secure = Secure::default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if client & CLIENT_CERT != 0 {
            // Zero is the proxy's word for a certificate that it has verified.
            let verified = [v1, v2, v3, v4].iter().all(|byte| **byte == 0);
            secure.variables.push(("SSL_CLIENT_VERIFY", if verified { "SUCCESS" } else { "FAILED" }.into()));
        }
        for value in Values(inner) {
            match value? {
                (SUBTYPE_VERSION, content) => secure.variables.push(("SSL_PROTOCOL", text(content))),
                (SUBTYPE_CN, content) => secure.variables.push(("SSL_CLIENT_S_DN_CN", text(content))),
                (SUBTYPE_CIPHER, content) => secure.variables.push(("SSL_CIPHER", text(content))),
                _ => {}
            }
        }
        found = Some(Arc::new(secure));
    }
    Ok(found)
}

/// Type, length and value, one after the other.
struct Values<'a>(&'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = Result<(u8, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, rest) = self.0.split_first()?;
        let cut = rest
            .split_first_chunk::<2>()
            .and_then(|(length, rest)| rest.split_at_checked(usize::from(u16::from_be_bytes(*length))));
        let Some((content, rest)) = cut else {
            self.0 = &[];
            return Some(Err(Malformed("a value in it is cut")));
        };
        self.0 = rest;
        Some(Ok((kind, content)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(claim: Result<Claim, Malformed>) -> String {
        match claim {
            Ok(Claim::Own) => "own".into(),
            Ok(Claim::Client { remote, local, secure }) => {
                format!("{remote} {local}{}", secure.map_or(String::new(), |secure| format!(" {:?}", secure.variables)))
            }
            Err(error) => format!("wrong: {error}"),
        }
    }

    #[test]
    fn version_1_is_read_strictly() {
        let cases = [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 51000 443\r\n", "192.0.2.1:51000 198.51.100.2:443"),
            ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", "[2001:db8::1]:1 [::1]:65535"),
            ("PROXY UNKNOWN\r\n", "own"),
            ("PROXY UNKNOWN ffff::1 whatever\r\n", "own"),
        ];
        for (line, expected) in cases {
            assert_eq!(shown(version1(line.as_bytes())), expected, "{line:?}");
        }
        for wrong in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 51000 443\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 51000\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.2 51000 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 51000 443 1\r\n",
            "PROXY TCP4 ::1 198.51.100.2 51000 443\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 51000 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "proxy UNKNOWN\r\n",
            "PROXY \r\n",
        ] {
            assert!(shown(version1(wrong.as_bytes())).starts_with("wrong"), "{wrong:?}");
        }
    }

    #[test]
    fn no_bytes_can_hurt() {
        let ssl = b"\x20\x00\x15\x07\0\0\0\0\x21\x00\x07TLSv1.3\x22\x00\x03bob";
        let whole = [&[9; 36][..], ssl].concat();
        let line = b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n";
        let mut clients = 0;
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                clients += u32::from(matches!(version2(PROXY, 0x21, &bytes), Ok(Claim::Client { .. })));
                drop((version2(PROXY, byte, &bytes[..at]), version2(byte, 0x21, &bytes[at..])));
                let mut bytes = line.to_vec();
                bytes[at % line.len()] = byte;
                drop((version1(&bytes), version1(&bytes[at % line.len()..])));
            }
        }
        assert!(clients > 36 * 256, "what changes an address leaves the header whole");
    }

    #[test]
    fn version_2_is_read_with_its_values() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0xc7, 0x38, 1, 0xbb];
        assert_eq!(shown(version2(PROXY, 0x11, &v4)), "192.0.2.1:51000 198.51.100.2:443");
        let mut v6 = [0; 36];
        (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 3, 4);
        assert_eq!(shown(version2(PROXY, 0x21, &v6)), "[::1]:3 [::2]:4");
        let ssl = b"\x20\x00\x15\x07\0\0\0\0\x21\x00\x07TLSv1.3\x22\x00\x03bob";
        let known = "192.0.2.1:51000 198.51.100.2:443 [(\"SSL_CLIENT_VERIFY\", \"SUCCESS\"), (\"SSL_PROTOCOL\", \"TLSv1.3\"), \
                     (\"SSL_CLIENT_S_DN_CN\", \"bob\")]";
        assert_eq!(shown(version2(PROXY, 0x11, &[&v4[..], b"\x04\x00\x01x", ssl].concat())), known);
        for own in [version2(LOCAL, 0, &[]), version2(LOCAL, 0x11, &v4), version2(PROXY, 0, &[]), version2(PROXY, 0x31, &[])] {
            assert_eq!(shown(own), "own");
        }
        for wrong in [
            version2(0x11, 0x11, &v4),
            version2(0x22, 0x11, &v4),
            version2(PROXY, 0x41, &v4),
            version2(PROXY, 0x11, &v4[..11]),
            version2(PROXY, 0x21, &v4),
            version2(PROXY, 0x11, &[&v4[..], b"\x04\x00"].concat()),
            version2(PROXY, 0x11, &[&v4[..], &ssl[..ssl.len() - 1]].concat()),
        ] {
            assert!(shown(wrong).starts_with("wrong"));
        }
    }
}
