//! The service `opcache`: how OPcache is, and its reset.

use std::{process, sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::{
    php::{self, Report, Wish},
    rpc::{Answer, Codec, Concerns, Error, Payload, Service, lists},
};

/// Answers `opcache.Status` and `opcache.Reset` with a list, for each engine what it says of its OPcache, once a reset is done.
struct Opcache(Option<php::Opcache>);

/// An engine's OPcache.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct State {
    pid: u32,
    /// What `opcache_get_status(false)` returns.
    status: Value,
    restart: Restart,
}

/// What becomes of its restarts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Restart {
    /// How long one has been pending; null if none is.
    pending_ms: Option<u64>,
    /// Times that the gate was closed in vain.
    vain: u64,
    /// The longest that the gate was closed.
    longest_closed_us: u64,
    /// Requests that came meanwhile.
    held: u64,
    /// How long the unluckiest of them waited for it to open.
    longest_hold_us: u64,
    /// And how long one of them waited until its thread had a core.
    longest_resume_us: u64,
}

/// Speaks of `opcache`, if it is on.
pub(super) fn service(opcache: Option<php::Opcache>) -> Arc<dyn Service> {
    Arc::new(Opcache(opcache))
}

/// A reset waits for scripts that run, but not for ever; `rr opcache` waits a little longer than this.
const TELLS_WITHIN: Duration = Duration::from_secs(25);

const OFF: &str = "OPcache is off: its extension is not loaded (zend_extension=opcache in php.ini), or opcache.enable is 0 \
                   (php.ini, or php.ini.opcache.enable of the configuration)";

// === impl Opcache ===

impl Opcache {
    async fn ask(&self, wish: Wish) -> Result<Vec<State>, Error> {
        let opcache = self.0.as_ref().ok_or_else(|| Error::Failed(OFF.into()))?;
        let (tell, told) = oneshot::channel();
        // The caller may have left.
        opcache.ask(wish, move |answer| drop(tell.send(answer)));
        let answer = told.await.unwrap_or(Err(php::Silent::Stopping));
        answer.map(|report| vec![State::new(&report)]).map_err(|silent| Error::Failed(silent.to_string()))
    }
}

impl Service for Opcache {
    fn name(&self) -> &str {
        "opcache"
    }

    fn concerns(&self, method: &str) -> Concerns {
        match method {
            "Status" | "Reset" => Concerns::All { within: TELLS_WITHIN, join: lists },
            _ => Concerns::Any,
        }
    }

    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
        Box::pin(async move {
            let wish = match method {
                "Status" => Wish::Status,
                "Reset" => Wish::Reset,
                _ => return Err(Error::UnknownMethod),
            };
            if argument.codec == Codec::Proto {
                return Err(Error::UnknownMethod);
            }
            argument.reply(&self.ask(wish).await?)
        })
    }
}

// === impl State ===

impl State {
    fn new(report: &Report) -> Self {
        Self {
            pid: process::id(),
            status: serde_json::from_str(&report.status).unwrap_or_default(),
            restart: Restart {
                pending_ms: report.pending.map(|pending| whole(pending.as_millis())),
                vain: report.vain,
                longest_closed_us: whole(report.gate.closed.as_micros()),
                held: report.gate.held,
                longest_hold_us: whole(report.gate.longest_hold.as_micros()),
                longest_resume_us: whole(report.gate.longest_resume.as_micros()),
            },
        }
    }
}

fn whole(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
