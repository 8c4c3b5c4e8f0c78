//! Receives a request's body before a worker is taken: into memory, then into an unlinked temporary file.

use std::{io, path::PathBuf, time::Duration};

use http::StatusCode;

use super::{
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
            Self::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
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
        loop {
            let Ok(received) = tokio::time::timeout(self.idle_timeout, body.data()).await else {
                return Err(Error::Timeout(self.idle_timeout));
            };
            let Some(data) = received? else { break };
            if spool.len() + data.len() as u64 > self.max_size {
                return Err(Error::TooLarge(self.max_size));
            }
            spool.push(data).map_err(|error| Error::Spool { directory: self.place.directory().clone(), error })?;
        }
        Ok(spool.finish())
    }
}
