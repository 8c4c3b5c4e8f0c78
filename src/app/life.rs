//! What an engine does from the moment at which all is built: it takes over, serves until it is to end, and finishes what it has begun.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::Interval;

use super::{
    PATIENCE,
    fellows::Among,
    front::Front,
    line::{Asked, Line},
    memory::MemoryGuard,
};
use crate::{
    config,
    health::{self, Health},
    http::Drain,
    php,
    state::State,
    sys::exit,
    telemetry::logs,
    worker::{Controls, Pool, Replace, scoreboard::Scoreboard},
};

/// How long connections may idle in an engine that has been succeeded: clients send on them without a second thought.
const HAND_OVER_IDLE: Duration = Duration::from_secs(8);

/// A signal for all processes has the supervisor tell its engines to stop within this time.
const SUPERVISOR_SPEAKS: Duration = Duration::from_millis(200);

/// How often another engine is asked for, while the supervisor may have others to start.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// How often threads are looked for that never came back.
const LOOK_FOR_LOST: Duration = Duration::from_millis(250);

/// How long another engine that was asked for them has, before it is asked for again.
const REPLACED_WITHIN: Duration = Duration::from_secs(5);

/// Clients whose scripts are not waited for any longer are told so within this time.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Others who hear of the beginning and the end of what an engine does.
pub(super) struct Others {
    pub(super) health: Health,
    /// Readers of metrics, if there are any.
    pub(super) figures: Option<Drain>,
    pub(super) state: State,
    /// The engines beside this one, if there may be any.
    pub(super) among: Option<Arc<Among>>,
}

/// Waits until the engine is to end, then for what is running, bounded by `engine.grace_period`, whose end is returned.
pub(super) async fn run(
    mut line: Line,
    front: &Front,
    php: &php::Engine,
    engine: &config::Engine,
    pulse: &Pulse,
    guard: &mut Option<MemoryGuard>,
    others: &Others,
) -> Instant {
    pulse.beat();
    let taken = tokio::select! {
        taken = others.state.take_over() => taken,
        // It is alive as long as it takes.
        () = pulse.go_on() => Ok(()),
    };
    let asked = match taken {
        Ok(()) => {
            line.ready().await;
            if let Some(among) = &others.among {
                tokio::spawn(among.clone().learn());
            }
            others.health.set(pulse.board.map_or(health::State::Down, |board| health::State::Serving(vec![board])));
            until_asked(&mut line, php, pulse, guard, engine.grace_period).await
        }
        Err(why) => {
            let why = format!("what plugins keep in memory cannot be taken over: {why}");
            tracing::error!("{why}");
            line.failed(&why).await;
            Asked::Stop
        }
    };
    others.health.set(health::State::Stopping);
    let (delay, idle) = match asked {
        Asked::Stop | Asked::Signal => (engine.shutdown_delay, None),
        Asked::Alone => (Duration::ZERO, None),
        Asked::Leave => leave(front),
        Asked::HandOver => (Duration::ZERO, Some(HAND_OVER_IDLE)),
    };
    if matches!(asked, Asked::HandOver | Asked::Alone) {
        give_way(front, others, asked);
    }
    tracing::info!("stopping: requests in progress are finished first");
    let deadline = Instant::now() + delay + engine.grace_period;
    let finish = async {
        tokio::time::sleep(delay).await;
        php.expect_stop();
        front.stop(deadline, idle).await
    };
    tokio::pin!(finish);
    // The service manager, which finds the supervisor dead, tells all that are left.
    let mut may_hear_it_again = asked == Asked::Alone;
    loop {
        tokio::select! {
            finished = &mut finish => {
                if !finished {
                    tracing::warn!("grace period over; connections are cut");
                    php.pools().iter().for_each(|threads| threads.cut_running());
                    front.processes.iter().for_each(|processes| processes.cut_running());
                    front.wait(Instant::now() + LAST_WORDS).await;
                }
                return deadline;
            }
            () = pulse.go_on() => {}
            again = line.asked() => match (asked, again) {
                // Others to stop while it hands over, it ends as it would have without.
                (Asked::HandOver, Asked::Stop | Asked::Signal | Asked::Alone) => front.drain.start(),
                (_, Asked::HandOver | Asked::Alone) => {
                    may_hear_it_again |= again == Asked::Alone;
                    give_way(front, others, again);
                }
                (_, Asked::Stop) if std::mem::take(&mut may_hear_it_again) => {}
                (_, Asked::Signal) => {}
                (_, Asked::Stop) if line.is_supervised() => {}
                _ => leave(front),
            },
        }
    }
}

/// Another engine speaks for the server from here on, or another server for itself.
fn give_way(front: &Front, others: &Others, why: Asked) {
    if why == Asked::HandOver {
        // Scripts that have not ended may have locks to release.
        others.state.leave();
        if let Some(among) = &others.among {
            among.leave();
        }
    }
    if let Some(calls) = &front.calls {
        calls.leave_accepting();
    }
    if let Some(figures) = &others.figures {
        figures.leave_accepting();
    }
}

/// Somebody who is not the supervisor has told the engine to end by a signal.
struct Notice {
    asks_at: Instant,
    leaves_at: Instant,
}

/// Serves until the engine is to end. Whoever tells it to by a signal of its own waits for another engine, no longer than `grace`.
async fn until_asked(
    line: &mut Line,
    php: &php::Engine,
    pulse: &Pulse,
    guard: &mut Option<MemoryGuard>,
    grace: Duration,
) -> Asked {
    let mut notice: Option<Notice> = None;
    let mut look = tokio::time::interval(LOOK_FOR_LOST);
    loop {
        tokio::select! {
            asked = line.asked() => {
                if asked != Asked::Signal {
                    return asked;
                }
                let now = Instant::now();
                notice.get_or_insert(Notice { asks_at: now + SUPERVISOR_SPEAKS, leaves_at: now + SUPERVISOR_SPEAKS + grace });
                continue;
            }
            Some(notice) = due(&mut notice) => {
                if Instant::now() >= notice.leaves_at {
                    tracing::warn!("no other engine has taken the place of this one: it ends");
                    line.leaving().await;
                    return Asked::Stop;
                }
                tracing::warn!("a signal has told this engine to end: it asks for another, and serves until then");
                notice.asks_at = notice.leaves_at.min(Instant::now() + ASK_AGAIN);
            }
            () = pulse.go_on() => return Asked::Stop,
            why = worn_out(php, &mut look) => {
                tracing::error!("{why}");
                look.reset_after(REPLACED_WITHIN);
            }
            replace = out_of_memory(guard) => {
                if replace == Replace::After && line.is_supervised() {
                    tracing::error!("memory stays short, with no room for two engines: this one ends, and another follows");
                    line.leaving().await;
                    return Asked::Stop;
                }
                tracing::error!("memory stays short");
            }
        }
        if !line.ask_for_successor().await {
            tracing::error!("there is no supervisor to replace this process: restart it");
        }
    }
}

/// Returns when it is time to act on it.
async fn due(notice: &mut Option<Notice>) -> Option<&mut Notice> {
    match notice {
        Some(notice) => {
            tokio::time::sleep_until(notice.asks_at.into()).await;
            Some(notice)
        }
        None => std::future::pending().await,
    }
}

/// Ends with whatever is in progress.
fn leave(front: &Front) -> ! {
    tracing::warn!("told again to stop: leaving at once");
    front.processes.iter().for_each(|processes| processes.kill());
    exit::now(1)
}

/// What an engine does four times a second.
pub(super) struct Pulse {
    pub(super) pools: Arc<[Pool]>,
    pub(super) board: Option<Scoreboard>,
    pub(super) controls: Controls,
}

// === impl Pulse ===

impl Pulse {
    /// Never returns.
    async fn go_on(&self) {
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tick.tick().await;
            self.beat();
        }
    }

    /// Ends the waits that are over, and says that the engine is alive and which plugins are ready.
    fn beat(&self) {
        for pool in &*self.pools {
            pool.expire(Instant::now());
            pool.wake_if_waiting(PATIENCE);
        }
        logs::tell_of_lost();
        if let Some(board) = self.board {
            board.alive();
            board.note_plugins(self.controls.readiness());
        }
    }
}

/// Returns when another process should take over, and again while it should: threads have been stuck for too long, or OPcache has
/// wanted to restart for too long.
async fn worn_out(php: &php::Engine, look: &mut Interval) -> &'static str {
    loop {
        look.tick().await;
        if php.pools().iter().any(|threads| threads.is_worn_out()) {
            return "PHP threads are stuck for good";
        }
        if php.opcache().is_some_and(|opcache| opcache.is_overdue()) {
            return "OPcache has been waiting for its restart for opcache.force_restart_timeout seconds";
        }
    }
}

/// Returns when another engine would need less memory.
async fn out_of_memory(guard: &mut Option<MemoryGuard>) -> Replace {
    match guard {
        Some(guard) => guard.watch().await,
        None => std::future::pending().await,
    }
}
