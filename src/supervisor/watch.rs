//! What is looked at all the time: whether engines live, what is due, and what others are told of it.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{
    KILL_AFTER, Supervisor,
    engine::{self, Engine},
    notify, report,
};
use crate::{health, worker::scoreboard::now_ms};

/// All is looked at so often.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// An engine that has shown no sign of life for so long is hung.
const HUNG_AFTER: Duration = Duration::from_secs(10);
/// A look that comes so much later than it should tells that this process was stopped, and others perhaps with it.
const LATE: Duration = Duration::from_secs(2);
/// An engine that does not serve by then is hung as well.
const BOOTS_WITHIN: Duration = Duration::from_secs(120);

// === impl Supervisor ===

impl Supervisor {
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        self.forgive(now.duration_since(self.looked).saturating_sub(TICK));
        self.looked = now;
        self.loads.iter_mut().for_each(|load| load.look(now));
        self.engines_mut().for_each(|engine| engine::insist(engine.pid, &mut engine.yields_until, now));
        if self.restarts_at().is_some_and(|at| now >= at) {
            self.restart();
        }
        for engine in self.engines_mut().filter(|engine| engine.kill_at.is_some_and(|at| now >= at)) {
            tracing::error!(generation = engine.generation, pid = engine.pid, "the engine does not end: killed");
            engine.signal(Signal::SIGKILL);
            engine.kill_at = Some(now + KILL_AFTER);
        }
        if self.close_at.take_if(|at| now >= *at).is_some() {
            self.table.close();
        }
        self.replace_ticket_keys(now);
        if self.stopping {
            // While it ends, an engine need show no other sign of life.
            return;
        }
        for engine in self.active.iter_mut().chain(self.next.iter_mut().flat_map(|next| &mut next.engines)) {
            end_if_hung(engine, self.awake_since);
        }
        let is_well = self.active.iter().any(|engine| engine.ready && engine.kill_at.is_none());
        self.watchdog.feed(is_well, now);
    }

    /// Nobody had the time in which this process was `stopped`: by SIGSTOP, with its container or with the machine.
    fn forgive(&mut self, stopped: Duration) {
        if stopped < LATE {
            return;
        }
        tracing::warn!(seconds = stopped.as_secs(), "this process has not run for a while; engines are given that time");
        self.awake_since = now_ms();
        self.loads.iter_mut().for_each(|load| load.kill_at += stopped);
        self.engines_mut().filter_map(|engine| engine.kill_at.as_mut()).for_each(|at| *at += stopped);
    }

    pub(super) fn until_next(&self) -> Duration {
        let now = Instant::now();
        let next = self.engines().filter_map(|engine| engine.kill_at).chain(self.restarts_at()).chain(self.close_at).min();
        let next = next.into_iter().chain(self.watchdog.due().filter(|_| !self.stopping)).min();
        next.map_or(TICK, |at| at.saturating_duration_since(now).min(TICK))
    }

    /// Tells the service manager that a reload is over. While no engine serves it is told by the next that does.
    pub(super) fn notify_ready(&self) {
        if self.active.iter().any(|engine| engine.ready) {
            notify::send("READY=1");
        }
    }

    /// Answers health checks where the release in force says.
    pub(super) fn answer_checks(&mut self) {
        // The one before has let its sockets go first: of two, either could get a connection.
        self.checks = None;
        let settings = self.installed.release.checks.into();
        let sockets = self.table.of_checks();
        match sockets.and_then(|sockets| health::Server::start(sockets, settings, self.health.clone())) {
            Ok(server) => self.checks = Some(server),
            Err(error) => tracing::error!("status.address: health checks are not answered: {error}"),
        }
    }

    pub(super) fn tell_health(&self) {
        let boards: Vec<_> = self.active.iter().filter(|engine| engine.ready).map(|engine| engine.board).collect();
        self.health.set(match boards.is_empty() {
            _ if self.stopping => health::State::Stopping,
            true => health::State::Down,
            false => health::State::Serving(boards),
        });
    }
}

/// An engine whose threads have stopped beating is aborted, so that it leaves a backtrace, then killed.
fn end_if_hung(engine: &mut Engine, awake_since: u64) {
    let awake = Duration::from_millis(now_ms().saturating_sub(awake_since));
    let (since, limit, thread) = match engine.board.beat() {
        None => (engine.started.elapsed(), BOOTS_WITHIN, "main".into()),
        Some((beat, thread)) => (Duration::from_millis(now_ms().saturating_sub(beat)), HUNG_AFTER, thread),
    };
    let since = since.min(awake);
    if since < limit || engine.kill_at.is_some() {
        return;
    }
    tracing::error!(
        generation = engine.generation,
        pid = engine.pid,
        thread,
        "the engine is hung: no sign of life for {} s",
        since.as_secs()
    );
    report::running(engine);
    engine.signal(Signal::SIGABRT);
    engine.end_within(KILL_AFTER);
}
