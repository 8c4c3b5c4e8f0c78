//! What an engine is started with, and can be started with again.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::config::Config;

/// A configuration and the folders that its symbolic links led to when it was read: a crash or a rollback must not deploy what has
/// been linked there since.
#[derive(Clone, Debug)]
pub(super) struct Release {
    /// As it was read.
    given: (Config, Option<PathBuf>),
    /// With links followed.
    pub(super) config: Config,
    /// The directory named on the command line, with links followed.
    pub(super) dir: Option<PathBuf>,
    /// The working directory.
    pub(super) folder: PathBuf,
}

// === impl Release ===

impl Release {
    /// Follows the links as they are now, from the working directory as it is now.
    pub(super) fn of(config: Config, dir: Option<PathBuf>) -> Self {
        let mut followed = config.clone();
        for path in followed.served_mut() {
            *path = follow(&*path);
        }
        let folder = env::current_dir().unwrap_or_else(|_| "/".into());
        Self { config: followed, dir: dir.as_deref().map(follow), folder, given: (config, dir) }
    }

    /// The same, or what its links lead to now if what they led to then is gone.
    pub(super) fn still_there(self) -> Self {
        let mut config = self.config.clone();
        let is_there = |path: &Path| self.folder.join(path).exists();
        if self.dir.as_deref().is_none_or(is_there) && is_there(&self.folder) && config.served_mut().all(|path| is_there(path)) {
            return self;
        }
        let (config, dir) = self.given;
        Self::of(config, dir)
    }
}

fn follow(path: impl AsRef<Path>) -> PathBuf {
    // What is not there is for the engine to complain about.
    path.as_ref().canonicalize().unwrap_or_else(|_| path.as_ref().to_owned())
}
