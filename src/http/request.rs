//! Receives a request's body before a worker is taken: into memory, then into an unlinked temporary file.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use http::StatusCode;

use super::{
    Drain, Timeout,
    incoming::{Broken, Incoming},
    spool::{Place, Spool, status_without},
};
use crate::worker;

/// Bounds of a request body (`http.limits`).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes in all (`http.max_request_size`); more is answered with 413.
    pub max_size: u64,
    /// How long the client may send nothing.
    pub idle_timeout: Duration,
    /// After that, how many bytes have to have come in a second, on average; 0 for any.
    pub min_rate: u64,
    /// Where it is counted if they do not.
    pub drain: Drain,
    /// Where it is kept.
    pub place: Place,
}

/// Why a body was not received.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is larger than `http.max_request_size`.
    #[error("request body larger than {0} bytes")]
    TooLarge(u64),
    /// The client stopped sending.
    #[error("request body: nothing received for {0:?}")]
    Timeout(Duration),
    /// The client sends too little.
    #[error("request body: fewer than {0} bytes a second")]
    Slow(u64),
    /// The client broke off, or sent bad framing.
    #[error("request body: {0}")]
    Broken(#[from] Broken),
    /// The temporary file cannot be written.
    #[error("request body: temporary file in {directory}: {error}")]
    Spool {
        /// Where it was to be.
        directory: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

// === impl Error ===

impl Error {
    /// The status that tells the client.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout(_) | Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
            Self::Spool { error, .. } => status_without(error),
        }
    }
}

// === impl Limits ===

impl Limits {
    /// The same, for bodies of no more than `most` bytes.
    pub fn within(&self, most: u64) -> Self {
        Self { max_size: self.max_size.min(most), ..self.clone() }
    }

    /// Receives all of `body`.
    pub async fn receive(&self, mut body: Incoming) -> Result<worker::Body, Error> {
        if body.is_end() {
            return Ok(worker::Body::Empty);
        }
        if body.at_least() > self.max_size {
            return Err(Error::TooLarge(self.max_size));
        }
        let mut spool = Spool::new(&self.place, body.length());
        let began = Instant::now();
        loop {
            let patience = self.patience(began, spool.len());
            let Ok(received) = tokio::time::timeout(patience, body.data()).await else {
                self.drain.count_timeout(Timeout::Body);
                let stood_still = patience == self.idle_timeout;
                return Err(if stood_still { Error::Timeout(self.idle_timeout) } else { Error::Slow(self.min_rate) });
            };
            let Some(data) = received? else { break };
            if spool.len() + data.len() as u64 > self.max_size {
                return Err(Error::TooLarge(self.max_size));
            }
            spool.push(data).map_err(|error| Error::Spool { directory: self.place.directory().clone(), error })?;
        }
        Ok(spool.finish())
    }

    /// How long to wait for more of a body that began to come at `began`, and of which so many bytes are there.
    fn patience(&self, began: Instant, received: u64) -> Duration {
        let Some(worth) = received.checked_div(self.min_rate) else { return self.idle_timeout };
        let until = self.idle_timeout.saturating_add(Duration::from_secs(worth));
        until.saturating_sub(began.elapsed()).min(self.idle_timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_the_more_time_the_more_of_it_has_come() {
        let limits = Limits {
            max_size: 0,
            idle_timeout: Duration::from_secs(10),
            min_rate: 100,
            drain: Drain::new(),
            place: Place::new(0, 0, "/proc/none".into()),
        };
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).expect("the machine has run for longer");
        let seconds = |limits: &Limits, began, received| limits.patience(began, received).as_secs_f64().ceil() as u64;
        assert_eq!(seconds(&limits, ago(0), 0), 10);
        assert_eq!(seconds(&limits, ago(4), 0), 6);
        assert_eq!(seconds(&limits, ago(4), 300), 9);
        assert_eq!(seconds(&limits, ago(20), 900), 0);
        assert_eq!(seconds(&limits, ago(20), 1_000_000), 10, "no longer without any");
        assert_eq!(seconds(&Limits { min_rate: 0, ..limits }, ago(20), 0), 10);
    }
}
