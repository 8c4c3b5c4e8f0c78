//! What is looked at all the time: whether engines live, what is due, and what others are told of it.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{KILL_AFTER, Supervisor, engine::Engine, notify, report};
use crate::{health, worker::scoreboard::now_ms};

/// All is looked at so often.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// An engine that has shown no sign of life for so long is hung.
const HUNG_AFTER: Duration = Duration::from_secs(10);
/// A look that comes so much later than it should tells that this process was stopped, and others perhaps with it.
const LATE: Duration = Duration::from_secs(2);
/// An engine that does not serve by then is hung as well.
const BOOTS_WITHIN: Duration = Duration::from_secs(120);

/// A look at everything. The times are those of its beginning: a line for a log that nobody reads may hold it up for any time, and
/// engines that write there too; whoever was silent only since then is not judged by this look.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    /// The same by [`now_ms`].
    at_ms: u64,
    /// Since when this process has not been stopped, by [`now_ms`].
    awake_since: u64,
}

// === impl Look ===

impl Look {
    /// For how long somebody has been silent who was heard of last at `beat`, by [`now_ms`]. Time in which this process was stopped
    /// does not count, for the other may have been stopped too, and nobody heard of it after that.
    fn silence_since(self, beat: u64) -> Duration {
        Duration::from_millis(self.at_ms.saturating_sub(beat.max(self.awake_since)))
    }

    /// How much later it comes than it should after the one `before`, if that is so much that this process was stopped meanwhile.
    fn lateness(self, before: Instant) -> Option<Duration> {
        let late = self.at.saturating_duration_since(before).saturating_sub(TICK);
        (late >= LATE).then_some(late)
    }
}

// === impl Supervisor ===

impl Supervisor {
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        let look = Look { at: now, at_ms: now_ms(), awake_since: self.awake_since };
        if let Some(stopped) = look.lateness(self.looked) {
            self.forgive(stopped, look);
        }
        let look = Look { awake_since: self.awake_since, ..look };
        self.looked = now;
        self.loads.iter_mut().for_each(|load| load.look(now));
        self.engines_mut().for_each(|engine| engine.deference.look(engine.pid, now));
        if self.restarts_at().is_some_and(|at| now >= at) {
            self.restart();
        }
        // After that, for which somebody may wait.
        self.look_at_crash(now);
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
        self.take_late_ports(now);
        for engine in self.active.iter_mut().chain(self.next.iter_mut().flat_map(|next| &mut next.engines)) {
            end_if_hung(engine, look);
        }
        let is_well = self.active.iter().any(|engine| engine.ready && engine.kill_at.is_none());
        self.watchdog.feed(is_well, now);
        self.relapse_if_due();
    }

    /// Nobody had the time in which this process was `stopped`: by SIGSTOP, with its container or with the machine.
    fn forgive(&mut self, stopped: Duration, look: Look) {
        tracing::warn!(seconds = stopped.as_secs(), "this process has not run for a while; engines are given that time");
        self.awake_since = look.at_ms;
        self.loads.iter_mut().for_each(|load| load.kill_at += stopped);
        for engine in self.engines_mut() {
            engine.kill_at = engine.kill_at.map(|at| at + stopped);
            if !engine.ready {
                engine.started = (engine.started + stopped).min(look.at);
            }
        }
    }

    pub(super) fn until_next(&self) -> Duration {
        let now = Instant::now();
        let next = self.engines().filter_map(|engine| engine.kill_at).chain(self.restarts_at()).chain(self.close_at).min();
        let loads = self.loads.iter().filter_map(|load| load.deference.due());
        let deferences = self.engines().filter_map(|engine| engine.deference.due()).chain(loads);
        let next = next.into_iter().chain(deferences).chain(self.crash_due()).min();
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
fn end_if_hung(engine: &mut Engine, look: Look) {
    let (since, limit, thread) = match engine.board.beat() {
        None => (look.at.saturating_duration_since(engine.started), BOOTS_WITHIN, "main".into()),
        Some((beat, thread)) => (look.silence_since(beat), HUNG_AFTER, thread),
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A look that begins at `at` milliseconds of a process that was awake since `awake_since`.
    fn look(at: u64, awake_since: u64) -> Look {
        Look { at: Instant::now(), at_ms: at, awake_since }
    }

    #[test]
    fn silence_counts_only_while_this_process_could_hear() {
        let hung = u64::try_from(HUNG_AFTER.as_millis()).unwrap();
        let beat = 1_000;
        assert!(look(beat + hung - 1, 0).silence_since(beat) < HUNG_AFTER);
        assert!(look(beat + hung, 0).silence_since(beat) >= HUNG_AFTER);
        // Both were stopped for a minute, and this one goes on first: the other has a whole interval from then on.
        let woke = beat + 60_000;
        assert_eq!(look(woke, woke).silence_since(beat), Duration::ZERO);
        assert!(look(woke + hung - 1, woke).silence_since(beat) < HUNG_AFTER);
        assert!(look(woke + hung, woke).silence_since(beat) >= HUNG_AFTER, "it may hang all the same");
        // One that was heard of since is judged as ever.
        assert!(look(woke + hung + 500, woke).silence_since(woke + 501) < HUNG_AFTER);
        // What was heard while this look was held up is later than the look.
        assert_eq!(look(beat, 0).silence_since(beat + 20_000), Duration::ZERO);
    }

    #[test]
    fn a_look_that_comes_much_too_late_tells_of_a_stop() {
        let before = Instant::now();
        let after = |late| Look { at: before + TICK + late, at_ms: 0, awake_since: 0 }.lateness(before);
        let moment = Duration::from_millis(1);
        assert_eq!((after(Duration::ZERO), after(LATE - moment)), (None, None));
        assert_eq!(after(LATE), Some(LATE));
        assert_eq!(after(Duration::from_secs(60)), Some(Duration::from_secs(60)));
        // Of two in one moment, the second may have been begun first.
        assert_eq!(Look { at: before, at_ms: 0, awake_since: 0 }.lateness(before + TICK), None);
    }
}
