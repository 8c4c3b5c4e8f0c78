//! Who may connect, and how.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TokioRuntime, TransportConfig,
    crypto::rustls::{HandshakeData, QuicServerConfig},
};
use rustls::pki_types::CertificateDer;

use super::{
    Config, Needs, Secret, Slot, Terms,
    connection::{Connection, Shared},
    frame::code,
    keys,
};
use crate::{
    http::{
        accept::canonical,
        conn::Handler,
        crowd::{Guest, Listened, Room},
        drain::{Closed, OpenConnection},
        tls::{Refused, Tls},
    },
    worker::doorbell,
};

/// Serves HTTP/3.
#[derive(Debug)]
pub struct Server<S> {
    // Each is taken by the io thread that serves it.
    sockets: Vec<Mutex<Option<UdpSocket>>>,
    slot: Slot,
    secret: Secret,
    tls: Tls,
    quic: Config,
    shared: Arc<Shared<S>>,
}

/// One port.
struct Gate<S> {
    endpoint: Endpoint,
    local: Option<SocketAddr>,
    tls: Tls,
    transport: Arc<TransportConfig>,
    secret: Secret,
    shared: Arc<Shared<S>>,
    retry_above: usize,
    // Made of the certificates that were in force then.
    current: Mutex<(Arc<rustls::ServerConfig>, Arc<ServerConfig>)>,
    greeting: AtomicUsize,
    // Clients are refused for now, since there are too many.
    is_pausing: AtomicBool,
    room: Room,
}

/// A client has as many connections as it may have.
#[derive(Debug)]
struct TooMany;

/// Packets that wait for a connection to be taken, in bytes for one, and for all.
const WAITING_ONE: u64 = 64 * 1024;
const WAITING_ALL: u64 = 16 * 1024 * 1024;
/// Connections that wait to be taken.
const WAITING: usize = 4096;

/// The protocol's name in TLS.
const H3: &[u8] = b"h3";

/// The one version there is, whose drafts are over.
const QUIC_1: u32 = 1;

/// Streams that a client may open to say something: control, two of QPACK, and some that grease the wheels.
const ONE_WAY_STREAMS: u32 = 16;

/// How much more often than necessary a client is asked whether it is still there.
const ASKS: u32 = 3;

// === impl Server ===

impl<S: Handler> Server<S> {
    /// A server whose requests `handler` answers.
    pub fn new(needs: Needs, handler: S) -> Self {
        let Needs { sockets, terms: Terms { slot, secret, .. }, tls, quic, config, drain } = needs;
        let shared = Arc::new(Shared { config, handler, drain });
        Self { sockets: sockets.into_iter().map(|socket| Mutex::new(Some(socket))).collect(), slot, secret, tls, quic, shared }
    }

    /// Serves from the current runtime, which is the one numbered `index` of `count`, until [`Drain::stop_accepting`]; each port is
    /// served by one of them. Connections go on after that in tasks of the runtime.
    ///
    /// [`Drain::stop_accepting`]: crate::http::Drain::stop_accepting
    pub async fn serve(&self, index: usize, count: usize) -> io::Result<()> {
        let mine = self.sockets.iter().enumerate().filter(|(number, _)| number % count.max(1) == index);
        for socket in mine.filter_map(|(_, socket)| socket.lock().take()) {
            let gate = Arc::new(self.gate(socket)?);
            // It refuses clients for as long as the process lives: they then know that they have to go elsewhere.
            tokio::spawn(gate.run());
        }
        self.shared.drain.stopped().await;
        Ok(())
    }

    /// Its certificates.
    pub fn tls(&self) -> &Tls {
        &self.tls
    }

    fn gate(&self, socket: UdpSocket) -> io::Result<Gate<S>> {
        let mut config = EndpointConfig::new(self.secret.resets(self.slot));
        config.cid_generator(keys::ids(self.slot)).supported_versions(vec![QUIC_1]);
        let local = socket.local_addr().ok().map(canonical);
        let transport = Arc::new(self.quic.transport(&self.shared.config));
        let seen = self.tls.current();
        let server = server(&self.tls, &self.secret, &transport)?;
        let limits = &self.shared.config;
        let endpoint = Endpoint::new(config, Some(server.clone()), socket, Arc::new(TokioRuntime))?;
        Ok(Gate {
            endpoint,
            local,
            tls: self.tls.clone(),
            transport,
            secret: self.secret.clone(),
            shared: self.shared.clone(),
            retry_above: self.quic.retry_above,
            current: Mutex::new((seen, Arc::new(server))),
            greeting: AtomicUsize::new(0),
            is_pausing: AtomicBool::new(false),
            room: Room { all: limits.max_connections, here: limits.max_per_listener, listened: Listened::default() },
        })
    }
}

fn server(tls: &Tls, secret: &Secret, transport: &Arc<TransportConfig>) -> io::Result<ServerConfig> {
    let crypto = QuicServerConfig::try_from(tls.speaking(H3)).map_err(io::Error::other)?;
    let mut config = ServerConfig::new(Arc::new(crypto), secret.tokens());
    config
        .transport_config(transport.clone())
        .max_incoming(WAITING)
        .incoming_buffer_size(WAITING_ONE)
        .incoming_buffer_size_total(WAITING_ALL);
    Ok(config)
}

// === impl Config ===

impl Config {
    fn transport(&self, limits: &crate::http::conn::Config) -> TransportConfig {
        let mut transport = TransportConfig::default();
        // It has 62 bits for milliseconds.
        let idle = IdleTimeout::try_from(self.idle_timeout).ok();
        transport
            .max_idle_timeout(idle)
            .keep_alive_interval(Some(self.idle_timeout / ASKS).filter(|interval| !interval.is_zero()))
            .max_concurrent_bidi_streams(limits.max_concurrent_streams.into())
            .max_concurrent_uni_streams(ONE_WAY_STREAMS.into())
            .receive_window(self.receive_window.into())
            .stream_receive_window(self.stream_receive_window.into())
            .send_window(self.send_window.into())
            .datagram_receive_buffer_size(None);
        transport
    }
}

// === impl Gate ===

impl<S: Handler> Gate<S> {
    async fn run(self: Arc<Self>) {
        let mut accepting = Some(self.shared.drain.accepting());
        let mut stopped = pin!(self.shared.drain.stopped());
        loop {
            let incoming = tokio::select! {
                biased;
                () = &mut stopped, if accepting.is_some() => {
                    accepting = None;
                    continue;
                }
                incoming = self.endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { return };
            if accepting.is_none() {
                incoming.refuse();
            } else {
                self.clone().admit(incoming);
            }
        }
    }

    /// Greets a client, or does not.
    fn admit(self: Arc<Self>, incoming: Incoming) {
        let drain = &self.shared.drain;
        let greeting = self.greeting.load(Relaxed);
        let (timeout, most) = self.tls.handshakes();
        if greeting >= self.retry_above && !incoming.remote_address_validated() {
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
            return;
        }
        let is_full = !drain.has(&self.room);
        if is_full || greeting >= most {
            if !self.is_pausing.swap(true, Relaxed) {
                drain.count_pause();
            }
            // Who has nothing to do leaves for a connection, not for a handshake.
            if is_full {
                drain.make_room(&self.room);
            }
            incoming.refuse();
            return;
        }
        self.is_pausing.store(false, Relaxed);
        let client = incoming.remote_address();
        let guest = incoming.remote_address_validated().then(|| self.welcome(client));
        if matches!(guest, Some(Err(_))) {
            drain.count_closed(Closed::Client);
            incoming.refuse();
            return;
        }
        self.greeting.fetch_add(1, Relaxed);
        let (open, began) = (drain.open(&self.room.listened), Instant::now());
        tokio::spawn(doorbell::heeding(async move {
            let greeted = Box::pin(self.greet(incoming, timeout)).await;
            self.greeting.fetch_sub(1, Relaxed);
            if let Some(connection) = greeted {
                self.shared.drain.handshakes().note_quic(began.elapsed());
                self.serve(connection, guest, open).await;
            }
        }));
    }

    async fn greet(&self, incoming: Incoming, timeout: Duration) -> Option<quinn::Connection> {
        let client = incoming.remote_address();
        let connecting = incoming.accept_with(self.certificates());
        let connecting = connecting.map_err(|error| tracing::debug!(%client, "QUIC: {error}")).ok()?;
        let refused = match tokio::time::timeout(timeout, connecting).await {
            Ok(Ok(connection)) => return Some(connection),
            Ok(Err(error)) => Refused::FailedQuic(error),
            Err(_) => Refused::Timeout,
        };
        refused.note(&self.shared.drain, Some(canonical(client)));
        None
    }

    /// Counts a connection of a client, unless it has too many; none for one that may have any number.
    fn welcome(&self, client: SocketAddr) -> Result<Option<Guest>, TooMany> {
        let (limits, client) = (&self.shared.config, canonical(client).ip());
        if limits.max_per_client == usize::MAX || limits.exempt.contains(client) {
            return Ok(None);
        }
        self.shared.drain.crowd().welcome(client, limits.max_per_client).map(Some).ok_or(TooMany)
    }

    /// Serves a client, that was counted if it had proven its address before.
    async fn serve(&self, quic: quinn::Connection, guest: Option<Result<Option<Guest>, TooMany>>, open: OpenConnection) {
        let told = quic.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        let name = told.and_then(|told| told.server_name);
        let shown = quic.peer_identity().and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
        if !self.tls.still_trusts(shown.as_ref().map(|chain| &chain[..])) {
            Refused::Distrusted.note(&self.shared.drain, Some(canonical(quic.remote_address())));
            quic.close(code::GENERAL, b"the client's certificate is good no more");
            return;
        }
        let certificate = shown.as_ref().and_then(|chain| chain.first()).map(|der| &der[..]);
        let secure = Arc::new(self.tls.facts_of_quic(name.as_deref(), certificate));
        let local = match (self.local, quic.local_ip()) {
            (Some(local), Some(ip)) => Some(SocketAddr::new(ip.to_canonical(), local.port())),
            (local, _) => local,
        };
        // At the latest now it is known that the address is its own.
        let Ok(guest) = guest.unwrap_or_else(|| self.welcome(quic.remote_address())) else {
            self.shared.drain.count_closed(Closed::Client);
            quic.close(code::EXCESSIVE_LOAD, b"too many connections of one client");
            return;
        };
        Connection { shared: self.shared.clone(), quic, secure, local, listened: self.room.listened.clone() }.serve().await;
        drop((open, guest));
    }

    /// The certificates that are in force now.
    fn certificates(&self) -> Arc<ServerConfig> {
        let now = self.tls.current();
        let mut current = self.current.lock();
        if !Arc::ptr_eq(&current.0, &now) {
            match server(&self.tls, &self.secret, &self.transport) {
                Ok(config) => *current = (now, Arc::new(config)),
                Err(error) => tracing::error!("HTTP/3 goes on with the old certificates: {error}"),
            }
        }
        current.1.clone()
    }
}

impl<S> std::fmt::Debug for Gate<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Gate").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
