//! The resolved `http.ssl.acme` section.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use super::form::{Named, Text};

/// Certificates that an authority issues by itself (`http.ssl.acme`); off without a host.
///
/// # Defaults
/// - `http.ssl.acme.cache_dir`: `rr_cache_dir`
/// - `http.ssl.acme.email`: `null`
/// - `http.ssl.acme.domains`: `[]`
/// - `http.ssl.acme.on_demand`: `[]`
/// - `http.ssl.acme.on_demand_per_hour`: `20`
/// - `http.ssl.acme.challenge_type`: `http-01`
/// - `http.ssl.acme.alt_http_port`: `80`
/// - `http.ssl.acme.alt_tlsalpn_port`: `443`
/// - `http.ssl.acme.use_production_endpoint`: `false`
/// - `http.ssl.acme.directory`: `null`
/// - `http.ssl.acme.directory_ca`: `null`
/// - `http.ssl.acme.eab_key_id`: `null`
/// - `http.ssl.acme.eab_hmac_key`: `null`
/// - `http.ssl.acme.key_type`: `p256`
/// - `http.ssl.acme.order_timeout`: `3m`
/// - `http.ssl.acme.retry_after`: `1m`
/// - `http.ssl.acme.max_retry_after`: `6h`
#[derive(Clone, Debug, PartialEq)]
pub struct Acme {
    /// Where accounts, keys and certificates are kept; `http.ssl.acme.certs_dir` is the same key.
    pub cache_dir: PathBuf,
    /// Whom the authority may write to.
    pub email: Option<String>,
    /// Hosts, each of which gets a certificate.
    pub domains: Vec<String>,
    /// Hosts that get one when a client first asks for them.
    pub on_demand: Vec<String>,
    /// How many of these get their first certificate within an hour.
    pub on_demand_per_hour: usize,
    /// How control over a host is shown.
    pub challenge_type: AcmeChallenge,
    /// Where the authority looks for `http-01`.
    pub alt_http_port: u16,
    /// Where it looks for `tls-alpn-01`.
    pub alt_tlsalpn_port: u16,
    /// Let's Encrypt's production endpoint rather than its staging one.
    pub use_production_endpoint: bool,
    /// Another authority's directory.
    pub directory: Option<String>,
    /// Who has signed the certificate of the authority's own server; none means whom the system trusts.
    pub directory_ca: Option<PathBuf>,
    /// The name of the key of an account that the account is bound to.
    pub eab_key_id: Option<String>,
    /// That key, in base64url.
    pub eab_hmac_key: Option<String>,
    /// The kind of the certificates' keys.
    pub key_type: AcmeKeyType,
    /// How long an order may take.
    pub order_timeout: Duration,
    /// How long to wait after an order that failed; doubled with each further one.
    pub retry_after: Duration,
    /// The longest such wait.
    pub max_retry_after: Duration,
}

/// How control over a host is shown (`http.ssl.acme.challenge_type`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AcmeChallenge {
    /// By a file that is fetched without TLS.
    Http01,
    /// By a certificate that is shown in a handshake.
    TlsAlpn01,
}

/// The kind of a certificate's key (`http.ssl.acme.key_type`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum AcmeKeyType {
    P256,
    P384,
    Rsa2048,
}

/// The name of one host, as a file can be called.
pub(super) const HOST: Text = Text("a host's name such as www.example.com; a wildcard or an address cannot be had", |text| {
    let label =
        |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    text.len() <= LONGEST_HOST && text.parse::<Ipv4Addr>().is_err() && text.split('.').all(label)
});

/// An `https` URL.
pub(super) const DIRECTORY: Text =
    Text("an https URL", |text| text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty()));

/// RFC 1035.
const LONGEST_HOST: usize = 253;

// === impl Acme ===

impl Default for Acme {
    fn default() -> Self {
        Self {
            cache_dir: "rr_cache_dir".into(),
            email: None,
            domains: Vec::new(),
            on_demand: Vec::new(),
            on_demand_per_hour: 20,
            challenge_type: AcmeChallenge::Http01,
            alt_http_port: 80,
            alt_tlsalpn_port: 443,
            use_production_endpoint: false,
            directory: None,
            directory_ca: None,
            eab_key_id: None,
            eab_hmac_key: None,
            key_type: AcmeKeyType::P256,
            order_timeout: Duration::from_secs(180),
            retry_after: Duration::from_secs(60),
            max_retry_after: Duration::from_secs(6 * 3600),
        }
    }
}

impl Acme {
    /// Whether there is a host to have a certificate for.
    pub fn is_on(&self) -> bool {
        !self.domains.is_empty() || !self.on_demand.is_empty()
    }

    /// The key at fault and what is wrong with it.
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        if !self.is_on() && *self != Self::default() {
            Some(("http.ssl.acme.domains", "missing, while other keys of http.ssl.acme are set".into()))
        } else if self.eab_key_id.is_some() != self.eab_hmac_key.is_some() {
            Some(("http.ssl.acme.eab_key_id", "goes with http.ssl.acme.eab_hmac_key: give both or none".into()))
        } else {
            None
        }
    }
}

impl Named for AcmeChallenge {
    const NAMES: &'static [(&'static str, Self)] =
        &[("http-01", Self::Http01), ("tlsalpn-01", Self::TlsAlpn01), ("tls-alpn-01", Self::TlsAlpn01)];
}

impl Named for AcmeKeyType {
    const NAMES: &'static [(&'static str, Self)] = &[("p256", Self::P256), ("p384", Self::P384), ("rsa2048", Self::Rsa2048)];
}
