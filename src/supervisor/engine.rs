//! One engine process, as its supervisor sees it.

use std::{
    cell::Cell,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::{net, process::CommandExt},
    },
    process::Command,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use super::{
    crash::{self, BlackBox},
    deference::Deference,
    fellows::Parcel,
    line::{Messages, Order, Report, encode},
};
use crate::{
    sys::{
        cgroup::MemoryGroups,
        memory::Shared,
        passing, signal,
        spawn::{self, Program},
    },
    worker::scoreboard::{Scoreboard, WORDS},
};

/// A started engine that has not been waited for.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) generation: u64,
    /// Which of the release's engines it is, from 0; the one that follows it is the same.
    pub(super) place: usize,
    pub(super) pid: i32,
    pub(super) started: Instant,
    pub(super) ready: bool,
    /// The lower it is, the earlier it was ready.
    pub(super) rank: u64,
    pub(super) board: Scoreboard,
    /// When it is killed if it has not ended by then.
    pub(super) kill_at: Option<Instant>,
    /// Where it tells of its crash; none once that is looked into.
    pub(super) black_box: Option<BlackBox>,
    /// Processes that its control group had lost for want of memory when it began; none if that is not told.
    pub(super) oom_kills: Option<u64>,
    /// This process has killed it.
    pub(super) is_killed: Cell<bool>,
    /// Until then it boots only while nobody else wants a CPU; none if it does not, or not any more.
    pub(super) deference: Deference,
    file: OwnedFd,
    line: UnixStream,
    /// By which the engine that succeeds it introduces itself.
    door: OwnedFd,
    /// By which it gets parcels.
    post: OwnedFd,
    said: Messages<Report>,
    /// It has closed its end.
    is_silent: bool,
}

/// The page and the two ends of the line and of the door, made before the handover that borrows them.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) page: Page,
    pub(super) black_box: BlackBox,
    pub(super) theirs: net::UnixStream,
    ours: net::UnixStream,
    /// Its end of the way by which the next engine introduces itself.
    pub(super) heir: OwnedFd,
    door: OwnedFd,
    /// Its end of the way by which it gets parcels.
    pub(super) letter_box: OwnedFd,
    post: OwnedFd,
}

/// A scoreboard and the file it lies in. Its memory stays for good, so it is used again.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) file: OwnedFd,
    board: Scoreboard,
}

/// An engine as it is written for the next program.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Left {
    generation: u64,
    place: usize,
    pid: i32,
    age: Duration,
    ready: bool,
    rank: u64,
    kill_after: Option<Duration>,
    oom_kills: Option<u64>,
    is_killed: bool,
    file: RawFd,
    line: RawFd,
    door: RawFd,
    post: RawFd,
    black_box: Option<crash::Left>,
    said: Vec<u8>,
}

/// One that boots while others serve leaves every CPU to them for so long.
pub(super) const YIELDS: Duration = Duration::from_secs(1);
/// Bytes that an engine is listened to for at once, lest others wait.
const AT_ONCE: usize = 8 * 1024;
/// The same for one that is dead: more than the kernel keeps of what it has said.
const LAST_WORDS: usize = 1 << 20;

// === impl Means ===

impl Means {
    /// With a page that no engine has any more, if there is one.
    pub(super) fn new(spare: Option<Page>, black_box: BlackBox) -> io::Result<Self> {
        let page = match spare {
            Some(page) => page,
            None => {
                let (file, shared) = Shared::create(c"rr scoreboard", WORDS)?;
                Page { file, board: board(shared)? }
            }
        };
        page.board.clear();
        let (ours, theirs) = net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (heir, door) = passing::pair()?;
        let (letter_box, post) = passing::pair()?;
        Ok(Self { page, black_box, theirs, ours, heir, door, letter_box, post })
    }
}

// === impl Engine ===

impl Engine {
    /// With `means`, which the command inherits with the letter that names them.
    pub(super) fn start(
        mut command: Command,
        letter: OwnedFd,
        (generation, place): (u64, usize),
        means: Means,
    ) -> io::Result<Self> {
        let line = UnixStream::from_std(means.ours)?;
        let child = command.spawn()?;
        drop(letter);
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let Page { file, board } = means.page;
        let (started, said) = (Instant::now(), Messages::default());
        Ok(Self {
            generation,
            place,
            pid,
            started,
            ready: false,
            rank: 0,
            board,
            kill_at: None,
            black_box: Some(means.black_box),
            deference: Deference::default(),
            oom_kills: MemoryGroups::of_this_process().killed(),
            is_killed: Cell::new(false),
            file,
            line,
            door: means.door,
            post: means.post,
            said,
            is_silent: false,
        })
    }

    /// By which the engine that is to succeed it introduces itself.
    pub(super) fn door(&self) -> BorrowedFd<'_> {
        self.door.as_fd()
    }

    /// Sends a message with descriptors, which it reads when it is ready.
    pub(super) fn post(&self, parcel: &Parcel, what: &[BorrowedFd<'_>]) -> io::Result<()> {
        passing::send_with(&self.post, &serde_json::to_vec(parcel)?, what)
    }

    /// What it leaves, once it has ended.
    pub(super) fn into_page(self) -> Page {
        Page { file: self.file, board: self.board }
    }

    /// It has not been waited for, so the number is its own.
    pub(super) fn signal(&self, signal: Signal) {
        self.is_killed.set(self.is_killed.get() || signal == Signal::SIGKILL);
        // It may have ended, which will be heard.
        _ = kill(Pid::from_raw(self.pid), signal);
    }

    /// It is killed unless it has ended `after` this time; an earlier end stays.
    pub(super) fn end_within(&mut self, after: Duration) {
        let at = Instant::now() + after;
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
    }

    pub(super) fn say(&self, order: &Order) {
        let message = encode(order);
        match self.line.try_write(&message) {
            Ok(written) if written == message.len() => {}
            // Gone, or it has read nothing for some hundred messages: without a line it ends by itself.
            _ => drop(nix::sys::socket::shutdown(self.line.as_raw_fd(), nix::sys::socket::Shutdown::Both)),
        }
    }

    /// Whether something it has said can be heard.
    pub(super) fn poll_said(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_silent {
            return Poll::Pending;
        }
        self.line.poll_read_ready(context).map(drop)
    }

    /// What it has said meanwhile. If that is much, not all of it: then [`Self::poll_said`] is ready again, for nothing whole is left
    /// unread but on the line.
    pub(super) fn hear(&mut self) -> Vec<Report> {
        self.hear_most(AT_ONCE, Messages::receive)
    }

    /// The same of one that has ended: all that it has said.
    pub(super) fn hear_last(&mut self) -> Vec<Report> {
        self.hear_most(LAST_WORDS, |said, line| said.receive_now(line))
    }

    fn hear_most(&mut self, bytes: usize, receive: fn(&mut Messages<Report>, &UnixStream) -> io::Result<usize>) -> Vec<Report> {
        let (mut reports, mut read) = (Vec::new(), 0);
        while !self.is_silent && read < bytes {
            match receive(&mut self.said, &self.line) {
                Ok(0) => self.is_silent = true,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.is_silent = true,
            }
            loop {
                match self.said.take() {
                    Ok(Some(report)) => reports.push(report),
                    Ok(None) => break,
                    Err(_) => {
                        self.is_silent = true;
                        break;
                    }
                }
            }
        }
        reports
    }

    /// Ends what the engine's scripts have left running.
    pub(super) fn kill_group(&self) {
        // There may be nobody in it.
        _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
    }

    /// As the next program of this process will find it.
    pub(super) fn left(&self) -> Left {
        Left {
            generation: self.generation,
            place: self.place,
            pid: self.pid,
            age: self.started.elapsed(),
            ready: self.ready,
            rank: self.rank,
            kill_after: self.kill_at.map(|at| at.saturating_duration_since(Instant::now())),
            oom_kills: self.oom_kills,
            is_killed: self.is_killed.get(),
            file: self.file.as_raw_fd(),
            line: self.line.as_raw_fd(),
            door: self.door.as_raw_fd(),
            post: self.post.as_raw_fd(),
            black_box: self.black_box.as_ref().map(BlackBox::left),
            said: self.said.unread().to_owned(),
        }
    }

    /// What [`Self::left`] names.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let own = [self.file.as_fd(), self.line.as_fd(), self.door.as_fd(), self.post.as_fd()];
        own.into_iter().chain(self.black_box.iter().flat_map(BlackBox::descriptors))
    }

    /// One that another program has left.
    pub(super) fn adopt(left: Left) -> io::Result<Self> {
        let Left { generation, place, pid, age, ready, rank, kill_after, oom_kills, is_killed, file, line, .. } = left;
        let Left { door, post, black_box, said, .. } = left;
        let now = Instant::now();
        let file = spawn::adopt(file)?;
        let board = board(Shared::open(&file)?)?;
        let line = UnixStream::from_std(spawn::adopt(line)?.into())?;
        Ok(Self {
            generation,
            place,
            pid,
            started: now.checked_sub(age).unwrap_or(now),
            ready,
            rank,
            board,
            kill_at: kill_after.map(|after| now + after),
            black_box: black_box.map(BlackBox::adopt).transpose()?,
            oom_kills,
            is_killed: Cell::new(is_killed),
            // It has been ready, or was told to end.
            deference: Deference::default(),
            file,
            line,
            door: spawn::adopt(door)?,
            post: spawn::adopt(post)?,
            said: Messages::of(said),
            is_silent: false,
        })
    }
}

fn board(shared: Shared) -> io::Result<Scoreboard> {
    Scoreboard::new(shared.words()).ok_or_else(|| io::Error::other("the scoreboard is too small"))
}

/// `program`, to be started under the name of this one.
pub(super) fn command(program: &Program) -> Command {
    let mut command = program.command();
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    for name in spawn::OURS {
        command.env_remove(name);
    }
    signal::hold_reloads(&mut command);
    command
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{super::line::Wish, *};
    use crate::sys::identity::Rights;

    #[test]
    fn all_that_a_dead_engine_has_said_is_heard() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let black_box = BlackBox::new(&Program::own().unwrap(), Rights::default()).unwrap();
            let Means { page, mut theirs, ours, door, post, .. } = Means::new(None, black_box).unwrap();
            let mut engine = Engine {
                generation: 1,
                place: 0,
                pid: 0,
                started: Instant::now(),
                ready: true,
                rank: 1,
                board: page.board,
                kill_at: None,
                black_box: None,
                deference: Deference::default(),
                oom_kills: None,
                is_killed: Cell::new(false),
                file: page.file,
                line: UnixStream::from_std(ours).unwrap(),
                door,
                post,
                said: Messages::default(),
                is_silent: false,
            };
            let all: Vec<_> = (0..2000).map(|id| Report::Ask { id, wish: Wish::Check }).collect();
            theirs.write_all(&all.iter().flat_map(encode).collect::<Vec<_>>()).unwrap();
            engine.line.readable().await.unwrap();
            let mut heard = engine.hear();
            assert!(!heard.is_empty() && heard.len() < all.len(), "others are heard too: {}", heard.len());
            // Nothing has told yet that there is more.
            theirs.write_all(&encode(&Report::WornOut)).unwrap();
            drop(theirs);
            heard.extend(engine.hear_last());
            assert_eq!(heard.pop(), Some(Report::WornOut));
            assert_eq!(heard, all);
            assert!(engine.hear_last().is_empty());
        });
    }
}
