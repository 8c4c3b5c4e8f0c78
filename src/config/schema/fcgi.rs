//! The keys of `http.fcgi`.

use super::{ACCOUNT, BACKLOG, BOUND, EXTENSION, Field, Key, fcgi, key, section};
use crate::config::{
    compound::{List, Maybe},
    form::{Client, Count, Listen, Mode, ROOTED, Text},
};

/// The rows.
pub(super) const HTTP: &[Key] = &[
    section(
        "http.fcgi",
        "FastCGI, for standing where php-fpm stood; off without an address. As there, files, middleware, rules and the access log are the web server's.",
    ),
    key(
        "http.fcgi.address",
        "Where to listen, one or a list; :9000 is 127.0.0.1:9000. Whoever connects can run any code: mind who may.",
        &Field(|c| &mut fcgi(c).address, List(Listen("127.0.0.1"))),
    ),
    key(
        "http.fcgi.allowed_clients",
        "IP addresses of the TCP clients let in; empty means any.",
        &Field(|c| &mut fcgi(c).allowed_clients, List(Client)),
    ),
    key("http.fcgi.owner", "The unix sockets' owner, unless the server's user.", &Field(|c| &mut fcgi(c).owner, Maybe(ACCOUNT))),
    key("http.fcgi.group", "The unix sockets' group, unless the server's.", &Field(|c| &mut fcgi(c).group, Maybe(ACCOUNT))),
    key("http.fcgi.mode", "The unix sockets' permissions.", &Field(|c| &mut fcgi(c).mode, Mode)),
    key(
        "http.fcgi.limit_extensions",
        "Extensions that scripts may have; empty means any.",
        &Field(|c| &mut fcgi(c).limit_extensions, List(EXTENSION)),
    ),
    key(
        "http.fcgi.status_path",
        "The script name that answers with the pool's figures.",
        &Field(|c| &mut fcgi(c).status_path, Maybe(ROOTED)),
    ),
    key(
        "http.fcgi.ping_path",
        "The script name that answers with ping_response.",
        &Field(|c| &mut fcgi(c).ping_path, Maybe(ROOTED)),
    ),
    key("http.fcgi.ping_response", "What ping_path answers.", &Field(|c| &mut fcgi(c).ping_response, Text("a text", |_| true))),
    key("http.fcgi.max_connections", "Connections at once.", &Field(|c| &mut fcgi(c).max_connections, Count(1, 1_000_000))),
    key(
        "http.fcgi.backlog",
        "Connections that the kernel queues for each socket until they are accepted; no more than net.core.somaxconn.",
        &Field(|c| &mut fcgi(c).backlog, BACKLOG),
    ),
    key(
        "http.fcgi.idle_timeout",
        "How long a kept connection may idle between requests.",
        &Field(|c| &mut fcgi(c).idle_timeout, BOUND),
    ),
];
