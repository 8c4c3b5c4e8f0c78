//! What plugins keep in memory has one owner at any moment, also while one engine succeeds another.
//!
//! ```text
//! engine n, the owner                          engine n+1, which boots
//!   calls are made here          <── calls ──    it accepts too: its calls are forwarded
//!                                <── take ────   it is ready
//!   calls go on                  ─── chunks ─>   a copy, put in its place, each part acknowledged
//!   frozen: calls wait           ─── chunks ─>   what has changed since the copy began
//!                                <── complete    all of it is in its place
//!   calls are forwarded from now ─── yours ──>   the owner: calls are made here, and it reports ready to the supervisor
//!   drains and ends
//! ```
//!
//! A plugin implements [`Plugin`]: a call that changes or reads its state, and the state as chunks of bytes. It knows nothing of other
//! engines; whoever calls it does so through [`State`], which makes the call here or forwards it. A call that has to wait, such as
//! one for a lock that is taken, is ended by the freeze without having been made, and made again by whoever asked at the new owner:
//! with the time that it was first asked at, so that it keeps its place.
//!
//! # How engines find each other
//! The supervisor makes a pair of sockets for each engine: one end is the engine's, the other is inherited by the engine that is to
//! succeed it, which makes a connection of its own and sends an end of that through. The supervisor reads nothing of it. So each
//! attempt to succeed has its own connection. The newer engine has the way to the older one as long as it lives: that this has no
//! other end any more tells of a death, which the end of a connection alone does not.
//!
//! # What can fail
//! - The newer engine fails, or the state cannot be put in its place: the older one goes on as the owner, with all it had. The newer
//!   one ends, and the reload tells why.
//! - The newer engine dies after it became the owner but before it took the older one's place: the older one goes on with what it
//!   handed over.
//! - The owner dies: what it kept is lost, and the log says so. A call that it had not answered is an error, for nobody knows whether
//!   it was made.
//! - One cannot understand what the other says, or the older one leaves the connection and lives: the newer one ends, and the reload
//!   tells why. Nobody takes what lives for dead, so that there is one owner: the older one, or none from the moment on that the
//!   newer one was told that it is the owner and until it ends.
//! - The newer engine is of a program that keeps this state in another form: it is handed over all the same, and that part starts
//!   empty, as the log says. The older one makes no more calls then, so that there are never two owners.
//! - The newer engine speaks another [version](frame): its calls are errors until it is ready, and then it starts empty, as the log
//!   says. The older one makes calls of its own clients until the supervisor tells it that another serves.
//!
//! # Bounds
//! Calls that wait for the other engine, chunks that are not acknowledged, the length of a message, and the times that a hand-over
//! may take: 20 s for the copy, 2 s frozen, after which the older engine is the owner again. How long calls waited does not depend on
//! how much there is, but on how much has changed meanwhile; the log tells it.

pub mod form;
mod frame;
mod link;
mod owner;
mod peer;
mod transfer;

use std::{
    fmt, io,
    os::{fd::OwnedFd, unix::net},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{io::Interest, net::UnixDatagram};

use crate::sys::passing;

use self::{
    owner::{Owner, Shared},
    peer::Unjoined,
};

/// A part of the server that keeps state in memory.
///
/// It begins without a state, and not serving.
pub trait Plugin: Send + Sync {
    /// What it is called by; the same in all programs.
    fn name(&self) -> &'static str;

    /// The version of the form that its chunks have.
    fn form(&self) -> u32;

    /// How many things it keeps, for the log.
    fn entries(&self) -> usize;

    /// Makes a call; only while it serves. Must not block its thread.
    fn call(self: Arc<Self>, request: &[u8]) -> Called;

    /// The state may change from now on, by calls and by time. Nobody asks any more what has changed before.
    fn serve(&self);

    /// The state in chunks of about [`CHUNK`] bytes. It goes on changing, and what changes from now on is kept in mind for
    /// [`freeze`](Self::freeze); a chunk may show it as it is now or as it is when the chunk is made.
    fn copy(self: Arc<Self>) -> Chunks;

    /// Nothing changes any more until [`serve`](Self::serve), and calls that wait end with none. Returns what has changed since the
    /// copy began, or all of it if there was none: restored after the copy, it makes it the state of now.
    fn freeze(&self) -> Chunks;

    /// Takes a chunk of another engine's state, while it does not serve; an error if it makes no sense.
    fn restore(&self, chunk: &[u8]) -> Result<(), String>;

    /// Forgets the state, while it does not serve.
    fn clear(&self);
}

/// A state, or a part of it, as one engine sends it to another.
pub type Chunks = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// How a call goes on.
pub enum Called {
    /// It was made, with this result.
    Done(Bytes),
    /// It waits. None if it ends without having been made, because the state moves. Dropped, it is as if it had not been made.
    Waits(Waits),
}

/// The result of a call that waits.
pub type Waits = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// What ties an engine to the one before it and the one after it; without a supervisor, nothing.
#[derive(Debug, Default)]
pub struct Kin {
    /// The way to the engine that this one succeeds.
    pub predecessor: Option<OwnedFd>,
    /// Where the engine that succeeds this one introduces itself.
    pub heir: Option<OwnedFd>,
    /// There has been an engine before.
    pub is_later: bool,
}

/// Why a call has no result.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// All plugins that keep state, wherever that is. Cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Shared>);

/// How long a chunk should be, in bytes. One more thing may be in it than fits, of less than half a mebibyte.
pub const CHUNK: usize = 64 * 1024;

// === impl State ===

impl State {
    /// Of these plugins. If there is an engine to succeed, their state is there until [`take_over`](Self::take_over); inside a
    /// runtime, which must run as long as this is used.
    pub fn start(plugins: Vec<Arc<dyn Plugin>>, kin: Kin) -> Self {
        let shared = Arc::new(Shared::new(plugins));
        match kin.predecessor.map(|before| peer::join(&shared, &before)) {
            Some(Ok(())) => {}
            Some(Err(Unjoined::Dead)) => shared.begin(Some("the engine before has died")),
            Some(Err(Unjoined::Alive(error))) => {
                shared.set_apart(&format!("the engine that owns the state cannot be asked for it ({error})"));
            }
            None => shared.begin(kin.is_later.then_some("no engine is there that could hand it over")),
        }
        if let Some(heir) = kin.heir {
            tokio::spawn(meet(shared.clone(), heir));
        }
        Self(shared)
    }

    /// Calls a plugin, wherever its state is. What is asked of a plugin that waits should say since when, as it may be asked again.
    pub async fn call(&self, plugin: &str, request: Bytes) -> Result<Bytes, Error> {
        let moved = || Error("nobody owns the state that the call is about: call again".into());
        self.0.call(plugin, request, None).await?.ok_or_else(moved)
    }

    /// Becomes the owner, if another engine is. An error if that keeps the state: this one must not serve then.
    pub async fn take_over(&self) -> Result<(), String> {
        transfer::take_over(&self.0).await
    }

    /// Another engine serves: calls are made here no more, but forwarded.
    pub fn leave(&self) {
        self.0.leave();
    }

    /// Whether calls are made here.
    pub fn is_here(&self) -> bool {
        matches!(self.0.owner(), Owner::Here)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// Listens to engines that are to succeed this one, one after another.
async fn meet(shared: Arc<Shared>, heir: OwnedFd) {
    let heir = net::UnixDatagram::from(heir);
    let Ok(heir) = heir.set_nonblocking(true).and_then(|()| UnixDatagram::from_std(heir)) else { return };
    loop {
        let met = heir.async_io(Interest::READABLE, || passing::receive(&heir)).await;
        if met.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            // Nor will any: the supervisor is gone.
            return;
        }
        if let Err(error) = met.and_then(|stream| peer::adopt(&shared, stream.into())) {
            tracing::error!(%error, "an engine that is to succeed this one introduced itself badly");
            // Whatever it is, it is not to be heard of all the time.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

#[cfg(test)]
mod tests;
