//! From the configuration's types to those of each part.

use std::{
    env,
    net::ToSocketAddrs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use crate::{
    config::{self, Config, Encoding, Level, LogMode},
    error::Error,
    http::{access, conn, fcgi, files, listen, preset::Preset, request, route},
    php,
    sys::limits,
    worker,
};

pub(super) fn pool(pool: &config::Pool) -> worker::Config {
    worker::Config {
        num_workers: pool.num_workers.unwrap_or_else(|| limits::php_threads(limits::cpus(), limits::memory())),
        max_queue_size: pool.max_queue_size,
        allocate_timeout: pool.allocate_timeout,
    }
}

pub(super) fn addresses(addresses: &[config::Address]) -> Result<Vec<listen::Address>, Error> {
    let parse = |address: &config::Address| match address {
        config::Address::Tcp(text) => text.parse().map_err(|error| Error::Config(format!("http.address: {text:?}: {error}"))),
        config::Address::Unix(path) => Ok(listen::Address::unix(path)),
    };
    addresses.iter().map(parse).collect()
}

/// `rpc` is where scripts call this server.
pub(super) fn engine(config: &Config, rpc: Option<String>) -> php::Config {
    let mut env = config.php.env.clone();
    // Under RoadRunner's name, which its packages look for.
    if let Some(dsn) = rpc.filter(|_| env.iter().all(|(name, _)| name != "RR_RPC")) {
        env.push(("RR_RPC".into(), dsn));
    }
    php::Config {
        sapi: config.engine.sapi.clone().unwrap_or_else(|| "fpm-fcgi".into()),
        ini: config.php.ini.clone(),
        env,
        clear_env: config.php.clear_env,
        first_chunk: size(config.http.output.first_chunk),
        output: worker::OutputLimits {
            memory: size(config.http.output.memory),
            file: config.http.output.file,
            write_timeout: config.http.output.write_timeout,
            directory: temp_dir(&config.http),
        },
    }
}

pub(super) fn php_pool(config: &Config, pool: &worker::Pool, script: Option<worker::Script>) -> php::PoolConfig {
    let reset = match config.php.reset {
        config::Reset::Basic => php::Reset::Basic,
        config::Reset::Strict => php::Reset::Strict,
    };
    php::PoolConfig {
        name: "http".into(),
        pool: pool.clone(),
        script: script.map_or(php::ScriptKind::Classic, |script| php::ScriptKind::Worker { script, reset }),
        variables: Vec::new(),
        ini: Vec::new(),
        debug: config.http.pool.debug,
        boot_timeout: config.http.pool.allocate_timeout,
        reset_timeout: config.http.pool.reset_timeout,
        destroy_timeout: config.http.pool.destroy_timeout,
        request_timeout: shorter(config.http.request_timeout, config.http.pool.supervisor.exec_ttl),
        stream_timeout: config.http.pool.stream_timeout,
        max_jobs: config.http.pool.max_jobs,
        rules: rules(&config.http.pool.supervisor),
        growth: config.http.pool.dynamic_allocator.as_ref().map(growth),
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

fn growth(dynamic: &config::DynamicAllocator) -> worker::Growth {
    worker::Growth { max_workers: dynamic.max_workers, spawn_rate: dynamic.spawn_rate, idle_timeout: dynamic.idle_timeout }
}

/// The shorter of two limits, of which zero is none.
fn shorter(a: Duration, b: Duration) -> Duration {
    [a, b].into_iter().filter(|limit| !limit.is_zero()).min().unwrap_or(Duration::ZERO)
}

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
        h2c: http.h2c,
        max_concurrent_streams: http.max_concurrent_streams,
        drain_idle: Duration::from_secs(2),
    }
}

pub(super) fn body(http: &config::Http) -> request::Limits {
    request::Limits {
        max_size: http.limits.max_request_size,
        memory: size(http.limits.body_memory),
        idle_timeout: http.limits.body_timeout,
        directory: temp_dir(http),
    }
}

/// RoadRunner logs every request at level `info`; `http.access_logs` asks for more of each.
pub(super) fn access(config: &Config) -> access::Config {
    let logs = &config.logs;
    let Some(output) = logs.output.first().filter(|_| logs.mode != LogMode::Off && logs.level <= Level::Info) else {
        return access::Config::Disabled;
    };
    access::Config::Enabled(access::Settings {
        extended: config.http.access_logs,
        encoding: match logs.encoding {
            Encoding::Json => access::Encoding::Json,
            Encoding::Console => access::Encoding::Console,
        },
        output: match output.as_str() {
            "stderr" => access::Output::Stderr,
            "stdout" => access::Output::Stdout,
            path => access::Output::File(path.into()),
        },
        ..access::Settings::default()
    })
}

pub(super) fn files(files: &config::StaticFiles) -> files::Config {
    files::Config {
        cache_control: files.cache_control.clone(),
        cache_memory: files.cache_memory,
        cache_max_file: files.cache_max_file,
        revalidate: files.revalidate,
        precompressed: files.precompressed,
        threads: limits::cpus().clamp(1, 4),
    }
}

pub(super) fn router(http: &config::Http, root: &Path, preset: Preset) -> route::Config {
    let rewrite =
        http.rewrite.iter().map(|rule| route::Rewrite { from: rule.from.clone(), to: rule.to.clone(), status: rule.status });
    route::Config {
        root: root.to_owned(),
        preset,
        index: http.index.clone(),
        front_controller: http.front_controller.clone(),
        rewrite: rewrite.collect(),
        follow_symlinks: http.follow_symlinks,
        error_pages: http.error_pages.clone(),
    }
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

/// What the FastCGI listener is to be. Its sockets are bound before the engine starts, and are passed to it afterwards.
pub(super) fn fastcgi(section: &config::Fcgi, http: &config::Http, request_ids: &Arc<AtomicU64>) -> Result<fcgi::Config, Error> {
    let address = |address: &config::Address| match address {
        config::Address::Unix(path) => Ok(fcgi::Address::Unix(path.clone())),
        config::Address::Tcp(text) => {
            let refused = |reason: &dyn std::fmt::Display| Error::Config(format!("http.fcgi.address: {text:?}: {reason}"));
            let mut resolved = text.to_socket_addrs().map_err(|error| refused(&error))?;
            resolved.next().map(fcgi::Address::Tcp).ok_or_else(|| refused(&"has no address"))
        }
    };
    Ok(fcgi::Config {
        addresses: section.address.iter().map(address).collect::<Result<_, _>>()?,
        permissions: fcgi::Permissions { owner: section.owner.clone(), group: section.group.clone(), mode: section.mode },
        allowed_clients: section.allowed_clients.clone(),
        max_connections: section.max_connections,
        limit_extensions: section.limit_extensions.clone(),
        status_path: section.status_path.clone(),
        ping_path: section.ping_path.clone(),
        ping_response: section.ping_response.clone(),
        max_request_size: Some(http.limits.max_request_size),
        body_memory: size(http.limits.body_memory),
        body_timeout: http.limits.body_timeout,
        write_timeout: http.limits.write_timeout,
        temp_dir: temp_dir(http),
        request_ids: request_ids.clone(),
        ..fcgi::Config::default()
    })
}

fn temp_dir(http: &config::Http) -> PathBuf {
    http.temp_dir.clone().unwrap_or_else(env::temp_dir)
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
