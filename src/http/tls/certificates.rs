//! The server's certificates, found by the name that a client asks for.

use std::{collections::HashMap, fs, path::Path, sync::Arc};

use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{Error, Pair, x509};

/// Certificates by name; the first one is for everybody else.
#[derive(Debug)]
pub(super) struct Certificates {
    names: HashMap<String, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

// === impl Certificates ===

impl Certificates {
    pub(super) fn load(pairs: &[Pair], provider: &CryptoProvider) -> Result<Self, Error> {
        let mut certificates = Self { names: HashMap::new(), default: None };
        for pair in pairs {
            certificates.add(pair, provider)?;
        }
        Ok(certificates)
    }

    /// One more, if its files are there and fit.
    pub(super) fn add_if_there(&mut self, pair: &Pair, provider: &CryptoProvider) {
        if pair.chain.exists()
            && let Err(error) = self.add(pair, provider)
        {
            tracing::error!("http.ssl: {error}");
        }
    }

    /// Whether there is one for this name and not merely for others.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    #[cfg(test)]
    pub(super) fn stapled(&self, name: &str) -> Option<Vec<u8>> {
        self.find(name)?.ocsp.clone()
    }

    fn add(&mut self, pair: &Pair, provider: &CryptoProvider) -> Result<(), Error> {
        let chain = chain(&pair.chain)?;
        let names = x509::Certificate::parse(&chain[0]).map(|certificate| certificate.dns_names()).unwrap_or_default();
        let key = PrivateKeyDer::from_pem_file(&pair.key).map_err(|error| unreadable(&pair.key, "private key", &error))?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                Error::new(&pair.key, format_args!("not the key of the certificate in {}", pair.chain.display()))
            }
            error => Error::new(&pair.key, error),
        })?;
        let ocsp = fs::read(pair.ocsp()).ok().filter(|answer| !answer.is_empty());
        let key = Arc::new(CertifiedKey { ocsp, ..key });
        for name in names {
            // Of two with the same name, the first listed.
            self.names.entry(name.to_ascii_lowercase()).or_insert_with(|| key.clone());
        }
        self.default.get_or_insert(key);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        // rustls gives names in lower case.
        self.names.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.names.get(&format!("*.{parent}"))
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello.server_name().and_then(|name| self.find(name)).or(self.default.as_ref()).cloned()
    }
}

/// All certificates of a file, of which there is at least one.
pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(Error::new(path, "no certificate in PEM format is in it")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unreadable(path, "certificate", &error)),
    }
}

fn unreadable(path: &Path, what: &str, error: &rustls::pki_types::pem::Error) -> Error {
    match error {
        rustls::pki_types::pem::Error::Io(error) => Error::new(path, error),
        rustls::pki_types::pem::Error::NoItemsFound => Error::new(path, format_args!("no {what} in PEM format is in it")),
        error => Error::new(path, format_args!("not a {what} in PEM format: {error}")),
    }
}
