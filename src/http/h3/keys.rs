//! What endpoints make tokens and connection ids from.

use std::{fmt, sync::Arc};

use aws_lc_rs::{hkdf, hmac, rand};
use quinn::{ConnectionId, ConnectionIdGenerator};
use serde::{Deserialize, Serialize};

use super::socket::{CONNECTION_ID, Slot};

/// From it all generations of a server make the same keys, so that a client that has proven its address to one has proven it to the
/// next, and one whose process has crashed is told so by its successor.
#[derive(Clone, Deserialize, Serialize)]
pub struct Secret([u8; 32]);

/// On what terms a process reads from ports that it shares.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Terms {
    /// Which of the two sockets of each port are this process's.
    pub slot: Slot,
    /// The same for all processes.
    pub secret: Secret,
    /// Whether it reads at all: of several that serve side by side only one does.
    #[serde(default = "always")]
    pub reads: bool,
}

/// In a letter that does not say.
fn always() -> bool {
    true
}

/// Makes ids that say to which of the processes that share a port a connection belongs.
struct Ids(Slot);

// === impl Terms ===

impl Terms {
    /// Those of a first process.
    pub fn new() -> Self {
        Self { slot: Slot::First, secret: Secret::random(), reads: true }
    }

    /// Those of its successor.
    pub fn of_next(&self) -> Self {
        Self { slot: self.slot.other(), ..self.clone() }
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Secret ===

impl Secret {
    /// A new one.
    fn random() -> Self {
        let mut bytes = [0; 32];
        // The kernel's, as for the keys of tickets: a process that only hands it on does not make the library's ready.
        getrandom::fill(&mut bytes).expect("the system has randomness");
        Self(bytes)
    }

    /// Signs stateless resets. Each slot has its own key: a packet that went astray between two processes must not end its connection.
    pub(super) fn resets(&self, slot: Slot) -> Arc<dyn quinn::crypto::HmacKey> {
        let master = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let key = hmac::sign(&master, &[b'r', slot.number()]);
        Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
    }

    /// Seals what clients prove their addresses with.
    pub(super) fn tokens(&self) -> Arc<dyn quinn::crypto::HandshakeTokenKey> {
        Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, b"address").extract(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// For [`quinn::EndpointConfig`].
pub(super) fn ids(slot: Slot) -> impl Fn() -> Box<dyn ConnectionIdGenerator> + Send + Sync + 'static {
    move || Box::new(Ids(slot))
}

// === impl Ids ===

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; CONNECTION_ID];
        rand::fill(&mut bytes).expect("the system has randomness");
        bytes[0] = bytes[0] & !1 | self.0.number();
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}
