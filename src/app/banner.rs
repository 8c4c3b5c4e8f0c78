//! What the operator sees when the server is up.

use std::io::{self, IsTerminal, Write};

use super::{Front, Site, command::Workers};
use crate::{config::Address, php::Engine, worker::Pool};

/// What the banner speaks of.
pub(super) struct Facts<'a> {
    pub(super) site: &'a Site,
    pub(super) front: &'a Front,
    pub(super) engine: &'a Engine,
    pub(super) pool: &'a Pool,
    pub(super) io_threads: usize,
    pub(super) fcgi: &'a [Address],
}

/// Prints the banner on standard error.
pub(super) fn print(facts: &Facts<'_>) {
    let (bold, plain) = if io::stderr().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let mut rows = Vec::new();
    let tcp = facts.front.listeners.addresses();
    rows.extend(tcp.iter().map(|address| ("http", format!("{bold}http://{address}{plain}"))));
    rows.extend(facts.fcgi.iter().map(|address| ("fastcgi", address.to_string())));
    rows.extend(facts.front.calls.iter().map(|calls| ("rpc", calls.address.clone())));
    if let (Some(workers), Some(script)) = (&facts.site.workers, &facts.site.worker) {
        rows.push(("workers", format!("{} ({})", String::from_utf8_lossy(&script.name), workers.carrier())));
    }
    if facts.site.workers.is_none() || facts.site.serves_files() {
        rows.push(("root", facts.site.root.display().to_string()));
        rows.push(("preset", format!("{} ({})", facts.site.preset.name(), facts.site.why)));
    }
    let opcache = if facts.engine.has_opcache() { "OPcache on" } else { "OPcache off: scripts are compiled for every request" };
    let ini = facts.engine.ini_path().map_or_else(|| "no php.ini".into(), |path| format!("php.ini {path}"));
    rows.push(("php", format!("{} ZTS, {opcache}, {ini}", facts.engine.version())));
    let (workers, io_threads) = (facts.pool.config().num_workers, facts.io_threads);
    rows.push(match facts.site.workers {
        Some(Workers::Processes(_)) => ("threads", format!("{io_threads} io, and {workers} processes")),
        _ => ("threads", format!("{workers} PHP, {io_threads} io")),
    });
    let mut text = format!("{bold}rr {}{plain}\n", env!("CARGO_PKG_VERSION"));
    for (name, value) in rows {
        text.push_str(&format!("  {name:8} {value}\n"));
    }
    // Without a standard error there is nobody to greet.
    drop(io::stderr().write_all(text.as_bytes()));
}
