//! Those who have asked for something, in an engine that they have called, and wait to hear how it went.

use std::{fmt::Write, process::ExitStatus, time::Instant};

use serde::{Deserialize, Serialize};

use super::{
    STOPPING, Supervisor,
    line::{Order, Wish, shortened},
    load::Purpose,
    report,
    succession::Cause,
};
use crate::error::{Refusal, Remedy};

/// Configurations that are read at once only to be checked: each is a process.
const MAX_CHECKS: usize = 4;

/// Somebody who waits for the outcome of a wish, in the engine of this generation.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Asker {
    pub(super) generation: u64,
    pub(super) id: u32,
}

/// One who waits until engines have ended that finish what they have begun.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Patient {
    pub(super) asker: Asker,
    /// The youngest of them.
    last: u64,
    /// Which of them have ended badly, and how.
    said: String,
}

// === impl Supervisor ===

impl Supervisor {
    pub(super) fn asked(&mut self, asker: Asker, wish: Wish) {
        let is_leaving = self.draining.iter().any(|engine| engine.generation == asker.generation);
        if is_leaving && !matches!(wish, Wish::Check | Wish::Introduce { .. }) {
            return self.tell(&[asker], Err(call_again()));
        }
        match wish {
            Wish::Check if self.stopping => self.tell(&[asker], Err(Refusal::later(STOPPING))),
            Wish::Check if self.checks_in_progress() >= MAX_CHECKS => {
                self.tell(&[asker], Err(Refusal::later("too many ask at once: try again later")));
            }
            Wish::Check => {
                if let Err(error) = self.load_anew(Purpose::Check(asker)) {
                    self.tell(&[asker], Err(error.into()));
                }
            }
            Wish::Reload => self.reload(vec![asker]),
            Wish::Follow => self.follow_reload(asker),
            Wish::Rollback => self.roll_back(asker),
            Wish::Waits => self.tell(&[asker], Ok(&self.waits())),
            Wish::Ended => self.wait_for_ends(asker),
            Wish::Introduce { token } => self.introduce(asker, token),
        }
    }

    fn wait_for_ends(&mut self, asker: Asker) {
        match self.draining.iter().map(|engine| engine.generation).max() {
            _ if self.stopping => self.tell(&[asker], Err(Refusal::later(STOPPING))),
            None => self.tell(&[asker], Ok("")),
            Some(last) => self.patient.push(Patient { asker, last, said: String::new() }),
        }
    }

    /// One of the draining engines is gone.
    pub(super) fn tell_of_end(&mut self, generation: u64, status: ExitStatus) {
        for patient in self.patient.iter_mut().filter(|patient| generation <= patient.last && !status.success()) {
            let begin = if patient.said.is_empty() { "" } else { "; " };
            let how = report::describe(status);
            _ = write!(patient.said, "{begin}engine {generation} has not finished what it had begun: {how}");
        }
        let oldest = self.draining.iter().map(|engine| engine.generation).min().unwrap_or(u64::MAX);
        let over: Vec<_> = self.patient.extract_if(.., |patient| patient.last < oldest).collect();
        over.iter().for_each(|patient| self.tell(&[patient.asker], Ok(&patient.said)));
    }

    fn checks_in_progress(&self) -> usize {
        self.loads.iter().filter(|load| matches!(load.purpose, Purpose::Check(_))).count()
    }

    /// The reload may have begun meanwhile, or even be over; a rollback may have come between.
    fn follow_reload(&mut self, asker: Asker) {
        if self.stopping {
            return self.tell(&[asker], Err(Refusal::later(STOPPING)));
        }
        let loading = self.loads.iter_mut().find_map(|load| match &mut load.purpose {
            Purpose::Reload(askers) => Some(askers),
            _ => None,
        });
        let reloading = self.next.as_mut().filter(|next| next.cause == Some(Cause::Reload));
        let askers = self.reload_again.as_mut().or(loading).or(reloading.map(|next| &mut next.askers));
        match (askers, self.outcome.clone()) {
            (Some(askers), _) => askers.push(asker),
            (None, Some(Ok(text))) => self.tell(&[asker], Ok(&text)),
            (None, Some(Err(refusal))) => self.tell(&[asker], Err(refusal)),
            (None, None) => self.tell(&[asker], Ok("the reload is over: the log tells its outcome")),
        }
    }

    /// What a reload waits for that follows, and whoever is to hear of their end: engines that finish what they have begun.
    fn waits(&self) -> String {
        let mut text = String::new();
        if self.is_starting() {
            return text;
        }
        let now = Instant::now();
        for engine in &self.draining {
            let requests = match engine.board.running().len() {
                0 => "no request, but connections".into(),
                1 => "1 request".into(),
                several => format!("{several} requests"),
            };
            let begin = if text.is_empty() { "waiting for" } else { ", and" };
            _ = write!(text, "{begin} engine {}, process {}, to finish {requests}", engine.generation, engine.pid);
            if let Some(at) = engine.kill_at {
                _ = write!(text, " within {} s", at.saturating_duration_since(now).as_secs());
            }
        }
        text
    }

    pub(super) fn tell(&self, askers: &[Asker], outcome: Result<&str, Refusal>) {
        for asker in askers {
            let refused = |refusal: &Refusal| Refusal { text: shortened(&refusal.text), ..*refusal };
            let result = outcome.as_ref().map(|text| shortened(text)).map_err(refused);
            if let Some(engine) = self.engines().find(|engine| engine.generation == asker.generation) {
                engine.say(&Order::Outcome { id: asker.id, result });
            }
        }
    }

    /// What came of a change for this cause; those who follow a reload hear of it also when they ask later.
    pub(super) fn conclude(&mut self, cause: Option<Cause>, askers: &[Asker], outcome: Result<&str, Refusal>) {
        if cause == Some(Cause::Reload) {
            self.outcome = Some(outcome.clone().map(str::to_owned));
        }
        self.tell(askers, outcome);
    }

    /// Those who wait in an engine, which is among the draining ones by now, would keep it from ending.
    pub(super) fn let_go(&mut self, generation: u64) {
        let waiting = self.reload_again.iter_mut();
        let gone: Vec<_> = waiting.flat_map(|askers| askers.extract_if(.., |asker| asker.generation == generation)).collect();
        let follows = "another reload follows: the log tells its outcome";
        self.tell(&gone, Err(Refusal::later(follows).with(Remedy::Follow)));
        let gone: Vec<_> = self.patient.extract_if(.., |patient| patient.asker.generation == generation).collect();
        gone.iter().for_each(|patient| self.tell(&[patient.asker], Err(call_again())));
    }
}

/// For those who ask an engine that has been succeeded.
fn call_again() -> Refusal {
    Refusal::later("this engine is being replaced: call again").with(Remedy::CallAgain)
}
