//! A signal that must not end the server.
#![allow(unsafe_code, reason = "a signal's disposition is the process's")]

use std::io;

use nix::sys::signal::{SigHandler, Signal, signal};

/// From now on a write past `RLIMIT_FSIZE` is an error, as on a full disk, where it would end the process otherwise.
pub fn survive_file_size_limit() -> io::Result<()> {
    // SAFETY: to ignore a signal runs no code of ours when it comes.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }?;
    Ok(())
}
