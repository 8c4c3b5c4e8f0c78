//! What plugins and applications keep in this engine's memory.

use std::sync::Arc;

use tokio::runtime::Runtime;

use super::{lock, metrics};
use crate::{
    config::Config,
    error::Error,
    lock::Locks,
    state::{Kin, Plugin, State},
    telemetry::collectors::Figures,
};

/// All of it. What is in `state` outlives this engine.
pub(super) struct Kept {
    pub(super) state: State,
    /// Those whom calls can reach.
    pub(super) locks: Option<Arc<Locks>>,
    /// What applications count.
    pub(super) figures: Option<Figures>,
}

impl Kept {
    pub(super) fn start(config: &Config, runtime: &Runtime, kin: Kin) -> Result<Self, Error> {
        let locks = config.rpc.is_some().then(|| lock::build(&config.lock));
        if let Some(locks) = locks.clone() {
            runtime.spawn(async move { locks.keep_time().await });
        }
        let collectors = metrics::collectors(&config.metrics)?;
        let plugins = [
            locks.clone().map(|locks| locks as Arc<dyn Plugin>),
            collectors.clone().map(|collectors| Arc::new(collectors) as Arc<dyn Plugin>),
        ];
        let _inside = runtime.enter();
        let state = State::start(plugins.into_iter().flatten().collect(), kin);
        let figures = collectors.map(|collectors| Figures::new(collectors, state.clone()));
        Ok(Self { state, locks, figures })
    }
}
