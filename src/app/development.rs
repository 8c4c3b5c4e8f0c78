//! Development mode: files are watched, and whoever uses them is told.

use std::sync::Arc;

use super::served::Served;
use crate::{
    config,
    error::Error,
    http::dev::{self, Dev},
    php::Threads,
    watch::{self, Prepared, Watcher, project_of},
};

/// Development mode while the server runs.
pub(super) struct Development {
    pub(super) dev: Dev,
    /// Ends with this.
    _watcher: Watcher,
}

/// The same before there is an engine.
pub(super) struct Preparation(Prepared);

// === impl Development ===

impl Development {
    /// Looks at the files that are watched.
    pub(super) fn prepare(config: &config::Dev, all: &[Served]) -> Result<Preparation, Error> {
        let projects = all.iter().flat_map(|one| one.site.code()).map(project_of).fold(Vec::new(), |mut all, project| {
            if !all.contains(&project) {
                all.push(project);
            }
            all
        });
        if projects.is_empty() {
            return Err(Error::Config(
                "dev: nothing to watch: give rr serve a directory, or set http.root or http.worker".into(),
            ));
        }
        tracing::warn!("development mode: pages are changed and faults are shown; not for servers that strangers can reach");
        let config = watch::Config {
            projects,
            watch: config.watch.clone(),
            ignore: config.ignore.clone(),
            debounce: config.debounce,
            poll: config.poll,
        };
        Ok(Preparation(config.build()))
    }
}

// === impl Preparation ===

impl Preparation {
    /// From now on changes reach `pools` and browsers.
    pub(super) fn start(self, config: &config::Dev, pools: &[Arc<Threads>]) -> Result<Development, Error> {
        let known = pools.to_vec();
        let outage = move || known.iter().find_map(|threads| threads.outage());
        let dev = Dev::new(dev::Needs { reload: config.reload, outage: Box::new(outage) });
        let (browsers, pools) = (dev.clone(), pools.to_vec());
        let watcher = self.0.start(move |change| {
            if change.is_for_browsers() {
                tracing::info!("{change} changed: for browsers alone");
            } else {
                tracing::info!("{change} changed: PHP starts afresh");
                // First these: whoever comes back for a page finds them asked to.
                pools.iter().for_each(|threads| threads.recall());
            }
            browsers.tell();
        });
        Ok(Development { dev, _watcher: watcher.map_err(Error::system("file watcher"))? })
    }
}
