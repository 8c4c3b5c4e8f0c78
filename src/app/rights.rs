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
        let failed = || Error::system(format!("log file {path}"));
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed())?;
        let owner = file.metadata().map_err(failed())?;
        // Another's, and a device such as /dev/null, is left to its owner.
        if owner.uid() == 0 && owner.is_file() {
            fchown(&file, Some(identity.user), Some(identity.group)).map_err(failed())?;
        }
    }
    Ok(())
}

/// Lets this process, and those that it starts, have as many files open as it may, and says so if that is fewer than connections.
pub(super) fn raise_descriptors(config: &Config) {
    let limit = match descriptors::raise_limit() {
        Ok(limit) => limit,
        Err(error) => return tracing::warn!("the limit of open files stays as it is: {error}"),
    };
    let http = &config.http;
    let serves_http = config.serves_http().then_some(("http.limits.max_connections", http.limits.max_connections));
    let fcgi = http.fcgi.as_ref().map(|fcgi| ("http.fcgi.max_connections", fcgi.max_connections));
    let tcp = (!config.tcp.servers.is_empty()).then_some(("tcp.max_connections", config.tcp.max_connections));
    let rpc = config.rpc.as_ref().map(|rpc| ("rpc.max_connections", rpc.max_connections));
    let wanted: Vec<_> = [serves_http, fcgi, tcp, rpc].into_iter().flatten().collect();
    let needed = BESIDE + wanted.iter().map(|(_, count)| *count as u64).sum::<u64>();
    if needed > limit {
        let keys: Vec<_> = wanted.iter().map(|(key, count)| format!("{key} {count}")).collect();
        tracing::warn!(
            "a process may have {limit} files open, and {needed} are wanted ({} and {BESIDE} others): connections will be refused \
             before these bounds; raise the hard limit (ulimit -Hn, LimitNOFILE=), or lower them",
            keys.join(", ")
        );
    }
}
