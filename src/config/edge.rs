//! The resolved parts of the `http` section that stand between clients and scripts: TLS, proxies, middleware.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use serde_json::Value;

use super::{
    acme::Acme,
    form::{Form, Named, Wrong, text},
    http::Address,
};

/// HTTP over TLS (`http.ssl`).
///
/// # Defaults
/// - `http.ssl.address`: `[127.0.0.1:443]`
/// - `http.ssl.cert`: `[]`
/// - `http.ssl.key`: `[]`
/// - `http.ssl.root_ca`: `null`
/// - `http.ssl.client_auth_type`: `no_client_cert`
/// - `http.ssl.redirect`: `false`
/// - `http.ssl.hsts`: `max-age=31536000; includeSubDomains; preload`
/// - `http.ssl.profile`: `intermediate`
/// - `http.ssl.tickets`: `true`
/// - `http.ssl.ticket_lifetime`: `12h`
/// - `http.ssl.handshake_timeout`: `10s`
/// - `http.ssl.max_handshakes`: `1000`
#[derive(Clone, Debug, PartialEq)]
pub struct Ssl {
    /// Where to listen.
    pub address: Vec<Address>,
    /// Certificate chains; the first is for clients that ask for no name, or an unknown one.
    pub cert: Vec<PathBuf>,
    /// A key for each.
    pub key: Vec<PathBuf>,
    /// Authorities that clients' certificates are checked against.
    pub root_ca: Option<PathBuf>,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// Requests without TLS are answered with where to go.
    pub redirect: bool,
    /// With `redirect`, the `Strict-Transport-Security` of answers over TLS; empty for none.
    pub hsts: String,
    /// Which clients are understood.
    pub profile: TlsProfile,
    /// Certificates that an authority issues by itself.
    pub acme: Acme,
    /// Clients resume sessions by tickets.
    pub tickets: bool,
    /// How long they may, and how often the keys are replaced.
    pub ticket_lifetime: Duration,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// Hellos of clients answered at once.
    pub max_handshakes: usize,
}

/// HTTP/3 (`http.http3`).
///
/// # Defaults
/// - `http.http3.address`: `[]`
/// - `http.http3.cert`: `[]`
/// - `http.http3.key`: `[]`
/// - `http.http3.alt_svc`: `24h`
/// - `http.http3.idle_timeout`: `30s`
/// - `http.http3.retry_above`: `100`
/// - `http.http3.receive_window`: `1M`
/// - `http.http3.stream_receive_window`: `256K`
/// - `http.http3.send_window`: `1M`
/// - `http.http3.socket_buffer`: `2M`
#[derive(Clone, Debug, PartialEq)]
pub struct Http3 {
    /// Where to listen.
    pub address: Vec<Address>,
    /// Certificate chains; those of `http.ssl` if there are none.
    pub cert: Vec<PathBuf>,
    /// A key for each.
    pub key: Vec<PathBuf>,
    /// How long clients may remember that there is HTTP/3; zero is not to tell them.
    pub alt_svc: Duration,
    /// A client that is not heard of for so long is gone.
    pub idle_timeout: Duration,
    /// More handshakes in progress, and clients have to prove their addresses.
    pub retry_above: usize,
    /// Bytes of a connection that were not taken yet.
    pub receive_window: u64,
    /// Bytes of a request that were not taken yet.
    pub stream_receive_window: u64,
    /// Bytes of a connection that its client does not have yet.
    pub send_window: u64,
    /// Bytes of packets that wait in the kernel, each way.
    pub socket_buffer: u64,
}

/// What is asked of TLS clients, under RoadRunner's names (`http.ssl.client_auth_type`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ClientAuth {
    NoClientCert,
    RequestClientCert,
    RequireAnyClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

/// Which TLS clients are understood (`http.ssl.profile`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsProfile {
    /// TLS 1.2 and 1.3.
    Intermediate,
    /// TLS 1.3 only.
    Modern,
}

/// The headers that proxies set (`http.proxy_headers`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyHeaders {
    /// `X-Forwarded-For` and its kin, or one of those that tell a single address.
    XForwarded,
    /// RFC 7239's `Forwarded`.
    Forwarded,
}

/// What proxies are believed (`http.proxy_trust`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyFact {
    /// The client's address.
    For,
    /// Whether it spoke TLS.
    Proto,
    /// The host it asked for.
    Host,
    /// The port it connected to.
    Port,
}

/// Listeners whose clients are proxies that speak the PROXY protocol (`http.proxy_protocol`).
///
/// # Defaults
/// - `http.proxy_protocol.address`: `[]`
/// - `http.proxy_protocol.trusted`: `[]`
/// - `http.proxy_protocol.timeout`: `1s`
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyProtocol {
    /// Those of `http.address` and `http.ssl.address` where every connection begins with a proxy's header.
    pub address: Vec<Address>,
    /// Whom to believe; on unix sockets everybody who may connect.
    pub trusted: Vec<Subnet>,
    /// How long the header may take.
    pub timeout: Duration,
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Subnet {
    /// One of them.
    pub address: IpAddr,
    /// How many bits they have in common.
    pub bits: u8,
}

/// An address, or several as `10.0.0.0/8`.
pub(super) struct Network;

/// RFC 8446 §4.6.1.
const LONGEST_TICKET: Duration = Duration::from_secs(168 * 3600);

// === impl Ssl ===

impl Default for Ssl {
    fn default() -> Self {
        Self {
            address: vec![Address::Tcp("127.0.0.1:443".into())],
            cert: Vec::new(),
            key: Vec::new(),
            root_ca: None,
            client_auth: ClientAuth::NoClientCert,
            redirect: false,
            hsts: "max-age=31536000; includeSubDomains; preload".into(),
            profile: TlsProfile::Intermediate,
            acme: Acme::default(),
            tickets: true,
            ticket_lifetime: Duration::from_secs(12 * 3600),
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 1000,
        }
    }
}

impl Ssl {
    /// The key at fault and what is wrong with it, if the keys do not fit each other.
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        let (certificates, keys) = (self.cert.len(), self.key.len());
        let verifies = matches!(self.client_auth, ClientAuth::VerifyClientCertIfGiven | ClientAuth::RequireAndVerifyClientCert);
        if let Some(fault) = self.acme.fault() {
            Some(fault)
        } else if certificates == 0 && !self.acme.is_on() {
            Some(("http.ssl.cert", "missing, while other keys of http.ssl are set".into()))
        } else if certificates != keys {
            Some(("http.ssl.key", format!("expected a key for each of {certificates} certificates, got {keys}")))
        } else if self.address.is_empty() {
            Some(("http.ssl.address", "expected an address, got none".into()))
        } else if self.ticket_lifetime > LONGEST_TICKET {
            Some(("http.ssl.ticket_lifetime", "expected no more than 168h, which is TLS's own limit".into()))
        } else if verifies && self.root_ca.is_none() {
            Some(("http.ssl.root_ca", "missing, while http.ssl.client_auth_type wants certificates verified".into()))
        } else {
            None
        }
    }
}

// === impl Http3 ===

impl Default for Http3 {
    fn default() -> Self {
        Self {
            address: Vec::new(),
            cert: Vec::new(),
            key: Vec::new(),
            alt_svc: Duration::from_secs(24 * 3600),
            idle_timeout: Duration::from_secs(30),
            retry_above: 100,
            receive_window: 1024 * 1024,
            stream_receive_window: 256 * 1024,
            send_window: 1024 * 1024,
            socket_buffer: 2 * 1024 * 1024,
        }
    }
}

impl Http3 {
    /// The key at fault and what is wrong with it, if the keys do not fit each other or what `ssl` says.
    pub(super) fn fault(&self, ssl: Option<&Ssl>) -> Option<(&'static str, String)> {
        let (certificates, keys) = (self.cert.len(), self.key.len());
        let is_path = |address: &&Address| matches!(address, Address::Unix(_));
        if self.address.is_empty() {
            Some(("http.http3.address", "missing, while other keys of http.http3 are set".into()))
        } else if let Some(path) = self.address.iter().find(is_path) {
            Some(("http.http3.address", format!("expected a UDP address, got {path}")))
        } else if certificates != keys {
            Some(("http.http3.key", format!("expected a key for each of {certificates} certificates, got {keys}")))
        } else if certificates == 0 && ssl.is_none() {
            Some(("http.http3.cert", "expected a certificate here or in http.ssl, got none".into()))
        } else {
            None
        }
    }
}

impl Named for ClientAuth {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("no_client_cert", Self::NoClientCert),
        ("request_client_cert", Self::RequestClientCert),
        ("require_any_client_cert", Self::RequireAnyClientCert),
        ("verify_client_cert_if_given", Self::VerifyClientCertIfGiven),
        ("require_and_verify_client_cert", Self::RequireAndVerifyClientCert),
    ];
}

impl Named for TlsProfile {
    const NAMES: &'static [(&'static str, Self)] = &[("intermediate", Self::Intermediate), ("modern", Self::Modern)];
}

impl Named for ProxyHeaders {
    const NAMES: &'static [(&'static str, Self)] = &[("x-forwarded", Self::XForwarded), ("forwarded", Self::Forwarded)];
}

impl Named for ProxyFact {
    const NAMES: &'static [(&'static str, Self)] =
        &[("for", Self::For), ("proto", Self::Proto), ("host", Self::Host), ("port", Self::Port)];
}

// === impl ProxyProtocol ===

impl Default for ProxyProtocol {
    fn default() -> Self {
        Self { address: Vec::new(), trusted: Vec::new(), timeout: Duration::from_secs(1) }
    }
}

impl ProxyProtocol {
    /// The same, of addresses that are listened on.
    pub(super) fn fault(&self, listening: &[&Address]) -> Option<(&'static str, String)> {
        let stranger = self.address.iter().find(|address| !listening.contains(address));
        let is_tcp = |address: &Address| matches!(address, Address::Tcp(_));
        if let Some(address) = stranger {
            Some(("http.proxy_protocol.address", format!("{address} is not one of http.address or http.ssl.address")))
        } else if self.trusted.is_empty() && self.address.iter().any(is_tcp) {
            Some(("http.proxy_protocol.trusted", "expected the proxies' addresses, got none".into()))
        } else {
            None
        }
    }
}

// === impl Form ===

impl Form<Subnet> for Network {
    fn read(&self, raw: &Value) -> Result<Subnet, Wrong> {
        let parse = |text: &str| {
            let (address, bits) = match text.split_once('/') {
                Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
                None => (text, None),
            };
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.unwrap_or(most);
            (bits <= most).then_some(Subnet { address, bits })
        };
        let given = text(raw).unwrap_or_default();
        parse(given.trim()).ok_or_else(|| Wrong::expected("an address such as 10.0.0.1 or 10.0.0.0/8", raw))
    }

    fn show(&self, value: &Subnet) -> Value {
        format!("{}/{}", value.address, value.bits).into()
    }
}
