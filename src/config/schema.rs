//! The one table of keys: what each is called, what it is for, where it is kept and how it is read.
//!
//! Defaults are those of the types' `Default`.

use serde_json::Value;

use super::{
    compound::{Auto, ErrorPages, Fields, List, Maybe, Pairs, Rule},
    edge::{Http3, Network, Ssl},
    form::{Choice, Client, Count, FilePath, Flag, Form, Listen, Megabytes, Mode, Named, ROOTED, Size, Text, Time, Wrong},
    http::{Context, Fcgi, Preset},
    metrics::Declarations,
    middleware::{Cors, MiddlewareName},
    server::{CommandLine, RelayAddress, Variables},
    site::{RouteForm, SiteForm},
    types::{Config, Encoding, Level, LogMode, Reset, Rpc},
};

mod acme;
mod answers;
mod edge;
mod fileserver;
mod guards;
mod lock;
mod pool;
mod tcp;

/// A row of [`KEYS`].
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// The key with its sections, as messages name it.
    pub(super) path: &'static str,
    /// What it is for, in one line.
    pub(super) doc: &'static str,
    /// Where it is kept and how it is read; none for a section.
    pub(super) setting: Option<&'static dyn Setting>,
    /// Its default follows from other keys, so that `null` alone says "the default".
    pub(super) derived: bool,
    /// 0 means the default, as it does in RoadRunner.
    pub(super) zero_is_default: bool,
}

/// A place in [`Config`] and the form of what it holds.
pub(super) trait Setting: Sync {
    /// Takes the value that `raw` means.
    fn read(&self, config: &mut Config, raw: &Value) -> Result<(), Wrong>;
    /// The value held; `&mut` only because a place is found that way.
    fn show(&self, config: &mut Config) -> Value;
    /// The key was given, if only to ask for its default.
    fn ask(&self, _config: &mut Config) {}
}

struct Field<T: 'static, F>(fn(&mut Config) -> &mut T, F);
/// A place in a section that is off until one of its keys is given.
struct Inside<S: 'static, T: 'static, F>(fn(&mut Config) -> &mut Option<S>, fn(&mut S) -> &mut T, F);

/// The row of `path`, if there is one.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Every section and key, a section before what it holds.
pub(super) static KEYS: &[Key] = &joined::<
    {
        OWN.len()
            + pool::HTTP.len()
            + edge::HTTP.len()
            + acme::HTTP.len()
            + guards::HTTP.len()
            + answers::HTTP.len()
            + fileserver::OWN.len()
            + tcp::OWN.len()
            + pool::TCP.len()
            + lock::OWN.len()
    },
>(&[
    OWN,
    pool::HTTP,
    edge::HTTP,
    acme::HTTP,
    guards::HTTP,
    answers::HTTP,
    fileserver::OWN,
    tcp::OWN,
    pool::TCP,
    lock::OWN,
]);

const OWN: &[Key] = &[
    section("engine", "The process."),
    key(
        "engine.supervisor",
        "Keep the sockets in a process of their own, which replaces an engine that dies and reloads without a lost request.",
        &Field(|c| &mut c.engine.supervisor, Flag),
    ),
    key(
        "engine.processes",
        "Processes that serve side by side, each with all pools: what a crash of one ends is less. Not with lock or rate_limit.",
        &Field(|c| &mut c.engine.processes, Count(1, 64)),
    ),
    key(
        "engine.io_threads",
        "Threads that speak to clients: auto, or 1 to 256.",
        &Field(|c| &mut c.engine.io_threads, Auto(Count(1, 256))),
    ),
    key(
        "engine.sapi",
        "What PHP_SAPI says: auto, or a name such as fpm-fcgi or cli.",
        &Field(|c| &mut c.engine.sapi, Auto(SAPI)),
    ),
    key("engine.grace_period", "How long a graceful stop may take.", &Field(|c| &mut c.engine.grace_period, TIME)),
    key(
        "engine.shutdown_delay",
        "How long to go on accepting after the signal to stop.",
        &Field(|c| &mut c.engine.shutdown_delay, TIME),
    ),
    key(
        "engine.warm_up",
        "How long a new engine compiles what OPcache had in the one before it, at a low priority, before it serves; 0s: not at all.",
        &Field(|c| &mut c.engine.warm_up, TIME),
    ),
    section("engine.memory", "What is done while memory is short; rr workers shows it."),
    key("engine.memory.guard", "Do anything at all.", &Field(|c| &mut c.engine.memory.guard, Flag)),
    key(
        "engine.memory.limit",
        "What the server may hold: auto, which is what its control groups, else the machine, leave it, or a size such as 512M.",
        &Field(|c| &mut c.engine.memory.limit, Auto(Size(1))),
    ),
    key(
        "engine.memory.recycle_at",
        "In percent of the limit: workers start afresh, the largest first, after the requests that they are at.",
        &Field(|c| &mut c.engine.memory.recycle_at, Count(1, 100)),
    ),
    key(
        "engine.memory.shed_at",
        "In percent of the limit: half of each pool's workers work, and further requests are answered with 503.",
        &Field(|c| &mut c.engine.memory.shed_at, Count(1, 100)),
    ),
    key(
        "engine.memory.replace_after",
        "After so long of that another engine takes over, if much of the memory is this one's own.",
        &Field(|c| &mut c.engine.memory.replace_after, BOUND),
    ),
    section("php", "The interpreter."),
    key("php.ini", "Ini values, such as memory_limit => 256M.", &Field(|c| &mut c.php.ini, Pairs { nested: true })),
    key("php.reset", "What is undone between two requests of a worker: strict or basic.", &Field(|c| &mut c.php.reset, Choice)),
    key("php.clear_env", "Hide the server's environment from scripts.", &Field(|c| &mut c.php.clear_env, Flag)),
    key("php.env", "Environment variables that scripts see.", &Field(|c| &mut c.php.env, Pairs { nested: false })),
    section("server", "Workers of RoadRunner's kind, which speak Goridge: shared by all that have a pool."),
    key(
        "server.command",
        "What starts a worker, such as php public/index.php: a PHP script is run on threads, anything else as processes.",
        &Field(|c| &mut c.server.command, CommandLine),
    ),
    key(
        "server.env",
        "Environment variables that workers see, their names put into capitals.",
        &Field(|c| &mut c.server.env, Variables),
    ),
    key(
        "server.relay",
        "How a worker's process is spoken to: pipes, tcp://host:port or unix://path.",
        &Field(|c| &mut c.server.relay, RelayAddress),
    ),
    key(
        "server.user",
        "The user that scripts run as, by name or number; needs root, who still opens the ports.",
        &Field(|c| &mut c.server.user, Maybe(ACCOUNT)),
    ),
    key("server.group", "Its group; null means the user's own.", &Field(|c| &mut c.server.group, Maybe(ACCOUNT))),
    key(
        "server.umask",
        "The rights that files made by scripts do not get, such as 0027.",
        &Field(|c| &mut c.server.umask, Maybe(Mode)),
    ),
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
        "How long a request may take by the wall clock; 0s means as long as it likes. Its client is told 504, and its script ended.",
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
    section(
        "http.static",
        "Files served before a worker is asked, if http.middleware has static; what http.root never shows is left to it. Wherever static is listed it is the innermost, so that no file passes by a guard, and each has the headers that others set.",
    ),
    key("http.static.dir", "The directory that holds them.", &Field(|c| &mut c.http.statics.dir, Maybe(FilePath))),
    key(
        "http.static.forbid",
        "Extensions of files that are left to the worker, such as .php.",
        &Field(|c| &mut c.http.statics.forbid, List(EXTENSION)),
    ),
    key(
        "http.static.allow",
        "Extensions of the files served; empty means any. A file without an extension never is.",
        &Field(|c| &mut c.http.statics.allow, List(EXTENSION)),
    ),
    key("http.static.calculate_etag", "Send an ETag.", &Field(|c| &mut c.http.statics.calculate_etag, Flag)),
    key("http.static.weak", "The ETag is a weak one.", &Field(|c| &mut c.http.statics.weak, Flag)),
    key("http.static.request", "Fields added to requests for files.", &Field(|c| &mut c.http.statics.request, Fields)),
    key("http.static.response", "Fields set in answers with files.", &Field(|c| &mut c.http.statics.response, Fields)),
    key("http.access_logs", "Log each request at length.", &Field(|c| &mut c.http.access_logs, Flag)),
    key(
        "http.access_log_buffer",
        "Bytes of the access log that may wait for a slow output; what does not fit is dropped and counted.",
        &Field(|c| &mut c.http.access_log_buffer, Size(4096)),
    ),
    section("http.access_log", "Where and how requests are logged, unless as logs says."),
    key(
        "http.access_log.output",
        "stderr, stdout or a file's path; the first of logs.output if none is given.",
        &Field(|c| &mut c.http.access_log.output, Maybe(OUTPUT)),
    ),
    key(
        "http.access_log.format",
        "logs, which is as logs.encoding says; combined, which is Apache's; or a template with php-fpm's codes, and %b, %{NAME}i.",
        &Field(|c| &mut c.http.access_log.format, Text("a format", |text| !text.is_empty())),
    ),
    key(
        "http.access_log.sample",
        "One of so many requests is logged, and every one that was answered with 5xx.",
        &Field(|c| &mut c.http.access_log.sample, Count(1, 1_000_000_000)),
    ),
    key(
        "http.access_log.max_size",
        "A file makes room for another at this size; 0 means never.",
        &Field(|c| &mut c.http.access_log.max_size, Size(0)),
    ),
    key(
        "http.access_log.rotate_every",
        "A file makes room for another at this age; 0s means never.",
        &Field(|c| &mut c.http.access_log.rotate_every, TIME),
    ),
    key(
        "http.access_log.max_backups",
        "Old files that are kept; 0 means all.",
        &Field(|c| &mut c.http.access_log.max_backups, Count(0, 100_000)),
    ),
    key(
        "http.access_log.compress",
        "Compress old files by gzip, but for the last.",
        &Field(|c| &mut c.http.access_log.compress, Flag),
    ),
    zero_is_default(
        "http.internal_error_code",
        "The status sent when a script dies.",
        &Field(|c| &mut c.http.internal_error_code, Count(400, 599)),
    ),
    section("http.pool", "The PHP threads."),
    section("http.limits", "What clients may ask for."),
    key("http.limits.max_header_bytes", "The largest request head.", &Field(|c| &mut c.http.limits.max_header_bytes, Size(1024))),
    key("http.limits.max_headers", "The most header fields.", &Field(|c| &mut c.http.limits.max_headers, Count(1, 10_000))),
    key("http.limits.max_uri", "The longest request target.", &Field(|c| &mut c.http.limits.max_uri, Size(64))),
    key(
        "http.limits.header_timeout",
        "How long a request head may take to arrive.",
        &Field(|c| &mut c.http.limits.header_timeout, BOUND),
    ),
    key(
        "http.limits.body_timeout",
        "How long a request body may stand still.",
        &Field(|c| &mut c.http.limits.body_timeout, BOUND),
    ),
    key(
        "http.limits.min_body_rate",
        "After body_timeout, how many bytes of it have to have come in a second, on average; 0 for any.",
        &Field(|c| &mut c.http.limits.min_body_rate, Count(0, 1_000_000_000)),
    ),
    key(
        "http.limits.keepalive_timeout",
        "How long a connection may idle between requests.",
        &Field(|c| &mut c.http.limits.keepalive_timeout, BOUND),
    ),
    key(
        "http.limits.write_timeout",
        "How long a client may take nothing of its answer.",
        &Field(|c| &mut c.http.limits.write_timeout, BOUND),
    ),
    key(
        "http.limits.keepalive_requests",
        "Requests after which a connection is closed; 0 means never.",
        &Field(|c| &mut c.http.limits.keepalive_requests, Count(0, u64::MAX)),
    ),
    key(
        "http.limits.max_connection_age",
        "How old a connection may get, give or take a tenth: it is closed after the answer that it is at; 0 is any age.",
        &Field(|c| &mut c.http.limits.max_connection_age, TIME),
    ),
    key(
        "http.limits.max_connections",
        "Connections at once. For more, those are closed that have been idle longest; with none idle, clients wait.",
        &Field(|c| &mut c.http.limits.max_connections, Count(1, 1_000_000)),
    ),
    key(
        "http.limits.max_connections_per_listener",
        "The same for each address that is listened on; 0 is any number.",
        &Field(|c| &mut c.http.limits.max_connections_per_listener, Count(0, 1_000_000)),
    ),
    key(
        "http.limits.max_connections_per_client",
        "Connections at once of one client, an IPv4 address or an IPv6 network of 64 bits; more are closed. 0 is any number, and trusted_subnets may have that. With the PROXY protocol the client counts, not the proxy.",
        &Field(|c| &mut c.http.limits.max_connections_per_client, Count(0, 1_000_000)),
    ),
    key(
        "http.limits.backlog",
        "Connections that the kernel queues for each socket until they are accepted; no more than net.core.somaxconn.",
        &Field(|c| &mut c.http.limits.backlog, BACKLOG),
    ),
    key(
        "http.limits.body_memory",
        "The part of a request body kept in memory; a larger body goes to a temporary file.",
        &Field(|c| &mut c.http.limits.body_memory, Size(0)),
    ),
    key(
        "http.limits.body_memory_total",
        "Memory for larger bodies together: one of known length, up to a sixteenth of this, is kept there while there is room.",
        &Field(|c| &mut c.http.limits.body_memory_total, Size(0)),
    ),
    section("http.output", "The answer on its way to the client."),
    key(
        "http.output.unsent",
        "Bytes of it that the kernel takes before the network does, for each TCP connection; 0 for what net.ipv4.tcp_wmem allows.",
        &Field(|c| &mut c.http.output.unsent, Size(0)),
    ),
    key("http.output.memory", "Bytes kept in memory per answer.", &Field(|c| &mut c.http.output.memory, Size(4096))),
    key(
        "http.output.file",
        "Bytes kept in a temporary file per answer, once memory is full.",
        &Field(|c| &mut c.http.output.file, Size(0)),
    ),
    key(
        "http.output.memory_total",
        "Bytes of all answers of a process kept in memory; past it they go to their temporary files at once, but for 32K of each whose client waits.",
        &Field(|c| &mut c.http.output.memory_total, Size(1 << 20)),
    ),
    key(
        "http.output.file_total",
        "Bytes of all answers of a process kept in temporary files; past it, who has not read for the longest is disconnected.",
        &Field(|c| &mut c.http.output.file_total, Size(0)),
    ),
    key(
        "http.output.max_files",
        "Temporary files of all answers of a process; past it, the same.",
        &Field(|c| &mut c.http.output.max_files, Count(1, 1_000_000)),
    ),
    key(
        "http.output.write_timeout",
        "How long a script waits for its client when both are full.",
        &Field(|c| &mut c.http.output.write_timeout, BOUND),
    ),
    key(
        "http.output.first_chunk",
        "An answer longer than this starts before its script ends; never more than http.output.memory.",
        &Field(|c| &mut c.http.output.first_chunk, Size(1)),
    ),
    section("http.files", "Files served without PHP."),
    key(
        "http.files.cache_control",
        "The Cache-Control of every file, such as public, max-age=3600.",
        &Field(|c| &mut c.http.static_files.cache_control, Maybe(HEADER)),
    ),
    key(
        "http.files.cache_memory",
        "Bytes of files kept in memory; 0 means none are.",
        &Field(|c| &mut c.http.static_files.cache_memory, Size(0)),
    ),
    key(
        "http.files.cache_max_file",
        "The largest file kept in memory.",
        &Field(|c| &mut c.http.static_files.cache_max_file, Size(0)),
    ),
    key(
        "http.files.revalidate",
        "How long a kept file is served before it is looked at again.",
        &Field(|c| &mut c.http.static_files.revalidate, TIME),
    ),
    key(
        "http.files.precompressed",
        "Serve x.br, x.zst or x.gz beside x to clients that take it.",
        &Field(|c| &mut c.http.static_files.precompressed, Flag),
    ),
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
    key(
        "sites",
        "Further sites by host: [hosts => [shop.example, *.shop.example], root => /srv/shop]. Each has of its own: root, worker, preset, index, front_controller, rewrite, error_pages, intercept_errors, follow_symlinks, routes, request_timeout, internal_error_code, pool as in http, php.ini, php.reset. Other hosts are http's, or the first site's if http has nothing to serve.",
        &Field(|c| &mut c.sites, List(SiteForm)),
    ),
    section("rpc", "Calls by PHP's RoadRunner packages, and by rr workers, rr reset and rr reload; off without an address."),
    derived(
        "rpc.listen",
        "Where to listen: tcp://127.0.0.1:6001 or unix:///run/rr.sock. Whoever connects controls the server: mind who may.",
        &Field(|c| &mut rpc(c).listen, Listen("")),
    ),
    key("rpc.max_connections", "Connections at once.", &Field(|c| &mut rpc(c).max_connections, Count(1, 1_000_000))),
    key("rpc.max_calls", "Calls in progress on one connection.", &Field(|c| &mut rpc(c).max_calls, Count(1, 100_000))),
    key("rpc.max_message", "The largest request.", &Field(|c| &mut rpc(c).max_message, Size(1024))),
    key("rpc.max_memory", "All large requests at once.", &Field(|c| &mut rpc(c).max_memory, Size(1024))),
    key(
        "rpc.timeout",
        "How long half a request, or an answer that nobody reads, may stand still.",
        &Field(|c| &mut rpc(c).timeout, BOUND),
    ),
    section("status", "Health checks: /health, /ready and /jobs as RoadRunner has them, /livez and /readyz for Kubernetes."),
    key("status.address", "Where to listen, such as 127.0.0.1:2114.", &Field(|c| &mut c.status.address, Maybe(Listen("")))),
    key(
        "status.unavailable_status_code",
        "The status code that says no.",
        &Field(|c| &mut c.status.unavailable_status_code, Count(400, 599)),
    ),
    key(
        "status.check_timeout",
        "How long a connection may wait for its request, and an answer for its reader.",
        &Field(|c| &mut c.status.check_timeout, BOUND),
    ),
    key(
        "status.max_connections",
        "Connections at once; for one more the oldest is closed.",
        &Field(|c| &mut c.status.max_connections, Count(1, 10_000)),
    ),
    section(
        "metrics",
        "Figures for Prometheus, under RoadRunner's names; those of requests need the middleware http_metrics too. With several engine.processes each has a label, engine.",
    ),
    key("metrics.address", "Where to listen, such as 127.0.0.1:2112.", &Field(|c| &mut c.metrics.address, Maybe(Listen("")))),
    key("metrics.max_connections", "Connections at once.", &Field(|c| &mut c.metrics.max_connections, Count(1, 10_000))),
    key(
        "metrics.collect",
        "Figures that scripts keep by RPC, such as sold => [type => counter, help => Things sold., labels => [what]]; type is counter, gauge, histogram (buckets) or summary (objectives); also namespace, subsystem. They go on over a reload, but for those that are then declared in another way, and begin at zero after a crash; with several engine.processes one of those keeps them, and they begin at zero when it ends, by a reload too.",
        &Field(|c| &mut c.metrics.collect, Declarations),
    ),
    key(
        "metrics.max_series",
        "How many figures scripts may keep, each set of label values counting for itself.",
        &Field(|c| &mut c.metrics.max_series, Count(1, 10_000_000)),
    ),
    section("logs", "The server's own log."),
    key("logs.mode", "development, production, raw (the message alone) or off.", &Field(|c| &mut c.logs.mode, Choice)),
    derived(
        "logs.level",
        "debug, info, warn, error or panic: debug, but info when the mode is production.",
        &Field(|c| &mut c.logs.level, Choice),
    ),
    derived(
        "logs.encoding",
        "console or json: console, but json when the mode is production.",
        &Field(|c| &mut c.logs.encoding, Choice),
    ),
    key("logs.output", "stderr, stdout or file paths.", &Field(|c| &mut c.logs.output, List(OUTPUT))),
    key(
        "logs.err_output",
        "Where the log's own troubles go: stderr, stdout or file paths.",
        &Field(|c| &mut c.logs.err_output, List(OUTPUT)),
    ),
    section("dev", "Development. Not for servers that strangers can reach: pages are changed, and faults are shown."),
    key("dev.enabled", "Do the following; rr serve --watch turns it on.", &Field(|c| &mut c.dev.enabled, Flag)),
    key(
        "dev.watch",
        "Files whose changes make workers boot and browsers load anew, from the project's directory as .gitignore has it.",
        &Field(|c| &mut c.dev.watch, List(GLOB)),
    ),
    key(
        "dev.ignore",
        "What is not watched, beside vendor, node_modules, .git, var, storage and the like; !glob watches it all the same.",
        &Field(|c| &mut c.dev.ignore, List(GLOB)),
    ),
    key("dev.debounce", "How long files must be left alone first.", &Field(|c| &mut c.dev.debounce, BOUND)),
    key(
        "dev.poll",
        "Look at the files this often; auto means each second, where inotify does not work.",
        &Field(|c| &mut c.dev.poll, Auto(BOUND)),
    ),
    key("dev.reload", "HTML pages get a script that loads them anew.", &Field(|c| &mut c.dev.reload, Flag)),
    key(
        "dev.leaks",
        "Log which globals and statics of a worker script grow from request to request.",
        &Field(|c| &mut c.dev.leaks, Flag),
    ),
];

// === impl Key ===

const fn key(path: &'static str, doc: &'static str, setting: &'static dyn Setting) -> Key {
    Key { path, doc, setting: Some(setting), derived: false, zero_is_default: false }
}

const fn derived(path: &'static str, doc: &'static str, setting: &'static dyn Setting) -> Key {
    Key { derived: true, ..key(path, doc, setting) }
}

const fn zero_is_default(path: &'static str, doc: &'static str, setting: &'static dyn Setting) -> Key {
    Key { zero_is_default: true, ..key(path, doc, setting) }
}

const fn section(path: &'static str, doc: &'static str) -> Key {
    Key { path, doc, setting: None, derived: false, zero_is_default: false }
}

const fn joined<const COUNT: usize>(parts: &[&[Key]]) -> [Key; COUNT] {
    let mut all = [section("", ""); COUNT];
    let (mut part, mut filled) = (0, 0);
    while part < parts.len() {
        let mut row = 0;
        while row < parts[part].len() {
            all[filled] = parts[part][row];
            filled += 1;
            row += 1;
        }
        part += 1;
    }
    all
}

// === impl Field ===

impl<T, F: Form<T>> Setting for Field<T, F> {
    fn read(&self, config: &mut Config, raw: &Value) -> Result<(), Wrong> {
        *(self.0)(config) = self.1.read(raw)?;
        Ok(())
    }

    fn show(&self, config: &mut Config) -> Value {
        self.1.show((self.0)(config))
    }
}

// === impl Inside ===

impl<S: Default, T, F: Form<T>> Setting for Inside<S, T, F> {
    fn read(&self, config: &mut Config, raw: &Value) -> Result<(), Wrong> {
        *(self.1)((self.0)(config).get_or_insert_default()) = self.2.read(raw)?;
        Ok(())
    }

    fn show(&self, config: &mut Config) -> Value {
        (self.0)(config).as_mut().map_or(Value::Null, |section| self.2.show((self.1)(section)))
    }

    fn ask(&self, config: &mut Config) {
        (self.0)(config).get_or_insert_default();
    }
}

// === the enums' names ===

impl Named for Preset {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("wordpress", Self::Wordpress),
        ("wordpress-multisite-subdirectory", Self::WordpressMultisiteSubdirectory),
        ("wordpress-multisite-subdomain", Self::WordpressMultisiteSubdomain),
        ("drupal", Self::Drupal),
        ("laravel", Self::Laravel),
        ("symfony", Self::Symfony),
        ("front-controller", Self::FrontController),
        ("files", Self::Files),
    ];
}

impl Named for Context {
    const NAMES: &'static [(&'static str, Self)] = &[("json", Self::Json), ("proto", Self::Proto)];
}

impl Named for Reset {
    const NAMES: &'static [(&'static str, Self)] = &[("strict", Self::Strict), ("basic", Self::Basic)];
}

impl Named for LogMode {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("development", Self::Development),
        ("production", Self::Production),
        ("raw", Self::Raw),
        ("off", Self::Off),
        ("none", Self::Off),
    ];
}

impl Named for Level {
    const NAMES: &'static [(&'static str, Self)] =
        &[("debug", Self::Debug), ("info", Self::Info), ("warn", Self::Warn), ("error", Self::Error), ("panic", Self::Panic)];
}

impl Named for Encoding {
    const NAMES: &'static [(&'static str, Self)] = &[("console", Self::Console), ("json", Self::Json)];
}

/// Absent until one of its keys is read; with defaults alone it is taken away again.
fn rpc(config: &mut Config) -> &mut Rpc {
    config.rpc.get_or_insert_default()
}

/// Absent until one of its keys is read; with defaults alone it is taken away again.
fn cors(config: &mut Config) -> &mut Cors {
    config.http.headers.cors.get_or_insert_default()
}

/// Absent until one of its keys is read; without a certificate it is taken away again.
fn ssl(config: &mut Config) -> &mut Ssl {
    config.http.ssl.get_or_insert_default()
}

/// Absent until one of its keys is read; without an address it is taken away again.
fn http3(config: &mut Config) -> &mut Http3 {
    config.http.http3.get_or_insert_default()
}

/// Absent until one of its keys is read; without an address it is taken away again.
fn fcgi(config: &mut Config) -> &mut Fcgi {
    config.http.fcgi.get_or_insert_default()
}

const BACKLOG: Count = Count(1, 65_535);
const ACCOUNT: Text = Text("the name or number of an account", |text| !text.is_empty() && !text.contains(':'));
const EXTENSION: Text = Text("an extension with its dot, such as .php", |text| text.starts_with('.') && !text.contains('/'));
const GLOB: Text = Text("a glob such as src/**/*.php", |text| !text.is_empty());
const HEADER: Text = Text("a header's value", |text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
const INDEX: Text = Text("a file's name without a directory", |text| !text.is_empty() && !text.contains('/'));
const OUTPUT: Text = Text("stderr, stdout or a file's path", |text| !text.is_empty());
const SAPI: Text = Text("auto or a name such as fpm-fcgi or cli", |text| {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
});
/// Bytes of a flow that is not bounded by what has to be kept at once.
const WINDOW: Size = Size(1024);
const TIME: Time = Time { zero: true };
/// A wait that must end.
const BOUND: Time = Time { zero: false };
