//! What plugins and applications keep in this engine's memory.

use std::sync::Arc;

use tokio::runtime::Runtime;

use super::{lock, metrics};
use crate::{
    config::Config,
    error::Error,
    lock::Locks,
    metrics::{Collectors, Figures},
    state::{Kin, Plugin, State},
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
        let is_alone = config.engine.processes == 1;
        let locks = (config.rpc.is_some() && is_alone).then(|| lock::build(&config.lock));
        if let Some(locks) = locks.clone() {
            runtime.spawn(async move { locks.keep_time().await });
        }
        let collectors = metrics::collectors(&config.metrics)?;
        let plugins = [locks.clone().map(|locks| locks as Arc<dyn Plugin>), collectors.clone().filter(|_| is_alone).map(plugin)];
        let _inside = runtime.enter();
        let state = State::start(plugins.into_iter().flatten().collect(), kin);
        let figures = collectors.map(|collectors| {
            // Of several engines one keeps them, whatever becomes of the others, and nobody takes them over.
            let own = || State::start(vec![plugin(collectors.clone())], Kin::default());
            let state = if is_alone { state.clone() } else { own() };
            Figures::new(collectors, state)
        });
        Ok(Self { state, locks, figures })
    }
}

fn plugin(collectors: Collectors) -> Arc<dyn Plugin> {
    Arc::new(collectors)
}
