//! One engine after another: by a reload, by a rollback, or because the active one has lost threads.

use std::{
    os::fd::BorrowedFd,
    process::ExitStatus,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{
    KILL_AFTER, STOPPING, Seat, Supervisor,
    askers::Asker,
    ending,
    engine::Engine,
    line::Order,
    load::Purpose,
    notify,
    probation::Probation,
    release::Installed,
    report,
    sockets::{Lent, READER},
};
use crate::{
    error::{Error, ExitCode, Refusal},
    sys::memory,
};

/// Engines that are to succeed active ones, all at once.
pub(super) struct Next {
    pub(super) engines: Vec<Engine>,
    /// The one that is succeeded; none for all.
    pub(super) replaces: Option<u64>,
    /// None if it is the one in force.
    pub(super) installed: Option<Installed>,
    pub(super) askers: Vec<Asker>,
    /// Why there is another release; none if there is not.
    pub(super) cause: Option<Cause>,
    /// Why it cannot, in its own words.
    pub(super) reason: Option<String>,
}

/// Why another release is to be in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    Reload,
    /// There is nothing left of the one that has died.
    Restart,
    Rollback,
    /// It has failed on probation.
    Failure,
}

// === impl Cause ===

impl Cause {
    fn done(self) -> &'static str {
        match self {
            Self::Reload => "reloaded",
            Self::Restart => "restarted",
            Self::Rollback => "rolled back",
            Self::Failure => "gone back to what was served before the reload",
        }
    }

    fn not_done(self) -> &'static str {
        match self {
            Self::Reload => "not reloaded",
            Self::Restart => "not restarted",
            Self::Rollback => "not rolled back",
            Self::Failure => "what was served before the reload is not served again",
        }
    }
}

// === impl Next ===

impl Next {
    /// Whether this engine is among them.
    pub(super) fn has(&self, generation: u64) -> bool {
        self.engines.iter().any(|engine| engine.generation == generation)
    }
}

// === impl Supervisor ===

impl Supervisor {
    pub(super) fn ready(&mut self, generation: u64) {
        if self.stopping {
            // It has been told to stop as all others have.
            return;
        }
        let is_next = self.next.as_ref().is_some_and(|next| next.has(generation));
        let rank = 1 + self.engines().map(|engine| engine.rank).max().unwrap_or_default();
        let Some(engine) = self.engine_mut(|engine| engine.generation == generation) else { return };
        if !engine.ready {
            (engine.ready, engine.rank) = (true, rank);
        }
        let took = engine.started.elapsed();
        // One that succeeds another compiles scripts before it serves, for which nobody waits; a restart does not.
        if !is_next {
            self.boots_in = took;
        }
        if let Some(next) = self.next.take_if(|next| next.engines.iter().all(|engine| engine.ready)) {
            self.succeeded(next);
        } else if self.active.iter().any(|engine| engine.generation == generation) {
            if self.has_served {
                // Of a UDP port that came late it is the first reader.
                self.steer();
                tracing::info!(generation, "the engine serves again");
            } else if self.active.iter().any(|engine| !engine.ready) {
                return;
            }
        } else {
            return;
        }
        self.has_served = true;
        self.notify_ready();
        self.reload_if_asked_meanwhile();
    }

    fn succeeded(&mut self, next: Next) {
        let Next { engines, replaces, installed, askers, cause, .. } = next;
        // The old one goes by its own configuration.
        let within = self.installed.release.leaves_within;
        if let Some(installed) = installed {
            let lasts = if cause == Some(Cause::Reload) { installed.release.probation } else { Duration::ZERO };
            self.probation = Probation::begin(Instant::now(), lasts);
            self.previous = Some(std::mem::replace(&mut self.installed, installed));
            self.boots_in = engines.iter().map(|engine| engine.started.elapsed()).max().unwrap_or_default();
            self.table.settle(true);
            self.answer_checks();
        }
        if engines.iter().any(|engine| engine.place == READER) {
            self.table.change_terms();
        }
        let generation = engines.iter().map(|engine| engine.generation).max().unwrap_or_default();
        let took = engines.first().map_or(0.0, |engine| engine.started.elapsed().as_secs_f64());
        // By its place, for the one to be succeeded may have died, and another been started there.
        let is_old = |engine: &mut Engine| replaces.is_none() || engines.iter().any(|new| new.place == engine.place);
        let gone: Vec<_> = self.active.extract_if(.., is_old).collect();
        self.active.extend(engines);
        for mut old in gone {
            let generation = old.generation;
            old.say(&Order::HandOver);
            old.end_within(within);
            self.draining.push(old);
            self.let_go(generation);
        }
        // After that, so that who calls again then does not find the old one.
        self.conclude(cause, &askers, Ok(&format!("engine {generation} serves, after {took:.1} s")));
        self.steer();
        let is_missing = self.active.len() < self.installed.release.processes;
        // One that keeps dying is waited for as before.
        self.restart_at = is_missing.then(|| self.restart_at.unwrap_or_else(Instant::now));
        let done = cause.map_or("replaced", Cause::done);
        tracing::info!(generation, "{done}: a new engine serves, the old one finishes what it has begun");
    }

    /// An engine that has not served yet says why it cannot.
    pub(super) fn failed(&mut self, generation: u64, reason: String) {
        if let Some(next) = self.next.as_mut().filter(|next| next.has(generation)) {
            next.reason = Some(reason);
        }
    }

    /// An engine that was to succeed has ended before that; the exit code if there is nothing left to do.
    pub(super) fn next_ended(&mut self, next: Next, generation: u64, status: ExitStatus) -> Option<ExitCode> {
        self.table.settle(false);
        let mut how = report::describe(status);
        for mut engine in next.engines {
            if engine.generation == generation {
                how = report::of_engine(&engine, status);
                engine.kill_group();
                self.look_into(&mut engine);
                self.keep(engine);
            } else {
                // Without the other it will never serve, but it may have accepted connections.
                engine.say(&Order::Stop);
                if !engine.ready {
                    engine.signal(Signal::SIGTERM);
                }
                engine.end_within(self.installed.release.leaves_within);
                self.draining.push(engine);
            }
        }
        if self.stopping {
            return None;
        }
        let instead = if self.active.is_empty() { "what was served before is started again" } else { "the old one goes on" };
        let why = format!("the new engine ended before it served ({how}); {instead}");
        tracing::error!(generation, "{why}");
        self.conclude(next.cause, &next.askers, Err(Refusal::new(ending::kind_of(status), next.reason.unwrap_or(why))));
        if self.active.is_empty() && !self.has_served {
            return Some(ExitCode::Failure);
        }
        self.restart_missing();
        self.notify_ready();
        self.reload_if_asked_meanwhile();
        None
    }

    pub(super) fn reload(&mut self, mut askers: Vec<Asker>) {
        if self.stopping {
            return self.tell(&askers, Err(Refusal::later(STOPPING)));
        }
        if self.is_changing() {
            // At most two engines at once; any number of requests meanwhile are one.
            tracing::info!("another reload follows when this one is over, and the engine before has finished what it has begun");
            self.reload_again.get_or_insert_default().append(&mut askers);
            return;
        }
        notify::reloading();
        if let Err(error) = self.load_anew(Purpose::Reload(askers.clone())) {
            self.not_changed(Cause::Reload, &askers, error.into());
        }
    }

    /// Has the program that is there now read the configuration as it is now.
    pub(super) fn load_anew(&mut self, purpose: Purpose) -> Result<(), Error> {
        let program = self.origin.program(&self.own);
        let what = || format!("the program {}", self.origin.path.display());
        self.load(program.map_err(Error::system(what()))?, purpose)
    }

    /// A configuration was read, or was not.
    pub(super) fn loaded(&mut self, purpose: Purpose, outcome: Result<Installed, Refusal>) {
        let outcome = outcome.and_then(|new| match new.release.refusal_after(&self.installed.release) {
            Some(why) => Err(Refusal::new(ExitCode::Config, why)),
            None => Ok(new),
        });
        match (purpose, outcome) {
            (Purpose::Check(asker), outcome) => {
                let could = |installed: Installed| Ok(self.table.could_listen(&installed.release.sockets)?);
                self.tell(&[asker], outcome.and_then(could).map(|()| "a reload would take it"));
            }
            (Purpose::Reload(askers), Ok(installed)) => self.change_to(installed, askers, Cause::Reload),
            (Purpose::Reload(askers), Err(error)) => self.not_changed(Cause::Reload, &askers, error),
            (Purpose::Restart, Ok(installed)) => self.change_to(installed, Vec::new(), Cause::Restart),
            (Purpose::Restart, Err(error)) => self.not_changed(Cause::Restart, &[], error),
        }
    }

    /// Does not wait for an engine that still finishes what it has begun: what serves may be what is to be gone at once.
    pub(super) fn roll_back(&mut self, asker: Asker) {
        if let Some(why) = self.keeps_from_going_back() {
            return self.tell(&[asker], Err(Refusal::later(why)));
        }
        let Some(previous) = self.previous.clone() else {
            let why = "there is nothing to go back to: the server has not been reloaded";
            return self.tell(&[asker], Err(Refusal::new(ExitCode::Failure, why)));
        };
        // It would bring back what is to be gone.
        if let Some(waiting) = self.reload_again.take() {
            self.conclude(Some(Cause::Reload), &waiting, Err(Refusal::later("rolled back meanwhile")));
        }
        notify::reloading();
        self.change_to(previous, vec![asker], Cause::Rollback);
    }

    fn keeps_from_going_back(&self) -> Option<&'static str> {
        if self.stopping {
            Some(STOPPING)
        } else if self.is_starting() {
            Some("a reload is in progress: try again when it is over")
        } else if self.reader_leaves() && self.table.has_ports() {
            Some(
                "an engine still finishes what it has begun, and two at most share the ports of HTTP/3: try again when it has ended",
            )
        } else {
            let several_leave = self.draining.len() > self.installed.release.processes;
            several_leave.then_some("several engines still finish what they have begun: try again when one has ended")
        }
    }

    /// Goes back from a release that has failed on probation; whoever asked for another reload meanwhile gets that one still.
    pub(super) fn relapse(&mut self) {
        if let Some(why) = self.keeps_from_going_back() {
            tracing::error!("the new release keeps dying, and the one before it cannot serve again as long as this is so: {why}");
            return;
        }
        self.probation.has_failed = false;
        let Some(previous) = self.previous.clone() else { return };
        if !previous.release.is_there() {
            tracing::error!("the new release keeps dying, and of the one before it the folders or scripts are gone");
            return;
        }
        tracing::error!(
            "the new release keeps dying (engine.probation): the one before it serves again; reload when it is mended"
        );
        notify::reloading();
        self.change_to(previous, Vec::new(), Cause::Failure);
    }

    /// The same, once what kept it from that is over.
    pub(super) fn relapse_if_due(&mut self) {
        if self.probation.has_failed && self.keeps_from_going_back().is_none() {
            self.relapse();
        }
    }

    /// An engine is about to succeed another, or has just done so.
    pub(super) fn is_changing(&self) -> bool {
        self.is_starting() || !self.draining.is_empty()
    }

    pub(super) fn is_starting(&self) -> bool {
        let is_loading = self.loads.iter().any(|load| !matches!(load.purpose, Purpose::Check(_)));
        is_loading || self.next.is_some() || self.is_of_another_program()
    }

    /// Starts the engine that is to bring `installed` into force, or says why not.
    fn change_to(&mut self, installed: Installed, askers: Vec<Asker>, cause: Cause) {
        let listening = self.table.listen(&installed.release.sockets);
        let started = listening.and_then(|()| self.spawn_all(&installed, |place| self.table.of_next(place)));
        match started {
            Ok(engines) => {
                let cause = Some(cause);
                self.succeed(Next { engines, replaces: None, installed: Some(installed), askers, cause, reason: None });
            }
            Err(error) => {
                self.table.settle(false);
                self.not_changed(cause, &askers, error.into());
            }
        }
    }

    fn not_changed(&mut self, cause: Cause, askers: &[Asker], why: Refusal) {
        tracing::error!("{}, nothing has changed: {why}", cause.not_done());
        self.conclude(Some(cause), askers, Err(why));
        self.restart_missing();
        self.notify_ready();
        self.reload_if_asked_meanwhile();
    }

    /// Of engines that are missing nobody else may think.
    fn restart_missing(&mut self) {
        let is_missing = self.active.len() < self.installed.release.processes;
        self.restart_at = self.restart_at.or(is_missing.then(|| Instant::now() + KILL_AFTER));
    }

    /// Starts all engines of `installed`; if one does not start, the others see that nobody waits for them, and end.
    fn spawn_all<'a>(&'a self, installed: &Installed, sockets: impl Fn(usize) -> Lent<'a>) -> Result<Vec<Engine>, Error> {
        let predecessor = self.predecessor(installed);
        let succeeds = self.ask_for_scripts();
        let of = |(generation, place)| Seat { generation, place, sockets: sockets(place), succeeds, predecessor };
        let places = 0..installed.release.processes;
        (self.generation + 1..).zip(places).map(of).map(|seat| self.spawn(installed, seat)).collect()
    }

    /// Lets an engine that serves write down what OPcache has; false if there is none.
    fn ask_for_scripts(&self) -> bool {
        let Some(engine) = self.active.first() else { return false };
        if let Err(error) = memory::put(&self.scripts, &[]) {
            // The new engine then reads what was written last.
            tracing::warn!("the list of compiled scripts cannot be emptied: {error}");
        }
        engine.say(&Order::TellScripts);
        true
    }

    /// Of several engines none keeps in memory what others should know of.
    fn predecessor(&self, installed: &Installed) -> Option<BorrowedFd<'_>> {
        match &self.active[..] {
            [only] if installed.release.processes == 1 => Some(only.door()),
            _ => None,
        }
    }

    fn succeed(&mut self, next: Next) {
        self.generation = next.engines.iter().map(|engine| engine.generation).max().unwrap_or(self.generation);
        self.next = Some(next);
    }

    /// The engine that boots takes the place of the only one, dead or not. Another beside it would keep in memory what this one keeps
    /// too. If it fails, or takes too long, the place is filled then.
    pub(super) fn is_awaited(&self) -> bool {
        self.next.is_some() && self.installed.release.processes == 1
    }

    pub(super) fn reload_if_asked_meanwhile(&mut self) {
        if !self.stopping
            && !self.is_changing()
            && let Some(askers) = self.reload_again.take()
        {
            self.reload(askers);
        }
    }

    /// Starts another engine in the place of one that has lost threads, memory or OPcache, and has said so; it asks again if this is
    /// no time for it.
    pub(super) fn replace_worn_out(&mut self, generation: u64) {
        let place = self.active.iter().find(|engine| engine.generation == generation).map(|engine| engine.place);
        let Some(place) = place.filter(|_| !self.stopping && !self.is_changing()) else { return };
        tracing::warn!(generation, "the engine asks to be replaced: a new engine takes its place");
        self.ask_for_scripts();
        let predecessor = self.predecessor(&self.installed);
        let sockets = self.table.of_successor(place);
        let seat = Seat { generation: self.generation + 1, place, sockets, succeeds: true, predecessor };
        match self.spawn(&self.installed, seat) {
            Ok(engine) => self.succeed(Next {
                engines: vec![engine],
                replaces: Some(generation),
                installed: None,
                askers: Vec::new(),
                cause: None,
                reason: None,
            }),
            Err(error) => tracing::error!("the engine goes on as it is: {error}"),
        }
    }

    /// Starts other engines as soon as there are UDP ports for them that were another server's at first.
    pub(super) fn take_late_ports(&mut self, now: Instant) {
        if self.stopping || !self.has_served || self.is_changing() || !self.table.listen_late(now) {
            return;
        }
        match self.spawn_all(&self.installed, |place| self.table.of_successor(place)) {
            Ok(engines) => {
                self.succeed(Next { engines, replaces: None, installed: None, askers: Vec::new(), cause: None, reason: None })
            }
            Err(error) => tracing::error!("HTTP/3 is not served before the next reload: {error}"),
        }
    }
}
