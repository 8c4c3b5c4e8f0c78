//! The service `rpc`: what this server is.

use bytes::Bytes;

use super::{Answer, Error, Payload, Service};

/// Answers `rpc.Version` and `rpc.Config`.
#[derive(Clone, Debug)]
pub struct About {
    /// The version, `2026.1.0`.
    pub version: String,
    /// The whole configuration as JSON.
    pub config: Bytes,
}

impl Service for About {
    fn name(&self) -> &str {
        "rpc"
    }

    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
        Box::pin(async move {
            match method {
                "Version" => argument.reply(&self.version),
                "Config" => argument.reply_bytes(&self.config),
                _ => Err(Error::UnknownMethod),
            }
        })
    }
}
