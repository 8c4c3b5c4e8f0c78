//! What an engine and its supervisor say to each other: JSON, a line for each message.

use std::{io, marker::PhantomData};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{io::AsyncReadExt, net::UnixStream};

use crate::{error::Refusal, http::tls::tickets::Keys};

/// From an engine.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Report {
    /// Requests are answered.
    Ready,
    /// It could not start, for this reason, and ends.
    Failed(String),
    /// It has lost threads, or is without OPcache for long: another engine should take its place.
    WornOut,
    /// It ends by itself: another engine should take its place after that.
    Leaving,
    /// Somebody who called the engine wishes something of its supervisor.
    Ask {
        /// Returned with the outcome.
        id: u32,
        /// What it is.
        wish: Wish,
    },
}

/// What may be asked of a supervisor.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Wish {
    /// Read the configuration and say whether a reload would take it.
    Check,
    /// Start a new engine with the configuration as it is now.
    Reload,
    /// Tell what comes of the reload that follows the one that is just over.
    Follow,
    /// Start a new engine with what the engine before this one had.
    Rollback,
    /// Say which engines still finish what they have begun: an empty line if none does, or another is being started.
    Waits,
    /// Tell when those engines have ended that finish what they have begun: an empty line if all have by themselves.
    Ended,
    /// Connect the engine that asks with those that serve beside it: see [`Parcel`](super::Parcel).
    Introduce {
        /// Returned with them.
        token: u32,
    },
}

/// From a supervisor.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Order {
    /// The server stops: finish what is begun and end.
    Stop,
    /// A newer engine serves too: finish what is begun and end.
    HandOver,
    /// End at once.
    Leave,
    /// Open log files anew.
    ReopenLogs,
    /// Tell the next engine what OPcache has.
    TellScripts,
    /// Seal TLS's tickets with these.
    TicketKeys(Keys),
    /// What became of a wish.
    Outcome {
        /// That of the wish.
        id: u32,
        /// One line for the person who asked.
        result: Result<String, Refusal>,
    },
}

/// The messages of one direction, as they come.
#[derive(Debug)]
pub struct Messages<T> {
    buffer: Vec<u8>,
    of: PhantomData<T>,
}

/// No message is longer.
const MAX_LINE: usize = 64 * 1024;
/// Longer texts in a message are cut.
const MAX_TEXT: usize = 8192;

// === impl Report ===

impl Report {
    /// It could not start, for this reason.
    pub fn failed(reason: &str) -> Self {
        Self::Failed(shortened(reason))
    }
}

// === impl Messages ===

impl<T: DeserializeOwned> Messages<T> {
    /// The next one; none at the end. May be given up on and called again without a loss.
    pub async fn next(&mut self, line: &mut UnixStream) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if line.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The next one that is here already.
    pub(super) fn take(&mut self) -> io::Result<Option<T>> {
        let Some(end) = memchr::memchr(b'\n', &self.buffer) else {
            return if self.buffer.len() > MAX_LINE { Err(io::ErrorKind::InvalidData.into()) } else { Ok(None) };
        };
        let message = serde_json::from_slice(&self.buffer[..end])?;
        self.buffer.drain(..=end);
        Ok(Some(message))
    }
}

impl<T> Messages<T> {
    /// Goes on after what was read.
    pub(super) fn of(unread: Vec<u8>) -> Self {
        Self { buffer: unread, of: PhantomData }
    }

    /// What is no whole message yet.
    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads what has come, without waiting for it: how many bytes, 0 at the end.
    pub(super) fn receive(&mut self, line: &UnixStream) -> io::Result<usize> {
        line.try_read_buf(&mut self.buffer)
    }

    /// The same, also of what the runtime has not been told of yet.
    pub(super) fn receive_now(&mut self, line: &UnixStream) -> io::Result<usize> {
        let mut chunk = [0; 4096];
        let count = nix::unistd::read(line, &mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(count)
    }
}

impl<T> Default for Messages<T> {
    fn default() -> Self {
        Self { buffer: Vec::new(), of: PhantomData }
    }
}

/// No more of a text than fits on the line.
pub(super) fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

/// A message with the end of its line.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn messages_come_as_they_were_sent_in_whatever_pieces() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (mut near, mut far) = UnixStream::pair().expect("a pair");
            let sent = [
                Order::HandOver,
                Order::Outcome { id: 7, result: Ok("two\nlines".into()) },
                Order::Outcome { id: 8, result: Err(Refusal::later("no")) },
            ];
            let bytes: Vec<u8> = sent.iter().flat_map(encode).collect();
            let writer = tokio::spawn(async move {
                for piece in bytes.chunks(5) {
                    near.write_all(piece).await.expect("it reads");
                    tokio::task::yield_now().await;
                }
            });
            let mut messages = Messages::default();
            for expected in sent {
                assert_eq!(messages.next(&mut far).await.expect("it goes on"), Some(expected));
            }
            writer.await.expect("no panic");
            assert_eq!(messages.next(&mut far).await.expect("it ended well"), None::<Order>);
        });
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (mut near, mut far) = UnixStream::pair().expect("a pair");
            let writer = tokio::spawn(async move { drop(near.write_all(&vec![b'x'; 2 * MAX_LINE]).await) });
            let error = Messages::<Order>::default().next(&mut far).await.expect_err("too long");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            drop(far);
            writer.await.expect("no panic");
        });
    }
}
