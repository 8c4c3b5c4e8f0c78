//! One connection: events to a worker, its commands to the client.

use std::{io, sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use super::{Endpoint, Entry, Shared, memory::Share, message::Messages};
use crate::{
    http::{OpenConnection, Peer, Stream},
    sys::socket,
    worker::{Failure, ReplyBody, Task, TaskAnswer, TaskError},
};

pub(super) struct Connection {
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    entry: Entry,
    remote: String,
    /// None once it is closed, by whomever.
    stream: Option<Stream>,
    messages: Messages,
    /// Memory for them, and for the message that a worker has.
    share: Share,
    /// Bytes still to be read of those that had arrived when the drain was noticed.
    left: Option<usize>,
    _open: OpenConnection,
}

/// What a worker is told.
#[derive(Serialize)]
struct Context<'a> {
    remote_addr: &'a str,
    server: &'a str,
    uuid: &'a str,
    event: &'static str,
}

/// What a worker says is to be done.
enum Command {
    Read,
    Write { body: Bytes, close: bool },
    Close,
}

/// How long a client is listened to after the last words to it: closing a socket with bytes unread would take those from it.
const LINGER: Duration = Duration::from_secs(2);

// === impl Connection ===

impl Connection {
    pub(super) fn new(stream: Stream, peer: Peer, open: OpenConnection, at: (Arc<Shared>, Arc<Endpoint>)) -> Self {
        let (shared, endpoint) = at;
        Self {
            entry: shared.enter(),
            remote: peer.remote.map_or_else(|| "unix:".into(), |remote| remote.to_string()),
            stream: Some(stream),
            messages: Messages::new(shared.config.read_size),
            share: Share::default(),
            left: None,
            _open: open,
            shared,
            endpoint,
        }
    }

    pub(super) async fn run(mut self) {
        match self.ask("CONNECTED", Bytes::new()).await {
            Ok(command) => self.converse(command).await,
            Err(error) if is_untold(&error) => return,
            // The worker may have made a note of the connection before it failed.
            Err(_) => {}
        }
        let stream = self.stream.take();
        self.messages = Messages::new(self.shared.config.read_size);
        self.share.resize(&self.shared.memory, 0);
        // A worker that is told may be the one who waits for the client to read on.
        tokio::join!(linger(stream), async { drop(self.ask("CLOSE", Bytes::new()).await) });
    }

    /// Obeys, and asks what to do with what the client says, until the connection is to be closed.
    async fn converse(&mut self, mut command: Command) {
        loop {
            let (body, close) = match command {
                Command::Read => (Bytes::new(), false),
                Command::Write { body, close } => (body, close),
                Command::Close => return,
            };
            if let Err(error) = self.write(body).await {
                tracing::debug!(uuid = self.entry.uuid, %error, "a TCP client did not take its answer");
                self.stream = None;
            }
            if close || self.stream.is_none() {
                return;
            }
            let Some(message) = self.listen().await else { return };
            match self.ask("DATA", message).await {
                Ok(next) if self.stream.is_some() => command = next,
                _ => return,
            }
        }
    }

    /// Has a worker told of an event. An error has been logged.
    async fn ask(&mut self, event: &'static str, body: Bytes) -> Result<Command, TaskError> {
        let context = Context { remote_addr: &self.remote, server: &self.endpoint.name, uuid: &self.entry.uuid, event };
        let context = serde_json::to_vec(&context).unwrap_or_default().into();
        let name = format!("{} {event}", self.endpoint.name);
        let task = Task { plugin: "tcp", name, context, ..Task::default() };
        let (tasks, close) = (self.shared.tasks.clone(), self.entry.close.clone());
        let mut asking = Box::pin(tasks.ask(task, body));
        let answer = loop {
            tokio::select! {
                answer = &mut asking => break answer,
                // Its worker may well be the one who asked for that. The next event waits for its answer all the same.
                () = close.notified(), if self.stream.is_some() => self.stream = None,
            }
        };
        answer.map(Command::of).inspect_err(|error| {
            let (server, uuid) = (&self.endpoint.name, &self.entry.uuid);
            match error {
                // The worker's log has it.
                TaskError::Said(error) => tracing::debug!(server, uuid, event, error, "a TCP connection is closed"),
                error => tracing::error!(server, uuid, event, %error, "a TCP connection is closed"),
            }
        })
    }

    /// The next message; none if there will be none. While draining these are the ones that have arrived.
    async fn listen(&mut self) -> Option<Bytes> {
        let Self { shared, endpoint, entry, messages, share, left, .. } = self;
        let config = &shared.config;
        loop {
            if !share.resize(&shared.memory, messages.pending()) {
                tracing::warn!(
                    server = endpoint.name,
                    uuid = entry.uuid,
                    limit = config.max_memory,
                    "a TCP connection is closed: tcp.max_memory is taken by other messages"
                );
                return None;
            }
            let message = messages.next(&endpoint.delimiter);
            if message.as_ref().map_or_else(|| messages.pending(), Bytes::len) > config.max_message {
                let limit = config.max_message;
                tracing::warn!(
                    server = endpoint.name,
                    uuid = entry.uuid,
                    limit,
                    "a TCP message is longer than tcp.max_message_size"
                );
                return None;
            }
            if message.is_some() {
                return message;
            }
            let stream = self.stream.as_mut()?;
            if shared.drain.is_started() {
                let left = *left.get_or_insert_with(|| socket::arrived(stream));
                if left == 0 {
                    return (messages.pending() > 0 && socket::has_ended(stream)).then(|| messages.rest());
                }
            }
            let mut room = messages.room(left.unwrap_or(usize::MAX));
            let read = tokio::select! {
                read = timeout(config.idle_timeout, stream.read_buf(&mut room)) => read,
                () = entry.close.notified() => {
                    self.stream = None;
                    return None;
                }
                () = shared.drain.started(), if left.is_none() => continue,
            };
            match read {
                Ok(Ok(count @ 1..)) => {
                    messages.note_read(count);
                    *left = left.map(|left| left.saturating_sub(count));
                }
                // It has shut its side down, and may still read.
                Ok(Ok(0)) if messages.pending() > 0 => return Some(messages.rest()),
                Ok(Ok(0)) => return None,
                Ok(Err(error)) => {
                    tracing::debug!(uuid = entry.uuid, %error, "a TCP connection has broken");
                    self.stream = None;
                    return None;
                }
                Err(_) => {
                    tracing::debug!(uuid = entry.uuid, "a TCP connection was silent for tcp.idle_timeout");
                    return None;
                }
            }
        }
    }

    async fn write(&mut self, mut body: Bytes) -> io::Result<()> {
        let limit = self.shared.config.write_timeout;
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while body.has_remaining() {
            let written = tokio::select! {
                written = timeout(limit, stream.write(&body)) => written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
                () = self.entry.close.notified() => Err(io::ErrorKind::ConnectionAborted.into()),
            };
            match written? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => body.advance(count),
            }
        }
        Ok(())
    }
}

/// Whether no worker has heard of the event.
fn is_untold(error: &TaskError) -> bool {
    matches!(error, TaskError::Refused(_) | TaskError::Failed(Failure::QueueTimeout | Failure::NoWorker))
}

/// Says that nothing more comes, and waits a little for the client to have read that.
async fn linger(stream: Option<Stream>) {
    let Some(mut stream) = stream else { return };
    let until_gone = async {
        stream.shutdown().await?;
        let mut discarded = [0; 4096];
        while stream.read(&mut discarded).await? > 0 {}
        io::Result::Ok(())
    };
    tokio::select! {
        // An error says that it is gone.
        _ = until_gone => {}
        () = sleep(LINGER) => {}
    }
}

// === impl Command ===

impl Command {
    fn of(answer: TaskAnswer) -> Self {
        let ReplyBody::Whole(body) = answer.body else { return Self::Close };
        match answer.context.as_ref() {
            b"CONTINUE" => Self::Read,
            b"WRITE" => Self::Write { body, close: false },
            b"WRITECLOSE" => Self::Write { body, close: true },
            _ => Self::Close,
        }
    }
}
