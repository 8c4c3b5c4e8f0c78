//! From the configuration's types to those of each part.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    command::{self, Workers},
    edge,
    served::Served,
};
use crate::{
    config::{self, Config, Encoding, Level, LogMode},
    error::Error,
    http::{Drain, access, conn, fcgi, files, listen, middleware, preset::Preset, request, route, spool::Place},
    php,
    sys::{identity, limits, spawn},
    worker::{
        self, process,
        roadrunner::{self, Terms},
    },
};

/// One of `pools` that share the memory.
pub(super) fn pool(pool: &config::Pool, pools: usize) -> worker::Config {
    worker::Config {
        num_workers: pool
            .num_workers
            .unwrap_or_else(|| limits::php_threads(limits::cpus(), limits::memory() / pools.max(1) as u64)),
        max_queue_size: pool.max_queue_size,
        allocate_timeout: pool.allocate_timeout,
    }
}

/// To listen for HTTP on `addresses`, given by `key`.
pub(super) fn listen_http<'a>(
    http: &config::Http,
    key: &str,
    addresses: impl IntoIterator<Item = &'a config::Address>,
) -> Result<listen::Config, Error> {
    let permissions =
        listen::Permissions { owner: http.socket_owner.clone(), group: http.socket_group.clone(), mode: http.socket_mode };
    let addresses = addresses.into_iter().map(|given| Ok(address(key, given)?.with_permissions(&permissions)));
    Ok(listen::Config { addresses: addresses.collect::<Result<_, _>>()?, backlog: http.limits.backlog.into() })
}

/// To listen on `addresses`, given by `key`.
pub(super) fn listen<'a>(
    key: &str,
    addresses: impl IntoIterator<Item = &'a config::Address>,
    backlog: i32,
) -> Result<listen::Config, Error> {
    let addresses = addresses.into_iter().map(|given| address(key, given));
    Ok(listen::Config { addresses: addresses.collect::<Result<_, _>>()?, backlog })
}

/// The same for FastCGI.
pub(super) fn listen_fastcgi(section: &config::Fcgi) -> Result<listen::Config, Error> {
    let permissions = listen::Permissions { owner: section.owner.clone(), group: section.group.clone(), mode: section.mode };
    let addresses = section.address.iter().map(|given| Ok(address("http.fcgi.address", given)?.with_permissions(&permissions)));
    Ok(listen::Config { addresses: addresses.collect::<Result<_, _>>()?, backlog: section.backlog.into() })
}

/// The address given by `key`.
pub(super) fn address(key: &str, address: &config::Address) -> Result<listen::Address, Error> {
    match address {
        config::Address::Tcp(text) => text.parse().map_err(|error| Error::Config(format!("{key}: {text:?}: {error}"))),
        // It is the same for a process with another working directory.
        config::Address::Unix(path) => Ok(listen::Address::unix(env::current_dir().unwrap_or_default().join(path))),
    }
}

/// What an engine begins with, beside its configuration.
pub(super) struct Beginning {
    /// Where scripts call this server.
    pub(super) rpc: Option<String>,
    pub(super) compile: php::Compile,
}

/// For `all` that is served.
pub(super) fn engine(config: &Config, all: &[Served], intake: &Intake, beginning: Beginning) -> php::Config {
    let Beginning { rpc, compile } = beginning;
    let mut env = account(config);
    env.retain(|(name, _)| config.php.env.iter().all(|(given, _)| given != name));
    env.extend(config.php.env.iter().cloned());
    // Under RoadRunner's name, which its packages look for.
    if let Some(dsn) = rpc.filter(|_| env.iter().all(|(name, _)| name != "RR_RPC")) {
        env.push(("RR_RPC".into(), dsn));
    }
    let commands: Vec<_> = all.iter().filter_map(Served::php_command).collect();
    // As `php` itself has them, whatever php.ini says; what the configuration and the command say goes on top.
    let defaults = if commands.is_empty() { &[] } else { CLI_INI };
    let ini = defaults.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    // Several pools have each their own, where they can.
    let of_all = |(name, _): &&(String, String)| all.len() == 1 || config::is_read_once(name);
    let of_commands = commands.iter().flat_map(|command| command.ini.iter().filter(of_all).cloned());
    let ini = ini.chain(config.php.ini.iter().cloned()).chain(of_commands);
    let development = DEVELOPMENT_INI.iter().filter(|_| config.dev.enabled);
    let ini = ini.chain(development.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    php::Config {
        // RoadRunner's applications look for the command line.
        sapi: config.engine.sapi.clone().unwrap_or_else(|| if commands.is_empty() { "fpm-fcgi" } else { "cli" }.into()),
        ini: ini.collect(),
        ini_file: commands.first().map(|command| command.ini_file.clone()).unwrap_or_default(),
        env,
        clear_env: config.php.clear_env,
        first_chunk: size(config.http.output.first_chunk),
        output: output(&config.http, intake),
        tolerant: config.dev.enabled,
        leaks: config.dev.enabled && config.dev.leaks,
        compile,
    }
}

/// What scripts of `server.user` find of it in the environment, also where they get none of the process's own, as with php-fpm.
fn account(config: &Config) -> Vec<(String, String)> {
    let variables = config.server.user.as_deref().and_then(identity::variables).into_iter().flatten();
    variables.map(|(name, value)| (name.to_owned(), value.to_string_lossy().into_owned())).collect()
}

/// The pool's threads; none if its workers are processes.
pub(super) fn php_pool(served: &Served, intake: &Intake) -> php::PoolConfig {
    let Served { config, pool, site, .. } = served;
    let reset = match config.php.reset {
        config::Reset::Basic => php::Reset::Basic,
        config::Reset::Strict => php::Reset::Strict,
    };
    let none = || worker::Pool::new(worker::Config { num_workers: 0, ..pool.config().clone() });
    let (pool, script, variables) = match (&site.workers, site.worker.clone()) {
        (Some(Workers::Threads(command)), Some(script)) => {
            let arguments = command.arguments.clone();
            let script = php::ScriptKind::RoadRunner { script, arguments, terms: Arc::new(terms(config, intake)) };
            (pool.clone(), script, command.variables(config, served.plugin()))
        }
        (Some(_), _) => (none(), php::ScriptKind::Classic, Vec::new()),
        (None, Some(script)) => {
            let tasks = served.does_tasks();
            let mode = tasks.then(|| ("RR_MODE".to_owned(), served.plugin().to_owned()));
            (pool.clone(), php::ScriptKind::Worker { script, reset, tasks }, mode.into_iter().collect())
        }
        (None, None) => (pool.clone(), php::ScriptKind::Classic, Vec::new()),
    };
    let exec_ttl = config.http.pool.supervisor.exec_ttl;
    let request_timeout = shorter(config.http.request_timeout, exec_ttl);
    php::PoolConfig {
        name: served.name.clone(),
        pool,
        script,
        variables,
        ini: served.ini.clone(),
        debug: config.http.pool.debug,
        boot_timeout: config.http.pool.allocate_timeout,
        reset_timeout: config.http.pool.reset_timeout,
        destroy_timeout: config.http.pool.destroy_timeout,
        request_timeout,
        is_exec_ttl: request_timeout == exec_ttl && config.http.request_timeout != exec_ttl,
        slow_after: config.http.request_slowlog_timeout,
        stream_timeout: config.http.pool.stream_timeout,
        max_jobs: config.http.pool.max_jobs,
        rules: rules(&config.http.pool.supervisor),
        growth: config.http.pool.dynamic_allocator.as_ref().map(|dynamic| growth(served, dynamic)),
    }
}

fn rules(supervisor: &config::Supervisor) -> worker::Rules {
    worker::Rules {
        watch_tick: supervisor.watch_tick,
        ttl: supervisor.ttl,
        idle_ttl: supervisor.idle_ttl,
        max_memory: supervisor.max_worker_memory,
    }
}

/// Never beyond what this server has CPUs and memory for.
fn growth(served: &Served, dynamic: &config::DynamicAllocator) -> worker::Growth {
    let most = limits::most_php_threads(limits::cpus(), limits::memory());
    let max_workers = dynamic.max_workers.min(most.saturating_sub(served.pool.config().num_workers));
    if max_workers < dynamic.max_workers {
        let (pool, wanted) = (&served.name, dynamic.max_workers);
        tracing::warn!(pool, wanted, max_workers, "dynamic_allocator.max_workers: more than the CPUs and the memory are for");
    }
    worker::Growth { max_workers, spawn_rate: dynamic.spawn_rate, idle_timeout: dynamic.idle_timeout }
}

/// The shorter of two limits, of which zero is none.
fn shorter(a: Duration, b: Duration) -> Duration {
    [a, b].into_iter().filter(|limit| !limit.is_zero()).min().unwrap_or(Duration::ZERO)
}

/// The pool's processes, if it has any; `rpc` is where they call this server.
pub(super) fn processes(served: &Served, intake: &Intake, rpc: Option<String>) -> Result<Option<process::Config>, Error> {
    let Served { config, pool, site, .. } = served;
    let Some(Workers::Processes(command)) = &site.workers else { return Ok(None) };
    if config.http.pool.dynamic_allocator.is_some() {
        let reason = "pool.dynamic_allocator: not supported for workers in processes by this version of rr";
        return Err(Error::Config(format!("{}.{reason}", served.plugin())));
    }
    let mut environment: Vec<(OsString, OsString)> = Vec::new();
    let inherited = env::vars_os().filter(|(name, _)| !config.php.clear_env && !spawn::OURS.iter().any(|own| name == own));
    let rpc = rpc.map(|dsn| ("RR_RPC".to_owned(), dsn));
    let account = account(config).into_iter().chain(rpc);
    let given = account.chain(config.php.env.iter().cloned()).chain(command::variables(config, served.plugin()));
    for (name, value) in inherited.chain(given.map(|(name, value)| (name.into(), value.into()))) {
        environment.retain(|(known, _)| *known != name);
        environment.push((name, value));
    }
    Ok(Some(process::Config {
        name: served.name.clone(),
        command: command.clone(),
        environment,
        prepare: spawn::end_with_thread,
        relay: match &config.server.relay {
            config::Relay::Pipes => process::Relay::Pipes,
            config::Relay::Tcp(address) => process::Relay::Tcp(address.clone()),
            config::Relay::Unix(path) => process::Relay::Unix(path.clone()),
        },
        pool: pool.clone(),
        terms: Arc::new(terms(config, intake)),
        debug: config.http.pool.debug,
        allocate_timeout: config.http.pool.allocate_timeout,
        reset_timeout: config.http.pool.reset_timeout,
        exec_ttl: shorter(config.http.request_timeout, config.http.pool.supervisor.exec_ttl),
        max_jobs: config.http.pool.max_jobs,
        rules: rules(&config.http.pool.supervisor),
    }))
}

/// What RoadRunner workers are sent, and what becomes of their answers.
fn terms(config: &Config, intake: &Intake) -> Terms {
    Terms {
        requests: roadrunner::Settings {
            encoding: match config.http.context {
                config::Context::Json => roadrunner::Encoding::Json,
                config::Context::Proto => roadrunner::Encoding::Proto,
            },
            raw_body: config.http.raw_body,
            uploads: temp_dir(&config.http),
            forbid: lower(&config.http.forbidden_uploads),
            allow: lower(&config.http.allowed_uploads),
            ..roadrunner::Settings::default()
        },
        output: Arc::new(output(&config.http, intake)),
        error_status: StatusCode::from_u16(config.http.internal_error_code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        debug: config.http.pool.debug,
        stream_timeout: config.http.pool.stream_timeout,
    }
}

fn output(http: &config::Http, intake: &Intake) -> worker::OutputLimits {
    worker::OutputLimits {
        memory: size(http.output.memory),
        file: http.output.file,
        write_timeout: http.output.write_timeout,
        directory: temp_dir(http),
        budget: intake.output.clone(),
    }
}

/// In development OPcache looks at every file every time, by the way that leads to it now, and nothing is compiled for good.
const DEVELOPMENT_INI: &[(&str, &str)] = &[
    ("opcache.validate_timestamps", "1"),
    ("opcache.revalidate_freq", "0"),
    ("opcache.revalidate_path", "1"),
    ("opcache.preload", ""),
];

/// What `php` sets for every script, for there is no browser.
const CLI_INI: &[(&str, &str)] = &[
    ("html_errors", "0"),
    ("register_argc_argv", "1"),
    ("implicit_flush", "1"),
    ("output_buffering", "0"),
    ("max_execution_time", "0"),
    ("max_input_time", "-1"),
];

pub(super) fn connections(http: &config::Http) -> conn::Config {
    conn::Config {
        max_header_bytes: http.limits.max_header_bytes,
        max_headers: http.limits.max_headers,
        max_uri: http.limits.max_uri,
        header_timeout: http.limits.header_timeout,
        keepalive_timeout: http.limits.keepalive_timeout,
        write_timeout: http.limits.write_timeout,
        // Zero is "never" in the configuration.
        keepalive_requests: if http.limits.keepalive_requests == 0 { u64::MAX } else { http.limits.keepalive_requests },
        max_connections: http.limits.max_connections,
        max_per_listener: or_any(http.limits.max_connections_per_listener),
        max_per_client: or_any(http.limits.max_connections_per_client),
        exempt: edge::subnets(&http.trusted_subnets),
        max_age: Some(http.limits.max_connection_age).filter(|age| !age.is_zero()),
        h2c: http.h2c,
        max_concurrent_streams: http.max_concurrent_streams,
        heads_make_room: false,
        drain_idle: Duration::from_secs(2),
    }
}

fn or_any(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

/// What all listeners take requests in by, and what all answers to them share.
#[derive(Clone)]
pub(super) struct Intake {
    pub(super) request_ids: Arc<AtomicU64>,
    /// Where bodies are kept.
    pub(super) place: Place,
    /// What all answers may take together, of whichever pool.
    pub(super) output: Arc<worker::OutputBudget>,
}

impl Intake {
    pub(super) fn new(http: &config::Http) -> Self {
        let limits = &http.limits;
        let place = Place::new(size(limits.body_memory), size(limits.body_memory_total), temp_dir(http));
        let output = &http.output;
        let bounds = worker::OutputBounds { memory: size(output.memory_total), file: output.file_total, files: output.max_files };
        Self { request_ids: Arc::new(AtomicU64::new(1)), place, output: worker::OutputBudget::new(bounds) }
    }
}

pub(super) fn body(http: &config::Http, place: Place, drain: Drain) -> request::Limits {
    let limits = &http.limits;
    request::Limits {
        max_size: limits.max_request_size,
        idle_timeout: limits.body_timeout,
        min_rate: limits.min_body_rate,
        drain,
        place,
    }
}

/// RoadRunner logs every request at level `info`; `http.access_logs` asks for more of each.
pub(super) fn access(config: &Config) -> Result<access::Config, Error> {
    let (logs, section) = (&config.logs, &config.http.access_log);
    let usual = logs.output.first().filter(|_| logs.mode != LogMode::Off && logs.level <= Level::Info);
    let Some(output) = section.output.as_ref().or(usual) else { return Ok(access::Config::Disabled) };
    Ok(access::Config::Enabled(access::Settings {
        extended: config.http.access_logs,
        encoding: match (access_template(section)?, logs.encoding) {
            (Some(template), _) => access::Encoding::Template(template),
            (None, Encoding::Json) => access::Encoding::Json,
            (None, Encoding::Console) => access::Encoding::Console,
        },
        output: match output.as_str() {
            "stderr" => access::Output::Stderr,
            "stdout" => access::Output::Stdout,
            path => access::Output::File(path.into()),
        },
        rotation: access::Rotation {
            max_size: section.max_size,
            every: section.rotate_every,
            max_backups: section.max_backups,
            compress: section.compress,
        },
        sample: section.sample,
        max_queued_bytes: size(config.http.access_log_buffer),
        write_timeout: section.write_timeout,
    }))
}

/// The form that `http.access_log.format` gives; none if lines are as `logs` has them.
pub(super) fn access_template(section: &config::AccessLog) -> Result<Option<access::Template>, Error> {
    let wrong = |why| Error::Config(format!("http.access_log.format: {why}"));
    match section.format.as_str() {
        "logs" => Ok(None),
        "combined" => Ok(Some(access::Template::combined())),
        text if text.contains('%') => access::Template::parse(text).map(Some).map_err(wrong),
        other => Err(wrong(format!("expected logs, combined or a template such as %R %m %r %s, got {other:?}"))),
    }
}

pub(super) fn files(config: &Config) -> files::Config {
    let files = &config.http.static_files;
    let development = config.dev.enabled;
    files::Config {
        etag: files::Etag::Strong,
        cache_control: files.cache_control.clone(),
        cache_memory: files.cache_memory,
        cache_max_file: files.cache_max_file,
        revalidate: if development { Duration::ZERO } else { files.revalidate },
        // A page that is compressed takes no script.
        precompressed: files.precompressed && !development,
        threads: limits::cpus().clamp(1, 4),
    }
}

/// What RoadRunner's middleware `static` does, if it is asked for.
pub(super) fn statics(config: &Config) -> Result<Option<middleware::Statics>, Error> {
    let http = &config.http;
    let section = &http.statics;
    let Some(dir) = &section.dir else { return Ok(None) };
    if !http.middleware.contains(&config::Middleware::Static) {
        tracing::warn!("http.static.dir: no file of it is served, for http.middleware does not have static");
        return Ok(None);
    }
    let etag = match (section.calculate_etag, section.weak) {
        (false, _) => files::Etag::None,
        (true, false) => files::Etag::Strong,
        (true, true) => files::Etag::Weak,
    };
    let statics = middleware::statics::Config {
        dir: dir.to_owned(),
        forbid: lower(&section.forbid),
        allow: lower(&section.allow),
        request: fields(&section.request),
        response: fields(&section.response),
        files: files::Config { etag, ..files(config) },
    };
    statics.build().map(Some).map_err(Error::named(format!("http.static.dir {}", dir.display())))
}

/// Fields whose names and values were found good when they were read.
fn fields(given: &[(String, String)]) -> HeaderMap {
    given.iter().filter_map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?))).collect()
}

fn lower(extensions: &[String]) -> Vec<String> {
    extensions.iter().map(|extension| extension.to_lowercase()).collect()
}

pub(super) fn router(http: &config::Http, root: &Path, preset: Preset) -> route::Config {
    route::Config {
        root: root.to_owned(),
        preset,
        index: http.index.clone(),
        front_controller: http.front_controller.clone(),
        rewrite: rewrite(&http.rewrite),
        follow_symlinks: http.follow_symlinks,
        error_pages: http.error_pages.clone(),
    }
}

pub(super) fn rewrite(rules: &[config::Rewrite]) -> Vec<route::Rewrite> {
    let rule = |rule: &config::Rewrite| {
        let from = if rule.is_regex { route::From::Regex } else { route::From::Stars };
        route::Rewrite { from: from(rule.from.clone()), to: rule.to.clone(), status: rule.status }
    };
    rules.iter().map(rule).collect()
}

/// The preset that was named; none if it is to be detected.
pub(super) fn preset(preset: config::Preset) -> Option<Preset> {
    match preset {
        config::Preset::Auto => None,
        config::Preset::Wordpress => Some(Preset::Wordpress),
        config::Preset::WordpressMultisiteSubdirectory => Some(Preset::WordpressSubdirectory),
        config::Preset::WordpressMultisiteSubdomain => Some(Preset::WordpressSubdomain),
        config::Preset::Drupal => Some(Preset::Drupal),
        config::Preset::Laravel => Some(Preset::Laravel),
        config::Preset::Symfony => Some(Preset::Symfony),
        config::Preset::FrontController => Some(Preset::FrontController),
        config::Preset::Files => Some(Preset::Files),
    }
}

/// What the FastCGI listener is to be. `php_version` is what the pages that it makes itself tell, as php-fpm's do.
pub(super) fn fastcgi(section: &config::Fcgi, http: &config::Http, intake: Intake, php_version: &str) -> fcgi::Config {
    fcgi::Config {
        allowed_clients: section.allowed_clients.clone(),
        max_connections: section.max_connections,
        limit_extensions: section.limit_extensions.clone(),
        status_path: section.status_path.clone(),
        ping_path: section.ping_path.clone(),
        ping_response: section.ping_response.clone(),
        powered_by: HeaderValue::from_str(&format!("PHP/{php_version}")).ok(),
        max_request_size: http.limits.max_request_size,
        max_header_bytes: http.limits.max_header_bytes,
        max_headers: http.limits.max_headers,
        max_uri: http.limits.max_uri,
        place: intake.place,
        body_timeout: http.limits.body_timeout,
        write_timeout: http.limits.write_timeout,
        idle_timeout: section.idle_timeout,
        fix_pathinfo: true,
        request_ids: intake.request_ids,
    }
}

fn temp_dir(http: &config::Http) -> PathBuf {
    http.temp_dir.clone().unwrap_or_else(env::temp_dir)
}

/// As a length in memory.
pub(super) fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
