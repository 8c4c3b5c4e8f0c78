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
mod last_words;
mod link;
mod refused;
mod sniff;
mod wire;

#[cfg(test)]
mod tests;

use std::{
    future::{self, Future},
    io, iter,
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

pub(super) use head::is_host;
pub use hints::EarlyHints;
pub(super) use link::roughly;
pub use refused::RefusedHead;
pub(crate) use sniff::Protocol;

use super::{
    Body, Drain, Incoming, Peer,
    accept::{Acceptor, SendFile, Stream, accept},
    crowd::{Guest, Listened, Room},
    drain::{Closed, Timeout},
    listen::Listeners,
    proxy::{self, Proxies},
    response,
    subnet::Subnets,
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
    /// Connections open at once over all listeners; for more, those leave that have been idle longest, and while none is, clients
    /// wait in the kernel's queue. Loops that accept at the same moment may each go one over it.
    pub max_connections: usize,
    /// The same for each socket.
    pub max_per_listener: usize,
    /// Connections of one client, which is an address, or a network of 64 bits; more are closed at once.
    pub max_per_client: usize,
    /// Who may have more: whoever brings other clients' requests.
    pub exempt: Subnets,
    /// How old a connection may get; it leaves after the answer that it is at, give or take a tenth.
    pub max_age: Option<Duration>,
    /// Where it is full, heads that do not come to an end make room for others, as idle connections do.
    pub heads_make_room: bool,
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

    /// What a client is told whose request is refused before it is one, for its head is too long, too slow or not well formed. Nobody
    /// knows for sure what it asks for.
    fn refuse(&self, status: StatusCode) -> impl Future<Output = Response<Body>> + Send {
        future::ready(response::plain(status))
    }

    /// Is told of a request that nobody is asked to answer.
    fn refused(&self, refused: &RefusedHead, peer: &Peer) {
        let (_, _) = (refused, peer);
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
    listened: Listened,
}

/// A connection that comes.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) peer: Peer,
    pub(crate) protocol: Protocol,
    pub(crate) listened: Listened,
}

/// Serves HTTP on `entries` from the current runtime until [`Drain::stop_accepting`]. Connections go on after that in
/// tasks of the runtime; [`Drain::wait`] tells when they are done.
pub async fn serve<S: Handler>(entries: &[Entry], config: Arc<Config>, handler: S, drain: Drain) -> io::Result<()> {
    let plain = if config.h2c { Protocol::Sniff } else { Protocol::Http1 };
    let (all, here) = (config.max_connections, config.max_per_listener);
    let server = Arc::new(Server::new(config, handler, drain.clone()));
    let mut loops = JoinSet::new();
    let mut doors = Vec::new();
    for entry in entries {
        let proxies = entry.proxies.iter().cloned().chain(iter::repeat(None));
        let acceptors = Acceptor::register(&entry.listeners)?.into_iter().zip(entry.listeners.listened()).zip(proxies);
        doors.extend(
            acceptors
                .map(|((acceptor, listened), proxies)| (acceptor, Arc::new(Door { proxies, tls: entry.tls.clone(), listened }))),
        );
    }
    for (acceptor, door) in doors {
        let (server, drain) = (server.clone(), drain.clone());
        loops.spawn(async move {
            let room = Room { all, here, listened: door.listened.clone() };
            accept(acceptor, &drain, room, |stream, peer, open| {
                let server = server.clone();
                let arrival = Arrival { peer, protocol: plain, listened: door.listened.clone() };
                if door.is_plain() {
                    let Ok(guest) = server.welcome(&arrival.peer) else { return };
                    tokio::spawn(doorbell::heeding(async move {
                        server.connection(stream, arrival).await;
                        drop((open, guest));
                    }));
                } else {
                    let door = door.clone();
                    tokio::spawn(doorbell::heeding(async move {
                        server.greet(stream, arrival, &door).await;
                        drop(open);
                    }));
                }
            })
            .await;
        });
    }
    while let Some(ended) = loops.join_next().await {
        ended?;
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
    async fn greet(&self, mut io: Stream, mut arrival: Arrival, door: &Door) {
        if let Some(proxies) = &door.proxies
            && let Err(error) = proxies.receive(&mut io, &mut arrival.peer).await
        {
            if matches!(error, proxy::Refused::Timeout(_)) {
                self.drain.count_timeout(Timeout::Proxy);
            } else {
                self.drain.count_refusal();
                self.drain.count_closed(Closed::Proxy);
            }
            tracing::debug!("connection refused: {error}");
            return;
        }
        // Now that it is known whose it is.
        let Ok(_guest) = self.welcome(&arrival.peer) else { return };
        match &door.tls {
            Some(tls) => self.encrypted(io, arrival, tls).await,
            None => self.connection(io, arrival).await,
        }
    }

    /// Counts a connection of a client, unless that may have as many as it wants. An error if it has enough.
    fn welcome(&self, peer: &Peer) -> Result<Option<Guest>, ()> {
        let client = peer.remote.map(|address| address.ip()).filter(|client| !self.config.exempt.contains(*client));
        let Some(client) = client.filter(|_| self.config.max_per_client < usize::MAX) else { return Ok(None) };
        let guest = self.drain.crowd().welcome(client, self.config.max_per_client);
        if guest.is_none() {
            self.drain.count_closed(Closed::Client);
            tracing::debug!(%client, "connection closed: it has http.limits.max_connections_per_client");
        }
        guest.ok_or(()).map(Some)
    }

    /// Serves one connection that begins with a TLS handshake.
    async fn encrypted(&self, io: Stream, mut arrival: Arrival, tls: &Tls) {
        let began = Instant::now();
        let hurry = async {
            self.drain.started().await;
            tokio::time::sleep(self.drain.idle(self.config.drain_idle)).await;
        };
        // In a box, for the state of a handshake is large, and over before the connection has well begun.
        let greeted = tokio::select! {
            greeted = Box::pin(tls.greet(io)) => greeted,
            () = hurry => Err(Refused::Timeout),
            () = self.drain.crowd().asked_to_leave(&arrival.listened) => {
                self.drain.count_closed(Closed::Room);
                return;
            }
        };
        match greeted {
            Ok(Greeted { stream, is_http2, is_resumed, secure }) => {
                self.drain.handshakes().note(began.elapsed(), is_resumed);
                arrival.peer.secure = Some(secure);
                arrival.protocol = if is_http2 { Protocol::Http2 } else { Protocol::Http1 };
                Box::pin(self.connection(stream, arrival)).await;
            }
            Err(refused) => refused.note(&self.drain, arrival.peer.remote),
        }
    }

    /// Serves one connection to its end.
    pub(crate) async fn connection<I>(&self, io: I, arrival: Arrival)
    where
        I: AsyncRead + AsyncWrite + SendFile + Unpin + Send + 'static,
    {
        let Arrival { peer, protocol, listened } = arrival;
        let Some((protocol, read, io)) = sniff::choose(io, protocol, self, &listened).await else {
            return;
        };
        match protocol {
            Protocol::Http2 => h2::serve(self, (io, read), peer, listened).await,
            _ => h1::serve(self, (io, read), peer, listened).await,
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
