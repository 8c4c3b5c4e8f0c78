//! Session tickets: what a client keeps of a session, sealed, so that its next connection needs no full handshake, whichever process
//! answers it (RFC 5077, RFC 8446 §2.2).
//!
//! All engines of a server have the same keys, which its supervisor makes and replaces. A ticket opens only for those who ask the same
//! of clients as the one who sealed it: resuming, a client shows no certificate.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac, rand,
};
use parking_lot::RwLock;
use rustls::server::ProducesTickets;
use serde::{Deserialize, Serialize};

/// The keys of all tickets that there are: one seals, the one before it still opens, and so does the next one already, for processes
/// change to it one after another.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub struct Keys {
    next: Key,
    current: Key,
    previous: Key,
}

/// The keys at work, which may be replaced. Clones share them.
#[derive(Clone, Debug)]
pub struct Tickets(Arc<RwLock<Keys>>);

/// Whether and how clients resume sessions.
#[derive(Clone, Debug)]
pub enum Resumption {
    /// Each connection begins with a full handshake.
    Off,
    /// By tickets.
    Tickets {
        /// Their keys.
        keys: Tickets,
        /// How long clients are told to keep one; keys are to be replaced as often, and not more often.
        lifetime: Duration,
    },
}

#[derive(Clone, Deserialize, PartialEq, Serialize)]
struct Key {
    /// Stands before each of its tickets.
    name: [u8; NAME],
    secret: [u8; 32],
}

/// Makes the tickets of one configuration.
#[derive(Debug)]
struct Sealer {
    tickets: Tickets,
    lifetime: u32,
    /// Different for whoever asks something else of clients.
    context: Vec<u8>,
}

/// The longest life that TLS 1.3 has for a ticket.
pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

const NAME: usize = 16;

// === impl Keys ===

impl Keys {
    /// New ones.
    pub fn new() -> Self {
        Self { next: Key::new(), current: Key::new(), previous: Key::new() }
    }

    /// The same, one further: tickets of the key before the one that sealed so far open no more.
    pub fn replaced(self) -> Self {
        Self { next: Key::new(), current: self.next, previous: self.current }
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keys")
    }
}

// === impl Key ===

impl Key {
    fn new() -> Self {
        let mut key = Self { name: [0; NAME], secret: [0; 32] };
        // The kernel's: to begin with, the library's own would measure jitter for tens of milliseconds, also where nothing is encrypted.
        getrandom::fill(&mut key.name).and_then(|()| getrandom::fill(&mut key.secret)).expect("the system has randomness");
        key
    }

    /// For tickets of `context` alone. One costs little beside the handshake that it is for, so none is kept.
    fn sealing(&self, context: &[u8]) -> Option<LessSafeKey> {
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.secret), context);
        UnboundKey::new(&AES_256_GCM_SIV, key.as_ref()).map(LessSafeKey::new).ok()
    }
}

// === impl Tickets ===

impl Tickets {
    /// With these keys.
    pub fn new(keys: Keys) -> Self {
        Self(Arc::new(RwLock::new(keys)))
    }

    /// With these from now on.
    pub fn change_to(&self, keys: Keys) {
        *self.0.write() = keys;
    }

    /// Replaces the keys for ever, for a process that nobody gives any.
    pub async fn keep_replacing(self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let keys = self.0.read().clone().replaced();
            self.change_to(keys);
        }
    }
}

// === impl Resumption ===

impl Resumption {
    /// What seals tickets for those who ask `context` of clients; none if there are no tickets.
    pub(super) fn sealer(&self, context: Vec<u8>) -> Option<Arc<dyn ProducesTickets>> {
        match self {
            Self::Off => None,
            Self::Tickets { keys, lifetime } => {
                let lifetime = u32::try_from((*lifetime).min(LONGEST).as_secs()).unwrap_or(u32::MAX).max(1);
                Some(Arc::new(Sealer { tickets: keys.clone(), lifetime, context }))
            }
        }
    }
}

// === impl Sealer ===

impl ProducesTickets for Sealer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.tickets.0.read().current.clone();
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        // A nonce that comes twice, which among many processes it may, tells with this cipher no more than that the same was sealed.
        let nonce_of_key = Nonce::assume_unique_for_key(nonce);
        key.sealing(&self.context)?.seal_in_place_append_tag(nonce_of_key, Aad::from(key.name), &mut sealed).ok()?;
        Some([&key.name[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = {
            let keys = self.tickets.0.read();
            [&keys.current, &keys.previous, &keys.next].into_iter().find(|key| key.name == *name)?.clone()
        };
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key.sealing(&self.context)?.open_in_place(nonce, Aad::from(key.name), &mut opened).ok()?.len();
        opened.truncate(plain);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(keys: &Tickets, context: &str) -> Arc<dyn ProducesTickets> {
        let resumption = Resumption::Tickets { keys: keys.clone(), lifetime: Duration::from_secs(60) };
        resumption.sealer(context.into()).expect("tickets are on")
    }

    #[test]
    fn a_ticket_opens_for_all_who_have_the_keys_and_ask_the_same_of_clients() {
        let keys = Keys::new();
        let (one, other) = (Tickets::new(keys.clone()), Tickets::new(keys));
        let (sealing, opening) = (sealer(&one, "a"), sealer(&other, "a"));
        let ticket = sealing.encrypt(b"session").unwrap();
        assert_eq!(opening.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_ne!(sealing.encrypt(b"session").unwrap(), ticket);
        assert_eq!(sealer(&other, "b").decrypt(&ticket), None);
        assert_eq!(sealer(&Tickets::new(Keys::new()), "a").decrypt(&ticket), None);
        assert_eq!(sealing.lifetime(), 60);
        assert!(Resumption::Off.sealer(Vec::new()).is_none());
        for at in 0..ticket.len() {
            assert_eq!(opening.decrypt(&ticket[..at]), None, "cut at {at}");
            let mut wrong = ticket.clone();
            wrong[at] ^= 1;
            assert_eq!(opening.decrypt(&wrong), None, "changed at {at}");
        }
    }

    #[test]
    fn keys_are_replaced_while_tickets_are_in_use() {
        let (early, late) = (Tickets::new(Keys::new()), Tickets::new(Keys::new()));
        late.change_to(early.0.read().clone());
        let before = sealer(&early, "").encrypt(b"before").unwrap();
        let next = early.0.read().clone().replaced();
        early.change_to(next.clone());
        let after = sealer(&early, "").encrypt(b"after").unwrap();
        assert_eq!(sealer(&late, "").decrypt(&after).as_deref(), Some(&b"after"[..]), "it has not heard of the change yet");
        assert_eq!(sealer(&early, "").decrypt(&before).as_deref(), Some(&b"before"[..]));
        early.change_to(next.replaced());
        assert_eq!(sealer(&early, "").decrypt(&after).as_deref(), Some(&b"after"[..]));
        assert_eq!(sealer(&early, "").decrypt(&before), None, "its key is gone");
    }

    #[test]
    fn keys_are_not_shown() {
        assert_eq!(format!("{:?}", Tickets::new(Keys::new())).matches(|byte: char| byte.is_ascii_digit()).count(), 0);
    }
}
