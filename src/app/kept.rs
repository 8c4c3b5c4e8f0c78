//! What plugins and applications keep in this engine's memory.

use std::sync::Arc;

use tokio::runtime::Runtime;

use super::{lock, metrics};
use crate::{
    config::Config,
    error::Error,
    lock::Locks,
    state::{Kin, Plugin, State},
    telemetry::collectors::Collectors,
};

/// All of it. What is in `state` outlives this engine.
pub(super) struct Kept {
    pub(super) state: State,
    /// Those whom calls can reach.
    pub(super) locks: Option<Arc<Locks>>,
    /// What applications count.
    pub(super) collectors: Option<Collectors>,
}

impl Kept {
    pub(super) fn start(config: &Config, runtime: &Runtime, kin: Kin) -> Result<Self, Error> {
        let locks = config.rpc.is_some().then(|| lock::build(&config.lock));
        if let Some(locks) = locks.clone() {
            runtime.spawn(async move { locks.keep_time().await });
        }
        let plugins = locks.iter().map(|locks| locks.clone() as Arc<dyn Plugin>).collect();
        let collectors = metrics::collectors(&config.metrics)?;
        let _inside = runtime.enter();
        Ok(Self { state: State::start(plugins, kin), locks, collectors })
    }
}
