//! HTTP/3: quinn speaks QUIC, this speaks HTTP over it, and requests go the way that those of HTTP/1 and 2 go.
//!
//! ```text
//! datagrams → endpoint (quinn; who may connect) → connection (control streams, GOAWAY, time-outs)
//!                                               → stream (one request: head, body, answer), a task each
//! ```
//!
//! The protocol is our own, small without a dynamic table and without push: the h3 crate (0.0.8) keeps frames of any length in
//! memory, takes pseudo-header fields twice or after others, takes fields of connections, and ends a body at an empty frame.

mod body;
mod connection;
mod control;
mod endpoint;
mod frame;
mod head;
mod keys;
mod qpack;
mod socket;
mod stream;

use std::{sync::Arc, time::Duration};

pub use body::Received;
pub use endpoint::Server;
pub use keys::{Secret, Terms};
pub use socket::{Dropped, Port, Slot};

use super::tls::Tls;

/// Limits of QUIC itself; those of connections and requests are the same as HTTP/1's and 2's.
#[derive(Clone, Debug)]
pub struct Config {
    /// A client that is not heard of for so long is gone.
    pub idle_timeout: Duration,
    /// Bytes of a connection that clients may send before they are taken.
    pub receive_window: u32,
    /// The same for one request.
    pub stream_receive_window: u32,
    /// Bytes of a connection that are kept until the client has them.
    pub send_window: u32,
    /// With more handshakes than this in progress, clients first prove that their addresses are theirs.
    pub retry_above: usize,
}

/// What a [`Server`] needs.
#[derive(Debug)]
pub struct Needs {
    /// The sockets, of which this process is the only reader.
    pub sockets: Vec<std::net::UdpSocket>,
    /// How their ports are shared.
    pub terms: Terms,
    /// Certificates.
    pub tls: Tls,
    /// Limits of QUIC.
    pub quic: Config,
    /// Limits of connections and requests.
    pub config: Arc<super::conn::Config>,
    /// Told to stop with all others.
    pub drain: super::Drain,
}

/// Ends a connection whose peer breaks the rules.
#[derive(Clone, Debug)]
struct Faults {
    connection: quinn::Connection,
    drain: super::Drain,
}

// === impl Faults ===

impl Faults {
    fn raise(&self, code: quinn::VarInt, reason: &'static str) {
        if self.connection.close_reason().is_none() {
            self.drain.count_refusal();
            tracing::debug!(client = %self.connection.remote_address(), "HTTP/3 connection closed: {reason}");
            self.connection.close(code, reason.as_bytes());
        }
    }
}
