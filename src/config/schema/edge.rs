//! The keys of what stands between clients and scripts.

use super::{BOUND, Field, HEADER, Key, TIME, WINDOW, cors, http3, key, section, ssl, zero_is_default};
use crate::config::{
    compound::{Fields, List, Locations, Maybe},
    edge::Network,
    form::{Choice, Count, FilePath, Flag, Listen, Size, Text},
};

/// The rows; those of the sections stand with the others of `http`.
pub(super) const HTTP: &[Key] = &[
    key(
        "http.headers.request",
        "Added to each request, such as Example-Header => value.",
        &Field(|c| &mut c.http.headers.request, Fields),
    ),
    key(
        "http.headers.response",
        "Added to each answer that has no such header.",
        &Field(|c| &mut c.http.headers.response, Fields),
    ),
    section("http.headers.cors", "What scripts of other sites may ask; off while nothing differs from here."),
    key(
        "http.headers.cors.allowed_origin",
        "Origins such as https://example.com or https://*.example.com; * or none given means any.",
        &Field(|c| &mut cors(c).allowed_origin, List(ORIGIN)),
    ),
    key(
        "http.headers.cors.allowed_origin_regex",
        "Origins by a regular expression, in place of allowed_origin.",
        &Field(|c| &mut cors(c).allowed_origin_regex, Maybe(Text("a regular expression", |_| true))),
    ),
    key("http.headers.cors.allowed_methods", "Methods.", &Field(|c| &mut cors(c).allowed_methods, List(TOKEN))),
    key(
        "http.headers.cors.allowed_headers",
        "Request headers; * means any.",
        &Field(|c| &mut cors(c).allowed_headers, List(TOKEN)),
    ),
    key(
        "http.headers.cors.exposed_headers",
        "Headers of answers that scripts may read.",
        &Field(|c| &mut cors(c).exposed_headers, List(TOKEN)),
    ),
    key("http.headers.cors.allow_credentials", "Cookies may be sent.", &Field(|c| &mut cors(c).allow_credentials, Flag)),
    key(
        "http.headers.cors.max_age",
        "Seconds that browsers may remember the answer to a preflight request.",
        &Field(|c| &mut cors(c).max_age, Count(0, 4_294_967_295)),
    ),
    zero_is_default(
        "http.headers.cors.options_success_status",
        "The status of that answer.",
        &Field(|c| &mut cors(c).options_success_status, Count(200, 299)),
    ),
    key("http.headers.cors.debug", "Log why a request is not allowed.", &Field(|c| &mut cors(c).debug, Flag)),
    key(
        "http.compress.encodings",
        "What compress may choose from, the preferred one first: zstd, br, gzip.",
        &Field(|c| &mut c.http.compress.encodings, List(Choice)),
    ),
    key(
        "http.compress.min_size",
        "Answers known to be shorter are left alone.",
        &Field(|c| &mut c.http.compress.min_size, Size(0)),
    ),
    key("http.compress.gzip_level", "How hard gzip tries, 1 to 9.", &Field(|c| &mut c.http.compress.gzip_level, Count(1, 9))),
    key(
        "http.compress.brotli_level",
        "How hard brotli tries, 0 to 11.",
        &Field(|c| &mut c.http.compress.brotli_level, Count(0, 11)),
    ),
    key("http.compress.zstd_level", "How hard zstd tries, 1 to 19.", &Field(|c| &mut c.http.compress.zstd_level, Count(1, 19))),
    key(
        "http.sendfile.roots",
        "Directories that hold the files of X-Sendfile; a path that does not start with / is below the first.",
        &Field(|c| &mut c.http.sendfile.roots, List(FilePath)),
    ),
    key(
        "http.sendfile.locations",
        "What X-Accel-Redirect names, such as /protected/ => /srv/files; nothing else is found.",
        &Field(|c| &mut c.http.sendfile.locations, Locations),
    ),
    key("http.ssl.address", "Where to listen, one or a list.", &Field(|c| &mut ssl(c).address, List(Listen("")))),
    key(
        "http.ssl.cert",
        "Certificate chains as PEM files, one or a list; clients get the one for the name they ask for, or the first. An OCSP answer in FILE.ocsp, in DER, goes with it.",
        &Field(|c| &mut ssl(c).cert, List(FilePath)),
    ),
    key("http.ssl.key", "Their private keys, in the same order.", &Field(|c| &mut ssl(c).key, List(FilePath))),
    key(
        "http.ssl.root_ca",
        "The authorities that clients' certificates are verified against.",
        &Field(|c| &mut ssl(c).root_ca, Maybe(FilePath)),
    ),
    key(
        "http.ssl.client_auth_type",
        "What clients are asked for: no_client_cert, request_client_cert, require_any_client_cert, verify_client_cert_if_given or require_and_verify_client_cert. A certificate has to be of X.509 version 3, even one that is not checked.",
        &Field(|c| &mut ssl(c).client_auth, Choice),
    ),
    key("http.ssl.redirect", "Answer requests to http.address with a redirect to here.", &Field(|c| &mut ssl(c).redirect, Flag)),
    key(
        "http.ssl.hsts",
        "With redirect, the Strict-Transport-Security of answers; empty for none.",
        &Field(|c| &mut ssl(c).hsts, HEADER),
    ),
    key(
        "http.ssl.profile",
        "intermediate, which is TLS 1.2 and 1.3, or modern, which is 1.3 alone.",
        &Field(|c| &mut ssl(c).profile, Choice),
    ),
    key(
        "http.ssl.tickets",
        "Clients resume sessions by tickets, which is quicker than a new handshake, also with the next engine.",
        &Field(|c| &mut ssl(c).tickets, Flag),
    ),
    key(
        "http.ssl.ticket_lifetime",
        "How long they may. The tickets' keys are replaced as often, and then open older ones once as long.",
        &Field(|c| &mut ssl(c).ticket_lifetime, BOUND),
    ),
    key("http.ssl.handshake_timeout", "How long a handshake may take.", &Field(|c| &mut ssl(c).handshake_timeout, BOUND)),
    zero_is_default(
        "http.ssl.max_handshakes",
        "Hellos of clients answered at once; further ones wait, no longer than a handshake may take.",
        &Field(|c| &mut ssl(c).max_handshakes, Count(1, 1_000_000)),
    ),
    key(
        "http.http3.address",
        "Where to listen, one or a list: usually those of http.ssl.address.",
        &Field(|c| &mut http3(c).address, List(Listen(""))),
    ),
    key(
        "http.http3.cert",
        "Certificate chains, in place of those of http.ssl, one or a list.",
        &Field(|c| &mut http3(c).cert, List(FilePath)),
    ),
    key("http.http3.key", "Their private keys, in the same order.", &Field(|c| &mut http3(c).key, List(FilePath))),
    key(
        "http.http3.alt_svc",
        "How long clients of http.ssl may remember that there is HTTP/3; 0 tells them nothing.",
        &Field(|c| &mut http3(c).alt_svc, TIME),
    ),
    key(
        "http.http3.idle_timeout",
        "A client that is not heard of for so long is gone; three times in it, it is asked.",
        &Field(|c| &mut http3(c).idle_timeout, BOUND),
    ),
    key(
        "http.http3.retry_above",
        "With more handshakes than this in progress, clients first prove that their addresses are theirs; 0 asks all.",
        &Field(|c| &mut http3(c).retry_above, Count(0, 1_000_000)),
    ),
    key(
        "http.http3.receive_window",
        "What a client may send on one connection before it is taken.",
        &Field(|c| &mut http3(c).receive_window, WINDOW),
    ),
    key("http.http3.stream_receive_window", "The same for one request.", &Field(|c| &mut http3(c).stream_receive_window, WINDOW)),
    key(
        "http.http3.send_window",
        "What of the answers on one connection is kept until the client has it; more is faster over long ways.",
        &Field(|c| &mut http3(c).send_window, WINDOW),
    ),
    key(
        "http.http3.socket_buffer",
        "Packets that the kernel keeps for a socket, in bytes, as far as net.core.rmem_max and wmem_max allow. Those it had no room for are counted (rr_http_quic_packets_dropped_total).",
        &Field(|c| &mut http3(c).socket_buffer, WINDOW),
    ),
    key(
        "http.proxy_protocol.address",
        "Those of http.address and http.ssl.address where connections begin with a PROXY header, version 1 or 2.",
        &Field(|c| &mut c.http.proxy_protocol.address, List(Listen(""))),
    ),
    key(
        "http.proxy_protocol.trusted",
        "The proxies, such as 10.0.0.0/8; connections from elsewhere are closed. On unix sockets all are trusted.",
        &Field(|c| &mut c.http.proxy_protocol.trusted, List(Network)),
    ),
    key("http.proxy_protocol.timeout", "How long the header may take.", &Field(|c| &mut c.http.proxy_protocol.timeout, BOUND)),
];

const ORIGIN: Text = Text("an origin such as https://example.com", |text| !text.is_empty() && !text.contains(' '));
const TOKEN: Text = Text("a name without spaces", |text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()));
