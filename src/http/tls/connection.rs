//! What scripts are told of a connection, under the names that Apache gives it.

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConnection};

use super::{ClientAuth, x509::Certificate};

/// `SSL_*` and, where clients are asked for a certificate, `SSL_CLIENT_*`.
pub(super) fn variables(session: &ServerConnection, clients: ClientAuth) -> Vec<(&'static str, String)> {
    let facts = Facts {
        protocol: protocol(session.protocol_version()),
        cipher: session.negotiated_cipher_suite().map(|suite| cipher(suite.suite())),
        name: session.server_name(),
        is_resumed: Some(session.handshake_kind() == Some(HandshakeKind::Resumed)),
        certificate: session.peer_certificates().and_then(|chain| chain.first()).map(|der| &der[..]),
    };
    facts.variables(clients)
}

/// What was agreed on, as far as it is known.
pub(super) struct Facts<'a> {
    pub(super) protocol: &'static str,
    pub(super) cipher: Option<String>,
    pub(super) name: Option<&'a str>,
    pub(super) is_resumed: Option<bool>,
    pub(super) certificate: Option<&'a [u8]>,
}

// === impl Facts ===

impl Facts<'_> {
    pub(super) fn variables(self, clients: ClientAuth) -> Vec<(&'static str, String)> {
        let mut variables = vec![("SSL_PROTOCOL", self.protocol.to_owned())];
        variables.extend(self.cipher.map(|cipher| ("SSL_CIPHER", cipher)));
        variables.extend(self.name.map(|name| ("SSL_TLS_SNI", name.to_owned())));
        let resumed = |is_resumed| if is_resumed { "Resumed" } else { "Initial" }.to_owned();
        variables.extend(self.is_resumed.map(|is_resumed| ("SSL_SESSION_RESUMED", resumed(is_resumed))));
        if clients != ClientAuth::None {
            match self.certificate {
                Some(der) => client(&mut variables, der, clients),
                None => variables.push(("SSL_CLIENT_VERIFY", "NONE".into())),
            }
        }
        variables
    }
}

fn client(variables: &mut Vec<(&'static str, String)>, der: &[u8], clients: ClientAuth) {
    // Apache's word for a certificate that was taken unseen.
    variables.push(("SSL_CLIENT_VERIFY", if clients.verifies() { "SUCCESS" } else { "GENEROUS" }.into()));
    variables.push(("SSL_CLIENT_CERT", pem(der)));
    let Some(certificate) = Certificate::parse(der) else { return };
    variables.push(("SSL_CLIENT_M_SERIAL", certificate.serial()));
    variables.push(("SSL_CLIENT_S_DN", certificate.subject().to_string()));
    variables.push(("SSL_CLIENT_I_DN", certificate.issuer().to_string()));
    variables.extend(certificate.subject().common_name().map(|name| ("SSL_CLIENT_S_DN_CN", name)));
    variables.extend(certificate.issuer().common_name().map(|name| ("SSL_CLIENT_I_DN_CN", name)));
    let (start, end) = certificate.validity();
    variables.extend(start.map(|time| ("SSL_CLIENT_V_START", time)));
    variables.extend(end.map(|time| ("SSL_CLIENT_V_END", time)));
}

fn protocol(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    }
}

/// OpenSSL's name for a suite, which is what every other server shows.
fn cipher(suite: CipherSuite) -> String {
    let name = suite.as_str().unwrap_or_default();
    if let Some(rest) = name.strip_prefix("TLS13_") {
        return format!("TLS_{rest}");
    }
    let name = name.trim_start_matches("TLS_").replace("_WITH", "").replace("AES_", "AES").replace('_', "-");
    name.strip_suffix("POLY1305-SHA256").map_or(name.clone(), |start| format!("{start}POLY1305"))
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}
