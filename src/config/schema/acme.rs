//! The keys of certificates that an authority issues by itself.

use super::{BOUND, Field, Key, key, section, ssl, zero_is_default};
use crate::config::{
    acme::{DIRECTORY, HOST},
    compound::{List, Maybe},
    form::{Choice, Count, FilePath, Flag, Text},
};

/// The rows.
pub(super) const HTTP: &[Key] = &[
    section("http.ssl.acme", "Certificates from Let's Encrypt or another authority that speaks ACME; off without a host."),
    key("http.ssl.acme.domains", "Hosts, each of which gets a certificate.", &Field(|c| &mut ssl(c).acme.domains, List(HOST))),
    key(
        "http.ssl.acme.on_demand",
        "Hosts that get one when a client first asks for them.",
        &Field(|c| &mut ssl(c).acme.on_demand, List(HOST)),
    ),
    zero_is_default(
        "http.ssl.acme.on_demand_per_hour",
        "How many of these get their first certificate within an hour.",
        &Field(|c| &mut ssl(c).acme.on_demand_per_hour, Count(1, 10_000)),
    ),
    key("http.ssl.acme.email", "Whom the authority may write to.", &Field(|c| &mut ssl(c).acme.email, Maybe(EMAIL))),
    key(
        "http.ssl.acme.cache_dir",
        "Where accounts, keys and certificates are kept, for this user alone; servers may share it, and one of them asks for all. certs_dir is the same key.",
        &Field(|c| &mut ssl(c).acme.cache_dir, FilePath),
    ),
    key(
        "http.ssl.acme.use_production_endpoint",
        "Let's Encrypt's production endpoint rather than its staging one, whose certificates no browser trusts.",
        &Field(|c| &mut ssl(c).acme.use_production_endpoint, Flag),
    ),
    key(
        "http.ssl.acme.directory",
        "The directory of another authority, such as https://acme.zerossl.com/v2/DV90.",
        &Field(|c| &mut ssl(c).acme.directory, Maybe(DIRECTORY)),
    ),
    key(
        "http.ssl.acme.directory_ca",
        "Who has signed its server's certificate, as a PEM file, unless the system trusts it.",
        &Field(|c| &mut ssl(c).acme.directory_ca, Maybe(FilePath)),
    ),
    key(
        "http.ssl.acme.eab_key_id",
        "The key of an account elsewhere that the account is bound to, if the authority wants that.",
        &Field(|c| &mut ssl(c).acme.eab_key_id, Maybe(Text("a key's name", |text| !text.is_empty()))),
    ),
    key(
        "http.ssl.acme.eab_hmac_key",
        "That key itself, in base64url.",
        &Field(|c| &mut ssl(c).acme.eab_hmac_key, Maybe(Text("a key in base64url", |text| !text.is_empty()))),
    ),
    key(
        "http.ssl.acme.challenge_type",
        "How control over a host is shown: http-01 or tlsalpn-01.",
        &Field(|c| &mut ssl(c).acme.challenge_type, Choice),
    ),
    zero_is_default(
        "http.ssl.acme.alt_http_port",
        "The port to answer http-01 on, if port 80 is passed on to another; one that http.address has not is listened on while an order runs.",
        &Field(|c| &mut ssl(c).acme.alt_http_port, Count(1, 65_535)),
    ),
    zero_is_default(
        "http.ssl.acme.alt_tlsalpn_port",
        "The same for tlsalpn-01, port 443 and http.ssl.address.",
        &Field(|c| &mut ssl(c).acme.alt_tlsalpn_port, Count(1, 65_535)),
    ),
    key(
        "http.ssl.acme.key_type",
        "The kind of the certificates' keys: p256, p384 or rsa2048.",
        &Field(|c| &mut ssl(c).acme.key_type, Choice),
    ),
    key("http.ssl.acme.order_timeout", "How long an order may take.", &Field(|c| &mut ssl(c).acme.order_timeout, BOUND)),
    key(
        "http.ssl.acme.retry_after",
        "How long to wait after an order that failed; doubled with each further one.",
        &Field(|c| &mut ssl(c).acme.retry_after, BOUND),
    ),
    key("http.ssl.acme.max_retry_after", "The longest such wait.", &Field(|c| &mut ssl(c).acme.max_retry_after, BOUND)),
];

const EMAIL: Text = Text("an e-mail address", |text| text.contains('@') && !text.contains(char::is_whitespace));
