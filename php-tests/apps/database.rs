//! A MariaDB of one's own, on a unix socket.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::app;
use crate::harness::{PATIENCE, TempDir, finish, not_run, wait_until};

/// A running server; gone when dropped.
#[derive(Debug)]
pub(crate) struct MariaDb {
    child: Child,
    dir: TempDir,
}

impl MariaDb {
    /// Starts one, if there is one.
    pub(crate) fn start() -> Option<Self> {
        app("mariadb")?;
        let Some(daemon) = ["/usr/sbin/mariadbd", "/usr/sbin/mysqld"].iter().find(|path| Path::new(path).exists()) else {
            not_run("mariadb", "no mariadbd here");
            return None;
        };
        let dir = TempDir::new();
        let data = format!("--datadir={}/data", dir.path().display());
        let mut install = Command::new("mariadb-install-db");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--user=root", &data]);
        // One that starts removes what others have put into a temporary folder that it shares with them.
        install.env("TMPDIR", dir.path());
        let output = finish(install, b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut command = Command::new(daemon);
        command.args(["--no-defaults", "--skip-networking", "--user=root", "--innodb-flush-log-at-trx-commit=0", &data]);
        command.arg(format!("--socket={}/sock", dir.path().display()));
        command.env("TMPDIR", dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(dir.path().join("log")).unwrap());
        let server = Self { child: command.spawn().unwrap(), dir };
        let ready = wait_until(PATIENCE, || UnixStream::connect(server.socket()).is_ok());
        assert!(ready, "{}", std::fs::read_to_string(server.dir.path().join("log")).unwrap_or_default());
        Some(server)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM);
        _ = self.child.wait();
    }
}
