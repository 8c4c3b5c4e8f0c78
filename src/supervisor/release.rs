//! What is served, as a program of ours has read it: all that a supervisor needs to know of a configuration.

use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sockets::Wanted;
use crate::{
    health,
    sys::{identity::Rights, spawn::Program},
};

/// A configuration and the folders that its symbolic links led to when it was read: a crash or a rollback must not deploy what has
/// been linked there since.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Release {
    /// The configuration with its links followed, as `rr config` prints it. Only engines read it.
    pub config: Value,
    /// The file that it is from, if it has one.
    pub file: Option<PathBuf>,
    /// The directory named on the command line, with links followed.
    pub dir: Option<PathBuf>,
    /// The working directory.
    pub folder: PathBuf,
    /// Folders and scripts that are served.
    pub places: Vec<PathBuf>,
    /// Engines that serve side by side.
    pub processes: usize,
    /// What is listened on.
    pub sockets: Vec<Wanted>,
    /// Engines that are to stop accept for so long.
    pub shutdown_delay: Duration,
    /// An engine that was told to end has so long for it.
    pub leaves_within: Duration,
    /// How long it is on probation when a reload has brought it.
    pub probation: Duration,
    /// How health checks are answered.
    pub checks: Checks,
    /// How often the keys of TLS's tickets are replaced.
    pub ticket_lifetime: Duration,
    /// Whom engines run as.
    pub rights: Rights,
}

/// How health checks are answered.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Checks {
    /// The status code that says no.
    pub unavailable: u16,
    /// How long a connection may wait for its request, and an answer for its reader.
    pub timeout: Duration,
    /// Connections at once on each socket.
    pub max_connections: usize,
}

/// A release and the program that serves it.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    pub(super) release: Release,
    pub(super) program: Program,
}

/// What a program says of the configuration that it was asked to read.
#[derive(Debug, Deserialize, Serialize)]
struct Told<'a> {
    version: Cow<'a, str>,
    release: Release,
}

/// What programs say to each other is of this version: releases, what an engine inherits, what it and its supervisor say on their
/// line, the scoreboard, and what a supervisor leaves to the program that replaces it. One that differs in any of these has
/// another version, and is taken only by a restart.
pub const VERSION: &str = "rr-handover-8";

// === impl Release ===

impl Release {
    /// As a program tells it to another.
    pub fn told(self) -> String {
        serde_json::to_string(&Told { version: VERSION.into(), release: self }).unwrap_or_default()
    }

    /// What another program has told.
    pub(super) fn hear(told: &[u8]) -> io::Result<Self> {
        let told: Told<'_> = serde_json::from_slice(told)?;
        match &*told.version {
            VERSION => Ok(told.release),
            other => Err(io::Error::other(no_exchange(VERSION, other))),
        }
    }

    /// Why it cannot follow `before`, if so: what is served without a configuration is another server, never the one that was meant.
    pub(super) fn refusal_after(&self, before: &Self) -> Option<String> {
        let gone = before.file.as_ref().filter(|_| self.file.is_none())?;
        Some(format!(
            "{} is gone, and there is no other configuration: put it back, or restart to serve without one",
            gone.display()
        ))
    }

    /// Whether all that is served is where it was when this was read.
    pub(super) fn is_there(&self) -> bool {
        let is_there = |path: &Path| self.folder.join(path).exists();
        is_there(&self.folder) && self.dir.as_deref().is_none_or(is_there) && self.places.iter().all(|path| is_there(path))
    }
}

// === impl Checks ===

impl From<Checks> for health::Config {
    fn from(checks: Checks) -> Self {
        let Checks { unavailable, timeout, max_connections } = checks;
        let unavailable = StatusCode::from_u16(unavailable).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Self { unavailable, timeout, max_connections }
    }
}

/// Why a program that speaks `old` is not replaced by one that speaks `new`.
pub fn no_exchange(old: &str, new: &str) -> String {
    format!("the program that serves speaks {old}, the one to take its place {new}: restart the server to change to it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        Release {
            config: serde_json::json!({"http": {"address": ["127.0.0.1:80"]}}),
            file: None,
            dir: None,
            folder: "/".into(),
            places: vec!["tmp".into()],
            processes: 1,
            sockets: Vec::new(),
            shutdown_delay: Duration::ZERO,
            leaves_within: Duration::from_secs(40),
            probation: Duration::ZERO,
            checks: Checks { unavailable: 503, timeout: Duration::from_secs(1), max_connections: 8 },
            ticket_lifetime: Duration::from_secs(60),
            rights: Rights::default(),
        }
    }

    #[test]
    fn a_release_is_heard_as_it_was_told_by_the_same_version_only() {
        let told = release().told();
        let heard = Release::hear(told.as_bytes()).unwrap();
        assert_eq!((heard.config.clone(), heard.is_there()), (release().config, true));
        let error = Release::hear(told.replace(VERSION, "rr-handover-0").as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), no_exchange(VERSION, "rr-handover-0"));
        assert!(Release::hear(b"--prepare serve").is_err());
    }

    #[test]
    fn a_configuration_may_be_had_or_another_but_not_lost() {
        let [without, with, other] =
            [None, Some("/srv/.rr.yaml".into()), Some("/srv/config.php".into())].map(|file| Release { file, ..release() });
        let refused = without.refusal_after(&with).unwrap();
        assert!(refused.starts_with("/srv/.rr.yaml is gone"), "{refused}");
        for (new, before) in [(&with, &without), (&other, &with), (&without, &without)] {
            assert_eq!(new.refusal_after(before), None);
        }
    }

    #[test]
    fn a_release_is_there_as_long_as_its_folders_are() {
        assert!(!Release { places: vec!["no-such-place".into()], ..release() }.is_there());
        assert!(!Release { folder: "/no-such-folder".into(), ..release() }.is_there());
    }
}
