//! One engine process, watched by a task of its own.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::{Command, ExitStatus},
    time::Instant,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::{io::AsyncWriteExt, net::UnixStream, process::Child, sync::mpsc};

use super::{
    handover::Handover,
    line::{Messages, Order, Report, Wish, encode},
};
use crate::{
    sys::{memory::Shared, spawn},
    worker::scoreboard::{Scoreboard, WORDS},
};

/// What became of an engine.
#[derive(Debug)]
pub(super) enum Event {
    /// It serves.
    Ready(u64),
    /// It cannot start, for a reason.
    Failed(u64, String),
    /// It serves, but has lost threads.
    WornOut(u64),
    /// Somebody who called it asks for something, under a number.
    Asked(u64, u32, Wish),
    /// It has ended.
    Ended(u64, ExitStatus),
}

/// A started engine.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) generation: u64,
    pub(super) pid: i32,
    pub(super) started: Instant,
    pub(super) ready: bool,
    pub(super) board: Scoreboard,
    /// When it was told to abort, being hung.
    pub(super) aborted: Option<Instant>,
    acts: mpsc::UnboundedSender<Act>,
}

#[derive(Debug)]
enum Act {
    Signal(Signal),
    Say(Order),
}

/// What an engine is started with.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) command: Command,
    pub(super) handover: Handover<'a>,
}

/// The page and the two ends of the line, made before the handover that borrows them.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) page: OwnedFd,
    pub(super) theirs: std::os::unix::net::UnixStream,
    ours: std::os::unix::net::UnixStream,
    board: Scoreboard,
}

// === impl Means ===

impl Means {
    pub(super) fn new() -> io::Result<Self> {
        let (page, shared) = Shared::create(c"rr scoreboard", WORDS)?;
        let board = Scoreboard::new(shared.words()).ok_or_else(|| io::Error::other("the scoreboard is too small"))?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok(Self { page, theirs, ours, board })
    }
}

// === impl Engine ===

impl Engine {
    pub(super) fn start(start: Start<'_>, means: Means, events: mpsc::UnboundedSender<Event>) -> io::Result<Self> {
        let Start { mut command, handover } = start;
        let generation = handover.generation;
        let letter = handover.give(&mut command)?;
        let child = tokio::process::Command::from(command).spawn()?;
        drop(letter);
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).ok_or_else(|| io::Error::other("it has no process id"))?;
        let line = UnixStream::from_std(means.ours)?;
        let (acts, inbox) = mpsc::unbounded_channel();
        tokio::spawn(watch(generation, child, line, inbox, events));
        Ok(Self { generation, pid, started: Instant::now(), ready: false, board: means.board, aborted: None, acts })
    }

    pub(super) fn signal(&self, signal: Signal) {
        // It has ended, and the event that says so is on its way.
        drop(self.acts.send(Act::Signal(signal)));
    }

    pub(super) fn say(&self, order: Order) {
        drop(self.acts.send(Act::Say(order)));
    }

    /// Ends what the engine's scripts have left running.
    pub(super) fn kill_group(&self) {
        // There may be nobody in it.
        _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
    }
}

async fn watch(
    generation: u64,
    mut child: Child,
    mut line: UnixStream,
    mut inbox: mpsc::UnboundedReceiver<Act>,
    events: mpsc::UnboundedSender<Event>,
) {
    let mut listening = true;
    let mut messages = Messages::default();
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.unwrap_or_else(|_| ExitStatus::from_raw(1 << 8)),
            report = messages.next(&mut line), if listening => match report {
                Ok(Some(report)) => drop(events.send(match report {
                    Report::Ready => Event::Ready(generation),
                    Report::Failed(reason) => Event::Failed(generation, reason),
                    Report::WornOut => Event::WornOut(generation),
                    Report::Ask { id, wish } => Event::Asked(generation, id, wish),
                })),
                Ok(None) | Err(_) => listening = false,
            },
            act = inbox.recv() => match (act, child.id().and_then(|id| i32::try_from(id).ok())) {
                // The process has not been waited for, so the number is still its own.
                (Some(Act::Signal(signal)), Some(pid)) => _ = kill(Pid::from_raw(pid), signal),
                (Some(Act::Say(order)), _) => drop(line.write_all(&encode(&order)).await),
                _ => {}
            },
        }
    };
    drop(events.send(Event::Ended(generation, status)));
}

/// The program to start, with the arguments of this one.
pub(super) fn command() -> Command {
    let mut command = spawn::this_program();
    let mut arguments = std::env::args_os();
    if let Some(name) = arguments.next() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
    }
    command.args(arguments);
    command
}

/// The descriptors that a handover borrows.
pub(super) fn borrow(list: &[OwnedFd]) -> Vec<std::os::fd::BorrowedFd<'_>> {
    list.iter().map(AsFd::as_fd).collect()
}
