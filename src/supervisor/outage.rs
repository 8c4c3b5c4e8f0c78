//! From the end of an engine that served to the next that serves: one that boots already, or another of what was served.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{KILL_AFTER, Supervisor, succession::Cause};

/// How much longer than twice the last one a start may take on a machine that is busy. One of a successor's that compiles more
/// scripts than that allows is given up, as a restart answers sooner.
const SLACK: Duration = Duration::from_secs(1);

// === impl Supervisor ===

impl Supervisor {
    /// When something is to be done for want of an engine that serves. One that boots already in the place of the only one has as
    /// long as a restart might take, as that could not begin sooner without two that own what plugins keep in memory.
    pub(super) fn restarts_at(&self) -> Option<Instant> {
        let next = self.next.as_ref().filter(|_| self.is_awaited());
        let Some(booting) = next.and_then(|next| next.engines.first()) else { return self.restart_at };
        // Without what was served before, nothing else can be started; and it is ended but once. What is to be gone does not come back
        // because what was before it takes longer to boot.
        let goes_back = next.is_some_and(|next| matches!(next.cause, Some(Cause::Failure | Cause::Rollback)));
        let can_end = booting.kill_at.is_none() && !goes_back && self.installed.release.is_there();
        let has_until = booting.started + self.boots_in.saturating_mul(2) + SLACK;
        self.restart_at.filter(|_| can_end).map(|at| at.max(has_until))
    }

    /// Does it.
    pub(super) fn restart(&mut self) {
        if self.is_awaited() {
            self.give_up_next();
        } else if let Err(error) = self.start() {
            tracing::error!("{error}");
            self.restart_at = Some(Instant::now() + Duration::from_secs(1));
        }
    }

    /// Its end is waited for before another is started.
    fn give_up_next(&mut self) {
        let booting: Vec<_> = self.next.iter().flat_map(|next| &next.engines).map(|engine| engine.generation).collect();
        // It may have said that it is ready.
        booting.into_iter().for_each(|generation| self.listen_to(generation));
        let Some(next) = &mut self.next else { return };
        let since = next.engines.first().map_or(0.0, |engine| engine.started.elapsed().as_secs_f64());
        let why = format!(
            "the engine before it has died, and the new one is not ready {since:.1} s after its start: it is ended, and what was served \
             before is started again"
        );
        tracing::error!("{why}");
        next.reason = Some(why);
        for engine in &mut next.engines {
            engine.signal(Signal::SIGKILL);
            engine.end_within(KILL_AFTER);
        }
    }
}
