//! A port that is listened on while an order runs, if it is none of the server's own.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use http::StatusCode;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::{crypto::aws_lc_rs, server::Acceptor};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};
use tokio_rustls::LazyConfigAcceptor;

use super::{Acme, Challenge, Error};
use crate::http::response;

/// Open until it is dropped.
pub(super) struct Door(AbortHandle);

/// An authority looks from a few places at once.
const MAX_CONNECTIONS: usize = 64;

/// How long one look may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait when descriptors ran out.
const RETRY: Duration = Duration::from_millis(100);

// === impl Door ===

impl Door {
    /// None if the port needs no door: it is ours, or somebody else's who passes on what is asked for.
    pub(super) async fn open(acme: &Acme) -> Result<Option<Self>, Error> {
        let config = &acme.0.config;
        if config.is_served {
            return Ok(None);
        }
        let listener = match bind(config.port).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tracing::info!(
                    "http.ssl.acme: port {} is another server's, which has to pass on what the authority asks",
                    config.port
                );
                return Ok(None);
            }
            bound => bound.map_err(|error| Error::Door(config.port, error))?,
        };
        let acme = acme.clone();
        Ok(Some(Self(tokio::spawn(accept(listener, acme)).abort_handle())))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// On every interface, of both families where the kernel has both.
async fn bind(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
}

async fn accept(listener: TcpListener, acme: Acme) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                while connections.try_join_next().is_some() {}
                if connections.len() >= MAX_CONNECTIONS {
                    continue;
                }
                let acme = acme.clone();
                connections.spawn(async move {
                    // Whoever comes for something else is no concern of ours.
                    drop(tokio::time::timeout(TIMEOUT, serve(stream, &acme)).await);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "http.ssl.acme: cannot accept a connection");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, acme: &Acme) {
    match acme.0.config.challenge {
        Challenge::Http01 => {
            let answer = service_fn(async |request: http::Request<Incoming>| {
                let answer = acme.respond(request.method(), request.uri().path());
                Ok::<_, Infallible>(answer.unwrap_or_else(|| response::plain(StatusCode::NOT_FOUND)))
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(TIMEOUT).keep_alive(false);
            drop(http.serve_connection(TokioIo::new(stream), answer).await);
        }
        Challenge::TlsAlpn01 => {
            let Ok(hello) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else { return };
            let host = hello.client_hello().server_name().map(str::to_owned);
            let provider = Arc::new(aws_lc_rs::default_provider());
            if let Some(config) = host.and_then(|host| acme.greeting(&host, &provider)) {
                drop(hello.into_stream(config).await);
            }
        }
    }
}
