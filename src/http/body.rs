//! The one response body type of the front.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{
    files,
    middleware::{Compressed, Remote},
    record::Recorded,
};
use crate::worker::{OutputConnection, OutputReader};

/// A response body.
#[derive(Debug, Default)]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// Bytes at hand: a whole small reply, a cached file, an error page.
    Bytes(Bytes),
    /// A file in memory.
    Kept(files::Kept),
    /// A file too large for memory.
    File(files::Stream),
    /// A file of another server.
    Remote(Box<Remote>),
    /// A script that goes on.
    Output(OutputReader),
    /// The same, with the access log waiting for its end.
    Recorded(Box<Recorded>),
    /// Any of these, and something after it.
    Appended(Box<Appended>),
    /// Any of these on its way through compression.
    Compressed(Box<Compressed>),
}

/// A body with something after it.
#[derive(Debug)]
pub struct Appended {
    body: Body,
    /// Empty once it is sent.
    rest: Bytes,
}

// === impl Body ===

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Kept(kept) => {
                let bytes = std::mem::take(&mut kept.bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::File(stream) => Pin::new(stream).poll_frame(context),
            Self::Remote(remote) => Pin::new(&mut **remote).poll_frame(context),
            Self::Output(reader) => Pin::new(reader).poll_frame(context),
            Self::Recorded(recorded) => {
                let polled = Pin::new(&mut recorded.body).poll_frame(context);
                if let Poll::Ready(Some(Ok(frame))) = &polled {
                    recorded.written += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                polled
            }
            Self::Appended(appended) => match Pin::new(&mut appended.body).poll_frame(context) {
                Poll::Ready(None) if !appended.rest.is_empty() => {
                    Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut appended.rest)))))
                }
                polled => polled,
            },
            Self::Compressed(compressed) => compressed.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Kept(kept) => kept.bytes.is_empty(),
            Self::File(stream) => stream.is_end_stream(),
            Self::Remote(remote) => remote.is_end_stream(),
            Self::Output(reader) => reader.is_end_stream(),
            Self::Recorded(recorded) => recorded.body.is_end_stream(),
            Self::Appended(appended) => appended.rest.is_empty() && appended.body.is_end_stream(),
            Self::Compressed(compressed) => compressed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Kept(kept) => SizeHint::with_exact(kept.bytes.len() as u64),
            Self::File(stream) => stream.size_hint(),
            Self::Remote(remote) => remote.size_hint(),
            Self::Output(_) | Self::Recorded(_) | Self::Compressed(_) => SizeHint::default(),
            Self::Appended(appended) => match appended.body.size_hint().exact() {
                Some(length) => SizeHint::with_exact(length + appended.rest.len() as u64),
                None => SizeHint::default(),
            },
        }
    }
}

impl Body {
    /// Closes `connection` when the body is given up because nobody reads it.
    pub(super) fn close_with(&self, connection: impl FnOnce() -> Arc<dyn OutputConnection>) {
        match self {
            Self::Output(reader) => reader.close_with(connection()),
            Self::Recorded(recorded) => recorded.body.close_with(connection()),
            Self::Appended(appended) => appended.body.close_with(connection),
            Self::Compressed(compressed) => compressed.source().close_with(connection),
            _ => {}
        }
    }
}

impl Appended {
    pub(super) fn new(body: Body, rest: Bytes) -> Self {
        Self { body, rest }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Bytes(bytes) }
    }
}
