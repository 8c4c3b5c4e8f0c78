//! What a script answers.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;

use super::{OutputReader, Request, doorbell::Doorbell};

/// The answer of a worker.
#[derive(Debug)]
pub struct Reply {
    /// Status and headers.
    pub head: Head,
    /// The body.
    pub body: ReplyBody,
    /// What the script sent to the log so far, for a FastCGI client that keeps a log of its own. Empty for all others.
    pub log: String,
    /// The request, on its way home: memory is best freed by the thread that took it, and its connection reads the next one into
    /// the buffer that this one's headers lie in. None if the script goes on.
    pub request: Option<Box<Request>>,
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
    /// For a FastCGI client the same as lines in the script's own spelling, each with its CRLF; for a task its answer's context.
    /// Empty for all others.
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
    /// No worker is left in the pool, and none is about to come.
    #[error("no worker is left to take it")]
    NoWorker,
    /// The server stops, and its grace period is over.
    #[error("the server stops and waits no longer")]
    Stopped,
    /// The script ran longer than `http.request_timeout`.
    #[error("the script exceeded the request timeout")]
    RequestTimeout,
    /// The worker ended without an answer.
    #[error("the worker ended without an answer")]
    WorkerLost,
    /// The worker goes on, and gave an error or nothing.
    #[error("the worker gave no answer")]
    NoAnswer,
}

/// The way back for one piece of work. Dropped unused, it tells the asker [`Failure::WorkerLost`].
#[derive(Debug)]
pub struct Responder(Arc<Question>);

/// What the asker waits for; dropped, it tells the worker that nobody waits any more.
#[derive(Debug)]
pub struct Answer(Arc<Question>);

#[derive(Debug)]
struct Question {
    doorbell: Doorbell,
    is_abandoned: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_answered: bool,
    answer: Option<Result<Reply, Failure>>,
    asker: Option<Waker>,
}

// === impl Responder ===

impl Responder {
    /// A responder and what receives its answer, to be awaited on the calling thread.
    pub fn new() -> (Self, Answer) {
        let question = Question { doorbell: Doorbell::here(), is_abandoned: AtomicBool::new(false), state: Mutex::default() };
        let question = Arc::new(question);
        (Self(question.clone()), Answer(question))
    }

    /// Answers. An asker that has gone away is no error: the work was done all the same.
    pub fn send(self, reply: Result<Reply, Failure>) {
        self.0.answer(reply);
    }

    /// True once nobody waits for the answer any more.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_abandoned.load(Relaxed)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.0.answer(Err(Failure::WorkerLost));
    }
}

// === impl Answer ===

impl Future for Answer {
    type Output = Result<Reply, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state.lock();
        if let Some(answer) = state.answer.take() {
            return Poll::Ready(answer);
        }
        match &mut state.asker {
            Some(asker) => asker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.is_abandoned.store(true, Relaxed);
    }
}

// === impl Question ===

impl Question {
    /// The first answer counts.
    fn answer(&self, answer: Result<Reply, Failure>) {
        let mut state = self.state.lock();
        if state.is_answered {
            return;
        }
        state.is_answered = true;
        state.answer = Some(answer);
        let asker = state.asker.take();
        drop(state);
        if let Some(asker) = asker {
            self.doorbell.ring(asker);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::worker::doorbell;

    #[test]
    fn an_answer_from_another_thread_is_heard_awake_and_asleep() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.on_thread_park(doorbell::before_sleep).on_thread_unpark(doorbell::after_sleep);
        let runtime = builder.build().expect("a runtime");
        doorbell::hang_up();
        let (ask, asked) = std::sync::mpsc::channel::<Responder>();
        let worker = thread::spawn(move || asked.into_iter().for_each(|responder| responder.send(Err(Failure::QueueTimeout))));
        for asked_at_once in [1, 64] {
            for _ in 0..500 {
                let answers: Vec<_> = (0..asked_at_once)
                    .map(|_| {
                        let (responder, answer) = Responder::new();
                        ask.send(responder).expect("the worker lives");
                        runtime.spawn(answer)
                    })
                    .collect();
                for answer in answers {
                    let answer = runtime.block_on(answer).expect("no panic").expect_err("a failure");
                    assert_eq!(answer, Failure::QueueTimeout);
                }
            }
        }
        drop(ask);
        worker.join().expect("no panic");
    }

    #[test]
    fn both_ends_tell_the_other_that_they_leave() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (responder, answer) = Responder::new();
        drop(responder);
        assert_eq!(runtime.block_on(answer).expect_err("a failure"), Failure::WorkerLost);
        let (responder, answer) = Responder::new();
        assert!(!responder.is_abandoned());
        drop(answer);
        assert!(responder.is_abandoned());
    }
}
