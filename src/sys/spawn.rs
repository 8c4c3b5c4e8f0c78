//! Starting this same program again, with descriptors to inherit.
#![allow(unsafe_code, reason = "what runs between fork and exec, and taking over inherited descriptors, have no safe form")]

use std::{
    ffi::{CString, OsString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStringExt, process::CommandExt},
    },
    path::Path,
    process::Command,
    sync::Arc,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open},
    sys::{
        signal::SigSet,
        stat::{Mode, fstat},
    },
    unistd::execve,
};

/// The variable that tells a started engine under which descriptor to find what it inherits.
pub const HANDOVER: &str = "RR_HANDOVER";

/// The variable that tells a program under which descriptor to find what the program had that was this process before.
pub const TAKEOVER: &str = "RR_TAKEOVER";

/// What programs of ours tell each other in the environment, and what the service manager tells this process, is no business of
/// scripts.
pub const OURS: [&str; 8] =
    [HANDOVER, TAKEOVER, "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Variables about sockets and files that were passed to this process and taken by it.
pub const TAKEN: [&str; 4] = [TAKEOVER, "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// A program's file, which can be run also after another has been put in its place or after it was deleted.
#[derive(Clone, Debug)]
pub struct Program(Arc<OwnedFd>);

/// What replaces the program of this process.
#[derive(Debug)]
pub struct Replacement<'a> {
    /// What is run.
    pub program: &'a Program,
    /// Its arguments, the first of which is its name.
    pub arguments: Vec<OsString>,
    /// Its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// What it inherits, under the same numbers.
    pub keep: Vec<BorrowedFd<'a>>,
}

// === impl Program ===

impl Program {
    /// That of this process.
    pub fn own() -> io::Result<Self> {
        Self::at(Path::new("/proc/self/exe"))
    }

    /// The one in the file at `path`.
    pub fn at(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        Ok(Self(Arc::new(open(path, flags, Mode::empty())?)))
    }

    /// From an inherited descriptor.
    pub fn adopt(descriptor: OwnedFd) -> Self {
        Self(Arc::new(descriptor))
    }

    /// The same file, with a descriptor of its own.
    pub fn duplicate(&self) -> io::Result<Self> {
        Ok(Self::adopt(self.0.try_clone()?))
    }

    /// Whether both are the same file.
    pub fn is(&self, other: &Self) -> bool {
        let identity = |program: &Self| fstat(&program.0).map(|file| (file.st_dev, file.st_ino));
        identity(self).is_ok_and(|own| identity(other) == Ok(own))
    }

    /// Whether it begins as a binary does; a script, or what is not all there yet, does not. One that cannot be read may be one.
    pub fn is_binary(&self) -> bool {
        let mut magic = [0; 4];
        match File::open(self.path()).and_then(|mut file| file.read_exact(&mut magic)) {
            Ok(()) => magic == *b"\x7fELF",
            Err(error) => error.kind() != io::ErrorKind::UnexpectedEof,
        }
    }

    /// To be started; it works as long as this program is kept.
    pub fn command(&self) -> Command {
        Command::new(self.path())
    }

    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

// === impl Replacement ===

impl Replacement<'_> {
    /// Becomes the other program, in the same process. Returns only if that cannot be, and then nothing has changed. Signals are
    /// held back meanwhile: the new program lets them in with [`let_signals_in`] once it listens to them.
    pub fn run(self) -> io::Error {
        let text = |text: OsString| CString::new(text.into_vec());
        let arguments: Result<Vec<_>, _> = self.arguments.into_iter().map(text).collect();
        let variable = |(mut name, value): (OsString, OsString)| {
            name.push("=");
            name.push(value);
            text(name)
        };
        let environment: Result<Vec<_>, _> = self.environment.into_iter().map(variable).collect();
        let (Ok(arguments), Ok(environment), Ok(path)) = (arguments, environment, CString::new(self.program.path())) else {
            return io::ErrorKind::InvalidInput.into();
        };
        let pass = |flag: FdFlag| {
            let passed = self.keep.iter().map(|descriptor| fcntl(descriptor, FcntlArg::F_SETFD(flag)));
            passed.collect::<nix::Result<Vec<_>>>().map(drop)
        };
        let replaced = hold_signals()
            .and_then(|()| pass(FdFlag::empty()))
            .and_then(|()| execve(&path, &arguments, &environment).map(|never| match never {}));
        let error = replaced.err().unwrap_or(Errno::EINVAL);
        // They are open, or they could not have been passed.
        _ = pass(FdFlag::FD_CLOEXEC);
        _ = let_signals_in();
        error.into()
    }
}

fn hold_signals() -> nix::Result<()> {
    SigSet::all().thread_block()
}

/// Lets in all signals, also those that came while they were held back.
pub fn let_signals_in() -> nix::Result<()> {
    SigSet::all().thread_unblock()
}

/// Makes `command` inherit `descriptors` under their own numbers, in a process group of its own.
pub fn inherit(command: &mut Command, descriptors: Vec<RawFd>) {
    command.process_group(0);
    let keep = move || {
        for &descriptor in &descriptors {
            // SAFETY: fcntl is async-signal-safe; the numbers are those of descriptors that the parent keeps open.
            if unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes only async-signal-safe calls and allocates nothing.
    unsafe { command.pre_exec(keep) };
}

/// Has the process of `command` killed when the calling thread ends, however that comes.
pub fn end_with_thread(command: &mut Command) {
    let parent = std::process::id();
    let ask = move || {
        // SAFETY: prctl is async-signal-safe, and this option takes a signal's number.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: takes nothing.
        let now = unsafe { libc::getppid() };
        // It may have ended before it was asked for.
        if now.unsigned_abs() == parent { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
    };
    // SAFETY: between fork and exec the closure makes only async-signal-safe calls and allocates nothing.
    unsafe { command.pre_exec(ask) };
}

/// Takes over an inherited descriptor; it is not passed on to children again.
pub fn adopt(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only looked at: if nothing is open under this number, the call fails.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, and the parent passed it for us to own; nothing else in this process knows the number.
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    debug_assert_eq!(owned.as_raw_fd(), descriptor);
    Ok(owned)
}
