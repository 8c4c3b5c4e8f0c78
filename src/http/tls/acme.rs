//! Certificates that an authority issues by itself: ACME, RFC 8555.
//!
//! All processes that share a cache directory share what is in it ([`store`]). One of them, the one that holds its lock, asks the
//! authority ([`owner`]); every one of them answers the authority's questions and takes up new certificates.

mod account;
mod challenge;
mod door;
mod due;
mod order;
mod owner;
mod store;

#[cfg(test)]
mod tests;

use std::{
    error::Error as _,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::Pair;
pub(super) use challenge::ACME_TLS;
use store::Store;

/// Whom to ask for which certificates.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where accounts, keys and certificates are kept; made if it is not there.
    pub cache_dir: PathBuf,
    /// The authority's directory, an https URL.
    pub directory: String,
    /// Who has signed the certificate of the authority's own server, as a PEM file; none means whom the system trusts.
    pub directory_ca: Option<PathBuf>,
    /// Whom the authority may write to.
    pub email: Option<String>,
    /// The account that an account is bound to, if the authority wants that.
    pub external: Option<External>,
    /// Hosts, in lower case, each of which gets a certificate of its own.
    pub domains: Vec<String>,
    /// Hosts, in lower case, that get one when a client first asks for them.
    pub on_demand: Vec<String>,
    /// How many of these get their first certificate within an hour.
    pub on_demand_per_hour: usize,
    /// How control over a host is shown.
    pub challenge: Challenge,
    /// Where the authority looks for that.
    pub port: u16,
    /// That port is one of this server's own; otherwise it is listened on while an order runs.
    pub is_served: bool,
    /// The kind of the certificates' keys.
    pub key_type: KeyType,
    /// How long an order may take.
    pub order_timeout: Duration,
    /// How long to wait after an order that failed, doubled with each further one.
    pub retry_after: Duration,
    /// The longest such wait.
    pub max_retry_after: Duration,
}

/// An account elsewhere that an ACME account is bound to.
#[derive(Clone)]
pub struct External {
    /// Its key's name.
    pub key_id: String,
    /// Its key.
    pub hmac_key: Vec<u8>,
}

/// How control over a host is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Challenge {
    /// By a file that is fetched without TLS.
    Http01,
    /// By a certificate that is shown in a handshake.
    TlsAlpn01,
}

/// The kind of a certificate's key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum KeyType {
    P256,
    P384,
    Rsa2048,
}

/// The cache and what is known of it here. Clones share it.
#[derive(Clone, Debug)]
pub struct Acme(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    store: Store,
}

/// A certificate could not be had.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the account with {0}: {1}")]
    Account(String, String),
    #[error("the authority does not know this account any more")]
    UnknownAccount,
    #[error("the authority refuses the order: {0}")]
    Refused(String),
    #[error("the authority could not see that the host is ours: {0}")]
    Unproven(String),
    #[error("the authority offers no challenge of the type {0}")]
    NoChallenge(&'static str),
    #[error("{0}: {1}")]
    Failed(&'static str, String),
    #[error("the order takes longer than {0:?}")]
    Timeout(Duration),
    #[error("port {0}, where the authority looks: {1}")]
    Door(u16, io::Error),
    #[error("{}: {reason}", path.display())]
    Cache { path: PathBuf, reason: String },
}

// === impl Acme ===

impl Acme {
    pub(super) fn new(config: Config) -> Self {
        let store = Store::new(&config.cache_dir, &config.directory);
        Self(Arc::new(Shared { config, store }))
    }

    /// The files of certificates that there are or may be.
    pub(super) fn pairs(&self) -> impl Iterator<Item = Pair> {
        let hosts = self.0.config.domains.iter().chain(&self.0.config.on_demand);
        hosts.map(|host| {
            let file = self.0.store.certificate(host);
            Pair { chain: file.clone(), key: file }
        })
    }

    /// Says for which hosts handshakes fail until the authority has answered.
    pub(super) fn tell_missing(&self, has: impl Fn(&str) -> bool) {
        let missing: Vec<_> = self.0.config.domains.iter().map(String::as_str).filter(|host| !has(host)).collect();
        if !missing.is_empty() {
            tracing::warn!(
                "http.ssl.acme: no certificate yet for {}: there is no TLS for them until there is one",
                missing.join(", ")
            );
        }
    }

    /// Whether to wait for a certificate for `host`, which has none, after having asked for it.
    pub(super) fn ask_for(&self, host: &str) -> bool {
        let is_listed = self.0.config.on_demand.iter().any(|listed| listed == host);
        if !is_listed || self.0.store.failure(host).is_some_and(|failure| !failure.is_over()) {
            return false;
        }
        let asked = self.0.store.ask_for(host);
        if let Err(error) = &asked {
            tracing::error!("http.ssl.acme: {host} cannot be asked for: {error}");
        }
        asked.is_ok()
    }
}

// === impl Challenge ===

impl Challenge {
    fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

// === impl External ===

impl fmt::Debug for External {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("External").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

// === impl Error ===

impl Error {
    fn cache(path: &Path, reason: impl fmt::Display) -> Self {
        Self::Cache { path: path.to_owned(), reason: reason.to_string() }
    }

    /// What came of `step`.
    fn of(step: &'static str, error: &instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem)
                if problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":accountDoesNotExist")) =>
            {
                Self::UnknownAccount
            }
            instant_acme::Error::Api(problem) => Self::Refused(problem.to_string()),
            error => Self::Failed(step, causes(error)),
        }
    }

    /// Whether to go on with the same order next time.
    fn is_passing(&self) -> bool {
        matches!(self, Self::Failed(..) | Self::Timeout(_) | Self::Account(..) | Self::Door(..))
    }
}

/// An error with those that it comes from, which tell what really happened.
fn causes(error: &instant_acme::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.ends_with(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    text
}
