//! The start of PHP, and of workers that are processes of their own.

use std::{sync::Arc, time::Instant};

use super::{rpc, served::Served, settings};
use crate::{
    config::Config,
    error::Error,
    php,
    sys::priority::Lowered,
    worker::{
        process::{self, Processes},
        scoreboard::Scoreboard,
    },
};

/// In the order of the pools, for those that have one.
pub(super) type PerPool<T> = Vec<Option<Arc<T>>>;

/// What PHP boots with.
pub(super) struct Boot<'a> {
    pub(super) all: &'a [Served],
    pub(super) intake: &'a settings::Intake,
    /// Where scripts call this server.
    pub(super) calls: Option<&'a rpc::Bound>,
    pub(super) board: Option<Scoreboard>,
    pub(super) compile: Option<php::Compile>,
    pub(super) lowered: Option<Lowered>,
}

/// Those who do the pools' works.
pub(super) struct Workers {
    pub(super) engine: php::Engine,
    pub(super) processes: PerPool<Processes>,
}

// === impl Boot ===

impl Boot<'_> {
    /// Starts PHP, then the processes that are not threads of it.
    pub(super) fn start(self, config: &Config) -> Result<Workers, Error> {
        let Self { all, intake, calls, board, compile, lowered } = self;
        let rpc = calls.map(rpc::Bound::dsn);
        let pools = all.iter().map(|one| settings::php_pool(one, intake)).collect();
        let processes: Vec<_> = all.iter().map(|one| settings::processes(one, intake, rpc.clone())).collect::<Result<_, _>>()?;
        let settings = settings::engine(config, all, intake, settings::Beginning { rpc, compile: compile.unwrap_or_default() });
        let engine = php::Engine::start(settings, pools, board).map_err(|error| match error {
            php::Error::Ini(unreadable) => Error::Config(unreadable.to_string()),
            error => Error::Engine(error.to_string()),
        })?;
        if let Some(lowered) = lowered {
            // What is left to do is little, and what boots now has processes of its own, which would stay as they begin.
            if let Err(error) = lowered.end() {
                tracing::error!("this engine stays less important than others: {error}");
            }
        }
        Ok(Workers { engine, processes: start_processes(processes)? })
    }
}

/// Starts the processes of each pool that has any; if those of one do not start, none are left.
fn start_processes(configs: Vec<Option<process::Config>>) -> Result<PerPool<Processes>, Error> {
    let mut started: PerPool<Processes> = Vec::new();
    for config in configs {
        match config.map(process::Config::start).transpose() {
            Ok(processes) => started.push(processes.map(Arc::new)),
            Err(error) => {
                started.iter().flatten().for_each(|processes| processes.stop(Instant::now()));
                return Err(Error::Engine(error.to_string()));
            }
        }
    }
    Ok(started)
}
