//! A file on its way from another server.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Duration, Instant, Sleep, sleep_until},
};

use super::Config;

/// The body of another server's answer, which ends in time and within its size, or breaks off.
#[derive(Debug)]
pub struct Remote {
    body: Incoming,
    /// Bytes that may still come.
    left: u64,
    patience: Pin<Box<Sleep>>,
    timeout: Duration,
    end: Instant,
    _place: Arc<OwnedSemaphorePermit>,
}

// === impl Remote ===

impl Remote {
    pub(super) fn new(body: Incoming, place: Arc<OwnedSemaphorePermit>, config: &Config, end: Instant) -> Self {
        let timeout = config.timeout;
        let patience = Box::pin(sleep_until(end.min(Instant::now() + timeout)));
        Self { body, left: config.max_size, patience, timeout, end, _place: place }
    }
}

impl http_body::Body for Remote {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(context) else { break };
            let frame = match polled {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(cut(&error.to_string())))),
                None => return Poll::Ready(None),
            };
            // Trailers are between that server and us.
            let Ok(data) = frame.into_data() else { continue };
            let now = Instant::now();
            let (left, until) = (self.left.checked_sub(data.len() as u64), self.end.min(now + self.timeout));
            let Some(left) = left else { return Poll::Ready(Some(Err(cut("it is larger than http.sendremotefile.max_size")))) };
            if now >= self.end {
                return Poll::Ready(Some(Err(cut(SLOW))));
            }
            self.left = left;
            self.patience.as_mut().reset(until);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match self.patience.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(cut(SLOW)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

const SLOW: &str = "it took longer than http.sendremotefile allows";

/// The client has had a part already: all that is left is to break off, and to say why.
fn cut(why: &str) -> io::Error {
    tracing::error!("X-Sendremotefile: a file was cut short: {why}");
    io::Error::other(format!("a file of another server was cut short: {why}"))
}
