//! Fuzz target: a client's certificate, as it is shown to scripts.

use super::x509::Certificate;

/// A certificate in DER.
pub(crate) fn certificate(input: &[u8]) {
    let Some(certificate) = Certificate::parse(input) else { return };
    certificate.serial();
    certificate.validity();
    certificate.dns_names();
    for name in [certificate.subject(), certificate.issuer()] {
        name.common_name();
        let shown = name.to_string();
        assert!(!shown.contains(['\0', '\r', '\n']), "a name is one line: {shown:?}");
    }
}
