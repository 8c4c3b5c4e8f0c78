//! What is listened on: by this process itself, or by a supervisor that hands its sockets to one engine after another.

use std::{net::UdpSocket, os::fd::OwnedFd};

use super::{fileserver, health_checks, metrics, rights, rpc, settings, tcp};
use crate::{
    config::Config,
    error::Error,
    http::{
        h3::Terms,
        listen::{self, Listeners, Scope},
    },
    supervisor::{self, Held, Kind, Wanted},
};

/// What an engine listens on.
pub(super) struct Listening {
    pub(super) http: Listeners,
    pub(super) ssl: Listeners,
    pub(super) quic: Quic,
    pub(super) fcgi: Listeners,
    /// One for each TCP server.
    pub(super) tcp: Vec<Listeners>,
    pub(super) rpc: Listeners,
    /// For readers of metrics.
    pub(super) metrics: Listeners,
    /// For the file server.
    pub(super) fileserver: Listeners,
    /// For health checks; a supervisor answers them itself.
    pub(super) status: Listeners,
}

/// What HTTP/3 reads from.
pub(super) struct Quic {
    pub(super) sockets: Vec<UdpSocket>,
    /// How their ports are shared.
    pub(super) terms: Terms,
}

// === impl Listening ===

impl Listening {
    /// Where no more are accepted once an engine is to end. Calls are made by scripts that have not ended.
    pub(super) fn doors(&self) -> Listeners {
        let one = [&self.http, &self.ssl, &self.fcgi, &self.fileserver];
        Listeners::together(one.into_iter().chain(&self.tcp).cloned())
    }
}

// === impl Quic ===

impl Quic {
    /// The UDP ports that this engine reads.
    pub(super) fn read(&self) -> &[UdpSocket] {
        if self.terms.reads { &self.sockets } else { &[] }
    }
}

/// The sockets that `config` asks for, HTTP's last: whoever finds it listening finds the others too.
pub(super) fn wanted(config: &Config) -> Result<Vec<Wanted>, Error> {
    let http = &config.http;
    let rights = rights::of(config)?;
    let mut all = Vec::new();
    let mut add = |kind, key: &str, wanted: listen::Config| {
        let listen::Config { addresses, backlog } = wanted;
        all.extend(addresses.into_iter().map(|mut address| {
            rights::own_socket(&mut address, &rights);
            Wanted { kind, key: key.to_owned(), address, backlog, scope: Scope::Any }
        }));
    };
    if let Some(section) = &config.rpc {
        add(Kind::Rpc, "rpc.listen", rpc::listen(section)?);
    }
    add(Kind::Status, "status.address", health_checks::listen(&config.status)?);
    add(Kind::Metrics, "metrics.address", metrics::listen(&config.metrics)?);
    add(Kind::Fileserver, "fileserver.address", fileserver::listen(config)?);
    if let Some(section) = &http.fcgi {
        add(Kind::Fcgi, "http.fcgi.address", settings::listen_fastcgi(section)?);
    }
    if let Some(section) = &http.ssl {
        add(Kind::Ssl, "http.ssl.address", settings::listen_http(http, "http.ssl.address", &section.address)?);
    }
    if let Some(section) = &http.http3 {
        // What the kernel queues of it are packets.
        let buffer = i32::try_from(section.socket_buffer).unwrap_or(i32::MAX);
        add(Kind::Quic, "http.http3.address", settings::listen("http.http3.address", &section.address, buffer)?);
    }
    for server in &config.tcp.servers {
        let key = format!("tcp.servers.{}.addr", server.name);
        add(Kind::Tcp, &key, tcp::listen(&key, server)?);
    }
    add(Kind::Http, "http.address", settings::listen_http(http, "http.address", &http.address)?);
    let (packets, connections): (Vec<_>, Vec<_>) = all.iter().partition(|wanted: &&Wanted| wanted.kind == Kind::Quic);
    let scope = |wanted: &Wanted| {
        let others = if wanted.kind == Kind::Quic { &packets } else { &connections };
        wanted.address.scope(others.iter().map(|other| &other.address))
    };
    let scopes: Vec<_> = all.iter().map(scope).collect();
    all.iter_mut().zip(scopes).for_each(|(wanted, scope)| wanted.scope = scope);
    Ok(all)
}

/// Sockets of this process's own, without a supervisor.
pub(super) fn own(config: &Config) -> Result<Listening, Error> {
    let terms = Terms::new();
    let (mut sockets, mut connections) = (Vec::new(), Vec::new());
    for (wanted, held) in supervisor::open(&wanted(config)?)? {
        match held {
            Held::Listeners(listeners) => connections.push((wanted.kind, listeners)),
            Held::Port(port) => {
                let socket = port.socket(terms.slot).try_clone_to_owned().map_err(Error::system("descriptor of a socket"))?;
                sockets.push(UdpSocket::from(socket));
            }
            // Only a supervisor can start an engine that has it.
            Held::Late => {}
        }
    }
    Ok(listening(&connections, Quic { sockets, terms }))
}

/// A supervisor's.
pub(super) fn adopted(sockets: Vec<(Kind, OwnedFd)>, terms: Terms) -> Listening {
    let (packets, connections): (Vec<_>, Vec<_>) = sockets.into_iter().partition(|(kind, _)| *kind == Kind::Quic);
    let sockets = packets.into_iter().map(|(_, socket)| socket.into()).collect();
    let connections = connections.into_iter().map(|(kind, socket)| (kind, Listeners::adopt(vec![socket])));
    listening(&connections.collect::<Vec<_>>(), Quic { sockets, terms })
}

fn listening(all: &[(Kind, Listeners)], quic: Quic) -> Listening {
    let of = |kind| all.iter().filter(move |(other, _)| *other == kind).map(|(_, listeners)| listeners.clone());
    let together = |kind| Listeners::together(of(kind));
    Listening {
        http: together(Kind::Http),
        ssl: together(Kind::Ssl),
        quic,
        fcgi: together(Kind::Fcgi),
        tcp: of(Kind::Tcp).collect(),
        rpc: together(Kind::Rpc),
        metrics: together(Kind::Metrics),
        fileserver: together(Kind::Fileserver),
        status: together(Kind::Status),
    }
}
