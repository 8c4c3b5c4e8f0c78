//! The process that owns the sockets and outlives engines: it starts them, replaces them when they die or when a reload is asked
//! for, and runs no PHP, so that no script can take it down.
//!
//! ```text
//! starting ──ready──> active ──died──> (backoff) ──> starting
//! reload: the program that is there now reads the configuration, in a process of its own
//!         ─> start the next beside the active ──ready──> the next is active, the other drains and ends
//!                                            └─ died first ─> the active goes on
//! the active died while the next boots: the next is active once it is ready, or is ended if it takes longer than a start does
//! worn out (the active has lost threads, or its OPcache cannot restart): the same, with the configuration that is in force
//! told to end by a signal that is not this process's: the same, and it ends after its grace period if nobody succeeds it
//! an engine of a dead supervisor has let go of a UDP port: the same, for the next engines are the first that read from it
//! the active dies twice soon after a reload: the next is of the release before that
//! it says that it leaves: it is not ready any more, and when it has ended the place is filled; that is no death
//! ```
//!
//! At the end connections are refused as soon as the engines have taken those that waited, while they finish what they have begun.
//!
//! With `engine.processes` there are several active ones, which a reload replaces all at once.
//!
//! An engine that boots beside an active one compiles first what that has in its OPcache (`engine.warm_up`). All this, and the reading
//! of the configuration, yields every CPU to those who serve for a moment, then takes a tenth of one that is wanted by others too, then
//! its part, where there is a way back from that: as root with CAP_SYS_NICE, or by `LimitNICE=`.
//!
//! An engine that crashes leaves a backtrace, whose calls are named by a process of their own ([`crash`]).
//!
//! If the engine that serves is of another program than this process, this process becomes that program ([`upgrade`]).

mod askers;
mod backoff;
mod crash;
mod deference;
mod ending;
mod engine;
mod fellows;
mod handover;
mod line;
mod load;
mod notify;
mod outage;
mod probation;
mod release;
mod report;
mod signals;
mod sockets;
mod succession;
mod tickets;
mod upgrade;
mod watch;

use std::{
    cell::RefCell,
    ffi::CStr,
    future::poll_fn,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    task::Poll,
    time::{Duration, Instant},
};

use nix::sys::prctl;
use tokio::runtime::Builder;

pub use crash::{NAME_CALLS, name as name_calls};
pub use fellows::{Fellow, Parcel};
pub use handover::Inherited;
pub use line::{Messages, Order, Report, Wish, encode};
pub use release::{Checks, Release, VERSION, no_exchange};
pub use sockets::{Held, Kind, Wanted, open};
pub use upgrade::Left;

use self::{
    askers::{Asker, Patient},
    backoff::Backoff,
    crash::{BlackBox, Crash},
    deference::Deference,
    engine::{Engine, Means, Page},
    handover::Handover,
    load::{Load, Origin, Purpose},
    notify::Watchdog,
    probation::Probation,
    release::Installed,
    signals::Signals,
    sockets::{Lent, READER, Table},
    succession::Next,
    tickets::TicketKeys,
    watch::TICK,
};
use crate::{
    error::{Error, ExitCode, Refusal},
    health::{self, Health},
    sys::{capabilities, memory, pid::PidFile, priority, spawn::Program},
    telemetry::logs,
    worker::scoreboard::now_ms,
};

/// From SIGABRT, or from being told twice to stop, to SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(2);

/// What `ps` shows of a supervisor and of its engines.
pub const NAME: &CStr = c"rr";

const STOPPING: &str = "the server is stopping";

/// What is served.
#[derive(Debug)]
pub struct Plan {
    /// The configuration to begin with.
    pub release: Release,
    /// Where this process was started, by the name that it had.
    pub start: PathBuf,
    /// No banner.
    pub silent: bool,
    /// Write `.pid` into the working directory, to be removed at the end.
    pub pid_file: bool,
}

struct Supervisor {
    own: Program,
    origin: Origin,
    silent: bool,
    pid_file: Option<PidFile>,
    /// The one in force.
    installed: Installed,
    previous: Option<Installed>,
    probation: Probation,
    table: Table,
    ticket_keys: TicketKeys,
    /// Where one engine writes for the next what OPcache has.
    scripts: OwnedFd,
    generation: u64,
    /// The engine that was listened to last.
    heard: u64,
    /// As many as the release wants, less those that have died.
    active: Vec<Engine>,
    next: Option<Next>,
    draining: Vec<Engine>,
    loads: Vec<Load>,
    /// The last one that is looked into.
    crash: Option<Crash>,
    backoff: Backoff,
    /// When the engines that are missing are started, unless one that boots already is to take their place.
    restart_at: Option<Instant>,
    /// How long the last engine took that became ready, succeeded no other and is of the release in force; of a release that has had
    /// none such, the one that brought it, which compiled scripts too.
    boots_in: Duration,
    /// Those who asked for a reload during one; nobody, if it was a signal.
    reload_again: Option<Vec<Asker>>,
    /// What came of the last reload or rollback, for those who had to call again meanwhile.
    outcome: Option<Result<String, Refusal>>,
    patient: Vec<Patient>,
    has_served: bool,
    stopping: bool,
    /// When nobody is to be accepted any more.
    close_at: Option<Instant>,
    /// When all was looked at last.
    looked: Instant,
    /// Since when this process has not been stopped, by [`now_ms`].
    awake_since: u64,
    /// The last one, unless an engine ends badly at the end.
    code: ExitCode,
    /// Scoreboards of engines that are gone.
    spare: RefCell<Vec<Page>>,
    watchdog: Watchdog,
    health: Health,
    checks: Option<health::Server>,
}

/// The place of an engine among others.
struct Seat<'a> {
    generation: u64,
    place: usize,
    sockets: Lent<'a>,
    /// Another engine serves until it does.
    succeeds: bool,
    /// The door of the engine that it is to succeed, if what that keeps in memory can go on in this one.
    predecessor: Option<BorrowedFd<'a>>,
}

enum Heard {
    /// An engine, of this generation.
    Engine(u64),
    /// A child has ended.
    Child,
    Stop,
    Reload,
    ReopenLogs,
    Tick,
}

/// Serves until a signal asks to stop. The exit code is the engine's.
pub fn run(plan: Plan) -> Result<ExitCode, Error> {
    enter(|| {
        let Plan { release, start, silent, pid_file } = plan;
        let own = Program::own().map_err(Error::system("this program"))?;
        let table = Table::open(&release.sockets, release.leaves_within)?;
        // Only now: a server that cannot listen must not take the place of the one that does.
        let pid_file = PidFile::write_if(pid_file).map_err(Error::system("pid file .pid"))?;
        let origin = Origin::of(start, &own);
        let installed = Installed { release, program: own.clone() };
        let scripts = no_scripts().map_err(Error::system("the list of compiled scripts"))?;
        let mut supervisor = Supervisor::new(own, origin, installed, table, scripts);
        (supervisor.silent, supervisor.pid_file) = (silent, pid_file);
        supervisor.start()?;
        Ok(supervisor)
    })
}

/// Goes on as the program that this process was before.
pub fn resume(left: Left) -> Result<ExitCode, Error> {
    enter(|| Supervisor::adopt(left).map_err(Error::system("what the program before has left")))
}

/// Where engines write what OPcache has.
fn no_scripts() -> io::Result<OwnedFd> {
    memory::file_of(c"rr scripts", &[])
}

fn enter(begin: impl FnOnce() -> Result<Supervisor, Error>) -> Result<ExitCode, Error> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::system("supervisor runtime"))?;
    runtime.block_on(async move {
        // What engines leave behind is ours to wait for, as it would be for the first process of a container.
        prctl::set_child_subreaper(true).map_err(|error| Error::system("child subreaper")(error.into()))?;
        // Root alone may, so before that is given up; in a container not even root, and then new engines boot as others run.
        _ = priority::allow_return();
        // What takes orders over the network and runs no scripts needs little of what root may.
        if let Err(error) = capabilities::keep_for_supervision() {
            tracing::warn!("the supervisor keeps all that root may, for giving it up failed: {error}");
        }
        // Started by its descriptor, a program is known by the number of that.
        _ = prctl::set_name(NAME);
        // Before anything listens: whoever can reach us can also stop us.
        let mut signals = Signals::new().map_err(Error::system("signals"))?;
        let mut supervisor = begin()?;
        supervisor.answer_checks();
        if let Some(code) = supervisor.reap() {
            return Ok(code);
        }
        supervisor.reload_if_asked_meanwhile();
        let mut tick_at = Instant::now() + TICK;
        loop {
            supervisor.tell_health();
            // Kept over turns: events that come all the time must not put it off.
            let due = tick_at.min(Instant::now() + supervisor.until_next());
            let heard = tokio::select! {
                generation = supervisor.said() => Heard::Engine(generation),
                heard = signals.heard() => heard,
                () = tokio::time::sleep_until(due.into()) => Heard::Tick,
            };
            if matches!(heard, Heard::Tick) {
                tick_at = Instant::now() + TICK;
            }
            if let Some(code) = supervisor.hear(heard) {
                return Ok(code);
            }
            if supervisor.is_to_be_replaced() {
                supervisor.replace();
            }
        }
    })
}

// === impl Supervisor ===

impl Supervisor {
    fn new(own: Program, origin: Origin, installed: Installed, table: Table, scripts: OwnedFd) -> Self {
        Self {
            own,
            origin,
            silent: false,
            pid_file: None,
            installed,
            previous: None,
            probation: Probation::default(),
            table,
            ticket_keys: TicketKeys::default(),
            scripts,
            generation: 0,
            heard: 0,
            active: Vec::new(),
            next: None,
            draining: Vec::new(),
            loads: Vec::new(),
            crash: None,
            backoff: Backoff::default(),
            restart_at: None,
            boots_in: Duration::ZERO,
            reload_again: None,
            outcome: None,
            patient: Vec::new(),
            has_served: false,
            stopping: false,
            close_at: None,
            looked: Instant::now(),
            awake_since: now_ms(),
            code: ExitCode::Ok,
            spare: RefCell::default(),
            watchdog: Watchdog::new(),
            health: Health::default(),
            checks: None,
        }
    }

    /// Starts the engines that are missing, with the configuration and the sockets that are in force.
    fn start(&mut self) -> Result<(), Error> {
        self.restart_at = None;
        if !self.installed.release.is_there() && self.has_served {
            // There is nothing left of it but what is there now.
            if self.is_changing() {
                self.restart_at = Some(Instant::now() + KILL_AFTER);
                return Ok(());
            }
            return self.load(self.installed.program.clone(), Purpose::Restart);
        }
        while let Some(place) = self.free_place() {
            let sockets = self.table.of_active(place);
            let seat = Seat { generation: self.generation + 1, place, sockets, succeeds: false, predecessor: None };
            let engine = self.spawn(&self.installed, seat)?;
            self.generation = engine.generation;
            self.active.push(engine);
        }
        Ok(())
    }

    /// The first place that no engine has, if an engine is missing.
    fn free_place(&self) -> Option<usize> {
        let is_missing = self.active.len() < self.installed.release.processes;
        let mut places = 0..self.installed.release.processes;
        places.find(|place| is_missing && self.active.iter().all(|engine| engine.place != *place))
    }

    fn spawn(&self, installed: &Installed, seat: Seat<'_>) -> Result<Engine, Error> {
        let Seat { generation, place, sockets, succeeds, predecessor } = seat;
        let failed = || Error::system("cannot start an engine");
        let Installed { release, program } = installed;
        let black_box = BlackBox::new(program, release.rights.clone()).map_err(failed())?;
        let means = Means::new(self.spare.borrow_mut().pop(), black_box).map_err(failed())?;
        let handover = Handover {
            config: release.config.clone(),
            dir: release.dir.clone(),
            silent: self.silent || generation > 1,
            generation,
            place,
            sockets,
            ticket_keys: &self.ticket_keys.keys,
            scoreboard: means.page.file.as_fd(),
            crash: means.black_box.file.as_fd(),
            line: means.theirs.as_fd(),
            heir: means.heir.as_fd(),
            predecessor,
            scripts: self.scripts.as_fd(),
            succeeds,
            letter_box: means.letter_box.as_fd(),
        };
        let mut command = engine::command(program);
        command.args(std::env::args_os().skip(1)).current_dir(&release.folder);
        release.rights.give(&mut command);
        // Where that cannot be, it boots as others run.
        let yields = succeeds && priority::lower(&mut command, release.rights.identity.is_some()).unwrap_or(false);
        let letter = handover.give(&mut command).map_err(failed())?;
        let mut engine = Engine::start(command, letter, (generation, place), means).map_err(failed())?;
        engine.deference = Deference::begin(engine.started, yields.then_some(engine::YIELDS));
        Ok(engine)
    }

    /// Packets go to the engine that serves, but for those that are an older one's as long as it is there.
    fn steer(&self) {
        self.table.steer(!self.reader_leaves());
    }

    /// An older engine may have packets to read still.
    fn reader_leaves(&self) -> bool {
        self.draining.iter().any(|engine| engine.place == READER)
    }

    /// Has `program` read the configuration.
    fn load(&mut self, program: Program, purpose: Purpose) -> Result<(), Error> {
        let load = Load::start(program, &self.origin, purpose).map_err(Error::system("cannot read the configuration"))?;
        self.loads.push(load);
        Ok(())
    }

    /// The engine that has said something: of several the next after the one that was heard last.
    async fn said(&self) -> u64 {
        poll_fn(|context| {
            let said = self.engines().filter(|engine| engine.poll_said(context).is_ready()).map(|engine| engine.generation);
            turn(said, self.heard).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Takes one step; the exit code if it was the last.
    fn hear(&mut self, heard: Heard) -> Option<ExitCode> {
        match heard {
            Heard::Engine(generation) => {
                self.heard = generation;
                self.listen_to(generation);
            }
            Heard::Child => return self.reap(),
            Heard::Stop => {
                self.stop();
                return self.exit_code();
            }
            Heard::Reload => self.reload(Vec::new()),
            Heard::ReopenLogs => {
                logs::reopen();
                // By word, for a signal would end an engine that still boots.
                self.engines().for_each(|engine| engine.say(&Order::ReopenLogs));
            }
            Heard::Tick => {
                self.tick();
                logs::tell_of_lost();
                return self.exit_code();
            }
        }
        None
    }

    fn listen_to(&mut self, generation: u64) {
        let reports = self.engine_mut(|engine| engine.generation == generation).map(Engine::hear);
        self.follow(generation, reports.unwrap_or_default());
    }

    fn follow(&mut self, generation: u64, reports: Vec<Report>) {
        for report in reports {
            match report {
                Report::Ready => self.ready(generation),
                Report::Failed(reason) => self.failed(generation, reason),
                Report::Leaving => self.leaving(generation),
                Report::WornOut => self.replace_worn_out(generation),
                Report::Ask { id, wish } => self.asked(Asker { generation, id }, wish),
            }
        }
    }

    fn engines(&self) -> impl Iterator<Item = &Engine> {
        self.active.iter().chain(self.next.iter().flat_map(|next| &next.engines)).chain(&self.draining)
    }

    fn engines_mut(&mut self) -> impl Iterator<Item = &mut Engine> {
        self.active.iter_mut().chain(self.next.iter_mut().flat_map(|next| &mut next.engines)).chain(&mut self.draining)
    }

    fn engine_mut(&mut self, is: impl Fn(&Engine) -> bool) -> Option<&mut Engine> {
        self.engines_mut().find(|engine| is(engine))
    }
}

/// Whose turn it is, by generations: all others' before the same one's again.
fn turn(generations: impl Iterator<Item = u64>, last: u64) -> Option<u64> {
    generations.min_by_key(|generation| (*generation <= last, *generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_heard_by_turns() {
        let talkative = [3, 1, 2];
        let mut heard = vec![2];
        for _ in 0..6 {
            heard.extend(turn(talkative.into_iter(), heard[heard.len() - 1]));
        }
        assert_eq!(heard, [2, 3, 1, 2, 3, 1, 2]);
        assert_eq!((turn([7].into_iter(), 7), turn([].into_iter(), 7)), (Some(7), None));
    }
}
