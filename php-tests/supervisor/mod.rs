//! The process that keeps the sockets: engines die and are replaced, and clients hardly notice.

mod activation;
mod children;
mod crash;
mod deploying;
mod draining;
mod fellows;
mod health;
mod leaving;
mod notify;
mod operator;
mod outage;
mod probation;
mod processes;
pub(crate) mod reload;
mod rights;
mod signals;
pub(crate) mod upgrade;

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::harness::{Connection, PATIENCE, Server, Setup, server, wait_until};

/// What `gated.php` does.
const GATED: &str = "file_put_contents($_GET['began'], getmypid() . \"\\n\", FILE_APPEND | LOCK_EX); \
    while (!file_exists($_GET['gate'])) { clearstatcache(); usleep(1000); } echo 'finished';";

pub(crate) fn site() -> Setup {
    server()
        .php("gated.php", GATED)
        .php("pid.php", "echo getmypid();")
        .php("echo.php", "echo $_GET['tag'] ?? '', file_get_contents('php://input');")
        .php("slow.php", "file_put_contents($_GET['began'], '1'); usleep((int) $_GET['ms'] * 1000); echo 'finished';")
}

/// Starts it, and waits until its engine says that it serves: one that dies before that is not replaced.
fn serving(setup: Setup) -> Server {
    let server = setup.start();
    assert!(server.log.contains("  threads ", PATIENCE), "{}", server.log.text());
    server
}

/// Two releases, of which `current` is a symbolic link to one.
struct Releases(PathBuf);

impl Releases {
    /// Below `folder`, each with the page `name` that `code` makes of its number, and pid.php; the first one is current.
    fn new(folder: &Path, name: &str, code: impl Fn(&str) -> String) -> Self {
        for release in ["1", "2"] {
            fs::create_dir_all(folder.join(release)).unwrap();
            fs::write(folder.join(release).join(name), format!("<?php {}", code(release))).unwrap();
            fs::write(folder.join(release).join("pid.php"), "<?php echo getmypid();").unwrap();
        }
        symlink(folder.join("1"), folder.join("current")).unwrap();
        Self(folder.to_owned())
    }

    fn current(&self) -> PathBuf {
        self.0.join("current")
    }

    /// The second one is current from here on.
    fn deploy(&self) {
        let fresh = self.0.join("fresh");
        symlink(self.0.join("2"), &fresh).unwrap();
        fs::rename(&fresh, self.current()).unwrap();
    }

    fn delete_first(&self) {
        fs::remove_dir_all(self.0.join("1")).unwrap();
    }
}

/// The target of a request that notes its engine in the file `began` and ends once there is the file `gate`, both in the server's
/// folder.
fn gated(server: &Server) -> (String, PathBuf, PathBuf) {
    let (began, gate) = (server.dir().join("began"), server.dir().join("gate"));
    (format!("/gated.php?began={}&gate={}", began.display(), gate.display()), began, gate)
}

/// Such a request that has begun, and its gate.
fn waiting(server: &Server) -> (Connection, PathBuf) {
    let (target, began, gate) = gated(server);
    let connection = server.get(&target).fire();
    assert!(wait_until(PATIENCE, || began.exists()), "{}", server.log.text());
    (connection, gate)
}

/// Code of a worker that makes the file `began` and does not go on before there is the file `gate`.
fn boot_gate(began: &Path, gate: &Path) -> String {
    let (began, gate) = (began.display(), gate.display());
    format!("touch('{began}'); while (!file_exists('{gate}')) {{ clearstatcache(); usleep(1000); }}")
}

/// The engine that answers now.
pub(crate) fn engine(server: &Server) -> Pid {
    Pid::from_raw(server.text("/pid.php").parse().unwrap())
}

/// All engines there are.
pub(crate) fn engines(server: &Server) -> HashSet<Pid> {
    // What names the calls of one that has crashed is a child too, for a moment.
    let is_engine =
        |process: &Pid| !fs::read_to_string(format!("/proc/{process}/cmdline")).is_ok_and(|line| line.contains("name-calls"));
    children_of(server.pid()).into_iter().filter(is_engine).collect()
}

pub(crate) fn children_of(process: Pid) -> HashSet<Pid> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
}

pub(crate) fn is_gone(process: Pid) -> bool {
    wait_until(Duration::from_secs(10), || kill(process, None::<Signal>).is_err())
}

/// Whether all threads of the process have stopped.
pub(crate) fn has_stopped(process: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let state = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
    threads.flatten().all(|thread| state(thread).rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')))
}
