//! A request's body on its stream.

use bytes::Bytes;

use super::frame::{DATA, Fault, HEADERS, Reader, code};
use crate::http::incoming::Broken;

/// The body of one request, as far as it has not been taken.
#[derive(Debug)]
pub struct Received {
    reader: Reader,
    // Of the frame that is being read.
    left: u64,
    promised: Option<u64>,
    is_over: bool,
    faults: super::Faults,
}

// === impl Received ===

impl Received {
    /// What follows a head on its stream.
    pub(super) fn new(reader: Reader, promised: Option<u64>, faults: super::Faults) -> Self {
        Self { reader, left: 0, promised, is_over: false, faults }
    }

    pub(in super::super) fn is_end(&self) -> bool {
        self.is_over
    }

    /// What the client has said is still to come.
    pub(in super::super) fn left(&self) -> Option<u64> {
        self.promised
    }

    pub(in super::super) async fn data(&mut self) -> Result<Option<Bytes>, Broken> {
        match self.next().await {
            Ok(data) => Ok(data),
            Err(fault) => {
                self.is_over = true;
                Err(Broken::Quic(match fault {
                    Fault::Connection(code, reason) => {
                        self.faults.raise(code, reason);
                        reason
                    }
                    Fault::Stream(code) => {
                        self.reader.stop(code);
                        "its length is not the content-length"
                    }
                    Fault::Gone => "the client broke off",
                }))
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        while self.left == 0 && !self.is_over {
            match self.reader.frame().await? {
                Some(frame) if frame.kind == DATA => self.left = frame.length,
                // Trailers are all that may follow, and nobody here reads them.
                Some(frame) if frame.kind == HEADERS => {
                    self.reader.stop(code::NO_ERROR);
                    self.is_over = true;
                }
                Some(_) => return Err(Fault::Connection(code::UNEXPECTED, "a frame that has no place in a request")),
                None => self.is_over = true,
            }
        }
        if self.is_over {
            // Whoever forwards it would else believe the one, and the next server the other.
            return if self.promised.unwrap_or(0) > 0 { Err(Fault::Stream(code::MESSAGE)) } else { Ok(None) };
        }
        let data = self.reader.piece(self.left).await?;
        let length = data.len() as u64;
        self.left -= length;
        if let Some(promised) = &mut self.promised {
            *promised = promised.checked_sub(length).ok_or(Fault::Stream(code::MESSAGE))?;
        }
        Ok(Some(data))
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // Answered before it had all come: the rest is not wanted.
        self.reader.stop(code::NO_ERROR);
    }
}
