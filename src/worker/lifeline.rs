//! The asker's end of a request, which a watchdog can answer when the worker never does.

use std::io;

use parking_lot::Mutex;

use super::{Failure, OutputCutter, Reply, Responder};

/// The way back to the asker, shared by whoever does the work and whoever may give up on that.
#[derive(Debug, Default)]
pub struct Lifeline(Mutex<Line>);

#[derive(Debug, Default)]
enum Line {
    Pending(Responder),
    Streaming(OutputCutter),
    #[default]
    Over,
}

// === impl Lifeline ===

impl Lifeline {
    /// The way back that is `responder`.
    pub fn new(responder: Responder) -> Self {
        Self(Mutex::new(Line::Pending(responder)))
    }

    /// Answers in the worker's stead; a body on its way is broken off.
    pub fn cut(&self, failure: Failure) {
        match std::mem::take(&mut *self.0.lock()) {
            Line::Pending(responder) => responder.send(Err(failure)),
            Line::Streaming(cutter) => cutter.cut(io::Error::other(failure)),
            Line::Over => {}
        }
    }

    /// Sends the whole answer, unless there was one.
    pub fn send(&self, reply: Result<Reply, Failure>) {
        self.answer(reply, Line::Over);
    }

    /// Sends an answer whose body follows; `cutter` can break that off.
    pub fn stream(&self, reply: Reply, cutter: OutputCutter) {
        self.answer(Ok(reply), Line::Streaming(cutter));
    }

    /// Takes the way back out, to give it to another; none if something was answered.
    pub fn take(&self) -> Option<Responder> {
        let mut line = self.0.lock();
        match std::mem::take(&mut *line) {
            Line::Pending(responder) => Some(responder),
            other => {
                *line = other;
                None
            }
        }
    }

    /// True if nobody waits for an answer any more, and none has been given.
    pub fn is_abandoned(&self) -> bool {
        match &*self.0.lock() {
            Line::Pending(responder) => responder.is_abandoned(),
            Line::Streaming(_) => false,
            Line::Over => true,
        }
    }

    /// True if an answer is on its way and its client has left.
    pub fn is_left(&self) -> bool {
        match &*self.0.lock() {
            Line::Streaming(cutter) => cutter.is_abandoned(),
            Line::Pending(_) | Line::Over => false,
        }
    }

    fn answer(&self, reply: Result<Reply, Failure>, next: Line) {
        if let Line::Pending(responder) = std::mem::replace(&mut *self.0.lock(), next) {
            responder.send(reply);
        }
    }
}
