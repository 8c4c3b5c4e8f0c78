//! How engines end, and with them, once it is told to, the server.

use std::{
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{KILL_AFTER, STOPPING, Supervisor, engine::Engine, line::Order, load::Load, notify, report};
use crate::{
    error::{ExitCode, Refusal},
    sys::children,
};

// === impl Supervisor ===

impl Supervisor {
    /// Takes leave of all children that have ended, also of those that are ours only because their parents are gone.
    pub(super) fn reap(&mut self) -> Option<ExitCode> {
        while let Some((pid, status)) = children::reap() {
            if let Some(at) = self.loads.iter().position(|load| load.pid == pid) {
                let (purpose, outcome) = self.loads.swap_remove(at).outcome(status);
                self.loaded(purpose, outcome);
            } else if let Some(engine) = self.engine_mut(|engine| engine.pid == pid) {
                let (generation, last_words) = (engine.generation, engine.hear_last());
                self.follow(generation, last_words);
                if let Some(code) = self.ended(generation, status) {
                    return Some(code);
                }
            } else {
                self.named(pid, status);
                if let Some(code) = self.exit_code() {
                    return Some(code);
                }
            }
        }
        None
    }

    fn ended(&mut self, generation: u64, status: ExitStatus) -> Option<ExitCode> {
        if let Some(at) = self.draining.iter().position(|engine| engine.generation == generation) {
            let mut engine = self.draining.remove(at);
            self.steer();
            engine.kill_group();
            self.tell_of_end(generation, status);
            if !status.success() {
                report::death(&engine, status);
            }
            self.look_into(&mut engine);
            self.keep(engine);
            self.reload_if_asked_meanwhile();
        } else if let Some(next) = self.next.take_if(|next| next.has(generation)) {
            if let Some(code) = self.next_ended(next, generation, status) {
                return Some(code);
            }
        } else if let Some(at) = self.active.iter().position(|engine| engine.generation == generation) {
            let mut engine = self.active.remove(at);
            engine.kill_group();
            let code = self.active_ended(&engine, status);
            self.look_into(&mut engine);
            self.keep(engine);
            if code.is_some() {
                return code;
            }
        }
        self.exit_code()
    }

    /// An engine ends by itself.
    pub(super) fn leaving(&mut self, generation: u64) {
        let within = self.installed.release.leaves_within;
        if let Some(engine) = self.active.iter_mut().find(|engine| engine.generation == generation) {
            engine.ready = false;
            engine.end_within(within);
        }
    }

    /// What an engine that is gone has left can be given to another.
    pub(super) fn keep(&self, engine: Engine) {
        self.spare.borrow_mut().push(engine.into_page());
    }

    /// Known once the server was told to stop, and no engine is left, nor anything to be said of one.
    pub(super) fn exit_code(&self) -> Option<ExitCode> {
        (self.stopping && self.engines().next().is_none() && self.crash.is_none()).then_some(self.code)
    }

    fn active_ended(&mut self, engine: &Engine, status: ExitStatus) -> Option<ExitCode> {
        if self.stopping {
            // Told to stop before it listened to signals, it had begun nothing.
            let at_our_word = status.signal() == Some(Signal::SIGTERM as i32);
            if !status.success() && !at_our_word {
                report::crash(engine, status);
                // Others may still finish what they have begun.
                self.code = code_of(status);
            }
            return None;
        }
        if !self.has_served && self.next.is_none() {
            // It has said why, unless it could not.
            report::crash(engine, status);
            self.code = if status.success() { ExitCode::Failure } else { code_of(status) };
            self.stop();
            return None;
        }
        // What ends it in another way, such as exit() in a library, is as good as a crash.
        let has_left = status.success() && engine.kill_at.is_some();
        if has_left {
            tracing::warn!(generation = engine.generation, "the engine has ended by itself");
        } else {
            report::death(engine, status);
        }
        if !self.has_served {
            return None;
        }
        let now = Instant::now();
        let pause = if has_left { Duration::ZERO } else { self.backoff.after_death(now) };
        self.restart_at = Some(now + pause);
        if !has_left && self.probation.fails(now) {
            self.relapse();
        }
        if self.is_awaited() {
            let most_ms = self.restarts_at().map(|at| at.saturating_duration_since(Instant::now()).as_millis());
            tracing::warn!(most_ms, "the engine that is to succeed it boots already, and is waited for");
        } else if !pause.is_zero() {
            tracing::warn!(pause_ms = pause.as_millis(), "engines keep dying; the next one is started after a pause");
        }
        None
    }

    pub(super) fn stop(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            self.engines().for_each(|engine| engine.say(&Order::Leave));
            self.engines_mut().for_each(|engine| engine.end_within(KILL_AFTER));
        } else {
            notify::send("STOPPING=1");
            let next = self.next.iter().flat_map(|next| next.askers.clone());
            let loads = self.loads.drain(..).flat_map(Load::give_up);
            let again = self.reload_again.take().into_iter().flatten();
            let patient = std::mem::take(&mut self.patient).into_iter().map(|patient| patient.asker);
            let waiting: Vec<_> = next.chain(again).chain(loads).chain(patient).collect();
            self.tell(&waiting, Err(Refusal::later(STOPPING)));
            let within = self.installed.release.leaves_within;
            for engine in self.engines_mut() {
                engine.end_within(within);
                engine.say(&Order::Stop);
                if !engine.ready {
                    // It does not listen yet, and has begun nothing.
                    engine.signal(Signal::SIGTERM);
                }
            }
            self.close_at = Some(Instant::now() + self.installed.release.shutdown_delay);
        }
        self.restart_at = None;
        self.hasten_crash();
    }
}

pub(super) fn code_of(status: ExitStatus) -> ExitCode {
    match status.code() {
        Some(0) => ExitCode::Ok,
        Some(2) => ExitCode::Usage,
        Some(70) => ExitCode::Software,
        Some(71) => ExitCode::System,
        Some(78) => ExitCode::Config,
        _ => ExitCode::Failure,
    }
}

/// Why a process that was to serve, or to read a configuration, did not.
pub(super) fn kind_of(status: ExitStatus) -> ExitCode {
    match code_of(status) {
        known @ (ExitCode::Config | ExitCode::System) => known,
        _ => ExitCode::Software,
    }
}
