//! A request's body as it comes, whatever protocol brings it.

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body;

use super::h3::Received;

/// A request's body.
#[derive(Debug)]
pub enum Incoming {
    /// By HTTP/1 or 2.
    Hyper(body::Incoming),
    /// By HTTP/3.
    Quic(Box<Received>),
}

/// The client broke off, or sent bad framing.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// By HTTP/1 or 2.
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
    /// By HTTP/3.
    #[error("{0}")]
    Quic(&'static str),
}

// === impl Incoming ===

impl Incoming {
    /// The next piece; none at the end. Trailers are dropped: a script has no place for them, and as headers they would be a way to
    /// smuggle some in.
    pub async fn data(&mut self) -> Result<Option<Bytes>, Broken> {
        match self {
            Self::Hyper(body) => loop {
                match body.frame().await.transpose()?.map(http_body::Frame::into_data) {
                    Some(Ok(data)) => return Ok(Some(data)),
                    Some(Err(_)) => {}
                    None => return Ok(None),
                }
            },
            Self::Quic(received) => received.data().await,
        }
    }

    /// True if it is known that nothing comes.
    pub fn is_end(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
            Self::Quic(received) => received.is_end(),
        }
    }

    /// No fewer bytes come, as the client says.
    pub fn at_least(&self) -> u64 {
        match self {
            Self::Hyper(body) => body.size_hint().lower(),
            Self::Quic(received) => received.left().unwrap_or(0),
        }
    }

    /// How many bytes come, if the client says so.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Hyper(body) => body.size_hint().exact(),
            Self::Quic(received) => received.left(),
        }
    }
}

impl From<body::Incoming> for Incoming {
    fn from(body: body::Incoming) -> Self {
        Self::Hyper(body)
    }
}
