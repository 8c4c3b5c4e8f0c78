//! The HTTP front: connections in, [`Work`](crate::worker::Work) out, replies back.

mod accept;
pub mod access;
mod body;
pub mod conn;
pub mod dev;
mod drain;
pub mod fcgi;
pub mod files;
pub mod listen;
pub mod middleware;
mod nudge;
pub mod preset;
mod record;
pub mod request;
mod response;
pub mod route;
pub mod service;
pub mod site;
mod slow;
mod spool;

pub use body::Body;
pub use drain::{Drain, Snapshot as DrainSnapshot, Timeout};
pub use nudge::Nudge;

use std::net::SocketAddr;

/// What is known of the connection that a request came on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer {
    /// The client's address; none on a unix socket.
    pub remote: Option<SocketAddr>,
    /// Our end; none on a unix socket.
    pub local: Option<SocketAddr>,
    /// True over TLS.
    pub secure: bool,
}
