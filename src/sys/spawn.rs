//! Starting this same program again, with descriptors to inherit.
#![allow(unsafe_code, reason = "what runs between fork and exec, and taking over inherited descriptors, have no safe form")]

use std::{
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// The variable that tells a started engine under which descriptor to find what it inherits.
pub const HANDOVER: &str = "RR_HANDOVER";

/// A command that is this very program, also after its file has been replaced.
pub fn this_program() -> Command {
    Command::new("/proc/self/exe")
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
