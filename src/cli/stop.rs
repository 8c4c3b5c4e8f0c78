//! `rr stop`: the server that wrote `.pid` here is told to stop.

use std::{env, thread, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::say;
use crate::{error::Error, sys::pid};

/// Sends SIGTERM; with `force` a second one, which makes the server leave at once.
pub(super) fn run(silent: bool, force: bool) -> Result<(), Error> {
    let directory = env::current_dir().map_err(Error::system("working directory"))?;
    let pid = pid::running(&directory).map_err(|unknown| Error::Unreachable(unknown.to_string()))?;
    if !silent {
        say(&format!("stopping process with PID: {pid}\n"))?;
    }
    let terminate = || kill(Pid::from_raw(pid), Signal::SIGTERM);
    terminate().map_err(|error| Error::Remote(format!("process {pid} cannot be told to stop: {error}")))?;
    if force {
        // Two signals at once would be one.
        thread::sleep(Duration::from_secs(1));
        match terminate() {
            // It has stopped meanwhile.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(Error::Remote(format!("process {pid} cannot be told to stop: {error}"))),
        }
    }
    Ok(())
}
