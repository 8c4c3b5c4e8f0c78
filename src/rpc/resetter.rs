//! The service `resetter`: workers boot again.

use super::{
    Answer, Codec, Concerns, Error, Payload, Service, agreed,
    informer::{self, PluginRequest, PluginsList},
};
use crate::worker::Controls;

/// Answers `resetter.List`, `Reset` and `ResetAll`; the last is our own.
#[derive(Clone, Debug)]
pub struct Resetter(Controls);

// === impl Resetter ===

impl Resetter {
    /// Acts on these pools.
    pub fn new(pools: Controls) -> Self {
        Self(pools)
    }

    async fn reset(&self, plugin: &str) -> Result<(), Error> {
        let pools = self.0.of(plugin);
        if pools.is_empty() {
            return Err(Error::Failed(format!("resetter_rpc_reset: no such plugin: {plugin}")));
        }
        for pool in pools {
            pool.reset().await.map_err(|refused| Error::Failed(format!("resetter_rpc_reset: {refused}")))?;
        }
        Ok(())
    }
}

impl Service for Resetter {
    fn name(&self) -> &str {
        "resetter"
    }

    fn concerns(&self, method: &str) -> Concerns {
        match method {
            "Reset" | "ResetAll" => Concerns::All { within: informer::CHANGES_WITHIN, join: agreed },
            _ => Concerns::Any,
        }
    }

    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
        Box::pin(async move {
            match method {
                "List" | "ListPlugins" => PluginsList::reply(&self.0, &argument),
                "Reset" => {
                    self.reset(&PluginRequest::read(&argument)?).await?;
                    informer::done(&argument)
                }
                "ResetAll" if argument.codec != Codec::Proto => {
                    for plugin in self.0.names() {
                        self.reset(plugin).await?;
                    }
                    informer::done(&argument)
                }
                _ => Err(Error::UnknownMethod),
            }
        })
    }
}
