//! TLS: certificates by the name asked for, clients' certificates, and the handshake, bounded in time and number.
//!
//! Files are looked at again while serving: new certificates are in force for the next handshake, and those that cannot be read
//! change nothing.

pub mod acme;
mod certificates;
mod clients;
mod connection;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod handshake;
pub mod tickets;
mod watch;
mod x509;

#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, UnixTime},
    server::{NoServerSessionStorage, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};
use tokio::sync::{Semaphore, watch as changes};

use acme::Acme;
use certificates::Certificates;
pub use clients::ClientAuth;
pub(crate) use handshake::{Greeted, Refused};
use tickets::Resumption;

use crate::worker::Secure;

/// What TLS is spoken with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Certificate chains and their keys, as PEM files. The first is for clients that ask for no name, or an unknown one.
    pub certificates: Vec<Pair>,
    /// Further certificates, which an authority issues by itself.
    pub acme: Option<acme::Config>,
    /// Authorities that clients' certificates are checked against, as a PEM file.
    pub root_ca: Option<PathBuf>,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// Which clients are understood.
    pub profile: Profile,
    /// Whether clients resume sessions.
    pub resumption: Resumption,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// Hellos of clients answered at once, which is a handshake's work; further ones wait, no longer than a handshake may take.
    pub max_handshakes: usize,
}

/// A certificate's two files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pair {
    /// The chain, the server's own certificate first.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Mozilla's names for what a server speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Profile {
    /// TLS 1.2 and 1.3.
    Intermediate,
    /// TLS 1.3 only.
    Modern,
}

/// TLS at work. Clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

/// TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct Error {
    /// The file at fault.
    pub path: PathBuf,
    reason: String,
}

struct Shared {
    config: Config,
    acme: Option<Acme>,
    provider: Arc<CryptoProvider>,
    current: RwLock<Current>,
    /// Told when that is another.
    changed: changes::Sender<()>,
    seen: Mutex<Vec<watch::Stamp>>,
    permits: Semaphore,
}

/// What handshakes are made with.
struct Current {
    server: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// Does what else the first handshake of this process would wait for: the library measures the jitter of the CPU before it gives any
/// randomness, for tens of milliseconds.
pub fn gather_randomness() {
    // Without any the first handshake says so.
    _ = ::aws_lc_rs::rand::fill(&mut [0]);
}

// === impl Config ===

impl Config {
    /// Reads all files.
    pub fn build(self) -> Result<Tls, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        if let Some(file) = self.acme.as_ref().and_then(|acme| acme.directory_ca.as_ref()) {
            certificates::chain(file)?;
        }
        let acme = self.acme.clone().map(Acme::new);
        let seen = watch::stamps(&self, acme.as_ref());
        let current = RwLock::new(self.load(acme.as_ref(), &provider)?);
        let permits = Semaphore::new(self.max_handshakes.min(Semaphore::MAX_PERMITS));
        let (changed, _) = changes::channel(());
        Ok(Tls(Arc::new(Shared { config: self, acme, provider, current, changed, seen: Mutex::new(seen), permits })))
    }

    fn load(&self, acme: Option<&Acme>, provider: &Arc<CryptoProvider>) -> Result<Current, Error> {
        let mut certificates = Certificates::load(&self.certificates, provider)?;
        acme.into_iter().flat_map(Acme::pairs).for_each(|pair| certificates.add_if_there(&pair, provider));
        let certificates = Arc::new(certificates);
        let authorities = self.client_auth.authorities(self.root_ca.as_deref())?;
        let clients = self.client_auth.verifier(&authorities, provider)?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.profile.versions())
            .expect("the provider has suites for TLS 1.2 and 1.3");
        let builder = match clients.clone() {
            Some(clients) => builder.with_client_cert_verifier(clients),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(certificates.clone());
        config.alpn_protocols = vec![H2.to_vec(), HTTP11.to_vec()];
        match self.resumption.sealer(self.client_auth.context(&authorities)) {
            Some(sealer) => config.ticketer = sealer,
            None => config.session_storage = Arc::new(NoServerSessionStorage {}),
        }
        Ok(Current { server: Arc::new(config), certificates, clients })
    }
}

// === impl Pair ===

impl Pair {
    /// Where the authority's word that the certificate is not revoked may stand, in DER: clients are given it with the certificate.
    fn ocsp(&self) -> PathBuf {
        let mut name = self.chain.clone().into_os_string();
        name.push(".ocsp");
        name.into()
    }
}

// === impl Profile ===

impl Profile {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static INTERMEDIATE: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Intermediate => &INTERMEDIATE,
            Self::Modern => &INTERMEDIATE[..1],
        }
    }
}

// === impl Tls ===

impl Tls {
    /// What answers an authority's questions, if one issues certificates.
    pub fn acme(&self) -> Option<&Acme> {
        self.0.acme.as_ref()
    }

    /// Keeps certificates up to date for ever.
    pub async fn keep(self) {
        let acme = self.0.acme.clone();
        if let Some(acme) = &acme {
            let certificates = self.0.current.read().certificates.clone();
            acme.tell_missing(|host| certificates.has(host));
        }
        let issue = async {
            match acme {
                Some(acme) => acme.run(self.clone()).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(self.clone().watch(), issue);
    }

    /// What is in force now, for connections that agree on `protocol` alone.
    pub(crate) fn speaking(&self, protocol: &[u8]) -> ServerConfig {
        let mut config = ServerConfig::clone(&self.current());
        config.alpn_protocols = vec![protocol.to_vec()];
        config
    }

    /// Changes when other certificates come into force.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.0.current.read().server.clone()
    }

    /// Whether both are one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How long a handshake may take, and how many there may be at once.
    pub(crate) fn handshakes(&self) -> (Duration, usize) {
        (self.0.config.handshake_timeout, self.0.config.max_handshakes)
    }

    /// Whether a client who has shown `chain` when the session began may go on with it now: it is not checked anew when a session is
    /// resumed, and may have expired since.
    pub(crate) fn still_trusts(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        let clients = self.0.current.read().clients.clone();
        match (clients, chain.and_then(<[_]>::split_first)) {
            (Some(clients), Some((own, others))) => clients.verify_client_cert(own, others, UnixTime::now()).is_ok(),
            (Some(clients), None) => !clients.client_auth_mandatory(),
            (None, _) => true,
        }
    }

    /// What scripts are told of a QUIC connection.
    pub(crate) fn facts_of_quic(&self, name: Option<&str>, certificate: Option<&[u8]>) -> Secure {
        let facts = connection::Facts { protocol: "TLSv1.3", cipher: None, name, is_resumed: None, certificate };
        Secure { variables: facts.variables(self.0.config.client_auth) }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").field("config", &self.0.config).finish_non_exhaustive()
    }
}

// === impl Error ===

impl Error {
    fn new(path: &std::path::Path, reason: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }
}

const H2: &[u8] = b"h2";
const HTTP11: &[u8] = b"http/1.1";
