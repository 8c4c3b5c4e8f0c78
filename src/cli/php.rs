//! `rr php`: the command line of the PHP that belongs to this server, so that cron jobs and consoles run on the same one.

use std::{env, ffi::OsString, io, os::unix::process::CommandExt, path::PathBuf, process::Command};

use crate::error::Error;

/// The `php` that was built with the libphp inside this program, or else the one beside this program.
pub(crate) fn binary() -> Option<PathBuf> {
    let built_with = PathBuf::from(env!("RR_PHP_BINARY"));
    let beside = || Some(env::current_exe().ok()?.parent()?.join("php"));
    let this = env::current_exe().and_then(|path| path.canonicalize()).ok();
    [Some(built_with), beside()].into_iter().flatten().find(|path| path.is_file() && path.canonicalize().ok() != this)
}

/// Becomes that `php`: same process, so that signals, descriptors and the exit code are its own.
pub(crate) fn run(arguments: &[OsString]) -> Result<(), Error> {
    let Some(binary) = binary() else {
        let error = io::Error::from(io::ErrorKind::NotFound);
        return Err(Error::System { what: format!("php command line at {}", env!("RR_PHP_BINARY")), error });
    };
    let error = Command::new(&binary).args(arguments).exec();
    Err(Error::System { what: format!("cannot run {}", binary.display()), error })
}
