//! The service `status`: whether plugins can work.

use prost::Message;
use serde::Serialize;

use super::{Answer, Codec, Error, Payload, Service, informer::PluginRequest};
use crate::worker::Controls;

/// Answers `status.Status` and `status.Ready`.
#[derive(Clone, Debug)]
pub struct Status(Controls);

/// `status.v1.Response`.
#[derive(Clone, PartialEq, Message, Serialize)]
struct Response {
    #[prost(int64, tag = "1")]
    code: i64,
    #[prost(string, tag = "2")]
    message: String,
}

// === impl Status ===

impl Status {
    /// Speaks of these pools.
    pub fn new(pools: Controls) -> Self {
        Self(pools)
    }

    fn of(&self, argument: &Payload) -> Result<Payload, Error> {
        let plugin = PluginRequest::read(argument)?;
        let found = self.0.readiness().find(|(name, _)| *name == plugin);
        let (_, is_ready) = found.ok_or_else(|| Error::Failed(format!("no such plugin: {plugin}")))?;
        let code = if is_ready { 200 } else { 503 };
        let response = Response { code, message: format!("PLUGIN: {plugin}: {}", if is_ready { "ready" } else { "not ready" }) };
        if argument.codec == Codec::Proto { argument.reply_message(&response) } else { argument.reply(&response) }
    }
}

impl Service for Status {
    fn name(&self) -> &str {
        "status"
    }

    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
        Box::pin(async move {
            match method {
                "Status" | "Ready" => self.of(&argument),
                _ => Err(Error::UnknownMethod),
            }
        })
    }
}
