//! The HTTP front: connections in, [`Work`](crate::worker::Work) out, replies back.

mod accept;
pub mod access;
mod body;
pub mod conn;
mod crowd;
mod date;
pub mod dev;
mod drain;
pub mod fcgi;
pub mod files;
pub mod fileserver;
pub mod h3;
mod incoming;
mod known;
pub mod listen;
mod metrics;
pub mod middleware;
mod nudge;
pub mod preset;
pub mod proxy;
mod record;
pub mod request;
mod response;
pub mod route;
pub mod service;
pub mod site;
mod slow;
pub mod spool;
pub mod subnet;
pub mod tls;

pub use body::Body;
pub use drain::{Drain, Snapshot as DrainSnapshot, Timeout};
pub use incoming::{Broken, Incoming};
pub use metrics::Metrics;
pub use nudge::Nudge;
pub use slow::Timing;

// For all that listens, and is no HTTP.
pub(crate) use accept::{Acceptor, Stream, accept};
pub(crate) use crowd::Room;
pub(crate) use drain::OpenConnection;

use std::{net::SocketAddr, sync::Arc};

use crate::worker::Secure;

/// What is known of the connection that a request came on.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// The client's address; none on a unix socket.
    pub remote: Option<SocketAddr>,
    /// Our end; none on a unix socket.
    pub local: Option<SocketAddr>,
    /// The port that a proxy says its client came to, where we have none: on a unix socket.
    pub port: Option<u16>,
    /// Set over TLS.
    pub secure: Option<Arc<Secure>>,
}
