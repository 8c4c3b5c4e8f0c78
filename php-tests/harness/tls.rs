//! Certificates made for a test, curl, which speaks TLS and HTTP/2, and a client that resumes sessions.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{PATIENCE, Setup, TempDir, finish, free_port};

/// An authority, what it signs, and a port to serve that on.
#[derive(Debug)]
pub(crate) struct Office {
    authority: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
    pub(crate) port: SocketAddr,
}

/// A client that keeps the tickets it gets, and shows one with each further connection.
#[derive(Debug)]
pub(crate) struct Resumer {
    config: Arc<ClientConfig>,
    port: SocketAddr,
}

/// What came back to curl: the last head, and the body.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Office {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = TempDir::new();
        dir.write("ca.pem", authority.pem());
        let office = Self { authority, dir, port: free_port() };
        office.sign("server", &["server.test"]);
        office
    }

    /// Signs a certificate for `names`, in files called `file`.
    pub(crate) fn sign(&self, file: &str, names: &[&str]) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, file);
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        // The key first: a server that looks in between finds two that do not match, and waits.
        self.dir.write(&format!("{file}.key"), key.serialize_pem());
        self.dir.write(&format!("{file}.pem"), certificate.pem());
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Options to serve with the certificate called `server`.
    pub(crate) fn options(&self) -> [String; 3] {
        [
            format!("http.ssl.address={}", self.port),
            format!("http.ssl.cert={}", self.path("server.pem").display()),
            format!("http.ssl.key={}", self.path("server.key").display()),
        ]
    }

    /// A server with the certificate called `server`, over TLS and HTTP/3.
    pub(crate) fn over_http3(&self, setup: Setup) -> Setup {
        let setup = self.options().iter().fold(setup, |setup, option| setup.option(option));
        setup.option(&format!("http.http3.address={}", self.port))
    }

    /// curl's answer for a path of `server.test`; what curl says if there is none.
    pub(crate) fn fetch(&self, path: &str, arguments: &[&str]) -> Result<Fetched, String> {
        self.fetch_from("server.test", path, arguments)
    }

    pub(crate) fn fetch_from(&self, host: &str, path: &str, arguments: &[&str]) -> Result<Fetched, String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "-m", "60", "--cacert"]).arg(self.path("ca.pem"));
        curl.arg("--resolve").arg(format!("{host}:{}:127.0.0.1", self.port.port()));
        curl.args(arguments).arg(format!("https://{host}:{}{path}", self.port.port()));
        let output = finish(curl, b"");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (mut head, mut body) = text.split_once("\r\n\r\n").ok_or("no head")?;
        while body.starts_with("HTTP/") && head.starts_with("HTTP/1.1 1") {
            (head, body) = body.split_once("\r\n\r\n").ok_or("no head")?;
        }
        Ok(Fetched { head: head.to_owned(), body: body.to_owned() })
    }

    /// A client that speaks `version`, with the certificate called `card`.
    pub(crate) fn resumer(&self, version: &'static SupportedProtocolVersion, card: Option<&str>) -> Resumer {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(&[version]).unwrap().with_root_certificates(roots);
        let config = match card {
            Some(file) => {
                let chain = vec![CertificateDer::from_pem_file(self.path(&format!("{file}.pem"))).unwrap()];
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{file}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        Resumer { config: Arc::new(config), port: self.port }
    }

    /// Arguments that show the client's certificate called `file`.
    pub(crate) fn card(&self, file: &str) -> [String; 4] {
        let text = |path: &Path| path.display().to_string();
        ["--cert".into(), text(&self.path(&format!("{file}.pem"))), "--key".into(), text(&self.path(&format!("{file}.key")))]
    }
}

impl Resumer {
    /// The answer for a path of `server.test`, on a connection of its own.
    pub(crate) fn fetch(&self, path: &str) -> Result<Fetched, String> {
        let said = |error: std::io::Error| error.to_string();
        let socket = TcpStream::connect(self.port).map_err(said)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(said)?;
        let session = ClientConnection::new(self.config.clone(), "server.test".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: server.test\r\nConnection: close\r\n\r\n").map_err(said)?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map_err(said)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("no head")?;
        Ok(Fetched { head: head.to_owned(), body: body.to_owned() })
    }

    /// Whether another connection's session is a resumed one, as server.php knows it.
    pub(crate) fn resumes(&self) -> bool {
        let told = self.fetch("/server.php").unwrap_or_else(|error| panic!("{error}"));
        match told.server("SSL_SESSION_RESUMED").as_deref() {
            Some("Resumed") => true,
            Some("Initial") => false,
            other => panic!("{other:?}"),
        }
    }
}

impl Fetched {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// One of `$_SERVER`, of what `server.php` tells.
    pub(crate) fn server(&self, name: &str) -> Option<String> {
        let told: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body));
        told["server"].get(name).map(|value| value.as_str().unwrap().to_owned())
    }
}
