//! What is asked of clients: nothing, a certificate, or one that an authority of ours has signed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest;
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{Error, certificates};

/// Go's five kinds, under the names that RoadRunner gives them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientAuth {
    /// `no_client_cert`: nothing is asked.
    None,
    /// `request_client_cert`: a certificate is asked for, none is needed, and none is checked.
    Request,
    /// `require_any_client_cert`: one is needed, but not checked.
    RequireAny,
    /// `verify_client_cert_if_given`: none is needed, one that is given is checked.
    VerifyIfGiven,
    /// `require_and_verify_client_cert`: one is needed and checked.
    RequireAndVerify,
}

/// Who signs certificates that are believed.
#[derive(Debug, Default)]
pub(super) struct Authorities {
    path: PathBuf,
    certificates: Vec<CertificateDer<'static>>,
}

/// Believes every certificate, if only its owner sent it.
#[derive(Debug)]
struct Anyone {
    is_required: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

// === impl ClientAuth ===

impl ClientAuth {
    /// Whether certificates that come are checked against our authorities.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    /// Who has to have signed certificates, if that matters, and the file that says so.
    pub(super) fn authorities(self, root_ca: Option<&Path>) -> Result<Authorities, Error> {
        if !self.verifies() {
            return Ok(Authorities::default());
        }
        let path = root_ca.ok_or_else(|| Error::new(Path::new("root_ca"), "missing, while clients are to be verified"))?;
        Ok(Authorities { path: path.to_owned(), certificates: certificates::chain(path)? })
    }

    /// What tickets are sealed for: with other authorities, or if more is asked of it, a client has to show its certificate again.
    pub(super) fn context(self, authorities: &Authorities) -> Vec<u8> {
        let mut context = vec![self as u8];
        for certificate in &authorities.certificates {
            context.extend_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        }
        context
    }

    pub(super) fn verifier(
        self,
        authorities: &Authorities,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
        let anyone = |is_required| -> Arc<dyn ClientCertVerifier> {
            Arc::new(Anyone { is_required, algorithms: provider.signature_verification_algorithms })
        };
        let roots = || {
            let path = &authorities.path;
            let mut roots = RootCertStore::empty();
            for certificate in &authorities.certificates {
                roots.add(certificate.clone()).map_err(|error| Error::new(path, error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            let verifier = if self == Self::VerifyIfGiven { verifier.allow_unauthenticated() } else { verifier };
            verifier.build().map_err(|error| Error::new(path, error))
        };
        Ok(match self {
            Self::None => None,
            Self::Request => Some(anyone(false)),
            Self::RequireAny => Some(anyone(true)),
            Self::VerifyIfGiven | Self::RequireAndVerify => Some(roots()?),
        })
    }
}

// === impl Anyone ===

impl ClientCertVerifier for Anyone {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
