//! What scripts are told of a connection, under the names that Apache gives it.

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConnection};

use super::{ClientAuth, x509::Certificate};

/// `SSL_*` and, where clients are asked for a certificate, `SSL_CLIENT_*`.
pub(super) fn variables(session: &ServerConnection, clients: ClientAuth) -> Vec<(&'static str, String)> {
    let mut variables = Vec::new();
    variables.push(("SSL_PROTOCOL", protocol(session.protocol_version()).into()));
    if let Some(suite) = session.negotiated_cipher_suite() {
        variables.push(("SSL_CIPHER", cipher(suite.suite())));
    }
    if let Some(name) = session.server_name() {
        variables.push(("SSL_TLS_SNI", name.to_owned()));
    }
    let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    variables.push(("SSL_SESSION_RESUMED", if is_resumed { "Resumed" } else { "Initial" }.into()));
    if clients != ClientAuth::None {
        match session.peer_certificates().and_then(|chain| chain.first()) {
            Some(der) => client(&mut variables, der, clients),
            None => variables.push(("SSL_CLIENT_VERIFY", "NONE".into())),
        }
    }
    variables
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
