//! One engine after another: by a reload, by a rollback, or because the active one has lost threads; and those who wait to hear
//! how it went.

use super::{
    Needs, STOPPING, Sockets, Supervisor,
    engine::Engine,
    line::{Order, Wish, shortened},
    notify,
    release::Release,
};
use crate::error::Error;

/// Somebody who waits for the outcome of a wish, in the engine of this generation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) generation: u64,
    pub(super) id: u32,
}

/// An engine that is to succeed the active one.
pub(super) struct Next {
    pub(super) engine: Engine,
    /// None if it is the one in force.
    pub(super) release: Option<Release>,
    pub(super) sockets: Sockets,
    pub(super) askers: Vec<Asker>,
    /// Why it cannot, in its own words.
    pub(super) reason: Option<String>,
}

// === impl Supervisor ===

impl<N: Needs> Supervisor<N> {
    /// An engine that has not served yet says why it cannot.
    pub(super) fn failed(&mut self, generation: u64, reason: String) {
        if let Some(next) = self.next.as_mut().filter(|next| next.engine.generation == generation) {
            next.reason = Some(reason);
        }
    }

    pub(super) fn asked(&mut self, asker: Asker, wish: Wish) {
        let is_leaving = self.draining.iter().any(|engine| engine.generation == asker.generation);
        if is_leaving && wish != Wish::Check {
            return self.tell(&[asker], Err("this engine is being replaced: call again"));
        }
        match wish {
            Wish::Check => {
                let dir = self.plan.dir.clone();
                let checked = self.needs.load().and_then(|config| self.needs.check(&config, dir.as_deref()));
                let outcome = checked.map_err(|error| error.to_string());
                self.tell(&[asker], outcome.as_ref().map(|()| "a reload would take it").map_err(String::as_str));
            }
            Wish::Reload => self.reload(vec![asker]),
            Wish::Rollback => self.roll_back(asker),
        }
    }

    pub(super) fn tell(&self, askers: &[Asker], outcome: Result<&str, &str>) {
        for asker in askers {
            let result = outcome.map(shortened).map_err(shortened);
            self.each(|engine| {
                if engine.generation == asker.generation {
                    engine.say(Order::Outcome { id: asker.id, result: Result::clone(&result) });
                }
            });
        }
    }

    pub(super) fn reload(&mut self, mut askers: Vec<Asker>) {
        if self.stopping {
            return self.tell(&askers, Err(STOPPING));
        }
        if self.is_changing() {
            // At most two engines at once; any number of requests meanwhile are one.
            self.reload_again.get_or_insert_default().append(&mut askers);
            return;
        }
        notify::reloading();
        let release = self.needs.load().map(|config| Release::of(config, self.plan.dir.clone()));
        self.change_to(release, askers, "not reloaded");
    }

    fn roll_back(&mut self, asker: Asker) {
        let refusal = match &self.previous {
            _ if self.stopping => STOPPING,
            _ if self.is_changing() => "a reload is in progress: try again when it is over",
            None => "there is nothing to go back to: the server has not been reloaded",
            Some(previous) => {
                let release = previous.clone();
                notify::reloading();
                return self.change_to(Ok(release), vec![asker], "not rolled back");
            }
        };
        self.tell(&[asker], Err(refusal));
    }

    /// An engine is about to succeed another, or has just done so.
    fn is_changing(&self) -> bool {
        self.next.is_some() || !self.draining.is_empty()
    }

    /// Starts the engine that is to bring `release` into force, or says why not.
    fn change_to(&mut self, release: Result<Release, Error>, askers: Vec<Asker>, not_done: &str) {
        let started = release.and_then(|release| {
            let sockets = self.needs.listen(&release.config)?;
            self.succeed(Some(release), sockets, askers.clone())
        });
        if let Err(error) = started {
            tracing::error!("{not_done}, nothing has changed: {error}");
            self.tell(&askers, Err(&error.to_string()));
            notify::send("READY=1");
        }
    }

    /// Starts the engine that is to succeed the active one, with the release in force if none is given.
    fn succeed(&mut self, release: Option<Release>, sockets: Sockets, askers: Vec<Asker>) -> Result<(), Error> {
        let spawned = self.spawn(release.as_ref().unwrap_or(&self.release), &sockets);
        let engine = spawned.inspect_err(|_| self.needs.settle(false))?;
        self.generation = engine.generation;
        self.next = Some(Next { engine, release, sockets, askers, reason: None });
        Ok(())
    }

    pub(super) fn reload_if_asked_meanwhile(&mut self) {
        if !self.stopping
            && self.draining.is_empty()
            && let Some(askers) = self.reload_again.take()
        {
            self.reload(askers);
        }
    }

    /// Starts another engine in the place of one that has lost threads, memory or OPcache, and has said so; it asks again if this is
    /// no time for it.
    pub(super) fn replace_worn_out(&mut self, generation: u64) {
        let is_active = self.active.as_ref().is_some_and(|engine| engine.generation == generation);
        if !is_active || self.stopping || self.is_changing() {
            return;
        }
        tracing::warn!(generation, "the engine asks to be replaced: a new engine takes its place");
        let sockets = self.needs.listen(&self.release.config);
        let started = sockets.and_then(|sockets| self.succeed(None, sockets, Vec::new()));
        if let Err(error) = started {
            tracing::error!("the engine goes on as it is: {error}");
        }
    }

    /// Those who wait in an engine for a reload that comes after its own end: they would keep it from ending.
    pub(super) fn let_go(&mut self, generation: u64) {
        let Some(waiting) = &mut self.reload_again else { return };
        let (gone, stay) = std::mem::take(waiting).into_iter().partition::<Vec<_>, _>(|asker| asker.generation == generation);
        *waiting = stay;
        self.tell(&gone, Ok("another reload follows: the log tells its outcome"));
    }
}
