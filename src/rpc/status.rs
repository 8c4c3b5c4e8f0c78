//! The service `status`: whether plugins can work.

use std::time::Duration;

use prost::Message;
use serde::{Deserialize, Serialize};

use super::{Answer, Codec, Concerns, Error, Payload, Service, informer::PluginRequest};
use crate::worker::Controls;

/// Answers `status.Status` and `status.Ready`.
#[derive(Clone, Debug)]
pub struct Status(Controls);

/// `status.v1.Response`.
#[derive(Clone, Deserialize, PartialEq, Message, Serialize)]
#[serde(default)]
struct Response {
    #[prost(int64, tag = "1")]
    code: i64,
    #[prost(string, tag = "2")]
    message: String,
}

/// Pools know at once.
const TELLS_WITHIN: Duration = Duration::from_secs(5);

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

    fn concerns(&self, method: &str) -> Concerns {
        match method {
            "Status" | "Ready" => Concerns::All { within: TELLS_WITHIN, join: best },
            _ => Concerns::Any,
        }
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

/// A plugin is ready if it is in some engine, as health checks have it.
fn best(results: Vec<Payload>) -> Result<Payload, Error> {
    let mut told = Vec::new();
    for result in results {
        let response: Response = if result.codec == Codec::Proto { result.message()? } else { result.read()? };
        told.push((response.code, result));
    }
    let best = told.into_iter().min_by_key(|(code, _)| *code);
    best.map(|(_, result)| result).ok_or(Error::UnknownMethod)
}
