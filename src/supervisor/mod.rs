//! The process that owns the sockets and outlives engines: it starts them, replaces them when they die or when a reload is asked
//! for, and runs no PHP, so that no script can take it down.
//!
//! ```text
//! starting ──ready──> active ──died──> (backoff) ──> starting
//! reload: load configuration ─> start the next beside the active ──ready──> the next is active, the other drains and ends
//!                                                   └─ died first ─> the active goes on
//! worn out (the active has lost threads, or its OPcache cannot restart): the same, with the configuration that is in force
//! ```

mod backoff;
mod engine;
mod handover;
mod line;
mod notify;
mod release;
mod report;
mod signals;
mod succession;

use std::{
    cell::RefCell,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tokio::{runtime::Builder, sync::mpsc};

pub use handover::{Handover, Inherited};
pub use line::{Messages, Order, Report, Wish, encode};

use self::{
    backoff::Backoff,
    engine::{Engine, Event, Means, Page, Start},
    release::Release,
    signals::Signals,
    succession::{Asker, Next},
};
use crate::{
    config::Config,
    error::{Error, ExitCode},
    health::{self, Health},
    net::Socket,
    telemetry::logs,
    worker::scoreboard::now_ms,
};

/// An engine that has shown no sign of life for so long is hung.
const HUNG_AFTER: Duration = Duration::from_secs(10);
/// An engine that does not serve by then is hung as well.
const BOOTS_WITHIN: Duration = Duration::from_secs(120);
/// What an engine may need to end beyond its grace period.
const LEAVES_WITHIN: Duration = Duration::from_secs(15);
/// From SIGABRT, or from being told twice to stop, to SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(2);

const STOPPING: &str = "the server is stopping";

/// What the supervisor needs of those who know configurations and sockets.
pub trait Needs {
    /// Reads the configuration anew.
    fn load(&mut self) -> Result<Config, Error>;
    /// Looks at all of it that can be looked at without serving.
    fn check(&self, config: &Config, dir: Option<&Path>) -> Result<(), Error>;
    /// Has all sockets that `config` names, those among them that it has already. Nothing changes if one cannot be had.
    fn listen(&mut self, config: &Config) -> Result<Sockets, Error>;
    /// The engine that got what [`Self::listen`] gave last serves, and no other sockets are kept; or it never will.
    fn settle(&mut self, serves: bool);
    /// How health checks are answered.
    fn health(&self, config: &Config) -> health::Config;
}

/// Listening sockets, to be handed to an engine.
#[derive(Debug)]
pub struct Sockets {
    /// For HTTP.
    pub http: Vec<OwnedFd>,
    /// For HTTP over TLS.
    pub ssl: Vec<OwnedFd>,
    /// For FastCGI.
    pub fcgi: Vec<OwnedFd>,
    /// For the TCP servers, in their order.
    pub tcp: Vec<OwnedFd>,
    /// For remote procedure calls.
    pub rpc: Vec<OwnedFd>,
    /// For health checks, which the supervisor answers itself.
    pub status: Vec<Socket>,
}

/// What is served.
#[derive(Debug)]
pub struct Plan {
    /// The configuration to begin with.
    pub config: Config,
    /// The directory named on the command line.
    pub dir: Option<PathBuf>,
    /// No banner.
    pub silent: bool,
}

struct Supervisor<N> {
    needs: N,
    plan: Plan,
    release: Release,
    previous: Option<Release>,
    sockets: Sockets,
    events: mpsc::UnboundedSender<Event>,
    generation: u64,
    active: Option<Engine>,
    next: Option<Next>,
    draining: Vec<Engine>,
    backoff: Backoff,
    restart_at: Option<Instant>,
    /// Those who asked for a reload during one; nobody, if it was a signal.
    reload_again: Option<Vec<Asker>>,
    has_served: bool,
    stopping: bool,
    kill_at: Option<Instant>,
    /// The last one, unless an engine ends badly at the end.
    code: ExitCode,
    /// Scoreboards of engines that are gone.
    spare: RefCell<Vec<Page>>,
    health: Health,
    checks: Option<health::Server>,
}

enum Heard {
    Event(Option<Event>),
    Stop,
    Reload,
    ReopenLogs,
    Tick,
}

/// Serves until a signal asks to stop. The exit code is the engine's.
pub fn run(plan: Plan, mut needs: impl Needs) -> Result<ExitCode, Error> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::system("supervisor runtime"))?;
    runtime.block_on(async move {
        // Before anything listens: whoever can reach us can also stop us.
        let mut signals = Signals::new().map_err(Error::system("signals"))?;
        let sockets = needs.listen(&plan.config)?;
        let (events, mut inbox) = mpsc::unbounded_channel();
        let mut supervisor = Supervisor {
            needs,
            release: Release::of(plan.config.clone(), plan.dir.clone()),
            previous: None,
            plan,
            sockets,
            events,
            generation: 0,
            active: None,
            next: None,
            draining: Vec::new(),
            backoff: Backoff::default(),
            restart_at: None,
            reload_again: None,
            has_served: false,
            stopping: false,
            kill_at: None,
            code: ExitCode::Ok,
            spare: RefCell::default(),
            health: Health::default(),
            checks: None,
        };
        supervisor.start()?;
        supervisor.answer_checks();
        loop {
            let heard = tokio::select! {
                event = inbox.recv() => Heard::Event(event),
                heard = signals.heard() => heard,
                () = tokio::time::sleep(supervisor.until_next()) => Heard::Tick,
            };
            if let Some(code) = supervisor.hear(heard) {
                return Ok(code);
            }
            supervisor.tell_health();
        }
    })
}

// === impl Supervisor ===

impl<N: Needs> Supervisor<N> {
    /// Starts an engine with the configuration and the sockets that are in force.
    fn start(&mut self) -> Result<(), Error> {
        self.restart_at = None;
        self.release = self.release.clone().still_there();
        let engine = self.spawn(&self.release, &self.sockets)?;
        self.generation = engine.generation;
        self.active = Some(engine);
        Ok(())
    }

    fn spawn(&self, release: &Release, sockets: &Sockets) -> Result<Engine, Error> {
        let failed = || Error::system("cannot start an engine");
        let means = Means::new(self.spare.borrow_mut().pop()).map_err(failed())?;
        let page = means.page.file.try_clone().map_err(failed())?;
        let line = means.theirs.try_clone().map_err(failed())?;
        let handover = Handover {
            config: release.config.to_json(),
            dir: release.dir.clone(),
            silent: self.plan.silent || self.generation > 0,
            generation: self.generation + 1,
            http: engine::borrow(&sockets.http),
            ssl: engine::borrow(&sockets.ssl),
            fcgi: engine::borrow(&sockets.fcgi),
            tcp: engine::borrow(&sockets.tcp),
            rpc: engine::borrow(&sockets.rpc),
            scoreboard: std::os::fd::AsFd::as_fd(&page),
            line: std::os::fd::AsFd::as_fd(&line),
        };
        let mut command = engine::command();
        command.current_dir(&release.folder);
        Engine::start(Start { command, handover }, means, self.events.clone()).map_err(failed())
    }

    /// Takes one step; the exit code if it was the last.
    fn hear(&mut self, heard: Heard) -> Option<ExitCode> {
        match heard {
            Heard::Event(Some(Event::Ready(generation))) => self.ready(generation),
            Heard::Event(Some(Event::Failed(generation, reason))) => self.failed(generation, reason),
            Heard::Event(Some(Event::WornOut(generation))) => self.replace_worn_out(generation),
            Heard::Event(Some(Event::Asked(generation, id, wish))) => self.asked(Asker { generation, id }, wish),
            Heard::Event(Some(Event::Ended(generation, status))) => return self.ended(generation, status),
            Heard::Event(None) => return Some(ExitCode::Failure),
            Heard::Stop => {
                self.stop();
                return self.exit_code();
            }
            Heard::Reload => self.reload(Vec::new()),
            Heard::ReopenLogs => {
                logs::reopen();
                // By word, for a signal would end an engine that still boots.
                self.each(|engine| engine.say(Order::ReopenLogs));
            }
            Heard::Tick => self.tick(),
        }
        None
    }

    fn ready(&mut self, generation: u64) {
        if self.stopping {
            // It has been told to stop as all others have.
            return;
        }
        if let Some(engine) = self.active.as_mut().filter(|engine| engine.generation == generation) {
            engine.ready = true;
            if self.has_served {
                tracing::info!(generation, "the engine serves again");
            } else {
                self.needs.settle(true);
            }
        } else if let Some(next) = self.next.take_if(|next| next.engine.generation == generation) {
            let Next { mut engine, release, sockets, askers, .. } = next;
            engine.ready = true;
            if let Some(release) = release {
                self.previous = Some(std::mem::replace(&mut self.release, release));
            }
            self.sockets = sockets;
            self.needs.settle(true);
            self.answer_checks();
            let took = engine.started.elapsed().as_secs_f64();
            self.tell(&askers, Ok(&format!("engine {generation} serves, after {took:.1} s")));
            if let Some(mut old) = self.active.replace(engine) {
                self.let_go(old.generation);
                old.say(Order::HandOver);
                old.leave_by = Some(Instant::now() + self.time_to_leave());
                self.draining.push(old);
            }
            self.restart_at = None;
            tracing::info!(generation, "reloaded: a new engine serves, the old one finishes what it has begun");
        } else {
            return;
        }
        self.has_served = true;
        notify::send("READY=1");
        self.reload_if_asked_meanwhile();
    }

    /// An engine that was told to end is ended after this.
    fn time_to_leave(&self) -> Duration {
        let engine = &self.release.config.engine;
        engine.shutdown_delay + engine.grace_period + LEAVES_WITHIN
    }

    fn ended(&mut self, generation: u64, status: ExitStatus) -> Option<ExitCode> {
        if let Some(at) = self.draining.iter().position(|engine| engine.generation == generation) {
            let engine = self.draining.remove(at);
            engine.kill_group();
            if !status.success() {
                report::death(&engine, status);
            }
            self.keep(engine);
            self.reload_if_asked_meanwhile();
        } else if let Some(next) = self.next.take_if(|next| next.engine.generation == generation) {
            next.engine.kill_group();
            self.needs.settle(false);
            self.keep(next.engine);
            if !self.stopping {
                let why = format!("the new engine ended before it served ({}); the old one goes on", report::describe(status));
                tracing::error!(generation, "{why}");
                self.tell(&next.askers, Err(next.reason.as_deref().unwrap_or(&why)));
                if self.active.is_none() && !self.has_served {
                    return Some(ExitCode::Failure);
                }
                notify::send("READY=1");
                self.reload_if_asked_meanwhile();
            }
        } else if let Some(engine) = self.active.take_if(|engine| engine.generation == generation) {
            engine.kill_group();
            let code = self.active_ended(&engine, status);
            self.keep(engine);
            if code.is_some() {
                return code;
            }
        }
        self.exit_code()
    }

    /// What an engine that is gone has left can be given to another.
    fn keep(&self, engine: Engine) {
        self.spare.borrow_mut().push(engine.into_page());
    }

    /// Known once the server was told to stop and no engine is left.
    fn exit_code(&self) -> Option<ExitCode> {
        let all_gone = self.active.is_none() && self.next.is_none() && self.draining.is_empty();
        (self.stopping && all_gone).then_some(self.code)
    }

    fn active_ended(&mut self, engine: &Engine, status: ExitStatus) -> Option<ExitCode> {
        if self.stopping {
            // Told to stop before it listened to signals, it had begun nothing.
            let at_our_word = status.signal() == Some(Signal::SIGTERM as i32);
            if !status.success() && !at_our_word {
                // Others may still finish what they have begun.
                self.code = code_of(status);
            }
            return None;
        }
        if !self.has_served && self.next.is_none() {
            // It has said why.
            return Some(if status.success() { ExitCode::Failure } else { code_of(status) });
        }
        report::death(engine, status);
        if !self.has_served {
            return None;
        }
        let pause = self.backoff.after(engine.started, Instant::now());
        self.restart_at = Some(Instant::now() + pause);
        if !pause.is_zero() {
            tracing::warn!(pause_ms = pause.as_millis(), "engines keep dying; the next one is started after a pause");
        }
        None
    }

    /// Answers health checks where the configuration in force says.
    fn answer_checks(&mut self) {
        // The one before has let its sockets go first: of two, either could get a connection.
        self.checks = None;
        let (sockets, settings) = (std::mem::take(&mut self.sockets.status), self.needs.health(&self.release.config));
        match health::Server::start(sockets, settings, self.health.clone()) {
            Ok(server) => self.checks = Some(server),
            Err(error) => tracing::error!("status.address: health checks are not answered: {error}"),
        }
    }

    fn tell_health(&self) {
        self.health.set(match &self.active {
            _ if self.stopping => health::State::Stopping,
            Some(engine) if engine.ready => health::State::Serving(engine.board),
            _ => health::State::Down,
        });
    }

    fn stop(&mut self) {
        let now = Instant::now();
        notify::send("STOPPING=1");
        if std::mem::replace(&mut self.stopping, true) {
            self.kill_at = Some(now + KILL_AFTER);
            self.each(|engine| engine.say(Order::Leave));
        } else {
            let next = self.next.iter().flat_map(|next| next.askers.clone());
            let waiting: Vec<_> = next.chain(self.reload_again.take().into_iter().flatten()).collect();
            self.tell(&waiting, Err(STOPPING));
            let leave_by = now + self.time_to_leave();
            let next = self.next.as_mut().map(|next| &mut next.engine);
            self.active.iter_mut().chain(next).for_each(|engine| engine.leave_by = Some(leave_by));
            self.each(|engine| engine.signal(Signal::SIGTERM));
        }
        self.restart_at = None;
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.kill_at.is_some_and(|at| now >= at) {
            self.each(|engine| engine.signal(Signal::SIGKILL));
        }
        if self.restart_at.is_some_and(|at| now >= at)
            && let Err(error) = self.start()
        {
            tracing::error!("{error}");
            self.restart_at = Some(now + Duration::from_secs(1));
        }
        self.each(|engine| {
            if engine.leave_by.is_some_and(|by| now >= by) {
                tracing::error!(generation = engine.generation, pid = engine.pid, "the engine does not end: killed");
                engine.signal(Signal::SIGKILL);
            }
        });
        if self.stopping {
            // While it ends, an engine need show no other sign of life.
            return;
        }
        if let Some(next) = &mut self.next {
            end_if_hung(&mut next.engine, now);
        }
        if let Some(engine) = &mut self.active {
            end_if_hung(engine, now);
            if engine.ready && engine.aborted.is_none() {
                notify::watchdog();
            }
        }
    }

    fn until_next(&self) -> Duration {
        let now = Instant::now();
        let next = [self.restart_at, self.kill_at].into_iter().flatten().min();
        next.map_or(Duration::from_secs(1), |at| at.saturating_duration_since(now).min(Duration::from_secs(1)))
    }

    fn each(&self, act: impl Fn(&Engine)) {
        self.active.iter().chain(self.next.as_ref().map(|next| &next.engine)).chain(&self.draining).for_each(act);
    }
}

/// An engine whose threads have stopped beating is aborted, so that it leaves a backtrace, then killed.
fn end_if_hung(engine: &mut Engine, now: Instant) {
    if let Some(aborted) = engine.aborted {
        if now.duration_since(aborted) >= KILL_AFTER {
            engine.signal(Signal::SIGKILL);
        }
        return;
    }
    let (since, limit) = match engine.board.beat() {
        0 => (engine.started.elapsed(), BOOTS_WITHIN),
        beat => (Duration::from_millis(now_ms().saturating_sub(beat)), HUNG_AFTER),
    };
    if since < limit {
        return;
    }
    tracing::error!(
        generation = engine.generation,
        pid = engine.pid,
        "the engine is hung: no sign of life for {} s",
        since.as_secs()
    );
    report::running(engine);
    engine.signal(Signal::SIGABRT);
    engine.aborted = Some(now);
}

fn code_of(status: ExitStatus) -> ExitCode {
    match status.code() {
        Some(0) => ExitCode::Ok,
        Some(2) => ExitCode::Usage,
        Some(71) => ExitCode::System,
        Some(78) => ExitCode::Config,
        _ => ExitCode::Failure,
    }
}
