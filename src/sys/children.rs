//! Processes that are waited for, whoever they are.
#![allow(unsafe_code, reason = "the safe wrapper loses the number of a process that died of a signal it has no name for")]

use std::{ffi::c_int, os::unix::process::ExitStatusExt, process::ExitStatus};

/// A child that has ended, with its number, which is free again; none if none has.
pub fn reap() -> Option<(i32, ExitStatus)> {
    let mut status: c_int = 0;
    // SAFETY: the status is an int of ours that lives through the call.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then(|| (pid, ExitStatus::from_raw(status)))
}
