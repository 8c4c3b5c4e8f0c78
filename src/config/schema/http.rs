//! The keys of `http` itself, and of sites; each of its sections has rows of its own.

use super::{ACCOUNT, EXTENSION, Field, Key, TIME, derived, key, section, zero_is_default};
use crate::config::{
    compound::{ErrorPages, List, Maybe, Rule},
    edge::Network,
    form::{Choice, Count, FilePath, Flag, Listen, Megabytes, Mode, ROOTED, Text},
    middleware::MiddlewareName,
    site::{RouteForm, SiteForm},
};

/// What is served, and how scripts get it.
pub(super) const SITE: &[Key] = &[
    section("http", "The web server."),
    derived(
        "http.address",
        "Where to listen, one or a list: 127.0.0.1:8080 unless only http.ssl or http.fcgi.address is set.",
        &Field(|c| &mut c.http.address, List(Listen(""))),
    ),
    key(
        "http.socket_owner",
        "The owner of its unix sockets and of those of http.ssl.address, unless the server's user.",
        &Field(|c| &mut c.http.socket_owner, Maybe(ACCOUNT)),
    ),
    key("http.socket_group", "Their group, unless the server's.", &Field(|c| &mut c.http.socket_group, Maybe(ACCOUNT))),
    key(
        "http.socket_mode",
        "Their permissions. Whoever may connect is a proxy that proxy_ip_parser believes: 0660 leaves that to the group.",
        &Field(|c| &mut c.http.socket_mode, Mode),
    ),
    key("http.root", "The directory served, unless the command line names one.", &Field(|c| &mut c.http.root, Maybe(FilePath))),
    key(
        "http.worker",
        "The worker script: it boots once per thread and answers whatever no file below http.root does.",
        &Field(|c| &mut c.http.worker, Maybe(FilePath)),
    ),
    key(
        "http.preset",
        "The application's rules: auto, wordpress, wordpress-multisite-subdirectory, wordpress-multisite-subdomain, drupal, laravel, symfony, front-controller, files.",
        &Field(|c| &mut c.http.preset, Choice),
    ),
    key("http.index", "What a directory answers with, the first that exists.", &Field(|c| &mut c.http.index, List(INDEX))),
    key(
        "http.front_controller",
        "The script for whatever is no file, such as /index.php; replaces the preset's.",
        &Field(|c| &mut c.http.front_controller, Maybe(ROOTED)),
    ),
    key(
        "http.rewrite",
        "Rules such as [from => /old/*, to => /new/$1, status => 301] or [regex => '^/p(\\d+)$', to => /post.php?id=$1]; without a status the client does not see it, one of 4xx refuses.",
        &Field(|c| &mut c.http.rewrite, List(Rule)),
    ),
    key(
        "http.error_pages",
        "Pages by status, such as 404 => /404.html, in place of the server's own words. http's are also for heads that are refused, such as 400, 408, 414 and 431, whatever their host; over HTTP/1 those have up to 64 KiB. A page that is a script is run for what no file and no script answers, and for nothing else: there may be no thread for it.",
        &Field(|c| &mut c.http.error_pages, ErrorPages),
    ),
    key(
        "http.intercept_errors",
        "Those pages also replace what scripts answer with these statuses.",
        &Field(|c| &mut c.http.intercept_errors, Flag),
    ),
    key("http.follow_symlinks", "Symbolic links may lead out of the root.", &Field(|c| &mut c.http.follow_symlinks, Flag)),
    key(
        "http.routes",
        "Paths with workers and a queue of their own, so that a slow one never takes all: [path => /api/*, worker => api.php, pool => [num_workers => 2, max_queue_size => 20]]; also request_timeout, internal_error_code, php.ini, php.reset. Without worker its site answers, in that pool. A path is that of the URL, of a rewrite rule, of the script or file that answers, or what stands behind a script's name; the first route that has that of the URL counts, or else the first that has any of the others.",
        &Field(|c| &mut c.http.routes, List(RouteForm)),
    ),
    key(
        "http.request_timeout",
        "How long a request may take by the wall clock once a worker has it (pool.allocate_timeout bounds the wait before); 0s means as long as it likes. Its client is told 504, and its script ended.",
        &Field(|c| &mut c.http.request_timeout, TIME),
    ),
    key(
        "http.request_slowlog_timeout",
        "Log a request that takes longer, with its PHP backtrace and where its time went; 0s means none. As in php-fpm.",
        &Field(|c| &mut c.http.request_slowlog_timeout, TIME),
    ),
    zero_is_default(
        "http.max_request_size",
        "The largest request body, in megabytes.",
        &Field(|c| &mut c.http.limits.max_request_size, Megabytes),
    ),
    key(
        "http.temp_dir",
        "Where bodies too large for memory go, unless the system's directory will do.",
        &Field(|c| &mut c.http.temp_dir, Maybe(FilePath)),
    ),
    key("http.raw_body", "Give forms to RoadRunner workers as they came.", &Field(|c| &mut c.http.raw_body, Flag)),
    key(
        "http.context",
        "How RoadRunner workers are given a request's head: json, which PHP's packages take and read faster, or proto.",
        &Field(|c| &mut c.http.context, Choice),
    ),
    section("http.uploads", "Uploaded files that RoadRunner workers get; http.uploads.dir is http.temp_dir."),
    key(
        "http.uploads.forbid",
        "Extensions that no uploaded file may have, such as .php.",
        &Field(|c| &mut c.http.forbidden_uploads, List(EXTENSION)),
    ),
    key(
        "http.uploads.allow",
        "Extensions that uploaded files must have one of; empty means any.",
        &Field(|c| &mut c.http.allowed_uploads, List(EXTENSION)),
    ),
];

/// What runs the scripts; the rows of the pool itself stand with those of the others.
pub(super) const POOL: &[Key] = &[
    zero_is_default(
        "http.internal_error_code",
        "The status sent when a script dies.",
        &Field(|c| &mut c.http.internal_error_code, Count(400, 599)),
    ),
    section("http.pool", "The PHP threads."),
];

/// What stands between clients and scripts; the rows of those sections stand in `edge`, `acme`, `guards` and `answers`.
pub(super) const EDGE: &[Key] = &[
    section("http.http2", "HTTP/2."),
    key("http.http2.h2c", "Without TLS, by prior knowledge.", &Field(|c| &mut c.http.h2c, Flag)),
    zero_is_default(
        "http.http2.max_concurrent_streams",
        "Requests at once on one connection.",
        &Field(|c| &mut c.http.max_concurrent_streams, Count(1, 10_000)),
    ),
    key(
        "http.middleware",
        "What requests and answers pass, the last listed first: headers, compress, gzip, sendfile, sendremotefile, static, circuit_breaker, request_id, redirect, body_limit, ip_filter, basic_auth, rate_limit, maintenance, http_metrics, proxy_ip_parser. Not what comes by FastCGI: there the web server in front has done it.",
        &Field(|c| &mut c.http.middleware, List(MiddlewareName)),
    ),
    key(
        "http.trusted_subnets",
        "The proxies that proxy_ip_parser believes, such as 10.0.0.0/8; whoever comes by a unix socket is one, see http.socket_mode.",
        &Field(|c| &mut c.http.trusted_subnets, List(Network)),
    ),
    key(
        "http.proxy_headers",
        "The headers those set, and no client can: x-forwarded, which is X-Forwarded-*, or without X-Forwarded-For the likes of X-Real-IP; or forwarded.",
        &Field(|c| &mut c.http.proxy_headers, Choice),
    ),
    key(
        "http.proxy_trust",
        "What of them is believed: for, proto, host, port. Name what each proxy sets itself: the rest is the client's word.",
        &Field(|c| &mut c.http.proxy_trust, List(Choice)),
    ),
    section("http.headers", "For the middleware headers."),
    section("http.compress", "For the middleware compress and gzip."),
    section("http.sendfile", "For the middleware sendfile, by which a script names a file in place of a body."),
    section("http.ssl", "HTTP over TLS, with HTTP/2; off without a certificate. Files that change are taken up while serving."),
    section("http.http3", "HTTP/3, over UDP; off without an address. Answers over TLS tell clients of it."),
    section("http.proxy_protocol", "Behind a proxy that tells its clients' addresses before TLS or HTTP begins."),
];

/// Further sites.
pub(super) const SITES: &[Key] = &[key(
    "sites",
    "Further sites by host: [hosts => [shop.example, *.shop.example], root => /srv/shop]. Each has of its own: root, worker, preset, index, front_controller, rewrite, error_pages, intercept_errors, follow_symlinks, routes, request_timeout, internal_error_code, pool as in http, php.ini, php.reset. Other hosts are http's, or the first site's if http has nothing to serve.",
    &Field(|c| &mut c.sites, List(SiteForm)),
)];

const INDEX: Text = Text("a file's name without a directory", |text| !text.is_empty() && !text.contains('/'));
