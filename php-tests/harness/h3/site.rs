//! A server that speaks HTTP/3, as most tests of that want it.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    super::{Office, PATIENCE, Server, Setup, reference, server, wait_until},
    Answer, Http3, Pending, request,
};

/// The server of an office.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) office: Office,
}

impl Site {
    /// None where php-fpm stands in for `rr`.
    pub(crate) fn start() -> Option<Self> {
        Self::with(|setup| setup)
    }

    /// The same with what a test adds to it.
    pub(crate) fn with(change: impl FnOnce(Setup) -> Setup) -> Option<Self> {
        if reference().is_some() {
            return None;
        }
        let office = Office::new();
        let server = change(setup(&office)).start();
        Some(Self { server, office })
    }

    pub(crate) fn client(&self) -> Http3 {
        Http3::connect(&self.office)
    }

    /// What a new client is told for a path, or why nothing.
    pub(crate) fn try_get(&self, path: &str) -> Result<Answer, String> {
        Http3::try_connect(&self.office, self.office.port).and_then(|mut client| client.try_fetch(request("GET", path), b""))
    }

    /// A client that finds the server well.
    pub(crate) fn is_well(&self) {
        assert_eq!(self.client().get("/pid.php").status, 200);
    }

    /// Asks for what takes so many milliseconds, and waits until its script runs.
    pub(crate) fn begin(&self, client: &mut Http3, ms: u32) -> Pending {
        begin(&self.server, client, ms)
    }

    /// Has another engine take over, while a client waits for the one before, and wants more of it when it has its answer.
    pub(crate) fn succeeds(&self) {
        let mut client = self.client();
        let old = pid(&mut client);
        let pending = self.begin(&mut client, 1500);
        self.server.signal(Signal::SIGHUP);
        let is_new = |answer: Answer| answer.text() != old.to_string();
        // One that the old engine had no more time for is rejected, and sent again.
        let asked = || self.client().try_fetch(request("GET", "/pid.php"), b"").is_ok_and(is_new);
        assert!(wait_until(PATIENCE, asked), "{}", self.server.log.text());
        assert_eq!(client.finish(pending).unwrap().text(), "finished", "what was begun before is finished by the old engine");
        assert!(client.try_fetch(request("GET", "/pid.php"), b"").is_err(), "it takes nothing more");
        assert!(wait_until(PATIENCE, || kill(old, None::<Signal>).is_err()), "{}", self.server.log.text());
        assert_ne!(pid(&mut self.client()), old);
    }
}

/// How such a server is set up.
pub(crate) fn setup(office: &Office) -> Setup {
    office
        .over_http3(server())
        .php("pid.php", "echo getmypid();")
        .php("echo.php", "$in = file_get_contents('php://input'); header('X-Length: ' . strlen($in)); echo $in;")
        .php("slow.php", "file_put_contents($_GET['began'], '1'); usleep((int) $_GET['ms'] * 1000); echo 'finished';")
}

/// The engine that a client is connected with, where there is such a script.
pub(crate) fn pid(connection: &mut Http3) -> Pid {
    Pid::from_raw(connection.get("/pid.php").text().parse().unwrap())
}

/// As [`Site::begin`] of any server that has such a script.
pub(crate) fn begin(server: &Server, client: &mut Http3, ms: u32) -> Pending {
    let began = server.dir().join("began");
    _ = std::fs::remove_file(&began);
    let target = format!("/slow.php?ms={ms}&began={}", began.display());
    let pending = client.send(request("GET", &target), b"").unwrap();
    assert!(wait_until(PATIENCE, || began.exists()));
    pending
}
