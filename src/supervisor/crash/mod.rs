//! Where an engine has crashed. Its handler writes addresses ([`crate::sys::crash`]) into a file that outlives it. What they are called
//! is found by a process of the program that the engine was of, with the engine's rights and no haste: nothing waits for it but the
//! end of the server, and what it reads cannot harm this process.

mod account;
mod names;

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

pub use names::name;

use self::account::{Account, printable};
use super::{KILL_AFTER, Supervisor, deference::Deference, engine, engine::Engine};
use crate::sys::{
    identity::Rights,
    memory, priority,
    spawn::{self, Program},
};

/// More than the handler tells.
const MAX_ACCOUNT: usize = 128 << 10;
/// A longer list of names is cut.
const MAX_NAMES: usize = 64 << 10;
/// From the start of the process that finds the names to its end.
const NAMED_WITHIN: Duration = Duration::from_secs(60);

/// The sub-command that finds names.
pub const NAME_CALLS: &str = "name-calls";

/// Where an engine tells of its crash, and by what that can be read.
#[derive(Debug)]
pub(super) struct BlackBox {
    pub(super) file: OwnedFd,
    program: Program,
    rights: Rights,
}

/// It as it is written for the next program.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Left {
    file: RawFd,
    program: RawFd,
    rights: Rights,
}

/// A crash whose calls are being named.
#[derive(Debug)]
pub(super) struct Crash {
    black_box: BlackBox,
    account: Account,
    head: String,
    /// None before the process was started.
    naming: Option<Naming>,
}

#[derive(Debug)]
struct Naming {
    pid: i32,
    names: OwnedFd,
    kill_at: Instant,
    deference: Deference,
}

// === impl BlackBox ===

impl BlackBox {
    /// For an engine of `program`, of which it has a descriptor of its own.
    pub(super) fn new(program: &Program, rights: Rights) -> io::Result<Self> {
        Ok(Self { file: memory::file_of(c"rr crash", &[])?, program: program.duplicate()?, rights })
    }

    pub(super) fn left(&self) -> Left {
        Left { file: self.file.as_raw_fd(), program: self.program.as_fd().as_raw_fd(), rights: self.rights.clone() }
    }

    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.file.as_fd(), self.program.as_fd()]
    }

    pub(super) fn adopt(left: Left) -> io::Result<Self> {
        let Left { file, program, rights } = left;
        Ok(Self { file: spawn::adopt(file)?, program: Program::adopt(spawn::adopt(program)?), rights })
    }

    /// The name of the thread that crashed, if the engine has told.
    pub(super) fn thread(&self) -> Option<String> {
        let told = memory::beginning_of(&self.file, MAX_ACCOUNT).ok()?;
        Account::read(&told).map(|account| account.name)
    }

    fn name(&self) -> io::Result<Naming> {
        let names = memory::file_of(c"rr names", &[])?;
        let mut command = engine::command(&self.program);
        command.arg(NAME_CALLS).current_dir("/").process_group(0);
        memory::rewind(&self.file)?;
        command.stdin(self.file.try_clone()?).stdout(names.try_clone()?).stderr(Stdio::null());
        self.rights.give(&mut command);
        let yields = priority::lower(&mut command, self.rights.identity.is_some())?;
        if !yields {
            priority::lower_for_good(&mut command)?;
        }
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let now = Instant::now();
        let deference = Deference::begin(now, yields.then_some(engine::YIELDS));
        Ok(Naming { pid, names, kill_at: now + NAMED_WITHIN, deference })
    }
}

// === impl Crash ===

impl Crash {
    fn log(&self, calls: &str) {
        tracing::error!("{}\n{}", self.head, calls.trim_end_matches('\n'));
    }

    fn log_raw(&self, why: &str) {
        tracing::debug!("the calls of a crash are not named: {why}");
        self.log(&self.account.raw());
    }

    fn kill_after(&mut self, after: Duration) {
        let at = Instant::now() + after;
        self.naming.iter_mut().for_each(|naming| naming.kill_at = naming.kill_at.min(at));
    }
}

// === impl Supervisor ===

impl Supervisor {
    /// Logs what a dead engine has told of its crash, once the calls are named.
    pub(super) fn look_into(&mut self, engine: &mut Engine) {
        let Some(black_box) = engine.black_box.take() else { return };
        let told = memory::beginning_of(&black_box.file, MAX_ACCOUNT).unwrap_or_default();
        if told.is_empty() {
            return;
        }
        let (generation, pid) = (engine.generation, engine.pid);
        let Some(account) = Account::read(&told) else {
            return tracing::error!(generation, pid, "what the engine has told of its crash cannot be read");
        };
        let head = format!("native backtrace of engine {generation}, process {pid}: {account}, innermost first:");
        let crash = Crash { black_box, account, head, naming: None };
        // Where engines die one after the other, the names of one tell enough.
        if self.crash.is_some() {
            return crash.log_raw("those of another are");
        }
        self.crash = Some(crash);
    }

    /// Starts to name the calls of a crash, or ends that if it takes too long.
    pub(super) fn look_at_crash(&mut self, now: Instant) {
        let Some(crash) = &mut self.crash else { return };
        match &mut crash.naming {
            None => match crash.black_box.name() {
                Ok(naming) => {
                    crash.naming = Some(naming);
                    if self.stopping {
                        self.hasten_crash();
                    }
                }
                Err(error) => {
                    crash.log_raw(&error.to_string());
                    self.crash = None;
                }
            },
            Some(naming) => {
                naming.deference.look(naming.pid, now);
                if now >= naming.kill_at {
                    // It has not been waited for, so the number is its own.
                    _ = killpg(Pid::from_raw(naming.pid), Signal::SIGKILL);
                    // It may not die at once.
                    naming.kill_at = now + KILL_AFTER;
                }
            }
        }
    }

    /// When that is due.
    pub(super) fn crash_due(&self) -> Option<Instant> {
        let crash = self.crash.as_ref()?;
        Some(crash.naming.as_ref().map_or_else(Instant::now, |naming| naming.deference.due().unwrap_or(naming.kill_at)))
    }

    /// The server ends, for which this is to be no reason to take long.
    pub(super) fn hasten_crash(&mut self) {
        self.crash.iter_mut().for_each(|crash| crash.kill_after(KILL_AFTER));
    }

    /// A process has ended that may be the one which names calls.
    pub(super) fn named(&mut self, pid: i32, status: ExitStatus) {
        let is_it = |crash: &mut Crash| crash.naming.as_ref().is_some_and(|naming| naming.pid == pid);
        let Some(crash) = self.crash.take_if(is_it) else { return };
        let names =
            crash.naming.as_ref().and_then(|naming| memory::beginning_of(&naming.names, MAX_NAMES).ok()).unwrap_or_default();
        if status.success() && !names.is_empty() {
            crash.log(&printable(&String::from_utf8_lossy(&names)));
        } else {
            crash.log_raw(&super::report::describe(status));
        }
    }
}
