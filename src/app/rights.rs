//! Whom scripts run as, what is theirs, and how much the process may have open.

use std::{
    fs::OpenOptions,
    os::unix::fs::{MetadataExt, fchown},
};

use crate::{
    config::{Config, LogMode},
    error::Error,
    http::listen,
    sys::{
        descriptors,
        identity::{Identity, Rights},
    },
};

/// Files, pipes and the like that a process has open beside its connections.
const BESIDE: u64 = 256;

/// No bound is lowered further.
const LEAST: usize = 16;

/// What `config` wants scripts to run as.
pub(super) fn of(config: &Config) -> Result<Rights, Error> {
    let server = &config.server;
    let identity = Identity::find(server.user.as_deref(), server.group.as_deref());
    let identity = identity.map_err(|(key, why)| Error::Config(format!("server.{key}: {why}")))?;
    Ok(Rights { identity, umask: server.umask })
}

/// A unix socket that is nobody else's belongs to whom scripts run as.
pub(super) fn own_socket(address: &mut listen::Address, rights: &Rights) {
    if let (listen::Address::Unix { permissions, .. }, Some(identity)) = (address, &rights.identity) {
        permissions.owner.get_or_insert_with(|| identity.user.to_string());
        permissions.group.get_or_insert_with(|| identity.group.to_string());
    }
}

/// Log files that this process makes, or has made, are for an engine to write on.
pub(super) fn give_logs(config: &Config, rights: &Rights) -> Result<(), Error> {
    let Some(identity) = &rights.identity else { return Ok(()) };
    let own = config.logs.output.iter().filter(|_| config.logs.mode != LogMode::Off);
    let files = own.chain(&config.http.access_log.output).filter(|output| !matches!(output.as_str(), "stderr" | "stdout"));
    for path in files {
        let failed = || Error::named(format!("log file {path}"));
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed())?;
        let owner = file.metadata().map_err(failed())?;
        // Another's, and a device such as /dev/null, is left to its owner.
        if owner.uid() == 0 && owner.is_file() {
            fchown(&file, Some(identity.user), Some(identity.group)).map_err(failed())?;
        }
    }
    Ok(())
}

/// Lets this process, and those that it starts, have as many files open as it may, and says so if that is fewer than `config` wants.
pub(super) fn raise_descriptors(config: &Config) {
    let limit = match descriptors::raise_limit() {
        Ok(limit) => limit,
        Err(error) => return tracing::warn!("the limit of open files stays as it is: {error}"),
    };
    let mut fitting = config.clone();
    let wanted: Vec<_> = bounds(&mut fitting).into_iter().map(|(key, count)| format!("{key} {count}")).collect();
    if let Some(needed) = fit_to(&mut fitting, limit) {
        let fewer: Vec<_> = bounds(&mut fitting).into_iter().map(|(key, count)| format!("{key} {count}")).collect();
        tracing::warn!(
            "a process may have {limit} files open, and {needed} are wanted ({} and {BESIDE} others): now {}; raise the hard limit \
             (ulimit -Hn, LimitNOFILE=), or lower them",
            wanted.join(", "),
            fewer.join(", ")
        );
    }
}

/// Lowers what `config` bounds to the files that this process may have open, so that there are always some for all the rest.
pub(super) fn fit(config: &mut Config) {
    if let Ok(limit) = descriptors::limit() {
        fit_to(config, limit);
    }
}

/// What was wanted, if it was more than `limit`.
fn fit_to(config: &mut Config, limit: u64) -> Option<u64> {
    let mut bounds = bounds(config);
    let wanted: u64 = bounds.iter().map(|(_, count)| **count as u64).sum();
    let needed = wanted.saturating_add(BESIDE);
    if needed <= limit {
        return None;
    }
    let room = limit - BESIDE.min(limit / 2);
    for (_, count) in &mut bounds {
        let part = **count as u128 * u128::from(room) / u128::from(wanted);
        **count = usize::try_from(part).unwrap_or(usize::MAX).max(LEAST.min(**count));
    }
    Some(needed)
}

/// The bounds of `config` that have a descriptor for each.
fn bounds(config: &mut Config) -> Vec<(&'static str, &mut usize)> {
    let is_serving = config.serves_http();
    let (http, tcp) = (&mut config.http, &mut config.tcp);
    let mut bounds = Vec::new();
    if is_serving {
        bounds.push(("http.limits.max_connections", &mut http.limits.max_connections));
    }
    if let Some(fcgi) = &mut http.fcgi {
        bounds.push(("http.fcgi.max_connections", &mut fcgi.max_connections));
    }
    if !bounds.is_empty() {
        bounds.push(("http.output.max_files", &mut http.output.max_files));
    }
    if !tcp.servers.is_empty() {
        bounds.push(("tcp.max_connections", &mut tcp.max_connections));
    }
    if let Some(rpc) = &mut config.rpc {
        bounds.push(("rpc.max_connections", &mut rpc.max_connections));
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_files_are_fewer_connections() {
        let wanted = || {
            let mut config = Config::default();
            config.http.limits.max_connections = 9000;
            config.http.output.max_files = 1000;
            config.rpc = None;
            config
        };
        let fitted = |limit| {
            let mut config = wanted();
            fit_to(&mut config, limit);
            (config.http.limits.max_connections, config.http.output.max_files)
        };
        assert_eq!(fitted(10_000 + BESIDE), (9000, 1000));
        assert_eq!(fitted(1000 + BESIDE), (900, 100));
        assert_eq!(fitted(200), (90, LEAST));
    }
}
