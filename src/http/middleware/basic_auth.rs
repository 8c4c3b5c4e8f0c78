//! `basic_auth`: a name and a password, which a file of Apache's `htpasswd -B` knows.
//!
//! A bcrypt hash is made to take long: threads of their own compute it, so many wait for them and no more, and a password that was
//! right is known for a while.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::Engine as _;
use http::{HeaderValue, StatusCode, header, request::Parts};
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::{Note, Paths, Verdict};
use crate::http::{files::Threads, known::Known, response};

mod users;

pub use users::Users;

/// Who is asked for a password, and how much may be spent on checking it (`http.basic_auth`).
#[derive(Debug)]
pub struct Config {
    /// Who there is.
    pub users: Users,
    /// What browsers tell people that the password is for.
    pub realm: String,
    /// The paths that it is for.
    pub paths: Paths,
    /// Threads that check passwords.
    pub threads: usize,
    /// Checks that may wait for them; for more the answer is 503.
    pub max_waiting: usize,
    /// Passwords that were right and are remembered.
    pub cache_size: usize,
    /// For how long.
    pub cache_ttl: Duration,
}

/// Asks for a password.
#[derive(Debug)]
pub struct BasicAuth {
    users: Users,
    challenge: HeaderValue,
    paths: Paths,
    threads: Arc<Threads>,
    /// When each was found right. A digest that has the hash in it is not that of another password or of a changed file.
    right: Cache<[u8; 32], Instant>,
    cache_ttl: Duration,
}

/// Bytes of a password that bcrypt looks at; a longer one would match whatever follows them.
const LONGEST_PASSWORD: usize = 72;

// === impl Config ===

impl Config {
    /// Starts the threads.
    pub fn build(self) -> std::io::Result<BasicAuth> {
        let realm: String = self.realm.chars().filter(|char| *char != '"' && *char != '\\').collect();
        let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        Ok(BasicAuth {
            users: self.users,
            challenge: HeaderValue::try_from(challenge).map_err(std::io::Error::other)?,
            paths: self.paths,
            threads: Threads::start("rr-auth", self.threads, self.max_waiting)?,
            right: Cache::new(self.cache_size),
            cache_ttl: self.cache_ttl,
        })
    }
}

// === impl BasicAuth ===

impl BasicAuth {
    pub(super) fn is_for_some(&self) -> bool {
        self.paths.are_some()
    }

    pub(super) async fn before(&self, parts: &Parts, known: &Known) -> Verdict {
        if !self.paths.have(known) {
            return Verdict::Pass(Note::Nothing);
        }
        let Some((name, password)) = parts.headers.get(header::AUTHORIZATION).and_then(credentials) else {
            return self.ask();
        };
        let hash = self.users.hash_of(&name);
        let digest = digest(&[name.as_bytes(), password.as_bytes(), hash.as_deref().unwrap_or_default().as_bytes()]);
        let is_known = self.right.get(&digest).is_some_and(|since| since.elapsed() < self.cache_ttl);
        if hash.is_some() && is_known {
            return Verdict::Pass(Note::Nothing);
        }
        // Whether a name is known must not be told by the time that the answer takes.
        let (is_user, hash) = (hash.is_some(), hash.unwrap_or_else(|| self.users.any_hash()));
        let (sender, receiver) = oneshot::channel();
        let check = move || _ = sender.send(is_right(&password, &hash));
        if self.threads.submit(check).is_err() {
            tracing::warn!("basic_auth: more passwords to check than http.basic_auth.max_waiting");
            return Verdict::Answer(response::overloaded().into());
        }
        if receiver.await.unwrap_or(false) && is_user {
            self.right.insert(digest, Instant::now());
            return Verdict::Pass(Note::Nothing);
        }
        self.ask()
    }

    fn ask(&self) -> Verdict {
        let mut response = response::plain(StatusCode::UNAUTHORIZED);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, self.challenge.clone());
        Verdict::Answer(response.into())
    }
}

fn is_right(password: &str, hash: &str) -> bool {
    password.len() <= LONGEST_PASSWORD && !password.contains('\0') && bcrypt::verify(password, hash).unwrap_or(false)
}

/// A name and a password (RFC 7617).
pub(crate) fn credentials(value: &HeaderValue) -> Option<(String, String)> {
    let (scheme, coded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = base64::engine::general_purpose::STANDARD.decode(coded.trim()).ok()?;
    let (name, password) = std::str::from_utf8(&text).ok()?.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests;
