//! What the operator sees when the server is up.

use std::io::{self, IsTerminal, Write};

use super::{
    Front,
    command::Workers,
    served::{At, Served},
    tcp,
};
use crate::{
    config::{Config, Encoding},
    php::Engine,
    telemetry::Standard,
};

/// What the banner speaks of.
pub(super) struct Facts<'a> {
    pub(super) all: &'a [Served],
    pub(super) front: &'a Front,
    pub(super) engine: &'a Engine,
    pub(super) io_threads: usize,
    pub(super) config: &'a Config,
}

/// Prints the banner on standard error, or logs it as one record: Laravel Octane shows what else is there as errors.
pub(super) fn print(facts: &Facts<'_>) {
    let as_record = facts.config.logs.encoding == Encoding::Json;
    let (bold, plain) = if io::stderr().is_terminal() && !as_record { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let mut rows = Vec::new();
    for entry in facts.front.entries.iter() {
        let scheme = if entry.tls.is_some() { "https" } else { "http" };
        let addresses = entry.listeners.addresses();
        rows.extend(addresses.iter().map(|address| (scheme, format!("{bold}{scheme}://{address}{plain}"))));
        rows.extend(entry.listeners.paths().iter().map(|path| (scheme, format!("{bold}unix://{}{plain}", path.display()))));
    }
    let quic = facts.config.http.http3.iter().flat_map(|section| &section.address);
    rows.extend(quic.map(|address| ("http/3", format!("{address}, UDP"))));
    let fcgi = facts.config.http.fcgi.iter().flat_map(|section| &section.address);
    rows.extend(fcgi.map(|address| ("fastcgi", address.to_string())));
    rows.extend(facts.front.calls.iter().map(|calls| ("rpc", calls.address.clone())));
    rows.extend(facts.config.status.address.iter().map(|address| ("health", address.to_string())));
    for one in facts.all {
        match &one.at {
            At::Hosts(hosts) if hosts.is_empty() => rows.extend(site(one)),
            At::Hosts(hosts) => rows.push(("site", format!("{}: {}", hosts.join(", "), summary(one)))),
            At::Tcp => {
                let endpoints = facts.front.tcp.iter().flat_map(|server| server.endpoints());
                rows.extend(endpoints.map(|endpoint| ("tcp", format!("{}: {}", tcp::shown(endpoint), summary(one)))));
            }
            At::Path { pattern, .. } => rows.push(("route", format!("{pattern}: {}", summary(one)))),
        }
    }
    let opcache = if facts.engine.has_opcache() { "OPcache on" } else { "OPcache off: scripts are compiled for every request" };
    let ini = facts.engine.ini_path().map_or_else(|| "no php.ini".into(), |path| format!("php.ini {path}"));
    rows.push(("php", format!("{} ZTS, {opcache}, {ini}", facts.engine.version())));
    let (processes, threads): (Vec<_>, Vec<_>) =
        facts.all.iter().partition(|one| matches!(one.site.workers, Some(Workers::Processes(_))));
    let workers = |of: &[&Served]| of.iter().map(|one| one.pool.config().num_workers).sum::<usize>();
    let mut threads = if threads.is_empty() { String::new() } else { format!("{} PHP, ", workers(&threads)) };
    threads.push_str(&format!("{} io", facts.io_threads));
    if !processes.is_empty() {
        threads.push_str(&format!(", and {} processes", workers(&processes)));
    }
    rows.push(("threads", threads));
    if as_record {
        let rows: Vec<_> = rows.iter().map(|(name, value)| format!("{name} {value}")).collect();
        tracing::info!("rr {} serves: {}", env!("CARGO_PKG_VERSION"), rows.join("; "));
        return;
    }
    let mut text = format!("{bold}rr {}{plain}\n", env!("CARGO_PKG_VERSION"));
    for (name, value) in rows {
        text.push_str(&format!("  {name:8} {value}\n"));
    }
    // Without a standard error there is nobody to greet.
    drop(Standard::error(facts.config.logs.write_timeout).write_all(text.as_bytes()));
}

/// The main site.
fn site(one: &Served) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let (Some(workers), Some(script)) = (&one.site.workers, &one.site.worker) {
        rows.push(("workers", format!("{} ({})", String::from_utf8_lossy(&script.name), workers.carrier())));
    }
    if one.site.workers.is_none() || one.site.serves_files() {
        rows.push(("root", one.site.root.display().to_string()));
        rows.push(("preset", format!("{} ({})", one.site.preset.name(), one.site.why)));
    }
    rows
}

/// Another one, on one line.
fn summary(one: &Served) -> String {
    let mut parts = Vec::new();
    if one.site.serves_files() && matches!(one.at, At::Hosts(_)) {
        parts.push(format!("{} as {}", one.site.root.display(), one.site.preset.name()));
    }
    parts.extend(one.site.worker.as_ref().map(|script| format!("worker {}", script.shown())));
    parts.push(format!("{} workers", one.pool.config().num_workers));
    parts.join(", ")
}
