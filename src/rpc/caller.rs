//! The end of a connection between two engines that calls.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::{Codec, Payload};
use crate::worker::goridge::{Decoder, Flags, Frame};

/// Makes one call after another.
#[derive(Debug)]
pub struct Caller {
    stream: UnixStream,
    decoder: Decoder,
    sequence: u32,
}

/// No engine says more: what it tells of is a few lines for each of its workers, or a page of figures.
const MAX_ANSWER: usize = 64 << 20;

const ENDED: &str = "it has ended, or closed the connection";

// === impl Caller ===

impl Caller {
    /// On a connection that nothing has been said on.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::new(MAX_ANSWER), sequence: 0 }
    }

    /// Calls `name`, `service.Method`; the inner error is the text of the other engine. After an outer one, or if given up on, the
    /// connection must not be used any more.
    pub async fn call(&mut self, name: &str, argument: &Payload, within: Duration) -> io::Result<Result<Payload, String>> {
        let answered = timeout(within, self.exchange(name, argument)).await;
        answered
            .unwrap_or_else(|_| Err(fault(io::ErrorKind::TimedOut, &format!("it did not answer within {} s", within.as_secs()))))
    }

    async fn exchange(&mut self, name: &str, argument: &Payload) -> io::Result<Result<Payload, String>> {
        self.sequence = self.sequence.wrapping_add(1);
        let payload = [name.as_bytes(), &argument.body].concat();
        // Names are short.
        let frame = Frame::new(argument.codec.flags(), payload).with_options(&[self.sequence, name.len() as u32]);
        let written = self.stream.write_all(&frame.to_bytes().map_err(io::Error::other)?).await;
        written.map_err(|_| fault(io::ErrorKind::BrokenPipe, ENDED))?;
        let answer = loop {
            match self.decoder.next().map_err(io::Error::other)? {
                Some(frame) => break frame,
                None => match self.stream.read_buf(self.decoder.room()).await {
                    Ok(0) | Err(_) => return Err(fault(io::ErrorKind::UnexpectedEof, ENDED)),
                    Ok(_) => {}
                },
            }
        };
        let nonsense = || fault(io::ErrorKind::InvalidData, "its answer makes no sense");
        let [sequence, length] = answer.header.options[..] else { return Err(nonsense()) };
        let mut body = answer.payload;
        if sequence != self.sequence || length as usize > body.len() {
            return Err(nonsense());
        }
        let body = body.split_off(length as usize);
        let flags = answer.header.flags;
        if flags.has(Flags::ERROR) {
            return Ok(Err(String::from_utf8_lossy(&body).into_owned()));
        }
        Ok(Ok(Payload { codec: Codec::of(flags).map_err(io::Error::other)?, body }))
    }
}

fn fault(kind: io::ErrorKind, text: &str) -> io::Error {
    io::Error::new(kind, text)
}
