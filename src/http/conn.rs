//! One task per connection: the protocol is chosen here, hyper speaks it, and what hyper does not enforce is enforced
//! around it.
//!
//! ```text
//! accept → (PROXY) → (TLS) → sniff → h1: hyper over a Wire (strict heads, time-outs, interim responses, lingering close)
//!                                  → h2: hyper over a socket watched for stalls, streams counted
//! ```

mod body;
mod frames;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod h1;
mod h2;
mod head;
mod hints;
mod link;
mod sniff;
mod wire;

#[cfg(test)]
mod tests;

use std::{future::Future, io, iter, sync::Arc, time::Duration};

use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

pub(super) use head::is_host;
pub use hints::EarlyHints;
use sniff::Protocol;

use super::{
    Body, Drain, Incoming, Peer,
    accept::{Acceptor, SendFile, Stream, accept},
    drain::Timeout,
    listen::Listeners,
    proxy::{self, Proxies},
    tls::{Greeted, Refused, Tls},
};
use crate::worker::doorbell;

/// Limits of connections; the same for every protocol as far as it knows the thing.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of a request head.
    pub max_header_bytes: usize,
    /// Fields in a request head.
    pub max_headers: usize,
    /// Bytes of a request's URI.
    pub max_uri: usize,
    /// From the first byte of a head to its last; also how long the first request of a connection may take to begin.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub keepalive_timeout: Duration,
    /// How long a peer may take nothing of an answer.
    pub write_timeout: Duration,
    /// Requests on one connection.
    pub keepalive_requests: u64,
    /// Connections open at once over all listeners; with more, clients wait in the kernel's queue. Loops that accept at
    /// the same moment may each go one over it.
    pub max_connections: usize,
    /// HTTP/2 without TLS, by prior knowledge.
    pub h2c: bool,
    /// Requests at once on one h2 connection.
    pub max_concurrent_streams: u32,
    /// How long an idle connection is kept for a last request while draining.
    pub drain_idle: Duration,
}

/// Answers requests.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request; whatever goes wrong, there is an answer.
    fn handle(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Response<Body>> + Send;

    /// Answers one request, with a way to send interim responses before; this is what connections call.
    ///
    /// There are hints for HTTP/1.1 and 3 only: HTTP/1.0 clients know no interim responses, and hyper's h2 cannot send them.
    /// They are an argument and no extension of the request, which would cost three allocations for every request.
    fn handle_hinted(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        hints: Option<EarlyHints>,
    ) -> impl Future<Output = Response<Body>> + Send {
        drop(hints);
        self.handle(request, peer)
    }
}

/// What all connections of one runtime have in common.
#[derive(Debug)]
pub(crate) struct Server<S> {
    config: Arc<Config>,
    handler: S,
    drain: Drain,
    http1: hyper::server::conn::http1::Builder,
    http2: hyper::server::conn::http2::Builder<TokioExecutor>,
}

/// Where connections come from, and how they begin.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The sockets.
    pub listeners: Listeners,
    /// For each socket, set if proxies speak before their clients do.
    pub proxies: Vec<Option<Arc<Proxies>>>,
    /// Set if TLS is spoken on them.
    pub tls: Option<Tls>,
}

/// How the connections of one socket begin.
#[derive(Clone, Debug)]
struct Door {
    proxies: Option<Arc<Proxies>>,
    tls: Option<Tls>,
}

/// Serves HTTP on `entries` from the current runtime until [`Drain::stop_accepting`]. Connections go on after that in
/// tasks of the runtime; [`Drain::wait`] tells when they are done.
pub async fn serve<S: Handler>(entries: &[Entry], config: Arc<Config>, handler: S, drain: Drain) -> io::Result<()> {
    let plain = if config.h2c { Protocol::Sniff } else { Protocol::Http1 };
    let limit = config.max_connections;
    let server = Arc::new(Server::new(config, handler, drain.clone()));
    let mut loops = Vec::new();
    let mut doors = Vec::new();
    for entry in entries {
        let proxies = entry.proxies.iter().cloned().chain(iter::repeat(None));
        let acceptors = Acceptor::register(&entry.listeners)?.into_iter().zip(proxies);
        doors.extend(acceptors.map(|(acceptor, proxies)| (acceptor, Arc::new(Door { proxies, tls: entry.tls.clone() }))));
    }
    for (acceptor, door) in doors {
        let (server, drain) = (server.clone(), drain.clone());
        loops.push(tokio::spawn(async move {
            accept(acceptor, &drain, limit, |stream, peer, open| {
                let server = server.clone();
                if door.is_plain() {
                    tokio::spawn(doorbell::heeding(async move {
                        server.connection(stream, peer, plain).await;
                        drop(open);
                    }));
                } else {
                    let door = door.clone();
                    tokio::spawn(doorbell::heeding(async move {
                        server.greet(stream, peer, plain, &door).await;
                        drop(open);
                    }));
                }
            })
            .await;
        }));
    }
    for running in loops {
        running.await?;
    }
    Ok(())
}

// === impl Door ===

impl Door {
    fn is_plain(&self) -> bool {
        self.proxies.is_none() && self.tls.is_none()
    }
}

// === impl Server ===

impl<S: Handler> Server<S> {
    pub(crate) fn new(config: Arc<Config>, handler: S, drain: Drain) -> Self {
        let mut http1 = hyper::server::conn::http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .header_read_timeout(None)
            // A client that shuts down its sending side after a complete request is served all the same.
            .half_close(true)
            // The wire has checked the size; hyper must have room for a head of just that size.
            .max_buf_size((config.max_header_bytes + 1).max(HYPER_MIN_BUFFER));
        // The wire has counted them. Up to its own default hyper keeps them on the stack, uninitialised.
        if config.max_headers > HYPER_HEADERS {
            http1.max_headers(config.max_headers);
        }
        let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .max_concurrent_streams(config.max_concurrent_streams)
            .max_send_buf_size(H2_SEND_BUFFER)
            .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(H2_RESETS)
            .max_local_error_reset_streams(H2_ERRORS);
        Self { config, handler, drain, http1, http2 }
    }

    /// Serves one connection that does not begin with a request.
    async fn greet(&self, mut io: Stream, mut peer: Peer, plain: Protocol, door: &Door) {
        if let Some(proxies) = &door.proxies
            && let Err(error) = proxies.receive(&mut io, &mut peer).await
        {
            if matches!(error, proxy::Refused::Timeout(_)) {
                self.drain.count_timeout(Timeout::Handshake);
            } else {
                self.drain.count_refusal();
            }
            tracing::debug!("connection refused: {error}");
            return;
        }
        match &door.tls {
            Some(tls) => self.encrypted(io, peer, tls).await,
            None => self.connection(io, peer, plain).await,
        }
    }

    /// Serves one connection that begins with a TLS handshake.
    async fn encrypted(&self, io: Stream, mut peer: Peer, tls: &Tls) {
        let hurry = async {
            self.drain.started().await;
            tokio::time::sleep(self.drain.idle(self.config.drain_idle)).await;
        };
        // In a box, for the state of a handshake is large, and over before the connection has well begun.
        let greeted = tokio::select! {
            greeted = Box::pin(tls.greet(io)) => greeted,
            () = hurry => Err(Refused::Timeout),
        };
        match greeted {
            Ok(Greeted { stream, is_http2, secure }) => {
                peer.secure = Some(secure);
                let protocol = if is_http2 { Protocol::Http2 } else { Protocol::Http1 };
                Box::pin(self.connection(stream, peer, protocol)).await;
            }
            Err(error) => {
                if matches!(error, Refused::Timeout) {
                    self.drain.count_timeout(Timeout::Handshake);
                }
                tracing::debug!(client = ?peer.remote, "TLS: {error}");
            }
        }
    }

    /// Serves one connection to its end.
    pub(crate) async fn connection<I>(&self, io: I, peer: Peer, protocol: Protocol)
    where
        I: AsyncRead + AsyncWrite + SendFile + Unpin + Send + 'static,
    {
        let Some((protocol, read, io)) = sniff::choose(io, protocol, self).await else {
            return;
        };
        match protocol {
            Protocol::Http2 => h2::serve(self, io, read, peer).await,
            _ => h1::serve(self, io, read, peer).await,
        }
    }
}

/// What hyper allows by itself.
const HYPER_HEADERS: usize = 100;

/// hyper takes no less.
const HYPER_MIN_BUFFER: usize = 8 * 1024;

/// What a stream may have waiting for a client that does not read; hyper's own 400 KB make 40 MB for 100 streams.
const H2_SEND_BUFFER: usize = 64 * 1024;

/// Streams reset by the peer before they were accepted, and by us for errors of the peer: past it the connection goes.
const H2_RESETS: usize = 20;
const H2_ERRORS: usize = 100;
