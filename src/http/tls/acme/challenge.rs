//! Answers to an authority that wants to see that a host is ours. Every process has them, from the cache.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{Acme, Challenge};
use crate::http::Body;

/// What such a client speaks, and nobody else: RFC 8737.
pub(in super::super) const ACME_TLS: &[u8] = b"acme-tls/1";

/// Where an answer is looked for: RFC 8555, section 8.3.
const WELL_KNOWN: &str = "/.well-known/acme-challenge/";

// === impl Acme ===

impl Acme {
    /// The answer to a request for a token that is known here; others may know the rest.
    pub(crate) fn respond(&self, method: &Method, path: &str) -> Option<Response<Body>> {
        let token = path.strip_prefix(WELL_KNOWN)?;
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let answer = self.0.store.answer(Challenge::Http01, token)?;
        let mut response = crate::http::response::plain(StatusCode::OK);
        *response.body_mut() = Body::from(Bytes::from(answer));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        Some(response)
    }

    /// What to greet a client with that speaks [`ACME_TLS`] and asks for `host`.
    pub(in super::super) fn greeting(&self, host: &str, provider: &Arc<CryptoProvider>) -> Option<Arc<ServerConfig>> {
        let digest = self.0.store.answer(Challenge::TlsAlpn01, host)?;
        greeting(host, &digest, provider).inspect_err(|error| tracing::error!("http.ssl.acme: {host}: {error}")).ok()
    }
}

fn greeting(host: &str, digest: &[u8], provider: &Arc<CryptoProvider>) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error>> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![host.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let key = provider.key_provider.load_private_key(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))?;
    // As it is: a check whether the two match stumbles over the extension that makes it an answer.
    let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    Ok(Arc::new(config))
}
