//! The asker's end of a request, which a watchdog can answer when the worker does not in time.

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
    /// A watchdog has answered.
    Cut,
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
        let mut line = self.0.lock();
        match std::mem::replace(&mut *line, Line::Cut) {
            Line::Pending(responder) => responder.send(Err(failure)),
            Line::Streaming(cutter) => cutter.cut(io::Error::other(failure)),
            other @ (Line::Cut | Line::Over) => *line = other,
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
            Line::Cut | Line::Over => true,
        }
    }

    /// True if a watchdog has answered: nobody waits for more, but nobody has left either.
    pub fn is_cut(&self) -> bool {
        matches!(&*self.0.lock(), Line::Cut)
    }

    /// True if an answer is on its way and its client has left.
    pub fn is_left(&self) -> bool {
        match &*self.0.lock() {
            Line::Streaming(cutter) => cutter.is_abandoned(),
            Line::Pending(_) | Line::Cut | Line::Over => false,
        }
    }

    fn answer(&self, reply: Result<Reply, Failure>, next: Line) {
        let mut line = self.0.lock();
        if matches!(&*line, Line::Cut) {
            return;
        }
        if let Line::Pending(responder) = std::mem::replace(&mut *line, next) {
            responder.send(reply);
        }
    }
}
