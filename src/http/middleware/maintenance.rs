//! `maintenance`: while a file is there, clients are told to come back later.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use parking_lot::Mutex;

use super::{Note, Verdict};
use crate::http::{Body, Peer, response, subnet::Subnets};

/// When and how clients are sent away (`http.maintenance`).
#[derive(Clone, Debug)]
pub struct Config {
    /// The file whose being there says so.
    pub file: PathBuf,
    /// The HTML page that says it to clients.
    pub page: Option<PathBuf>,
    /// When they are to come back.
    pub retry_after: Duration,
    /// Who is served all the same.
    pub allow: Subnets,
}

/// Sends clients away for a while.
#[derive(Debug)]
pub struct Maintenance {
    config: Config,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    looked: Option<Instant>,
    is_on: bool,
    page: Option<Bytes>,
}

/// How often the file is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// A longer page is not sent.
const LONGEST_PAGE: u64 = 1 << 20;

// === impl Config ===

impl Config {
    /// One that has not looked yet.
    pub fn build(self) -> Maintenance {
        Maintenance { config: self, state: Mutex::new(State { looked: None, is_on: false, page: None }) }
    }
}

// === impl Maintenance ===

impl Maintenance {
    pub(super) fn before(&self, peer: &Peer) -> Verdict {
        let page = {
            let mut state = self.state.lock();
            if state.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                state.look(&self.config);
            }
            if !state.is_on {
                return Verdict::Pass(Note::Nothing);
            }
            state.page.clone()
        };
        if peer.remote.is_some_and(|client| self.config.allow.contains(client.ip())) {
            return Verdict::Pass(Note::Nothing);
        }
        Verdict::Answer(self.answer(page).into())
    }

    fn answer(&self, page: Option<Bytes>) -> Response<Body> {
        let mut response = response::plain(StatusCode::SERVICE_UNAVAILABLE);
        if let Some(page) = page {
            *response.body_mut() = Body::from(page);
            response.extensions_mut().remove::<response::Ours>();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        }
        let seconds = self.config.retry_after.as_secs().max(1);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

// === impl State ===

impl State {
    fn look(&mut self, config: &Config) {
        let was_on = self.is_on;
        self.looked = Some(Instant::now());
        self.is_on = config.file.exists();
        if self.is_on && !was_on {
            tracing::warn!(file = %config.file.display(), "maintenance: clients are sent away");
            self.page = config.page.as_ref().and_then(|page| match fs::metadata(page) {
                Ok(about) if about.len() > LONGEST_PAGE => None,
                _ => fs::read(page)
                    .inspect_err(|error| tracing::error!(%error, "http.maintenance.page {}", page.display()))
                    .ok()
                    .map(Bytes::from),
            });
        } else if was_on && !self.is_on {
            tracing::info!("maintenance is over");
        }
    }
}
