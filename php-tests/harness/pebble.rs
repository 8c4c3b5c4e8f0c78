//! A certificate authority of a test's own: pebble, with a DNS server that says every name is this machine's.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::json;

use super::{Office, PATIENCE, TempDir, finish, free_port, not_run, wait_until};

/// What an authority does differently.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How long certificates are good, in seconds.
    pub(crate) validity: u32,
    /// An account has to be bound to [`EXTERNAL`].
    pub(crate) wants_external: bool,
    /// It takes its time before it looks, up to so many seconds.
    pub(crate) dawdle: u32,
}

/// A running authority.
#[derive(Debug)]
pub(crate) struct Pebble {
    office: Office,
    dir: TempDir,
    rules: Rules,
    address: SocketAddr,
    management: SocketAddr,
    names: SocketAddr,
    /// Where it looks for `http-01`.
    pub(crate) http: SocketAddr,
    /// Where it looks for `tls-alpn-01`.
    pub(crate) tls: SocketAddr,
    children: Vec<Child>,
}

/// The name of a key, and the key.
pub(crate) const EXTERNAL: (&str, &str) = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

impl Pebble {
    /// One that runs, if it is installed.
    pub(crate) fn start(rules: Rules) -> Option<Self> {
        let mut pebble = Self::prepare(rules)?;
        pebble.go();
        Some(pebble)
    }

    /// One that does not run yet.
    pub(crate) fn prepare(rules: Rules) -> Option<Self> {
        for program in ["pebble", "pebble-challtestsrv"] {
            if let Err(error) = Command::new(program).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status() {
                not_run(program, &error.to_string());
                return None;
            }
        }
        let office = Office::new();
        office.sign("pebble", &["localhost"]);
        let [address, management, names, http, tls] = std::array::from_fn(|_| free_port());
        Some(Self { office, dir: TempDir::new(), rules, address, management, names, http, tls, children: Vec::new() })
    }

    /// Starts it; what it knew before it has forgotten.
    pub(crate) fn go(&mut self) {
        let (kid, key) = EXTERNAL;
        let config = json!({"pebble": {
            "listenAddress": self.address, "managementListenAddress": self.management,
            "certificate": self.office.path("pebble.pem"), "privateKey": self.office.path("pebble.key"),
            "httpPort": self.http.port(), "tlsPort": self.tls.port(),
            // In older ones and in newer ones.
            "certificateValidityPeriod": self.rules.validity,
            "profiles": {"default": {"description": "the only one", "validityPeriod": self.rules.validity}},
            "externalAccountBindingRequired": self.rules.wants_external, "externalAccountMACKeys": {kid: key},
        }});
        let config = self.dir.write("pebble.json", config.to_string());
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", "", "-defaultIPv4", "127.0.0.1"]);
        names.args(["-dns01", &self.names.to_string(), "-management", &free_port().to_string()]);
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(config).args(["-dnsserver", &self.names.to_string()]);
        match self.rules.dawdle {
            0 => pebble.env("PEBBLE_VA_NOSLEEP", "1"),
            seconds => pebble.env("PEBBLE_VA_SLEEPTIME", seconds.to_string()),
        };
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        for command in [&mut names, &mut pebble] {
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap());
            self.children.push(command.spawn().unwrap());
        }
        let listens = |address: SocketAddr| TcpStream::connect(address).is_ok();
        let ready = wait_until(PATIENCE, || [self.address, self.management, self.names].into_iter().all(listens));
        assert!(ready, "{}", self.log());
    }

    pub(crate) fn stop(&mut self) {
        for mut child in self.children.drain(..) {
            _ = child.kill();
            _ = child.wait();
        }
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The directory that servers keep what they have from it in.
    pub(crate) fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// Options to have certificates for `hosts` from it, and to serve them at `ssl`.
    pub(crate) fn options(&self, hosts: &str, ssl: SocketAddr) -> Vec<String> {
        vec![
            format!("http.ssl.address={ssl}"),
            format!("http.ssl.acme.domains={hosts}"),
            format!("http.ssl.acme.directory=https://localhost:{}/dir", self.address.port()),
            format!("http.ssl.acme.directory_ca={}", self.office.path("ca.pem").display()),
            format!("http.ssl.acme.cache_dir={}", self.cache().display()),
            format!("http.ssl.acme.alt_http_port={}", self.http.port()),
            format!("http.ssl.acme.alt_tlsalpn_port={}", self.tls.port()),
            "http.ssl.acme.retry_after=1s".into(),
            "http.ssl.acme.max_retry_after=2s".into(),
        ]
    }

    /// The certificate that `host` shows at `ssl`, if it is good.
    pub(crate) fn shown(&self, host: &str, ssl: SocketAddr) -> Option<String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "60", "--cacert"]).arg(self.root()?).args(["-o", "/dev/null", "-w", "%{certs}"]);
        curl.args(["--resolve", &format!("{host}:{}:127.0.0.1", ssl.port())]).arg(format!("https://{host}:{}/", ssl.port()));
        let output = finish(curl, b"");
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// Its root, which it makes anew when it starts.
    fn root(&self) -> Option<PathBuf> {
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "-m", "60", "--cacert"]).arg(self.office.path("ca.pem"));
        curl.arg(format!("https://localhost:{}/roots/0", self.management.port()));
        let output = finish(curl, b"");
        if output.status.success() {
            fs::write(self.dir.path().join("root.pem"), output.stdout).unwrap();
        }
        // That of one that is stopped is still known.
        Some(self.dir.path().join("root.pem")).filter(|file| file.exists())
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of pebble\n{}---", self.log());
        }
        self.stop();
    }
}
