//! A server per test: its directory, its options, its port, its log; gone when the test is.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::Mutex,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Connection, Log, PATIENCE, Request, TempDir, copy_tree, dir::age, fixtures, reference, wait_until};

/// A server to be.
#[derive(Debug)]
#[must_use]
pub(crate) struct Setup {
    dir: TempDir,
    root: PathBuf,
    options: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    config: Option<PathBuf>,
    fcgi: bool,
    address: Option<SocketAddr>,
    before: Option<Before>,
}

/// What a shell does in the server's process first.
#[derive(Debug)]
struct Before {
    script: String,
    /// What it mounts is seen by the server alone.
    mounts: bool,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Where FastCGI is spoken, if asked for.
    pub(crate) fcgi: Option<SocketAddr>,
    pub(crate) log: Log,
    root: PathBuf,
    dir: TempDir,
    children: Mutex<Vec<Child>>,
}

/// Prepares a server whose document root holds a copy of the fixtures.
pub(crate) fn server() -> Setup {
    let setup = empty();
    copy_tree(&fixtures(), &setup.root);
    setup
}

/// Prepares a server with nothing in its document root.
pub(crate) fn empty() -> Setup {
    let dir = TempDir::new();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let options = vec!["http.pool.num_workers=2".to_owned()];
    Setup {
        dir,
        root,
        options,
        arguments: Vec::new(),
        environment: Vec::new(),
        config: None,
        fcgi: false,
        address: None,
        before: None,
    }
}

// === impl Setup ===

impl Setup {
    /// Drops the fixtures: the document root starts empty.
    pub(crate) fn bare(mut self) -> Self {
        self.root = self.dir.path().join("bare");
        std::fs::create_dir(&self.root).unwrap();
        self
    }

    /// Serves a directory that exists elsewhere.
    pub(crate) fn root(mut self, root: &Path) -> Self {
        root.clone_into(&mut self.root);
        self
    }

    /// Writes a file under the document root.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        age(&path);
        self
    }

    /// Writes a PHP file under the document root; `code` comes without its opening tag.
    pub(crate) fn php(self, name: &str, code: &str) -> Self {
        self.file(name, format!("<?php\n{code}\n"))
    }

    /// One configuration value, as in `-o key=value`; a later one replaces an earlier one.
    pub(crate) fn option(mut self, key_value: &str) -> Self {
        let key = key_value.split('=').next().unwrap();
        self.options.retain(|known| known.split('=').next() != Some(key));
        self.options.push(key_value.to_owned());
        self
    }

    /// A flag of `rr serve`.
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    pub(crate) fn threads(self, count: usize) -> Self {
        self.option(&format!("http.pool.num_workers={count}"))
    }

    pub(crate) fn preset(self, name: &str) -> Self {
        self.option(&format!("http.preset={name}"))
    }

    pub(crate) fn ini(self, key: &str, value: &str) -> Self {
        self.option(&format!("php.ini.{key}={value}"))
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A configuration file; options still go over it.
    pub(crate) fn config(mut self, name: &str, content: &str) -> Self {
        self.config = Some(self.dir.write(name, content));
        self
    }

    /// Listens for FastCGI as well.
    pub(crate) fn with_fcgi(mut self) -> Self {
        self.fcgi = true;
        self
    }

    /// Listens there rather than on a port of its own.
    pub(crate) fn at(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Has a shell do this in the process that becomes the server, such as `ulimit -n 40`.
    pub(crate) fn before(mut self, script: &str) -> Self {
        self.before = Some(Before { script: script.to_owned(), mounts: false });
        self
    }

    /// The same where it may mount what only the server sees; none if this machine does not let us, which is said.
    pub(crate) fn mounts(mut self, script: &str) -> Option<Self> {
        let mut probe = Command::new("unshare");
        let probe = probe.args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"]).stderr(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            eprintln!("not run: mounting in a namespace of one's own needs root and unshare(1)");
            return None;
        }
        self.before = Some(Before { script: script.to_owned(), mounts: true });
        Some(self)
    }

    pub(crate) fn document_root(&self) -> &Path {
        &self.root
    }

    /// Puts a copy of `tree` into the document root.
    pub(crate) fn tree(self, tree: &Path) -> Self {
        copy_tree(tree, &self.root);
        self
    }

    /// A directory outside the document root.
    pub(crate) fn scratch(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn start(self) -> Server {
        self.start_as(|command| command)
    }

    /// The same with another command, such as one that runs this one.
    pub(crate) fn start_as(self, change: impl Fn(Command) -> Command) -> Server {
        if let Some(prefix) = reference() {
            return super::reference::start(Path::new(prefix), self);
        }
        // A port given by the system may be taken by a stranger's connection before it is bound.
        for _ in 0..3 {
            let (address, fcgi) = (self.address.unwrap_or_else(free_port), self.fcgi.then(free_port));
            let log = Log::default();
            let mut command = change(self.command(address, fcgi));
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
            log.follow(child.stderr.take().unwrap());
            log.follow(child.stdout.take().unwrap());
            let mut ended = None;
            let ready = wait_until(PATIENCE, || {
                ended = child.try_wait().unwrap();
                ended.is_some() || fcgi.iter().chain([&address]).all(|address| TcpStream::connect(address).is_ok())
            });
            match ended {
                None if ready => return self.running(address, fcgi, log, vec![child]),
                Some(_) if log.contains("in use", Duration::from_millis(200)) => {}
                Some(status) => panic!("rr ended with {status}: {}", log.text()),
                None => {
                    _ = child.kill();
                    _ = child.wait();
                    panic!("rr does not listen on {address}: {}", log.text());
                }
            }
        }
        panic!("no free port");
    }

    pub(crate) fn command(&self, address: SocketAddr, fcgi: Option<SocketAddr>) -> Command {
        let mut command = match &self.before {
            Some(before) => before.command(),
            None => rr(),
        };
        // Sessions and what else scripts leave there go with the test.
        let temporary = self.dir.path().join("tmp");
        std::fs::create_dir_all(&temporary).unwrap();
        command.env("TMPDIR", temporary);
        command.arg("serve").arg(&self.root).args(&self.arguments).args(["-o", &format!("http.address={address}")]);
        if let Some(fcgi) = fcgi {
            command.args(["-o", &format!("http.fcgi.address={fcgi}")]);
        }
        if let Some(config) = &self.config {
            command.arg("-c").arg(config);
        }
        for option in &self.options {
            command.args(["-o", option]);
        }
        command.current_dir(self.dir.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(super) fn options(&self) -> &[String] {
        &self.options
    }

    pub(super) fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    pub(super) fn wants_fcgi(&self) -> bool {
        self.fcgi
    }

    pub(super) fn running(self, address: SocketAddr, fcgi: Option<SocketAddr>, log: Log, children: Vec<Child>) -> Server {
        Server { address, fcgi, log, root: self.root, dir: self.dir, children: Mutex::new(children) }
    }
}

// === impl Before ===

impl Before {
    /// The server after that; its arguments are to follow.
    fn command(&self) -> Command {
        let stock = rr();
        let shell = if self.mounts { ["unshare", "-m", "sh"].as_slice() } else { &["sh"] };
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg("-ec").arg(format!("{}\nexec \"$0\" \"$@\"", self.script)).arg(stock.get_program());
        command.env_clear();
        command.envs(stock.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }
}

// === impl Server ===

impl Server {
    pub(crate) fn request(&self, method: &str, target: &str) -> Request {
        Request::new(self.address, method, target)
    }

    pub(crate) fn get(&self, target: &str) -> Request {
        self.request("GET", target)
    }

    pub(crate) fn post(&self, target: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Request {
        self.request("POST", target).body(content_type, body)
    }

    /// The body of a plain GET that must succeed.
    pub(crate) fn text(&self, target: &str) -> String {
        let reply = self.get(target).send();
        assert_eq!(reply.status, 200, "{target}: {}\n{}", reply.text(), self.log.text());
        reply.text()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address).unwrap()
    }

    /// Sends bytes as they are and reads all that comes back.
    pub(crate) fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut connection = self.connect();
        connection.write(bytes);
        String::from_utf8_lossy(&connection.read_to_end().unwrap_or_default()).into_owned()
    }

    pub(crate) fn logs(&self, needle: &str) -> bool {
        self.log.contains(needle, Duration::from_secs(5))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The server's own directory; the document root is inside it.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.children.lock().unwrap()[0].id()).unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The exit status, once the process has ended within `limit`.
    pub(crate) fn ended_within(&self, limit: Duration) -> Option<ExitStatus> {
        let mut children = self.children.lock().unwrap();
        let mut status = None;
        wait_until(limit, || {
            status = children[0].try_wait().unwrap();
            status.is_some()
        });
        status
    }

    /// Stops the server as an operator does; it must end well, and soon.
    pub(crate) fn stop(&self) {
        self.signal(Signal::SIGTERM);
        let status = self.ended_within(PATIENCE);
        let status = status.unwrap_or_else(|| panic!("still there after SIGTERM: {}", self.log.text()));
        assert_eq!(status.code(), Some(0), "{status}: {}", self.log.text());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- log of the server\n{}---", self.log.text());
        }
        let mut failed = None;
        for child in self.children.get_mut().unwrap() {
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
            let mut status = child.try_wait().unwrap();
            let own_end = status.is_some();
            if !own_end {
                _ = kill(pid, Signal::SIGTERM);
                wait_until(Duration::from_secs(10), || {
                    status = child.try_wait().unwrap();
                    status.is_some()
                });
            }
            match status {
                Some(status) if own_end || status.success() => {}
                Some(status) => failed = Some(format!("ended with {status} on SIGTERM")),
                None => {
                    _ = child.kill();
                    _ = child.wait();
                    failed = Some("had to be killed".to_owned());
                }
            }
        }
        if let Some(failed) = failed.filter(|_| !thread::panicking() && reference().is_none()) {
            panic!("the server {failed}: {}", self.log.text());
        }
    }
}

/// What `./x asan` tells the sanitizer and PHP.
const SANITIZER: &[&str] = &["ASAN_OPTIONS", "USE_ZEND_ALLOC", "USE_TRACKED_ALLOC"];

/// `program`, before the words that `command` has, in the same surroundings.
pub(crate) fn before(program: impl AsRef<OsStr>, words: &[&str], command: &Command) -> Command {
    let mut changed = Command::new(program);
    changed.args(words).env_clear();
    changed.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    changed.stdin(Stdio::null());
    if let Some(folder) = command.get_current_dir() {
        changed.current_dir(folder);
    }
    changed
}

/// Where the program under test is.
pub(crate) fn program() -> OsString {
    std::env::var_os("RR_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_rr").into())
}

/// The program under test.
pub(crate) fn rr() -> Command {
    let mut command = Command::new(program());
    // Cargo's own variables would be seen by PHP.
    command.env_clear();
    for name in ["PATH", "HOME", "USER", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "PHPRC", "PHP_INI_SCAN_DIR"].iter().chain(SANITIZER)
    {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// `rr ARGUMENTS…`; `rr php …` is the reference's own `php` when there is one.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = match reference() {
        Some(prefix) if arguments[0] == "php" => {
            let mut php = Command::new(Path::new(prefix).join("bin/php"));
            php.args(&arguments[1..]);
            return php;
        }
        _ => rr(),
    };
    command.args(arguments);
    command
}

/// Runs a command to its end, which must come.
pub(crate) fn finish(mut command: Command, stdin: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut pipe = child.stdin.take().unwrap();
    let input = stdin.to_vec();
    thread::spawn(move || pipe.write_all(&input));
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let stdout = thread::spawn(move || {
        let mut bytes = Vec::new();
        _ = out.read_to_end(&mut bytes);
        bytes
    });
    let stderr = thread::spawn(move || {
        let mut bytes = Vec::new();
        _ = err.read_to_end(&mut bytes);
        bytes
    });
    let mut status = None;
    wait_until(PATIENCE * 4, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    if status.is_none() {
        _ = child.kill();
        _ = child.wait();
    }
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let status = status.unwrap_or_else(|| panic!("{command:?} does not end: {}", String::from_utf8_lossy(&stderr)));
    Output { status, stdout, stderr }
}

/// A loopback address whose port was free a moment ago and was given to no other test of this run.
pub(crate) fn free_port() -> SocketAddr {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    loop {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if GIVEN.lock().unwrap().get_or_insert_default().insert(address.port()) {
            return address;
        }
    }
}
