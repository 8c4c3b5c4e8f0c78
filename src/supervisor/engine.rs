//! One engine process, watched by a task of its own.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::{io::AsyncWriteExt, net::UnixStream, process::Child, sync::mpsc, time::timeout};

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

// === impl Event ===

impl Event {
    fn of(generation: u64, report: Report) -> Self {
        match report {
            Report::Ready => Self::Ready(generation),
            Report::Failed(reason) => Self::Failed(generation, reason),
            Report::WornOut => Self::WornOut(generation),
            Report::Ask { id, wish } => Self::Asked(generation, id, wish),
        }
    }
}

/// How long what a dead engine has said may take to be read; children of it may hold the other end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A started engine.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) generation: u64,
    pub(super) pid: i32,
    pub(super) started: Instant,
    pub(super) ready: bool,
    pub(super) board: Scoreboard,
    file: OwnedFd,
    /// When it is ended if it has not ended by then.
    pub(super) leave_by: Option<Instant>,
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
    pub(super) page: Page,
    pub(super) theirs: std::os::unix::net::UnixStream,
    ours: std::os::unix::net::UnixStream,
}

/// A scoreboard and the file it lies in. Its memory stays for good, so it is used again.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) file: OwnedFd,
    board: Scoreboard,
}

// === impl Means ===

impl Means {
    /// With a page that no engine has any more, if there is one.
    pub(super) fn new(spare: Option<Page>) -> io::Result<Self> {
        let page = match spare {
            Some(page) => page,
            None => {
                let (file, shared) = Shared::create(c"rr scoreboard", WORDS)?;
                let board = Scoreboard::new(shared.words()).ok_or_else(|| io::Error::other("the scoreboard is too small"))?;
                Page { file, board }
            }
        };
        page.board.clear();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok(Self { page, theirs, ours })
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
        let Page { file, board } = means.page;
        Ok(Self { generation, pid, started: Instant::now(), ready: false, board, file, leave_by: None, aborted: None, acts })
    }

    /// What it leaves, once it has ended.
    pub(super) fn into_page(self) -> Page {
        Page { file: self.file, board: self.board }
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
                Ok(Some(report)) => drop(events.send(Event::of(generation, report))),
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
    // Its last words come before its end.
    while listening && let Ok(Ok(Some(report))) = timeout(LAST_WORDS, messages.next(&mut line)).await {
        drop(events.send(Event::of(generation, report)));
    }
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
