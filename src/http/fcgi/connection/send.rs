//! The half of a connection that writes: answers, whole or as they come, and the end.

use std::{future, io};

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Duration, timeout},
};

use super::{Connection, Event};
use crate::{
    http::fcgi::{
        record::{self, Protocol, Record},
        reply,
    },
    worker::{OutputReader, Reply, ReplyBody},
};

/// Chunks from this size on are sent from where they are; smaller ones are gathered first.
const GATHER: usize = 16 * 1024;

/// How long a client may take to hear that we hung up.
const LINGER: Duration = Duration::from_secs(5);

// === impl Connection ===

impl Connection {
    pub(super) async fn answer(&mut self, id: u16, reply: Reply, log: Option<&str>) -> io::Result<()> {
        let mut out = BytesMut::with_capacity(1024);
        record::put_stream(&mut out, record::STDERR, id, log.unwrap_or_default().as_bytes());
        let mut head = BytesMut::with_capacity(1024);
        reply::put_head(&mut head, &reply.head);
        match reply.body {
            ReplyBody::Whole(body) => {
                if body.len() <= GATHER {
                    head.extend_from_slice(&body);
                    record::put_stream(&mut out, record::STDOUT, id, &head);
                } else {
                    record::put_stream(&mut out, record::STDOUT, id, &head);
                    self.write_chunk(id, &mut out, body).await?;
                }
                put_last(&mut out, id);
                self.write(out).await
            }
            ReplyBody::Stream(output) => {
                record::put_stream(&mut out, record::STDOUT, id, &head);
                self.stream(id, out, output).await
            }
        }
    }

    /// Passes on what the script writes; what is at hand leaves together.
    async fn stream(&mut self, id: u16, mut out: BytesMut, mut output: OutputReader) -> io::Result<()> {
        enum Next {
            Flush,
            Frame(Option<io::Result<http_body::Frame<Bytes>>>),
            Record(Record),
        }
        loop {
            let next = tokio::select! {
                biased;
                frame = output.frame() => Next::Frame(frame),
                () = future::ready(()), if !out.is_empty() => Next::Flush,
                record = self.while_answering() => Next::Record(record?),
            };
            match next {
                Next::Flush => self.write(out.split()).await?,
                Next::Frame(Some(frame)) => {
                    // Broken off: with no end of the request the client can tell.
                    let chunk = frame?.into_data().unwrap_or_default();
                    self.write_chunk(id, &mut out, chunk).await?;
                }
                Next::Frame(None) => {
                    put_last(&mut out, id);
                    return self.write(out).await;
                }
                Next::Record(record) => {
                    if matches!(self.heed(record, Some(id)).await?, Event::Abort) {
                        return self.end(id).await;
                    }
                }
            }
        }
    }

    /// Adds `chunk` to `out`, or writes both if it is large.
    async fn write_chunk(&mut self, id: u16, out: &mut BytesMut, mut chunk: Bytes) -> io::Result<()> {
        if chunk.len() <= GATHER && out.len() <= record::CHUNK {
            record::put_stream(out, record::STDOUT, id, &chunk);
            return Ok(());
        }
        while !chunk.is_empty() {
            let part = chunk.split_to(chunk.len().min(record::CHUNK));
            let (header, padding) = record::header(record::STDOUT, id, part.len() as u16);
            out.extend_from_slice(&header);
            self.write(out.split().freeze().chain(part)).await?;
            out.extend_from_slice(&[0; record::HEADER][..padding]);
        }
        Ok(())
    }

    pub(super) async fn end(&mut self, id: u16) -> io::Result<()> {
        let mut out = BytesMut::new();
        record::put_end(&mut out, id, Protocol::Complete);
        self.write(out).await
    }

    pub(super) async fn write(&mut self, mut bytes: impl Buf) -> io::Result<()> {
        while bytes.has_remaining() {
            let written = timeout(self.shared.settings.write_timeout, self.stream.write_buf(&mut bytes)).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Closes it so that the client gets all we wrote: unread input at `close` would make the kernel cut the connection.
    pub(super) async fn hang_up(&mut self) {
        let rest = async {
            self.stream.shutdown().await?;
            loop {
                self.input.clear();
                self.input.reserve(record::READ);
                if self.stream.read_buf(&mut self.input).await? == 0 {
                    return io::Result::Ok(());
                }
            }
        };
        drop(timeout(LINGER, rest).await);
    }
}

fn put_last(out: &mut BytesMut, id: u16) {
    record::put(out, record::STDOUT, id, b"");
    record::put_end(out, id, Protocol::Complete);
}
