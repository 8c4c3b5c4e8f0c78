//! Who owns the state, and where a call goes accordingly.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use super::{
    Called, Error, Plugin, Waits,
    link::{Link, Outcome},
};

/// What an engine knows of the state.
pub(super) struct Shared {
    pub(super) plugins: Vec<Arc<dyn Plugin>>,
    owner: RwLock<Owner>,
    /// Changes when the owner does.
    changed: watch::Sender<()>,
    /// Another engine serves in the place of this one.
    is_leaving: AtomicBool,
    /// Of two hand-overs at once each would take the other's changes for its own.
    pub(super) handing_over: tokio::sync::Mutex<()>,
    /// Who waits for the state to be taken over.
    pub(super) taking: Mutex<Option<oneshot::Sender<Result<(), String>>>>,
    /// Why the owner cannot be asked for the state, though it lives.
    pub(super) apart: Mutex<Option<Apart>>,
}

/// Why two engines do not go on with each other.
#[derive(Clone, Debug)]
pub(super) enum Apart {
    /// They speak different versions: the newer one starts empty once it serves.
    Refused(String),
    /// One of them cannot be understood: the newer one must not serve.
    Severed(String),
}

/// Who owns the state.
#[derive(Clone, Debug)]
pub(super) enum Owner {
    /// This engine.
    Here,
    /// This engine as yet: it is being handed over.
    Moving,
    /// The engine at the other end.
    There {
        /// The way to it.
        link: Arc<Link>,
        /// It got the state from this engine, which still has it as it was then.
        kept: bool,
    },
    /// Another engine that cannot be reached.
    Gone,
}

enum Step {
    Wait(Waits),
    WaitForOwner(watch::Receiver<()>),
    Forward(Arc<Link>),
}

// === impl Shared ===

impl Shared {
    /// With the owner to be found.
    pub(super) fn new(plugins: Vec<Arc<dyn Plugin>>) -> Self {
        Self {
            plugins,
            owner: RwLock::new(Owner::Gone),
            changed: watch::Sender::new(()),
            is_leaving: AtomicBool::new(false),
            handing_over: tokio::sync::Mutex::default(),
            taking: Mutex::default(),
            apart: Mutex::default(),
        }
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner.read().clone()
    }

    /// One change at a time, and no call in between: plugins serve from the moment on that this engine is the owner, and not after.
    fn change<T>(&self, step: impl FnOnce(&mut Owner) -> T) -> T {
        let result = step(&mut self.owner.write());
        self.changed.send_replace(());
        result
    }

    pub(super) fn set_owner(&self, owner: Owner) {
        self.change(|now| *now = owner);
    }

    /// Starts empty; `why`, if there was a state before.
    pub(super) fn begin(&self, why: Option<&str>) {
        self.change(|owner| self.begin_as(owner, why));
    }

    fn begin_as(&self, owner: &mut Owner, why: Option<&str>) {
        if let Some(why) = why.filter(|_| !self.plugins.is_empty()) {
            tracing::warn!("what plugins kept in memory is lost: {why}; {} starts empty", self.names());
        }
        self.plugins.iter().for_each(|plugin| {
            plugin.clear();
            plugin.serve();
        });
        *owner = Owner::Here;
    }

    fn names(&self) -> String {
        self.plugins.iter().map(|plugin| plugin.name()).collect::<Vec<_>>().join(", ")
    }

    /// Makes a call, or has it made. None if it was not made and the engine that asked, by the link of this number, is the owner.
    pub(super) async fn call(&self, name: &str, request: Bytes, asker: Option<u64>) -> Result<Option<Bytes>, Error> {
        let plugin = self.plugins.iter().find(|plugin| plugin.name() == name);
        let plugin = plugin.ok_or_else(|| Error(format!("{name}: this engine has no such plugin")))?;
        loop {
            let step = match &*self.owner.read() {
                Owner::Here => match plugin.clone().call(&request) {
                    Called::Done(result) => return Ok(Some(result)),
                    Called::Waits(waits) => Step::Wait(waits),
                },
                // While the owner is looked at it does not change, so no change is missed.
                Owner::Moving => Step::WaitForOwner(self.changed.subscribe()),
                Owner::There { link, .. } if Some(link.number) == asker => return Ok(None),
                Owner::There { link, .. } => Step::Forward(link.clone()),
                Owner::Gone => {
                    return Err(Error(format!("{name}: its state is not in this engine any more, which is about to end")));
                }
            };
            match step {
                Step::Wait(waits) => {
                    if let Some(result) = waits.await {
                        return Ok(Some(result));
                    }
                }
                // The sender is ours.
                Step::WaitForOwner(mut changed) => drop(changed.changed().await),
                Step::Forward(link) => match link.call(name, request.clone()).await {
                    Outcome::Done(result) => return Ok(Some(result)),
                    Outcome::Failed(why) => return Err(Error(why)),
                    Outcome::Moved if !self.is_there(&link) => {}
                    Outcome::Moved | Outcome::Died => {
                        let why = "the engine that keeps its state has died: whether the call was made is unknown";
                        return Err(Error(format!("{name}: {why}")));
                    }
                },
            }
        }
    }

    fn is_there(&self, link: &Link) -> bool {
        matches!(&*self.owner.read(), Owner::There { link: other, .. } if other.number == link.number)
    }

    /// Whether the state can be handed over.
    pub(super) fn owns(&self) -> bool {
        self.can_move(&self.owner.read())
    }

    /// If it can, calls wait from here on.
    pub(super) fn begin_to_move(&self) -> bool {
        self.change(|owner| {
            let can = self.can_move(owner);
            if can {
                *owner = Owner::Moving;
            }
            can
        })
    }

    fn can_move(&self, owner: &Owner) -> bool {
        matches!(owner, Owner::Here) && !self.is_leaving.load(Relaxed)
    }

    /// It stays here, if it is here.
    pub(super) fn keep(&self) {
        self.change(|owner| self.keep_as(owner));
    }

    fn keep_as(&self, owner: &mut Owner) {
        match owner {
            Owner::Gone => {}
            _ if self.is_leaving.load(Relaxed) => self.lose(owner),
            _ => {
                self.plugins.iter().for_each(|plugin| plugin.serve());
                *owner = Owner::Here;
            }
        }
    }

    /// Another engine serves, and cannot be reached from here.
    fn lose(&self, owner: &mut Owner) {
        *owner = Owner::Gone;
        for plugin in &self.plugins {
            drop(plugin.freeze());
            if plugin.entries() > 0 {
                tracing::warn!(
                    entries = plugin.entries(),
                    "what {} kept in memory is lost: no engine took it over",
                    plugin.name()
                );
            }
            plugin.clear();
        }
    }

    /// Another engine serves.
    pub(super) fn leave(&self) {
        self.change(|owner| {
            self.is_leaving.store(true, Relaxed);
            match owner {
                Owner::Here => self.lose(owner),
                Owner::There { kept: kept @ true, .. } => {
                    self.plugins.iter().for_each(|plugin| plugin.clear());
                    *kept = false;
                }
                // Who moves it looks again.
                Owner::There { kept: false, .. } | Owner::Moving | Owner::Gone => {}
            }
        });
    }

    /// The state has come as a whole; false if nobody waits for it any more.
    pub(super) fn own(&self) -> bool {
        let Some(waiting) = self.taking.lock().take() else { return false };
        self.change(|owner| {
            self.plugins.iter().for_each(|plugin| plugin.serve());
            *owner = Owner::Here;
        });
        // It waits no longer than it is there.
        drop(waiting.send(Ok(())));
        true
    }

    /// The state stays where it is; true if anybody waited for it.
    pub(super) fn give_up(&self, why: &str) -> bool {
        let Some(waiting) = self.taking.lock().take() else { return false };
        self.plugins.iter().for_each(|plugin| plugin.clear());
        drop(waiting.send(Err(why.to_owned())));
        true
    }

    /// The engine at the other end, which has the state, speaks another version.
    pub(super) fn refused(&self, link: &Link, why: &str) {
        if self.part(link, Apart::Refused(why.to_owned()))
            && let Some(waiting) = self.taking.lock().take()
        {
            self.begin(Some(why));
            drop(waiting.send(Ok(())));
        }
    }

    /// The engine at the other end lives, but nothing more is heard of it.
    pub(super) fn sever(&self, link: &Link, why: &str) {
        if self.part(link, Apart::Severed(why.to_owned())) {
            self.give_up(why);
        }
    }

    /// The engine that owns the state lives, and nothing can be heard of it.
    pub(super) fn set_apart(&self, why: &str) {
        *self.apart.lock() = Some(Apart::Severed(why.to_owned()));
    }

    /// False if the engine at the other end is not the one whose state this one is to have.
    fn part(&self, link: &Link, apart: Apart) -> bool {
        self.change(|owner| {
            let is_owner = matches!(owner, Owner::There { link: other, kept: false } if other.number == link.number);
            if is_owner {
                *self.apart.lock() = Some(apart);
                *owner = Owner::Gone;
            }
            is_owner
        })
    }

    /// The engine at the other end is gone.
    pub(super) fn died(&self, gone: &Link, why: &str) {
        let has_begun = self.change(|owner| match owner {
            Owner::There { link, .. } if link.number != gone.number => false,
            Owner::There { .. } if self.is_leaving.load(Relaxed) => {
                *owner = Owner::Gone;
                false
            }
            Owner::There { kept: true, .. } => {
                tracing::warn!("{why}: {} goes on here with what was handed over", self.names());
                self.keep_as(owner);
                false
            }
            Owner::There { kept: false, .. } => {
                self.begin_as(owner, Some(why));
                true
            }
            Owner::Here | Owner::Moving | Owner::Gone => false,
        });
        if has_begun && let Some(waiting) = self.taking.lock().take() {
            drop(waiting.send(Ok(())));
        }
    }
}
