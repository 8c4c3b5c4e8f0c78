//! What a script answers.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::oneshot;

use super::OutputReader;

/// The answer of a worker.
#[derive(Debug)]
pub struct Reply {
    /// Status and headers.
    pub head: Head,
    /// The body.
    pub body: ReplyBody,
    /// What the script sent to the log so far, for a FastCGI client that keeps a log of its own. Empty for all others.
    pub log: String,
}

/// Status and headers of a [`Reply`].
#[derive(Debug)]
pub struct Head {
    /// The status code.
    pub status: StatusCode,
    /// A reason phrase of the script's own (`header("HTTP/1.1 404 Gone fishing")`).
    pub reason: Option<Box<[u8]>>,
    /// Header fields in the order the script sent them.
    pub headers: HeaderMap,
    /// The same as lines in the script's own spelling, each with its CRLF, for a FastCGI client. Empty for all others.
    pub lines: Vec<u8>,
}

/// The body of a [`Reply`].
#[derive(Debug)]
pub enum ReplyBody {
    /// The script has ended: this is all of it.
    Whole(Bytes),
    /// The script goes on.
    Stream(OutputReader),
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The work waited longer than `http.pool.allocate_timeout`.
    #[error("no free worker within the allocate timeout")]
    QueueTimeout,
    /// The script ran longer than `http.request_timeout`.
    #[error("the script exceeded the request timeout")]
    RequestTimeout,
    /// The worker ended without an answer.
    #[error("the worker ended without an answer")]
    WorkerLost,
}

/// The way back for one piece of work. Dropped unused, it tells the asker [`Failure::WorkerLost`].
#[derive(Debug)]
pub struct Responder(oneshot::Sender<Result<Reply, Failure>>);

// === impl Responder ===

impl Responder {
    /// A responder and what receives its answer.
    pub fn new() -> (Self, oneshot::Receiver<Result<Reply, Failure>>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Answers. An asker that has gone away is no error: the work was done all the same.
    pub fn send(self, reply: Result<Reply, Failure>) {
        drop(self.0.send(reply));
    }

    /// True once nobody waits for the answer any more.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}
