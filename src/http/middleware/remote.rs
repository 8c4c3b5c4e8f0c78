//! `sendremotefile`: a script names a file on another server in place of a body, by `X-Sendremotefile`.
//!
//! As RoadRunner's of that name, and with bounds: files come from the hosts that are listed, at addresses that anybody could reach
//! or that are listed too, whatever a redirect or a name server says. The client's range and conditions are handed on. The
//! script's other headers stay, but for those that speak of a body; none of the other server's reach the client but those.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use tokio::{sync::Semaphore, time::Instant};
use tokio_rustls::TlsConnector;

use self::fetch::{Failure, Fetched};
pub use self::{body::Remote, host::Hosts};
use super::sendfile::{Asked, OF_BODY};
use crate::http::{Body, response, subnet::Subnets};

mod body;
mod fetch;
mod host;

/// Where files may come from, and how long that may take (`http.sendremotefile`).
#[derive(Clone, Debug)]
pub struct Config {
    /// The hosts.
    pub hosts: Hosts,
    /// Addresses that are all right although they are not public ones.
    pub networks: Subnets,
    /// How long connecting may take, a head, and standing still.
    pub timeout: Duration,
    /// How long all of it may take.
    pub max_time: Duration,
    /// Bytes of the largest file.
    pub max_size: u64,
    /// Redirects followed.
    pub max_redirects: usize,
    /// Files under way at once.
    pub max_fetches: usize,
    /// A file of certificates that are trusted beside the system's.
    pub root_ca: Option<PathBuf>,
}

/// Sends the files of other servers that scripts name.
#[derive(Debug)]
pub struct SendRemoteFile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    tls: Tls,
    places: Arc<Semaphore>,
}

struct Tls(TlsConnector);

const X_SENDREMOTEFILE: HeaderName = HeaderName::from_static("x-sendremotefile");

// === impl Config ===

impl Config {
    /// Reads the certificates.
    pub fn build(self) -> io::Result<SendRemoteFile> {
        let tls = Tls::trusting(self.root_ca.as_deref())?;
        let places = Arc::new(Semaphore::new(self.max_fetches.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(SendRemoteFile(Arc::new(Shared { config: self, tls, places })))
    }
}

// === impl SendRemoteFile ===

impl SendRemoteFile {
    pub(super) async fn after(&self, asked: &Asked, mut response: Response<Body>) -> Response<Body> {
        let Some(url) = response.headers_mut().remove(X_SENDREMOTEFILE) else { return response };
        if response.status() == StatusCode::NOT_MODIFIED {
            return response;
        }
        let end = Instant::now() + self.0.config.max_time;
        let fetched = match tokio::time::timeout_at(end, self.0.fetch(&url, asked)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(Failure::Slow("the answer")),
        };
        match fetched {
            Ok(fetched) => merged(response.into_parts().0.headers, fetched, &asked.method, (&self.0.config, end)),
            Err(failure) => {
                let status = failure.status();
                tracing::error!(%status, ?url, "X-Sendremotefile: {failure}");
                match status {
                    StatusCode::SERVICE_UNAVAILABLE => response::overloaded(),
                    status => response::plain(status),
                }
            }
        }
    }
}

/// The file under the headers of the script.
fn merged(mut script: HeaderMap, fetched: Fetched, method: &Method, (config, end): (&Config, Instant)) -> Response<Body> {
    let Fetched { answer, place } = fetched;
    let (parts, body) = answer.into_parts();
    OF_BODY.iter().for_each(|name| drop(script.remove(name)));
    for name in OF_BODY.iter().filter(|name| *name != header::TRANSFER_ENCODING) {
        for value in parts.headers.get_all(name) {
            script.append(name, value.clone());
        }
    }
    let has_file = matches!(parts.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
    if !has_file {
        script.remove(header::CONTENT_TYPE);
        script.remove(header::CONTENT_DISPOSITION);
    } else if is_unsaid(script.get(header::CONTENT_TYPE)) {
        script.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    }
    let body = match has_file && method != Method::HEAD {
        true => Body::Remote(Box::new(Remote::new(body, place, config, end))),
        false => Body::Empty,
    };
    if !has_file {
        script.remove(header::CONTENT_LENGTH);
    }
    let mut response = Response::new(body);
    *response.status_mut() = parts.status;
    *response.headers_mut() = script;
    response
}

/// A type that PHP has put there, not the script: nobody names a file elsewhere to send a page.
fn is_unsaid(content_type: Option<&HeaderValue>) -> bool {
    content_type.is_none_or(|value| value.as_bytes().starts_with(b"text/html"))
}
