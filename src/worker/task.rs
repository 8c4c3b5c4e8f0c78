//! Works that are no HTTP requests: a context and a body in, a context and a body out, or an error.
//!
//! What a context says is between the plugin that asks and the script that answers; here it is bytes. A task travels as every
//! other work does, through the same [`Pool`], to the same carriers, and is answered by the same [`Reply`]: its context stands in
//! the head where a FastCGI client's lines stand, and an error is a head with a status other than 200. This file alone knows that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{Body, Failure, Head, Pool, Reply, ReplyBody, Request, Responder, Script, Source, Wake, Work, goridge::Flags};

/// What is asked, but for the body.
#[derive(Clone, Debug, Default)]
pub struct Task {
    /// The plugin that asks, as operators name it: `tcp`.
    pub plugin: &'static str,
    /// What it is about, for whoever looks at what workers do.
    pub name: String,
    /// What the script is told beside the body.
    pub context: Bytes,
    /// How that is encoded; nothing if it goes without saying.
    pub codec: Flags,
    /// The asker takes an answer that comes in parts.
    pub streams: bool,
}

/// What a script answered.
#[derive(Debug)]
pub struct TaskAnswer {
    /// What it told beside the body.
    pub context: Bytes,
    /// The body; whole, unless the task said that parts are welcome.
    pub body: ReplyBody,
}

/// Why a task was not done.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TaskError {
    /// The pool's queue is full, or it is closing.
    #[error("the queue of {0}.pool is full")]
    Refused(&'static str),
    /// The pool, or the worker, failed.
    #[error("{0}")]
    Failed(#[from] Failure),
    /// The script could not do it, and said why.
    #[error("{0}")]
    Said(String),
}

/// Has the workers of one plugin do its tasks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks {
    pool: Pool,
    script: Script,
    ids: Arc<AtomicU64>,
}

/// What a script is told that answers in parts where these are not welcome.
pub const NO_STREAMS: &str = "streaming is not supported";

// === impl Tasks ===

impl Tasks {
    /// By the workers of `pool`, which run `script`; `ids` numbers them along with the server's requests.
    pub fn new(pool: Pool, script: Script, ids: Arc<AtomicU64>) -> Self {
        Self { pool, script, ids }
    }

    /// Has a task done. Dropped, it is not waited for any more, but done all the same.
    pub async fn ask(&self, task: Task, body: Bytes) -> Result<TaskAnswer, TaskError> {
        let (plugin, streams) = (task.plugin, task.streams);
        let (responder, answer) = Responder::new();
        let request = Box::new(Request {
            id: self.ids.fetch_add(1, Relaxed),
            received: SystemTime::now(),
            script: self.script.clone(),
            source: Source::Task(task),
            body: if body.is_empty() { Body::Empty } else { Body::Memory(body) },
            ini: Vec::new(),
            interim: None,
            phases: None,
        });
        let work = Work { request, responder, submitted: Instant::now() };
        self.pool.submit(work, Wake::Now).map_err(|_| TaskError::Refused(plugin))?;
        let answer = answer.await?.into_task_answer()?;
        match answer.body {
            // No carrier sends one.
            ReplyBody::Stream(_) if !streams => Err(TaskError::Said(NO_STREAMS.into())),
            _ => Ok(answer),
        }
    }
}

// === impl Reply ===

impl Reply {
    /// A task's answer.
    pub(crate) fn of_task(context: &[u8], body: ReplyBody) -> Self {
        Self { head: Head::of_task(context), body, log: String::new(), request: None }
    }

    /// A task's error.
    pub(crate) fn task_error(text: &[u8]) -> Self {
        let head = Head { status: StatusCode::INTERNAL_SERVER_ERROR, ..Head::of_task(b"") };
        Self { head, body: ReplyBody::Whole(Bytes::copy_from_slice(text)), log: String::new(), request: None }
    }

    fn into_task_answer(self) -> Result<TaskAnswer, TaskError> {
        match self.body {
            body if self.head.status == StatusCode::OK => Ok(TaskAnswer { context: self.head.lines.into(), body }),
            ReplyBody::Whole(text) if !text.is_empty() => Err(TaskError::Said(String::from_utf8_lossy(&text).into_owned())),
            _ => Err(Failure::NoAnswer.into()),
        }
    }
}

// === impl Head ===

impl Head {
    /// The context of a task's answer.
    pub(crate) fn of_task(context: &[u8]) -> Self {
        Self { status: StatusCode::OK, reason: None, headers: HeaderMap::new(), lines: context.to_vec() }
    }
}

// === impl Request ===

impl Request {
    /// The task that it is, if it is one.
    pub fn task(&self) -> Option<&Task> {
        match &self.source {
            Source::Task(task) => Some(task),
            Source::Http(_) | Source::FastCgi(_) | Source::Boot => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;
    use crate::worker::{Config, Next};

    /// Asks once of a pool whose worker does `work`.
    fn asked(work: impl FnOnce(Work) + Send + 'static) -> Result<(Bytes, Bytes), TaskError> {
        let pool = Pool::new(Config { num_workers: 1, max_queue_size: 1, allocate_timeout: Duration::from_secs(5) });
        let script = Script { filename: "/w.php".into(), name: "w.php".into(), path_info: "".into(), document_root: "/".into() };
        let seat_of = pool.clone();
        let worker = thread::spawn(move || {
            if let Next::Work(given) = seat_of.seat().next() {
                work(given);
            }
        });
        let tasks = Tasks::new(pool, script, Arc::default());
        let task = Task { plugin: "tcp", name: "DATA".into(), context: "in".into(), ..Task::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(tasks.ask(task, "body".into()));
        worker.join().unwrap();
        answer.map(|answer| {
            let ReplyBody::Whole(body) = answer.body else { panic!("a whole body was sent") };
            (answer.context, body)
        })
    }

    #[test]
    fn a_task_is_answered_with_a_context_and_a_body() {
        let answer = asked(|work| {
            let context = work.request.task().unwrap().context.clone();
            assert_eq!((work.request.method(), work.request.target()), (&b"tcp"[..], &b"DATA"[..]));
            let body = ReplyBody::Whole(work.request.body.len().to_string().into());
            work.responder.send(Ok(Reply::of_task(&[&context[..], b"+out"].concat(), body)));
        });
        assert_eq!(answer, Ok(("in+out".into(), "4".into())));
    }

    #[test]
    fn an_error_is_what_the_script_said_or_what_happened_to_it() {
        let said = asked(|work| work.responder.send(Ok(Reply::task_error(b"no such thing"))));
        assert_eq!(said, Err(TaskError::Said("no such thing".into())));
        assert_eq!(asked(drop), Err(TaskError::Failed(Failure::WorkerLost)));
        let (_, stream) = crate::worker::OutputWriter::new(Arc::new(crate::worker::OutputLimits {
            memory: 1,
            file: 0,
            write_timeout: Duration::from_secs(1),
            directory: std::env::temp_dir(),
            budget: crate::worker::OutputBudget::unlimited(),
        }));
        let streamed = asked(|work| work.responder.send(Ok(Reply::of_task(b"", ReplyBody::Stream(stream)))));
        assert_eq!(streamed, Err(TaskError::Said(NO_STREAMS.into())));
    }

    #[test]
    fn a_closed_pool_refuses() {
        let pool = Pool::new(Config { num_workers: 1, max_queue_size: 1, allocate_timeout: Duration::from_secs(5) });
        pool.close();
        let script = Script { filename: "".into(), name: "".into(), path_info: "".into(), document_root: "".into() };
        let tasks = Tasks::new(pool, script, Arc::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let task = Task { plugin: "tcp", ..Task::default() };
        let refused = runtime.block_on(tasks.ask(task, Bytes::new())).map(|answer| answer.context);
        assert_eq!(refused, Err(TaskError::Refused("tcp")));
    }
}
