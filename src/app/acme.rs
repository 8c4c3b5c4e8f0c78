//! From the configuration's types to those of ACME.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    config::{self, Address},
    error::Error,
    http::tls::acme::{Challenge, Config, External, KeyType},
};

/// Let's Encrypt, for whom no other authority is named.
const PRODUCTION: &str = "https://acme-v02.api.letsencrypt.org/directory";
const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// What of `http.ssl.acme` TLS is told; none if it is off.
pub(super) fn settings(section: &config::Acme, http: &config::Http) -> Result<Option<Config>, Error> {
    if !section.is_on() {
        return Ok(None);
    }
    let ssl = http.ssl.as_ref().map_or(&[][..], |ssl| &ssl.address);
    let (challenge, port, served) = match section.challenge_type {
        config::AcmeChallenge::Http01 => (Challenge::Http01, section.alt_http_port, &*http.address),
        config::AcmeChallenge::TlsAlpn01 => (Challenge::TlsAlpn01, section.alt_tlsalpn_port, ssl),
    };
    let letsencrypt = if section.use_production_endpoint { PRODUCTION } else { STAGING };
    Ok(Some(Config {
        cache_dir: section.cache_dir.clone(),
        directory: section.directory.clone().unwrap_or_else(|| letsencrypt.into()),
        directory_ca: section.directory_ca.clone(),
        email: section.email.clone(),
        external: external(section)?,
        domains: in_lower_case(&section.domains),
        on_demand: in_lower_case(&section.on_demand),
        on_demand_per_hour: section.on_demand_per_hour,
        challenge,
        port,
        is_served: served.iter().any(|address| port_of(address) == Some(port)),
        key_type: match section.key_type {
            config::AcmeKeyType::P256 => KeyType::P256,
            config::AcmeKeyType::P384 => KeyType::P384,
            config::AcmeKeyType::Rsa2048 => KeyType::Rsa2048,
        },
        order_timeout: section.order_timeout,
        retry_after: section.retry_after,
        max_retry_after: section.max_retry_after,
    }))
}

fn external(section: &config::Acme) -> Result<Option<External>, Error> {
    let Some((key_id, key)) = section.eab_key_id.clone().zip(section.eab_hmac_key.as_ref()) else { return Ok(None) };
    let wrong = |error| Error::Config(format!("http.ssl.acme.eab_hmac_key: expected a key in base64url: {error}"));
    // Some authorities give it with the padding that base64url does without.
    let hmac_key = URL_SAFE_NO_PAD.decode(key.trim_end_matches('=')).map_err(wrong)?;
    Ok(Some(External { key_id, hmac_key }))
}

fn in_lower_case(hosts: &[String]) -> Vec<String> {
    hosts.iter().map(|host| host.to_ascii_lowercase()).collect()
}

fn port_of(address: &Address) -> Option<u16> {
    match address {
        Address::Tcp(address) => address.rsplit_once(':')?.1.parse().ok(),
        Address::Unix(_) => None,
    }
}
