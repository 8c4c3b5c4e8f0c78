//! Signals that must not end the server.
#![allow(unsafe_code, reason = "a signal's disposition is the process's, and what runs between fork and exec has no safe form")]

use std::{ffi::c_int, io, os::unix::process::CommandExt, process::Command};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction, signal};

/// Those that ask a server to reload, or to open its logs anew, which an engine hears from its supervisor too.
const RELOADS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGUSR1];

/// From now on a write past `RLIMIT_FSIZE` is an error, as on a full disk, where it would end the process otherwise.
pub fn survive_file_size_limit() -> io::Result<()> {
    // SAFETY: to ignore a signal runs no code of ours when it comes.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }?;
    Ok(())
}

/// Has the process of `command` hold back signals that ask for a reload until it calls [`pass_over_reloads`].
pub fn hold_reloads(command: &mut Command) {
    let hold = || Ok(reloads().thread_block()?);
    // SAFETY: between fork and exec the closure only changes the mask of signals, which is async-signal-safe.
    unsafe { command.pre_exec(hold) };
}

/// From now on signals that ask for a reload do nothing here: they are for the supervisor, and operators send them to all processes.
/// They are handled rather than ignored, for what is ignored stays so in children.
pub fn pass_over_reloads() -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(pass_over), SaFlags::SA_RESTART, SigSet::empty());
    for signal in RELOADS {
        // SAFETY: the handler does nothing.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(reloads().thread_unblock()?)
}

extern "C" fn pass_over(_: c_int) {}

fn reloads() -> SigSet {
    RELOADS.into_iter().collect()
}
