//! One file of another server: redirects, names, connections, and what the answer must be like.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header, uri::Scheme};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Asked, Shared, Tls, host};

/// An answer whose body is still to come.
pub(super) struct Fetched {
    pub(super) answer: Response<Incoming>,
    /// Given back when the body has ended.
    pub(super) place: Arc<OwnedSemaphorePermit>,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("it is no http:// or https:// URL, or has a name and a password in it")]
    NoUrl,
    #[error("{0} is no host of http.sendremotefile.hosts")]
    Stranger(String),
    #[error("{host} leads to {address}, which is no public address; see http.sendremotefile.networks")]
    Inside { host: String, address: IpAddr },
    #[error("the other server answers with {0}")]
    Status(StatusCode),
    #[error("the file has {0} bytes, more than http.sendremotefile.max_size")]
    Large(u64),
    #[error("more than http.sendremotefile.max_redirects, or one from https:// to http://, or to nowhere")]
    Redirects,
    #[error("http.sendremotefile.max_fetches are under way")]
    Full,
    #[error("{0} took too long")]
    Slow(&'static str),
    #[error("{0}: {1}")]
    Broken(&'static str, String),
}

/// Where a URL leads.
struct Place {
    is_secure: bool,
    /// Without brackets.
    host: String,
    port: u16,
    url: Uri,
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

// === impl Failure ===

impl Failure {
    /// What the client is told.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NoUrl => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Stranger(_) | Self::Inside { .. } => StatusCode::FORBIDDEN,
            Self::Status(StatusCode::NOT_FOUND | StatusCode::GONE) => StatusCode::NOT_FOUND,
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::Slow(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Status(_) | Self::Large(_) | Self::Redirects | Self::Broken(..) => StatusCode::BAD_GATEWAY,
        }
    }
}

// === impl Shared ===

impl Shared {
    /// The answer of whom `url` names, or of whom that leads to.
    pub(super) async fn fetch(&self, url: &HeaderValue, asked: &Asked) -> Result<Fetched, Failure> {
        let permit = Arc::new(self.places.clone().try_acquire_owned().map_err(|_| Failure::Full)?);
        let mut place = Place::read(url.as_bytes())?;
        for _ in 0..=self.config.max_redirects {
            let answer = self.ask(&place, asked, &permit).await?;
            match answer.status() {
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => place = place.next(answer.headers().get(header::LOCATION))?,
                _ => return self.checked(answer, asked, permit),
            }
        }
        Err(Failure::Redirects)
    }

    fn checked(&self, answer: Response<Incoming>, asked: &Asked, place: Arc<OwnedSemaphorePermit>) -> Result<Fetched, Failure> {
        let is_answer = match answer.status() {
            StatusCode::OK => true,
            StatusCode::PARTIAL_CONTENT
            | StatusCode::NOT_MODIFIED
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::RANGE_NOT_SATISFIABLE => !asked.headers.is_empty(),
            _ => false,
        };
        if !is_answer {
            return Err(Failure::Status(answer.status()));
        }
        let length = answer.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        match length.filter(|length| *length > self.config.max_size) {
            Some(length) => Err(Failure::Large(length)),
            None => Ok(Fetched { answer, place }),
        }
    }

    async fn ask(&self, place: &Place, asked: &Asked, permit: &Arc<OwnedSemaphorePermit>) -> Result<Response<Incoming>, Failure> {
        let limit = self.config.timeout;
        let wire = timeout(limit, self.connect(place, permit)).await.map_err(|_| Failure::Slow("connecting"))??;
        let broken = |what: &'static str| move |error: hyper::Error| Failure::Broken(what, error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(wire)).await.map_err(broken("connecting"))?;
        tokio::spawn(async move {
            // Whoever reads the body is told too.
            drop(connection.await);
        });
        // With the slash that a URL of nothing but a query leaves out.
        let path = place.url.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let mut request = Request::builder().method(&asked.method).uri(path);
        if let Some(headers) = request.headers_mut() {
            headers.extend(asked.headers.clone());
            headers.remove(header::ACCEPT_ENCODING);
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            let authority = place.url.authority().map_or("", |authority| authority.as_str());
            headers.insert(header::HOST, HeaderValue::from_str(authority).map_err(|_| Failure::NoUrl)?);
            headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("rr/", env!("CARGO_PKG_VERSION"))));
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|_| Failure::NoUrl)?;
        let answer = timeout(limit, sender.send_request(request)).await.map_err(|_| Failure::Slow("the answer"))?;
        answer.map_err(broken("asking"))
    }

    async fn connect(&self, place: &Place, permit: &Arc<OwnedSemaphorePermit>) -> Result<Box<dyn Wire>, Failure> {
        if !self.config.hosts.have(&place.host, place.port, place.usual_port()) {
            return Err(Failure::Stranger(place.url.authority().map_or("it", |authority| authority.as_str()).to_owned()));
        }
        let broken = |what: &'static str| move |error: io::Error| Failure::Broken(what, error.to_string());
        let stream = self.reach(place, permit).await?;
        drop(stream.set_nodelay(true));
        if !place.is_secure {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(place.host.clone()).map_err(|_| Failure::NoUrl)?;
        Ok(Box::new(self.tls.0.connect(name, stream).await.map_err(broken("TLS"))?))
    }

    /// Connects to an address that is looked at first: the one that was looked at is the one connected to.
    async fn reach(&self, place: &Place, permit: &Arc<OwnedSemaphorePermit>) -> Result<TcpStream, Failure> {
        let failed = |error: io::Error| Failure::Broken("connecting", error.to_string());
        let found = lookup(place, permit.clone()).await.map_err(|error| Failure::Broken("its name", error.to_string()))?;
        let is_allowed = |address: IpAddr| {
            host::is_public(address)
                || self.config.networks.contains(address)
                || self.config.hosts.name(address, place.port, place.usual_port())
        };
        let mut last = Failure::Broken("its name", "it has no address".into());
        for address in found {
            if !is_allowed(address.ip()) {
                last = Failure::Inside { host: place.host.clone(), address: address.ip() };
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = failed(error),
            }
        }
        Err(last)
    }
}

/// Its addresses. Nothing ends a look-up early, so it keeps its place until it has ended, whoever still waits.
async fn lookup(place: &Place, permit: Arc<OwnedSemaphorePermit>) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = (place.host.clone(), place.port);
    let looking = tokio::spawn(async move {
        let found = tokio::net::lookup_host((host.as_str(), port)).await.map(Iterator::collect);
        drop(permit);
        found
    });
    looking.await.map_err(io::Error::other)?
}

// === impl Place ===

impl Place {
    fn usual_port(&self) -> u16 {
        if self.is_secure { 443 } else { 80 }
    }

    fn read(text: &[u8]) -> Result<Self, Failure> {
        Self::of(Uri::try_from(text.trim_ascii()).map_err(|_| Failure::NoUrl)?)
    }

    fn of(url: Uri) -> Result<Self, Failure> {
        let is_secure = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(Failure::NoUrl),
        };
        let authority = url.authority().ok_or(Failure::NoUrl)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(Failure::NoUrl);
        }
        let port = authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        Ok(Self { is_secure, host, port, url })
    }

    /// Where `location` leads from here.
    fn next(&self, location: Option<&HeaderValue>) -> Result<Self, Failure> {
        let text = location.and_then(|location| location.to_str().ok()).ok_or(Failure::Redirects)?;
        let text = text.split('#').next().unwrap_or_default();
        let scheme = if self.is_secure { "https:" } else { "http:" };
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let whole = match text {
            _ if text.starts_with("http://") || text.starts_with("https://") => text.to_owned(),
            _ if text.starts_with("//") => format!("{scheme}{text}"),
            _ if text.starts_with('/') => format!("{scheme}//{authority}{text}"),
            // Another scheme.
            _ if text.split(['/', '?']).next().is_some_and(|first| first.contains(':')) => return Err(Failure::Redirects),
            _ => {
                let folder = self.url.path().rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{scheme}//{authority}{folder}/{text}")
            }
        };
        let next = Self::read(whole.as_bytes()).map_err(|_| Failure::Redirects)?;
        if self.is_secure && !next.is_secure { Err(Failure::Redirects) } else { Ok(next) }
    }
}

// === impl Tls ===

impl Tls {
    /// One that trusts whom the system trusts, and the authorities in `file`.
    pub(super) fn trusting(file: Option<&Path>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if let Some(file) = file {
            let wrong = |error: &dyn std::fmt::Display| io::Error::other(format!("root_ca: {}: {error}", file.display()));
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
                roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
            }
        }
        if roots.is_empty() {
            tracing::warn!("sendremotefile: no certificates are trusted, so nothing comes by https://: install ca-certificates");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tls")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<Place, Failure> {
        Place::read(text.as_bytes())
    }

    #[test]
    fn a_url_names_a_scheme_and_a_host_and_no_password() {
        let found = place("https://a.example/x?y").unwrap();
        assert_eq!((found.is_secure, found.host.as_str(), found.port), (true, "a.example", 443));
        let found = place(" http://[2001:db8::1]:81/ ").unwrap();
        assert_eq!((found.is_secure, found.host.as_str(), found.port), (false, "2001:db8::1", 81));
        for wrong in
            ["", "/x", "a.example", "ftp://a.example/", "file:///etc/passwd", "http://", "https://u:p@a.example/", "http://a b/"]
        {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn redirects_lead_on_and_never_away_from_tls() {
        let next = |from: &str, to: &str| {
            let location = HeaderValue::from_str(to).unwrap();
            place(from).unwrap().next(Some(&location)).map(|place| place.url.to_string()).ok()
        };
        assert_eq!(next("http://a.example/b/c?d", "https://e.example/f").as_deref(), Some("https://e.example/f"));
        assert_eq!(next("https://a.example/b/c", "//e.example/f").as_deref(), Some("https://e.example/f"));
        assert_eq!(next("https://a.example:444/b/c", "/f#g").as_deref(), Some("https://a.example:444/f"));
        assert_eq!(next("https://a.example/b/c", "f?g").as_deref(), Some("https://a.example/b/f?g"));
        assert_eq!(next("https://a.example/", "http://a.example/"), None);
        assert_eq!(next("https://a.example/", "ftp://a.example/"), None);
        assert!(place("http://a.example/").unwrap().next(None).is_err());
    }
}
