//! One process and the ways to it and from it.

use std::{
    collections::VecDeque,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{self, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{Pid, read, write},
};

use super::{Config, LEAVE, Relay, TICK};
use crate::worker::{
    goridge::{
        self, Decoder, Frame,
        message::{self, FromWorker},
    },
    roadrunner,
};

/// A process that was started. Dropped, it is killed with all of its group.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    pid: Pid,
    /// Frames go in here; none before it has connected, or once it takes no more.
    input: Option<OwnedFd>,
    /// Frames come out here; none before it has connected, or once it has closed it.
    output: Option<OwnedFd>,
    /// Standard error, and standard output if frames do not come there.
    texts: Vec<Text>,
    decoder: Decoder,
    unwritten: VecDeque<Bytes>,
    has_ended: bool,
    /// The last that it said to people.
    last_words: String,
}

/// Text of a process, logged by lines.
#[derive(Debug)]
struct Text {
    from: OwnedFd,
    line: BytesMut,
    is_open: bool,
}

/// What a descriptor is watched for.
enum Role {
    Bell,
    Input,
    Output,
    Text(usize),
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// Bytes came or went.
    Moved,
    /// The bell was rung.
    Rung,
    /// The deadline is over.
    Late,
    /// The process has ended, or speaks no more.
    Ended,
}

/// A line of text that has not ended by then is logged as it is.
const LONGEST_LINE: usize = 8192;
/// Bytes of last words that are kept.
const MAX_LAST_WORDS: usize = 500;
/// How often a silent process is looked after: one whose children hold its pipes ends without closing them.
const LOOK: Duration = Duration::from_millis(500);

// === impl Child ===

impl Child {
    /// Starts the process of `config`, which is to connect to `relay` if there is one.
    pub(super) fn spawn(config: &Config, relay: Option<&str>) -> io::Result<Self> {
        let (program, arguments) = config.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(config.environment.iter().map(|(name, value)| (name, value)));
        if let Some(relay) = relay {
            command.env("RR_RELAY", relay);
        }
        // A group of its own: a signal from the terminal is the server's to pass on, and its children can be killed with it.
        command.process_group(0);
        (config.prepare)(&mut command);
        let by_pipes = config.relay == Relay::Pipes;
        command.stdin(if by_pipes { Stdio::piped() } else { Stdio::null() });
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let pid = Pid::from_raw(i32::try_from(process.id()).map_err(io::Error::other)?);
        let (stdin, stdout, stderr) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let mut child = Self {
            process,
            pid,
            input: None,
            output: None,
            texts: Vec::new(),
            decoder: roadrunner::decoder(),
            unwritten: VecDeque::new(),
            has_ended: false,
            last_words: String::new(),
        };
        match (stdin, stdout) {
            (Some(stdin), Some(stdout)) => child.attach(stdin.into(), stdout.into())?,
            (None, Some(stdout)) => child.follow(stdout.into())?,
            (_, None) => {}
        }
        if let Some(stderr) = stderr {
            child.follow(stderr.into())?;
        }
        Ok(child)
    }

    /// Frames go to `input` and come from `output`.
    pub(super) fn attach(&mut self, input: OwnedFd, output: OwnedFd) -> io::Result<()> {
        do_not_block(&input)?;
        do_not_block(&output)?;
        (self.input, self.output) = (Some(input), Some(output));
        Ok(())
    }

    fn follow(&mut self, from: OwnedFd) -> io::Result<()> {
        do_not_block(&from)?;
        self.texts.push(Text { from, line: BytesMut::new(), is_open: true });
        Ok(())
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends pieces of a frame, as the process takes them.
    pub(super) fn send(&mut self, pieces: impl IntoIterator<Item = Bytes>) {
        self.unwritten.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
    }

    pub(super) fn tell(&mut self, frame: &Frame) {
        let bytes = frame.to_bytes().expect("commands are short");
        self.send([bytes.into()]);
    }

    /// What the process has said next, if that is whole; a text if it is no frame.
    pub(super) fn said(&mut self) -> Result<Option<FromWorker>, String> {
        match self.decoder.next() {
            Ok(Some(frame)) => message::read(&frame).map(Some).map_err(|error| error.to_string()),
            Ok(None) => Ok(None),
            Err(error) => Err(match error {
                goridge::Error::Checksum { .. } => {
                    format!("validation failed on the message sent to STDOUT: {}", self.not_a_frame())
                }
                error => format!("validation failed on the message sent to STDOUT: {error}"),
            }),
        }
    }

    /// What it has said that is no frame, on one line.
    fn not_a_frame(&mut self) -> String {
        let text = String::from_utf8_lossy(self.decoder.room()).into_owned();
        let parts: Vec<_> = text.split(char::is_control).map(str::trim).filter(|part| !part.is_empty()).collect();
        parts.join(" ").chars().take(MAX_LAST_WORDS).collect()
    }

    /// Moves bytes, waiting for some until `deadline`, or until `bell` is readable.
    pub(super) fn turn(&mut self, deadline: Option<Instant>, bell: Option<BorrowedFd<'_>>) -> Turn {
        loop {
            if self.has_ended {
                return Turn::Ended;
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Turn::Late;
            }
            let patience = deadline.map_or(LOOK, |deadline| LOOK.min(deadline - now));
            match self.wait(patience, bell) {
                Ok(Some(turn)) => return turn,
                Ok(None) if self.is_dead() => self.has_ended = true,
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, pid = self.pid(), "a worker cannot be listened to");
                    self.has_ended = true;
                }
            }
        }
    }

    /// Takes what has come, without waiting.
    pub(super) fn settle(&mut self) {
        while !self.has_ended && matches!(self.wait(Duration::ZERO, None), Ok(Some(_))) {}
    }

    /// Does what `poll` says can be done; none if that is nothing.
    fn wait(&mut self, patience: Duration, bell: Option<BorrowedFd<'_>>) -> io::Result<Option<Turn>> {
        let ready = self.ready(patience, bell)?;
        let mut turn = None;
        for role in ready {
            match role {
                Role::Bell => turn = turn.or(Some(Turn::Rung)),
                Role::Output => {
                    self.read_frames()?;
                    turn = Some(Turn::Moved);
                }
                Role::Input => {
                    self.write_frames()?;
                    turn = Some(Turn::Moved);
                }
                Role::Text(number) => self.read_text(number)?,
            }
        }
        self.texts.retain(|text| text.is_open);
        Ok(turn)
    }

    fn ready(&self, patience: Duration, bell: Option<BorrowedFd<'_>>) -> io::Result<Vec<Role>> {
        let mut asked = Vec::with_capacity(5);
        let mut ask = |role, fd, flags| asked.push((role, PollFd::new(fd, flags)));
        if let Some(fd) = &self.output {
            ask(Role::Output, fd.as_fd(), PollFlags::POLLIN);
        }
        if let Some(fd) = self.input.as_ref().filter(|_| !self.unwritten.is_empty()) {
            ask(Role::Input, fd.as_fd(), PollFlags::POLLOUT);
        }
        for (number, text) in self.texts.iter().enumerate() {
            ask(Role::Text(number), text.from.as_fd(), PollFlags::POLLIN);
        }
        if let Some(fd) = bell {
            ask(Role::Bell, fd, PollFlags::POLLIN);
        }
        let (roles, mut fds): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        // Rounded up, or the last millisecond before a deadline would be spent spinning.
        let timeout = PollTimeout::try_from(patience + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) | Err(Errno::EINTR) => Ok(Vec::new()),
            Ok(_) => Ok(roles.into_iter().zip(&fds).filter(|(_, fd)| fd.any().unwrap_or(false)).map(|(role, _)| role).collect()),
            Err(error) => Err(error.into()),
        }
    }

    fn read_frames(&mut self) -> io::Result<()> {
        let Some(fd) = &self.output else { return Ok(()) };
        let mut buffer = [0; 65536];
        match read(fd, &mut buffer) {
            Ok(0) | Err(Errno::ECONNRESET) => {
                self.output = None;
                self.has_ended = true;
            }
            Ok(count) => self.decoder.extend(&buffer[..count]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn write_frames(&mut self) -> io::Result<()> {
        let (Some(fd), Some(piece)) = (&self.input, self.unwritten.front_mut()) else { return Ok(()) };
        match write(fd, piece) {
            Ok(count) => {
                piece.advance(count);
                if piece.is_empty() {
                    self.unwritten.pop_front();
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // It takes no more. What it has said before that is still to be read.
            Err(Errno::EPIPE | Errno::ECONNRESET) => {
                self.input = None;
                self.unwritten.clear();
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn read_text(&mut self, number: usize) -> io::Result<()> {
        let Some(text) = self.texts.get_mut(number) else { return Ok(()) };
        let mut buffer = [0; 8192];
        match read(&text.from, &mut buffer) {
            Ok(0) => text.is_open = false,
            Ok(count) => text.line.extend_from_slice(&buffer[..count]),
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let all = !text.is_open || text.line.len() > LONGEST_LINE;
        let end = if all { text.line.len() } else { memchr::memrchr(b'\n', &text.line).map_or(0, |at| at + 1) };
        let lines = text.line.split_to(end);
        for line in String::from_utf8_lossy(&lines).lines().filter(|line| !line.trim().is_empty()) {
            tracing::info!(target: "server", "{line}");
            self.last_words.clear();
            self.last_words.extend(line.chars().take(MAX_LAST_WORDS));
        }
        Ok(())
    }

    /// Whether the process has ended; its number stays taken until it is reaped.
    pub(super) fn is_dead(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(waitid(Id::Pid(self.pid), flags), Ok(WaitStatus::StillAlive))
    }

    /// Asks the process to leave, and kills it if it does not. `before_reaping` is called when its number is about to be free.
    pub(super) fn stop(mut self, before_reaping: impl FnOnce()) {
        self.unwritten.clear();
        self.tell(&message::stop());
        let deadline = Instant::now() + LEAVE;
        while self.turn(Some(deadline), None) == Turn::Moved {
            // Whatever it says now, nobody has asked.
            while matches!(self.said(), Ok(Some(_))) {}
        }
        self.input = None;
        while !self.is_dead() && Instant::now() < deadline {
            thread::sleep(TICK);
        }
        if !self.is_dead() {
            tracing::warn!(pid = self.pid(), "a worker does not end when told to; it is killed");
            _ = killpg(self.pid, Signal::SIGKILL);
        }
        before_reaping();
        self.reap();
    }

    /// How the process ended, in words. It is killed if it has not, and so is what is left of its group.
    pub(super) fn kill(mut self) -> String {
        _ = killpg(self.pid, Signal::SIGKILL);
        let status = self.reap();
        let status = status.map_or_else(|| "it cannot be waited for".to_owned(), |status| format!("it ended with {status}"));
        let words = if self.last_words.is_empty() { self.not_a_frame() } else { std::mem::take(&mut self.last_words) };
        if words.is_empty() { status } else { format!("{status}: {words}") }
    }

    /// What it wrote last, and then its end.
    fn reap(&mut self) -> Option<ExitStatus> {
        for number in 0..self.texts.len() {
            // At most what a pipe holds.
            for _ in 0..16 {
                drop(self.read_text(number));
            }
        }
        self.process.wait().ok()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            _ = killpg(self.pid, Signal::SIGKILL);
            drop(self.process.wait());
        }
    }
}

fn do_not_block(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
