//! The engines that serve side by side, and how one of them calls the others: the supervisor gives both the ends of a connection, and
//! has no part in what they say.

use std::os::{
    fd::{AsFd, OwnedFd},
    unix::net::UnixStream,
};

use serde::{Deserialize, Serialize};

use super::{Supervisor, askers::Asker, engine::Engine};
use crate::error::{Error, Refusal};

/// What an engine gets besides orders, with descriptors.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Parcel {
    /// The end of a connection at which another engine calls.
    Caller,
    /// The answer to [`Wish::Introduce`](super::Wish::Introduce); with it come the ends of the connections, in this order.
    Fellows {
        /// That of the wish.
        token: u32,
        /// The generation of the engine that keeps what only one may keep; none while none is ready.
        first: Option<u64>,
        /// The engines that serve beside the one that has asked.
        all: Vec<Fellow>,
    },
}

/// An engine that serves beside another.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Fellow {
    /// Which engine it is.
    pub generation: u64,
    /// Which of the release's engines it is, from 0.
    pub place: usize,
    /// Its process.
    pub pid: i32,
    /// Why there is no connection with it.
    pub fault: Option<String>,
}

// === impl Supervisor ===

impl Supervisor {
    /// Connects the engine that asks with all that are ready and belong with it. One that is leaving keeps nothing any more, unless
    /// there is none like it.
    pub(super) fn introduce(&self, asker: Asker, token: u32) {
        let Some(engine) = self.engines().find(|engine| engine.generation == asker.generation) else { return };
        let together: Vec<_> = self.together(asker.generation).into_iter().filter(|engine| engine.ready).collect();
        let keeps = |engine: &&&Engine| self.is_alone() || !self.draining.iter().any(|old| old.generation == engine.generation);
        let first = together.iter().filter(keeps).min_by_key(|engine| engine.rank).map(|engine| engine.generation);
        let (mut all, mut ends) = (Vec::new(), Vec::new());
        for fellow in together.into_iter().filter(|fellow| fellow.generation != asker.generation) {
            let connected = connect(fellow);
            let fault = connected.as_ref().err().map(ToString::to_string);
            all.push(Fellow { generation: fellow.generation, place: fellow.place, pid: fellow.pid, fault });
            ends.extend(connected);
        }
        let ends: Vec<_> = ends.iter().map(AsFd::as_fd).collect();
        let posted = engine.post(&Parcel::Fellows { token, first, all }, &ends);
        let posted = posted.map_err(Error::system("the supervisor cannot answer"));
        self.tell(&[asker], posted.map(|()| "").map_err(Refusal::from));
    }

    /// The engines that serve together, or will, this one among them. One that is leaving belongs with those that serve.
    fn together(&self, generation: u64) -> Vec<&Engine> {
        let is_it = |engine: &Engine| engine.generation == generation;
        match &self.next {
            Some(next) if next.has(generation) => {
                let stays = |engine: &&Engine| next.replaces.is_some_and(|replaced| engine.generation != replaced);
                self.active.iter().filter(stays).chain(&next.engines).collect()
            }
            _ if self.active.iter().any(is_it) => self.active.iter().collect(),
            _ => {
                let others = self.active.iter().filter(|_| !self.is_alone());
                self.draining.iter().filter(|engine| is_it(engine)).chain(others).collect()
            }
        }
    }

    /// Whether the engine in force has no others, and so reads no parcels.
    fn is_alone(&self) -> bool {
        self.installed.release.processes == 1
    }
}

/// The other end of a connection that `fellow` has been given.
fn connect(fellow: &Engine) -> std::io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    fellow.post(&Parcel::Caller, &[theirs.as_fd()])?;
    Ok(ours.into())
}
