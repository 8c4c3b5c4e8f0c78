//! `rr php`: the command line of the PHP that belongs to this server, so that cron jobs and consoles run on the same one.

use std::{ffi::OsString, io, os::unix::process::CommandExt, process::Command};

use crate::{error::Error, php::php_binary};

/// Becomes that `php`: same process, so that signals, descriptors and the exit code are its own.
pub(crate) fn run(arguments: &[OsString]) -> Result<(), Error> {
    let Some(binary) = php_binary() else {
        let error = io::Error::from(io::ErrorKind::NotFound);
        return Err(Error::System { what: format!("php command line at {}", env!("RR_PHP_BINARY")), error });
    };
    let error = Command::new(&binary).args(arguments).exec();
    Err(Error::System { what: format!("cannot run {}", binary.display()), error })
}
