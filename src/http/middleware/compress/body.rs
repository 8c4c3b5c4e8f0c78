//! A body that is compressed while it is sent.

use std::{
    fmt,
    io::{self, Write},
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame};

use super::Levels;
use crate::http::{
    Body,
    files::{Coding, Kept},
};

/// A body under compression. What a script has flushed is flushed here, too.
pub struct Compressed {
    body: Body,
    // What is left of a large chunk.
    rest: Bytes,
    // None once it is finished.
    encoder: Option<Encoder>,
    // The file that is compressed, if others will ask for it, and what has come out.
    kept: Option<(Kept, Coding)>,
    made: Vec<u8>,
    // What comes after the last compressed byte.
    trailers: Option<Frame<Bytes>>,
    /// Bytes went in that have not come out.
    is_behind: bool,
}

pub(super) enum Encoder {
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

/// What is compressed at once: other connections of the thread wait meanwhile.
const PIECE: usize = 32 * 1024;

/// brotli's and zstd's windows, as powers of two: the encoder's memory follows from them, and each answer has its own.
const BROTLI_WINDOW: u32 = 18;
const ZSTD_WINDOW: u32 = 18;

const BROTLI_BUFFER: usize = 4096;

// === impl Compressed ===

impl Compressed {
    /// Compresses `body`; gives it back if that cannot be.
    pub(super) fn new(body: Body, coding: Coding, levels: Levels) -> Result<Self, (Body, io::Error)> {
        let encoder = match Encoder::new(coding, levels) {
            Ok(encoder) => Some(encoder),
            Err(error) => return Err((body, error)),
        };
        let kept = if let Body::Kept(kept) = &body { Some((kept.clone(), coding)) } else { None };
        Ok(Self { body, rest: Bytes::new(), encoder, kept, made: Vec::new(), trailers: None, is_behind: false })
    }

    /// What is compressed.
    pub(crate) fn source(&self) -> &Body {
        &self.body
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }

    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            let Some(encoder) = &mut self.encoder else { return Poll::Ready(self.trailers.take().map(Ok)) };
            if self.rest.is_empty() {
                match Pin::new(&mut self.body).poll_frame(context)? {
                    Poll::Ready(Some(frame)) => match frame.into_data() {
                        Ok(data) => self.rest = data,
                        Err(trailers) => {
                            self.trailers = Some(trailers);
                            return Poll::Ready(self.finish().transpose());
                        }
                    },
                    Poll::Ready(None) => return Poll::Ready(self.finish().transpose()),
                    Poll::Pending if self.is_behind => {
                        self.is_behind = false;
                        encoder.flush()?;
                        // A file never waits, so none of this is of one that is kept.
                        let bytes = encoder.take();
                        return if bytes.is_empty() { Poll::Pending } else { Poll::Ready(Some(Ok(Frame::data(bytes.into())))) };
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            let piece = self.rest.split_to(self.rest.len().min(PIECE));
            encoder.write(&piece)?;
            self.is_behind = true;
            let bytes = encoder.take();
            if !bytes.is_empty() {
                self.remember(&bytes);
                return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
            }
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        if self.kept.is_some() {
            self.made.extend_from_slice(bytes);
        }
    }

    /// The last compressed bytes, before any trailers: for a server those are the end of a body.
    fn finish(&mut self) -> io::Result<Option<Frame<Bytes>>> {
        let last = self.encoder.take().map(Encoder::finish).transpose()?.unwrap_or_default();
        self.remember(&last);
        if let Some((kept, coding)) = self.kept.take() {
            kept.keep(coding, mem::take(&mut self.made));
        }
        Ok(if last.is_empty() { self.trailers.take() } else { Some(Frame::data(last.into())) })
    }
}

impl fmt::Debug for Compressed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Compressed").field("body", &self.body).finish_non_exhaustive()
    }
}

// === impl Encoder ===

impl Encoder {
    pub(super) fn new(coding: Coding, levels: Levels) -> io::Result<Self> {
        Ok(match coding {
            Coding::Brotli => {
                let writer = brotli::CompressorWriter::new(Vec::new(), BROTLI_BUFFER, levels.brotli, BROTLI_WINDOW);
                Self::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), i32::try_from(levels.zstd).unwrap_or_default())?;
                encoder.window_log(ZSTD_WINDOW)?;
                Self::Zstd(encoder)
            }
            Coding::Gzip | Coding::Identity => {
                Self::Gzip(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(levels.gzip)))
            }
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Brotli(writer) => writer.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Brotli(writer) => writer.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }

    /// What has come out.
    pub(super) fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Brotli(writer) => mem::take(writer.get_mut()),
            Self::Gzip(encoder) => mem::take(encoder.get_mut()),
            Self::Zstd(encoder) => mem::take(encoder.get_mut()),
        }
    }

    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Brotli(writer) => Ok(writer.into_inner()),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}
