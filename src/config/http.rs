//! The resolved `http` section.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use super::{
    access::AccessLog,
    answers::{CircuitBreaker, SendRemoteFile},
    edge::{Http3, ProxyFact, ProxyHeaders, ProxyProtocol, Ssl, Subnet},
    guards::{BasicAuth, IpFilter, Maintenance, RateLimit, RequestId},
    middleware::{Compress, Headers, Middleware, Sendfile},
    pool::Pool,
    site::Route,
};

/// The web server (`http`).
///
/// # Defaults
/// - `http.address`: `null`
/// - `http.socket_owner`: `null`
/// - `http.socket_group`: `null`
/// - `http.socket_mode`: `0666`
/// - `http.root`: `null`
/// - `http.worker`: `null`
/// - `http.preset`: `auto`
/// - `http.index`: `[index.php, index.html]`
/// - `http.front_controller`: `null`
/// - `http.rewrite`: `[]`
/// - `http.error_pages`: `{}`
/// - `http.intercept_errors`: `false`
/// - `http.follow_symlinks`: `false`
/// - `http.routes`: `[]`
/// - `http.request_timeout`: `0s`
/// - `http.request_slowlog_timeout`: `0s`
/// - `http.temp_dir`: `null`
/// - `http.raw_body`: `false`
/// - `http.context`: `json`
/// - `http.uploads.forbid`: `[]`
/// - `http.uploads.allow`: `[]`
/// - `http.access_logs`: `false`
/// - `http.access_log_buffer`: `1M`
/// - `http.internal_error_code`: `500`
/// - `http.middleware`: `[]`
/// - `http.redirect`: `[]`
/// - `http.body_limit`: `{}`
/// - `http.trusted_subnets`: `[]`
/// - `http.proxy_headers`: `x-forwarded`
/// - `http.proxy_trust`: `[for]`
/// - `http.http2.h2c`: `true`
/// - `http.http2.max_concurrent_streams`: `100`
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Where to listen: `127.0.0.1:8080`, unless only TLS or FastCGI is asked for.
    pub address: Vec<Address>,
    /// The owner of its unix sockets, and of those of `http.ssl.address`; none means the server's.
    pub socket_owner: Option<String>,
    /// Their group; none means the server's.
    pub socket_group: Option<String>,
    /// Their permissions.
    pub socket_mode: u32,
    /// The directory served; none means the command line says.
    pub root: Option<PathBuf>,
    /// The worker script, which boots once per thread and answers whatever no file does.
    pub worker: Option<PathBuf>,
    /// Which application's rules to apply.
    pub preset: Preset,
    /// What a directory answers with, the first that exists.
    pub index: Vec<String>,
    /// The script that gets what no file answers, as a path below the root; replaces the preset's.
    pub front_controller: Option<String>,
    /// Tried in order before anything else; the first that matches is applied.
    pub rewrite: Vec<Rewrite>,
    /// Paths below the root, by status.
    pub error_pages: Vec<(u16, String)>,
    /// Those pages take the place of what scripts answer with these statuses, too.
    pub intercept_errors: bool,
    /// Symbolic links may lead out of the root, as deployed releases and shared uploads do.
    pub follow_symlinks: bool,
    /// Paths that pools of their own answer, the first that matches.
    pub routes: Vec<Route>,
    /// The PHP threads.
    pub pool: Pool,
    /// How long a request may take by the wall clock once a worker has it; zero means as long as it likes.
    pub request_timeout: Duration,
    /// A request that takes longer is logged with its PHP backtrace; zero means none is.
    pub request_slowlog_timeout: Duration,
    /// What clients may ask for.
    pub limits: Limits,
    /// The answer on its way to the client.
    pub output: Output,
    /// Where bodies too large for memory go; none means the system's. `http.uploads.dir` is the same key.
    pub temp_dir: Option<PathBuf>,
    /// Give forms to RoadRunner workers as they came.
    pub raw_body: bool,
    /// How RoadRunner workers are given a request's head.
    pub context: Context,
    /// Extensions, with their dot, that no uploaded file may have (`http.uploads.forbid`).
    pub forbidden_uploads: Vec<String>,
    /// Extensions that uploaded files must have one of; empty means any (`http.uploads.allow`).
    pub allowed_uploads: Vec<String>,
    /// Files served without PHP (`http.files`).
    pub static_files: StaticFiles,
    /// A directory whose files are served before a worker is asked (`http.static`).
    pub statics: Statics,
    /// HTTP/2 without TLS, by prior knowledge (`http.http2.h2c`).
    pub h2c: bool,
    /// Requests at once on one HTTP/2 connection (`http.http2.max_concurrent_streams`).
    pub max_concurrent_streams: u32,
    /// What requests and answers pass, the innermost first.
    pub middleware: Vec<Middleware>,
    /// What `headers` adds.
    pub headers: Headers,
    /// How `compress` and `gzip` do it.
    pub compress: Compress,
    /// How `request_id` names requests.
    pub request_id: RequestId,
    /// The rules of `redirect`, each with a status.
    pub redirect: Vec<Rewrite>,
    /// The bounds of `body_limit`: paths, and bytes.
    pub body_limit: Vec<(String, u64)>,
    /// Whom `ip_filter` lets in.
    pub ip_filter: IpFilter,
    /// Whom `basic_auth` lets in.
    pub basic_auth: BasicAuth,
    /// How often `rate_limit` lets a client ask.
    pub rate_limit: RateLimit,
    /// When `maintenance` sends clients away.
    pub maintenance: Maintenance,
    /// Where `sendfile` finds what scripts name.
    pub sendfile: Sendfile,
    /// Where `sendremotefile` may look.
    pub sendremotefile: SendRemoteFile,
    /// When `circuit_breaker` turns requests away.
    pub circuit_breaker: CircuitBreaker,
    /// Whom `proxy_ip_parser` believes.
    pub trusted_subnets: Vec<Subnet>,
    /// Where they tell of the client.
    pub proxy_headers: ProxyHeaders,
    /// What they are believed.
    pub proxy_trust: Vec<ProxyFact>,
    /// TLS, if a certificate for it is given.
    pub ssl: Option<Ssl>,
    /// HTTP/3, if it is asked for.
    pub http3: Option<Http3>,
    /// Listeners behind proxies that speak the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// FastCGI, if an address for it is given.
    pub fcgi: Option<Fcgi>,
    /// Log each request at length.
    pub access_logs: bool,
    /// Where and how, beside what `logs` says.
    pub access_log: AccessLog,
    /// Bytes of the access log that may wait for a slow output.
    pub access_log_buffer: u64,
    /// The status sent when a script dies.
    pub internal_error_code: u16,
}

/// Where to listen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// `host:port` as given; no host means every interface.
    Tcp(String),
    /// A socket's path.
    Unix(PathBuf),
}

/// How a request's head is written for a RoadRunner worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Context {
    /// As RoadRunner did until 2023.
    Json,
    /// As `http.v1.Request`, as RoadRunner does since.
    Proto,
}

/// Which application's rules decide what a path means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Preset {
    /// Looked up in the root.
    Auto,
    /// WordPress, one site.
    Wordpress,
    /// WordPress, a network of sites by path.
    WordpressMultisiteSubdirectory,
    /// WordPress, a network of sites by host.
    WordpressMultisiteSubdomain,
    /// Drupal.
    Drupal,
    /// Laravel.
    Laravel,
    /// Symfony.
    Symfony,
    /// Whatever is no file goes to one script.
    FrontController,
    /// Scripts and files by their path alone.
    Files,
}

/// One rule of `http.rewrite`.
///
/// `from` is a path whose `*` match anything, or a regular expression; `to` may name what they, or its groups, matched, `$1` to `$9`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rewrite {
    /// The path asked for, which starts with `/`; or a regular expression, which may match anywhere in it.
    pub from: String,
    /// `from` is a regular expression; it is called `regex` then.
    pub is_regex: bool,
    /// The path served instead, or with a status the one redirected to; then it may be a URL. Empty if the request is refused.
    pub to: String,
    /// 301, 302, 307 or 308, or one of 4xx, which refuses the request; none means the client does not see it.
    pub status: Option<u16>,
}

/// What clients may ask for (`http.limits`).
///
/// # Defaults
/// - `http.max_request_size`: `1000`
/// - `http.limits.max_header_bytes`: `32K`
/// - `http.limits.max_headers`: `100`
/// - `http.limits.max_uri`: `16K`
/// - `http.limits.header_timeout`: `30s`
/// - `http.limits.body_timeout`: `1m`
/// - `http.limits.min_body_rate`: `500`
/// - `http.limits.keepalive_timeout`: `1m15s`
/// - `http.limits.write_timeout`: `1m`
/// - `http.limits.keepalive_requests`: `0`
/// - `http.limits.max_connection_age`: `0s`
/// - `http.limits.max_connections`: `10000`
/// - `http.limits.max_connections_per_listener`: `0`
/// - `http.limits.max_connections_per_client`: `0`
/// - `http.limits.backlog`: `1024`
/// - `http.limits.body_memory`: `64K`
/// - `http.limits.body_memory_total`: `64M`
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The largest body, in bytes (`http.max_request_size`, in megabytes).
    pub max_request_size: u64,
    /// The largest head, in bytes.
    pub max_header_bytes: usize,
    /// The most header fields.
    pub max_headers: usize,
    /// The longest request target, in bytes.
    pub max_uri: usize,
    /// How long a head may take to arrive.
    pub header_timeout: Duration,
    /// How long a body may stand still.
    pub body_timeout: Duration,
    /// After that, how many bytes of it have to have come in a second, on average; 0 for any.
    pub min_body_rate: u64,
    /// How long a connection may idle between requests.
    pub keepalive_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub write_timeout: Duration,
    /// Requests after which a connection is closed; 0 means never.
    pub keepalive_requests: u64,
    /// How old a connection may get; zero for any age.
    pub max_connection_age: Duration,
    /// Connections at once.
    pub max_connections: usize,
    /// Those of each socket; 0 for any number.
    pub max_connections_per_listener: usize,
    /// Those of each client; 0 for any number.
    pub max_connections_per_client: usize,
    /// Connections that the kernel queues for each socket until they are accepted.
    pub backlog: u16,
    /// The part of a body kept in memory, in bytes; a larger body goes to a temporary file.
    pub body_memory: u64,
    /// Memory for larger bodies together, in bytes; one of up to a sixteenth of it is kept there while there is room.
    pub body_memory_total: u64,
}

/// The answer on its way to the client (`http.output`).
///
/// # Defaults
/// - `http.output.unsent`: `512K`
/// - `http.output.memory`: `1M`
/// - `http.output.file`: `1G`
/// - `http.output.memory_total`: `256M`
/// - `http.output.file_total`: `8G`
/// - `http.output.max_files`: `1000`
/// - `http.output.write_timeout`: `1m`
/// - `http.output.first_chunk`: `128K`
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Bytes that the kernel takes before the network does, for each TCP connection; 0 for as many as it likes.
    pub unsent: u64,
    /// Bytes kept in memory per answer.
    pub memory: u64,
    /// Bytes kept in a temporary file per answer, once memory is full.
    pub file: u64,
    /// Bytes of all answers kept in memory; past it they go to their temporary files at once, but for 32K of each whose client waits.
    pub memory_total: u64,
    /// Bytes of all answers kept in temporary files; past it, who has not read for the longest is disconnected.
    pub file_total: u64,
    /// Temporary files of all answers; the same.
    pub max_files: usize,
    /// How long a script waits when both are full.
    pub write_timeout: Duration,
    /// An answer longer than this, in bytes, starts before its script ends; never more than `memory`.
    pub first_chunk: u64,
}

/// Files served without PHP (`http.files`).
///
/// # Defaults
/// - `http.files.cache_control`: `null`
/// - `http.files.cache_memory`: `64M`
/// - `http.files.cache_max_file`: `1M`
/// - `http.files.revalidate`: `1s`
/// - `http.files.precompressed`: `true`
#[derive(Clone, Debug, PartialEq)]
pub struct StaticFiles {
    /// The `Cache-Control` of every file.
    pub cache_control: Option<String>,
    /// Bytes of files kept in memory; 0 means none are.
    pub cache_memory: u64,
    /// The largest file kept in memory, in bytes.
    pub cache_max_file: u64,
    /// How long a kept file is served before it is looked at again.
    pub revalidate: Duration,
    /// Serve `x.br`, `x.zst` or `x.gz` beside `x` to clients that take it.
    pub precompressed: bool,
}

/// A directory whose files are served before a worker is asked, as RoadRunner's middleware `static` does (`http.static`).
///
/// # Defaults
/// - `http.static.dir`: `null`
/// - `http.static.forbid`: `[]`
/// - `http.static.allow`: `[]`
/// - `http.static.calculate_etag`: `false`
/// - `http.static.weak`: `false`
/// - `http.static.request`: `{}`
/// - `http.static.response`: `{}`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statics {
    /// The directory.
    pub dir: Option<PathBuf>,
    /// Extensions, with their dot, of files that are left to the worker.
    pub forbid: Vec<String>,
    /// Extensions of the files served; empty means any.
    pub allow: Vec<String>,
    /// Send an `ETag`.
    pub calculate_etag: bool,
    /// The `ETag` is a weak one.
    pub weak: bool,
    /// Fields added to requests for files.
    pub request: Vec<(String, String)>,
    /// Fields set in answers with files.
    pub response: Vec<(String, String)>,
}

/// FastCGI (`http.fcgi`).
///
/// # Defaults
/// - `http.fcgi.address`: `[]`
/// - `http.fcgi.allowed_clients`: `[]`
/// - `http.fcgi.owner`: `null`
/// - `http.fcgi.group`: `null`
/// - `http.fcgi.mode`: `0660`
/// - `http.fcgi.limit_extensions`: `[.php, .phar]`
/// - `http.fcgi.status_path`: `null`
/// - `http.fcgi.ping_path`: `null`
/// - `http.fcgi.ping_response`: `pong`
/// - `http.fcgi.max_connections`: `10000`
/// - `http.fcgi.backlog`: `511`
/// - `http.fcgi.idle_timeout`: `10m`
#[derive(Clone, Debug, PartialEq)]
pub struct Fcgi {
    /// Where to listen; a TCP address given without a host is one on 127.0.0.1.
    pub address: Vec<Address>,
    /// TCP clients let in; empty means any.
    pub allowed_clients: Vec<IpAddr>,
    /// The sockets' owner; none means the server's.
    pub owner: Option<String>,
    /// The sockets' group; none means the server's.
    pub group: Option<String>,
    /// The sockets' permissions.
    pub mode: u32,
    /// Extensions that scripts may have, with their dot; empty means any.
    pub limit_extensions: Vec<String>,
    /// The script name that answers with the pool's figures.
    pub status_path: Option<String>,
    /// The script name that answers with `ping_response`.
    pub ping_path: Option<String>,
    /// What `ping_path` answers.
    pub ping_response: String,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections that the kernel queues for each socket until they are accepted; php-fpm's `listen.backlog`.
    pub backlog: u16,
    /// How long a kept connection may idle between requests.
    pub idle_timeout: Duration,
}

// === impl Http ===

impl Default for Http {
    fn default() -> Self {
        Self {
            address: vec![Address::Tcp("127.0.0.1:8080".into())],
            socket_owner: None,
            socket_group: None,
            socket_mode: 0o666,
            root: None,
            worker: None,
            preset: Preset::Auto,
            index: vec!["index.php".into(), "index.html".into()],
            front_controller: None,
            rewrite: Vec::new(),
            error_pages: Vec::new(),
            intercept_errors: false,
            follow_symlinks: false,
            routes: Vec::new(),
            pool: Pool::default(),
            request_timeout: Duration::ZERO,
            request_slowlog_timeout: Duration::ZERO,
            limits: Limits::default(),
            output: Output::default(),
            temp_dir: None,
            raw_body: false,
            context: Context::Json,
            forbidden_uploads: Vec::new(),
            allowed_uploads: Vec::new(),
            static_files: StaticFiles::default(),
            statics: Statics::default(),
            h2c: true,
            max_concurrent_streams: 100,
            middleware: Vec::new(),
            headers: Headers::default(),
            compress: Compress::default(),
            request_id: RequestId::default(),
            redirect: Vec::new(),
            body_limit: Vec::new(),
            ip_filter: IpFilter::default(),
            basic_auth: BasicAuth::default(),
            rate_limit: RateLimit::default(),
            maintenance: Maintenance::default(),
            sendfile: Sendfile::default(),
            sendremotefile: SendRemoteFile::default(),
            circuit_breaker: CircuitBreaker::default(),
            trusted_subnets: Vec::new(),
            proxy_headers: ProxyHeaders::XForwarded,
            proxy_trust: vec![ProxyFact::For],
            ssl: None,
            http3: None,
            proxy_protocol: ProxyProtocol::default(),
            fcgi: None,
            access_logs: false,
            access_log: AccessLog::default(),
            access_log_buffer: MIB,
            internal_error_code: 500,
        }
    }
}

// === impl Address ===

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_size: 1000 * MIB,
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            max_uri: 16 * 1024,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            min_body_rate: 500,
            keepalive_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            keepalive_requests: 0,
            max_connection_age: Duration::ZERO,
            max_connections: 10_000,
            max_connections_per_listener: 0,
            max_connections_per_client: 0,
            backlog: 1024,
            body_memory: 64 * KIB,
            body_memory_total: 64 * MIB,
        }
    }
}

// === impl Output ===

impl Default for Output {
    fn default() -> Self {
        Self {
            unsent: 512 * KIB,
            memory: MIB,
            file: 1024 * MIB,
            memory_total: 256 * MIB,
            file_total: 8192 * MIB,
            max_files: 1000,
            write_timeout: Duration::from_secs(60),
            first_chunk: 128 * KIB,
        }
    }
}

// === impl StaticFiles ===

impl Default for StaticFiles {
    fn default() -> Self {
        Self {
            cache_control: None,
            cache_memory: 64 * MIB,
            cache_max_file: MIB,
            revalidate: Duration::from_secs(1),
            precompressed: true,
        }
    }
}

// === impl Fcgi ===

impl Default for Fcgi {
    fn default() -> Self {
        Self {
            address: Vec::new(),
            allowed_clients: Vec::new(),
            owner: None,
            group: None,
            mode: 0o660,
            limit_extensions: vec![".php".into(), ".phar".into()],
            status_path: None,
            ping_path: None,
            ping_response: "pong".into(),
            max_connections: 10_000,
            backlog: 511,
            idle_timeout: Duration::from_secs(600),
        }
    }
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
