//! The connection of two engines: calls go both ways at once, and so does the state.

use std::{
    collections::HashMap,
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::AsyncWriteExt,
    net::unix::OwnedWriteHalf,
    sync::{Notify, mpsc, oneshot},
};

use super::frame::{Frame, MAX_BODY};

/// This engine's end.
#[derive(Debug)]
pub(super) struct Link {
    /// Which one this is, of all in this process.
    pub(super) number: u64,
    outbox: mpsc::Sender<Bytes>,
    calls: Mutex<Calls>,
    close: Notify,
    is_gone: AtomicBool,
}

#[derive(Debug, Default)]
struct Calls {
    next: u32,
    waiting: HashMap<u32, oneshot::Sender<Outcome>>,
    /// Nothing more is heard of the other engine, which may live.
    has_ended: bool,
}

/// What became of a call at the other end.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its result.
    Done(Bytes),
    /// It was not made: the state is here now.
    Moved,
    /// It could not be made.
    Failed(String),
    /// The other engine has died. Whether the call was made, nobody knows.
    Died,
}

/// A place among the calls that wait, given back however the wait ends.
struct Waiting<'a> {
    link: &'a Link,
    number: u32,
}

/// Frames that wait for the other engine to read.
const OUTBOX: usize = 256;
/// Calls that wait for the other engine. Each is a call of a client's, of which there can be no more than `rpc` lets there be.
const MAX_CALLS: usize = 65_536;

// === impl Link ===

impl Link {
    /// Also what is to be written, by [`write`].
    pub(super) fn new() -> (Self, mpsc::Receiver<Bytes>) {
        static LINKS: AtomicU64 = AtomicU64::new(0);
        let (outbox, frames) = mpsc::channel(OUTBOX);
        (
            Self {
                number: LINKS.fetch_add(1, Relaxed),
                outbox,
                calls: Mutex::default(),
                close: Notify::new(),
                is_gone: AtomicBool::new(false),
            },
            frames,
        )
    }

    /// Before all others.
    pub(super) fn send_first(&self, frame: &Frame) {
        // There is room.
        drop(self.outbox.try_send(frame.encode()));
    }

    /// Waits for room, but not for the other engine to read it. Once that is gone nothing happens: its reader says so.
    pub(super) async fn send(&self, frame: Frame) {
        drop(self.outbox.send(frame.encode()).await);
    }

    /// Calls a plugin of the other engine.
    pub(super) async fn call(&self, plugin: &str, request: Bytes) -> Outcome {
        // The other engine would take a longer frame for a broken one.
        let length = 1 + plugin.len() + request.len();
        if length > MAX_BODY {
            let what =
                format!("{plugin}: the request of {} bytes is too long for the other engine, which has the state", request.len());
            return Outcome::Failed(format!("{what}: a message has {MAX_BODY} at most"));
        }
        let (tell, told) = oneshot::channel();
        let number = {
            let mut calls = self.calls.lock();
            if calls.has_ended {
                return Outcome::Died;
            }
            if calls.waiting.len() >= MAX_CALLS {
                return Outcome::Failed(format!("{MAX_CALLS} calls wait for the other engine: try again later"));
            }
            calls.next = calls.next.wrapping_add(1);
            let number = calls.next;
            calls.waiting.insert(number, tell);
            number
        };
        let _place = Waiting { link: self, number };
        self.send(Frame::Call { number, plugin: plugin.to_owned(), request }).await;
        told.await.unwrap_or(Outcome::Died)
    }

    /// Tells a caller.
    pub(super) fn finish(&self, number: u32, outcome: Outcome) {
        if let Some(caller) = self.calls.lock().waiting.remove(&number) {
            // It may have left.
            drop(caller.send(outcome));
        }
    }

    /// Ends it from this side.
    pub(super) fn close(&self) {
        self.close.notify_one();
    }

    /// Waits for that.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }

    /// Nothing more is heard of the other engine. Whether it lives, [`is_gone`](Self::is_gone) says.
    pub(super) fn has_ended(&self) -> bool {
        self.calls.lock().has_ended
    }

    /// Nobody is at the other end any more.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(SeqCst)
    }

    pub(super) fn set_gone(&self) {
        self.is_gone.store(true, SeqCst);
    }

    /// Calls have no outcome any more.
    pub(super) fn end(&self) {
        let mut calls = self.calls.lock();
        calls.has_ended = true;
        calls.waiting.clear();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.link.calls.lock().waiting.remove(&self.number);
    }
}

/// Writes what is in the outbox until nobody can put anything there, or nobody reads.
pub(super) async fn write(mut frames: mpsc::Receiver<Bytes>, mut stream: OwnedWriteHalf) -> io::Result<()> {
    while let Some(frame) = frames.recv().await {
        stream.write_all(&frame).await?;
    }
    Ok(())
}
