//! Strangers who mean harm, and slow ones. Whatever they send, the outcome is the one that is named, no second request comes of it, and
//! afterwards the server is well: it answers on every protocol, and no connection, thread or descriptor of theirs is left.

mod bombs;
mod fastcgi;
mod fields;
mod floods;
mod h1;
mod h2;
mod h3;
mod hostile;
mod idle;
mod slow;
mod states;
mod swarm;

use std::{fs, path::PathBuf};

use crate::harness::{
    Fcgi, H2, Office, PATIENCE, Server, Setup,
    census::{Census, Holding},
    h3::Http3,
    is_sanitized, params, server, wait_until,
};

/// A server that speaks everything, and what it held when nobody had done anything to it.
pub(super) struct Target {
    pub(super) server: Server,
    pub(super) office: Office,
    before: Census,
}

/// What memory may grow by: caches and fragments.
const SLACK_KB: u64 = 32 * 1024;

/// The server, with what a test adds to it.
pub(super) fn target(change: impl FnOnce(Setup) -> Setup) -> Target {
    let office = Office::new();
    let setup = office
        .over_http3(server())
        .bare()
        .threads(2)
        .with_fcgi()
        .option("logs.level=warn")
        .ini("display_errors", "0")
        .php("well.php", "echo 'well';")
        .php(
            "echo.php",
            "echo $_SERVER['REQUEST_METHOD'], ' ', strlen(file_get_contents('php://input')), ' ', $_SERVER['QUERY_STRING'];",
        )
        .php(
            "smuggled.php",
            "file_put_contents(dirname(__DIR__) . '/smuggled', $_SERVER['REQUEST_URI'] . \"\\n\", FILE_APPEND); echo 'smuggled';",
        );
    let server = change(setup).start();
    // Twice: both threads have compiled what they run by then, and whatever is opened once is open.
    for _ in 0..3 {
        is_answered(&server, &office);
    }
    let before = Census::settled(&server);
    Target { server, office, before }
}

/// A normal request on every protocol.
fn is_answered(server: &Server, office: &Office) {
    let check = |protocol: &str, answer: (u16, &[u8])| {
        assert_eq!(answer, (200, &b"well"[..]), "{protocol}: {}", server.log.text());
    };
    let reply = server.get("/well.php").send();
    check("HTTP/1", (reply.status, &reply.body));
    let (status, body) = H2::open(server.address).unwrap().send("GET", "/well.php", Vec::new()).unwrap();
    check("h2c", (status, &body));
    let answer = Http3::connect(office).get("/well.php");
    check("HTTP/3", (answer.status.as_u16(), &answer.body));
    let script = server.root().join("well.php");
    let pairs = [("REQUEST_METHOD", "GET"), ("SCRIPT_FILENAME", script.to_str().unwrap())];
    let reply = Fcgi::connect(server.fcgi.unwrap()).unwrap().request(false, &params(&pairs), &[]).unwrap();
    check("FastCGI", (200, reply.body().as_bytes()));
    for protocol in ["--http1.1", "--http2"] {
        let fetched = office.fetch("/well.php", &[protocol]).unwrap();
        check(protocol, (fetched.status(), fetched.body.as_bytes()));
    }
}

// === impl Target ===

impl Target {
    /// Whether all is as if nothing had been.
    pub(super) fn is_well(&self) {
        self.is_well_within(SLACK_KB);
    }

    /// The same, with so much memory that may be kept for the next ones.
    pub(super) fn is_well_within(&self, slack_kb: u64) {
        is_answered(&self.server, &self.office);
        let log = || self.server.log.text();
        let mut now = None;
        let same = |now: &Holding, then: &Holding| {
            // A thread for files may have been started.
            now.sockets == then.sockets && now.descriptors <= then.descriptors + 1 && now.threads <= then.threads + 2
        };
        let is_same = wait_until(PATIENCE, || {
            now = Census::now(&self.server);
            now.as_ref().is_some_and(|now| same(&now.engine, &self.before.engine) && now.files == self.before.files)
        });
        assert!(is_same, "something is left: {now:?}, before {:?}: {}", self.before, log());
        let now = now.unwrap();
        assert_eq!(now.engine_pid, self.before.engine_pid, "another engine: {}", log());
        // Under the sanitizer PHP's memory is the system's, which keeps what was in use between what is.
        let most = self.before.engine.kilobytes + slack_kb;
        assert!(is_sanitized() || now.engine.kilobytes <= most, "memory: {now:?}, before {:?}", self.before);
        assert!(!self.is_smuggled(), "{}", self.smuggled());
        assert!(!log().contains("panicked") && !log().contains("Segmentation"), "{}", log());
    }

    /// Whether nobody is connected.
    pub(super) fn is_alone(&self) -> bool {
        Census::now(&self.server).is_some_and(|now| now.engine.sockets == self.before.engine.sockets)
    }

    /// Whether a request has come of what was none.
    pub(super) fn is_smuggled(&self) -> bool {
        self.trace().exists()
    }

    /// Those that have.
    pub(super) fn smuggled(&self) -> String {
        fs::read_to_string(self.trace()).unwrap_or_default()
    }

    fn trace(&self) -> PathBuf {
        self.server.dir().join("smuggled")
    }
}
