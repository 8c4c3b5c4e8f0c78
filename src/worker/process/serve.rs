//! The life of a worker's thread: a process after another, each with one work after another.

use std::{
    os::fd::AsFd,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{
    Shared,
    child::{Child, Turn},
    relay::Sockets,
    rows::Row,
};
use crate::worker::{
    Failure, Jobs, Next, Seat, Work, WorkerStatus,
    goridge::message::{self, FromWorker},
    roadrunner::{Exchange, Step},
};

/// After a boot that failed; doubles with each one that follows, to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A process that ends sooner, without a work, has failed to boot as well.
const SETTLED: Duration = Duration::from_secs(1);

/// Why a process is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Left {
    /// The pool is closed.
    Closed,
    /// Another is to take its place.
    Renew,
    /// It ended by itself, without a work.
    Idle,
}

/// What became of a work, and of the process that had it.
enum Outcome {
    Free,
    /// It wants to be replaced.
    Leaves,
    /// It was killed, or it ended.
    Gone,
}

/// Serves until the pool is closed. Tells the first boot's outcome.
pub(super) fn live(shared: &Arc<Shared>, number: usize, tell: &mpsc::Sender<Result<(), String>>) {
    let config = &shared.config;
    let row = &shared.rows[number];
    let seat = config.pool.seat();
    row.standing.sit(&seat, &config.pool);
    let bell = match EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK) {
        Ok(bell) => Arc::new(bell),
        Err(error) => return drop(tell.send(Err(format!("no descriptor: {error}")))),
    };
    if config.debug {
        drop(tell.send(Ok(())));
        return live_afresh(shared, row, &seat);
    }
    let mut failures = 0;
    while !shared.is_stopping() {
        match boot(shared, row, &seat) {
            Ok(child) => {
                shared.note_boot(None);
                drop(tell.send(Ok(())));
                let began = Instant::now();
                let left = serve(child, &seat, &bell, shared, row);
                row.leave();
                seat.step_back();
                match left {
                    Left::Closed => break,
                    Left::Idle if began.elapsed() < SETTLED => failures += 1,
                    Left::Idle | Left::Renew => failures = 0,
                }
            }
            Err(reason) => {
                row.leave();
                tracing::error!(pool = config.name, "a worker did not start: {reason}");
                row.standing.failed();
                shared.note_boot(Some(reason.clone()));
                drop(tell.send(Err(reason)));
                failures += 1;
            }
        }
        let pause = PAUSE.saturating_mul(1 << (failures.max(1) - 1).min(16)).min(LONGEST_PAUSE);
        if failures > 0 && !shared.pause(pause) {
            break;
        }
    }
}

/// Serves in debug mode: each work has a process of its own, which sees the code as it is now, and its client is told errors.
fn live_afresh(shared: &Shared, row: &Row, seat: &Seat) {
    loop {
        let work = match seat.next() {
            Next::Work(work) => work,
            Next::Recalled => continue,
            Next::Closed => return,
        };
        let Some(mut exchange) = Exchange::begin(work, &shared.config.terms) else { continue };
        // Whoever waits for the boot can be told as well.
        row.work(exchange.request(), exchange.lifeline());
        match boot(shared, row, seat) {
            Ok(mut child) => {
                row.work(exchange.request(), exchange.lifeline());
                match perform(&mut child, exchange, seat, shared) {
                    Outcome::Free | Outcome::Leaves => child.stop(|| row.leave()),
                    Outcome::Gone => {
                        row.leave();
                        tracing::warn!("a worker has ended: {}", child.kill());
                    }
                }
            }
            Err(reason) => {
                row.leave();
                tracing::error!(pool = shared.config.name, "a worker did not start: {reason}");
                exchange.refuse_with(reason);
            }
        }
    }
}

/// Starts a process and waits until it is ready.
fn boot(shared: &Shared, row: &Row, seat: &Seat) -> Result<Child, String> {
    let config = &shared.config;
    let deadline = Instant::now() + config.allocate_timeout;
    let relay = shared.sockets.as_ref().map(Sockets::address);
    let mut child = Child::spawn(config, relay).map_err(|error| format!("{}: {error}", config.command.join(" ")))?;
    row.begin(child.pid(), seat);
    if let Some(sockets) = &shared.sockets {
        loop {
            if let Some((input, output)) = sockets.take(child.pid()) {
                child.attach(input, output).map_err(|error| error.to_string())?;
                break;
            }
            // It is looked for between two short waits, in which its messages are logged.
            match child.turn(Some(deadline.min(Instant::now() + Duration::from_millis(10))), None) {
                Turn::Ended => return Err(child.kill()),
                _ if Instant::now() >= deadline => return Err(format!("it did not connect to {}", config.relay)),
                _ => {}
            }
        }
    } else {
        child.tell(&message::pid(std::process::id()));
        loop {
            match child.said() {
                Ok(Some(FromWorker::Pid(_))) => break,
                Ok(Some(_)) => return Err("it said something else than its pid when it was started".into()),
                Ok(None) => {}
                Err(reason) => return Err(reason),
            }
            match child.turn(Some(deadline), None) {
                Turn::Late => return Err(format!("it was not ready within {} s", config.allocate_timeout.as_secs())),
                Turn::Ended if matches!(child.said(), Ok(None)) => return Err(child.kill()),
                _ => {}
            }
        }
    }
    row.ready();
    Ok(child)
}

/// Gives works to a process until it is to go.
fn serve(mut child: Child, seat: &Seat, bell: &Arc<EventFd>, shared: &Shared, row: &Row) -> Left {
    let jobs = Jobs::new(shared.config.max_jobs);
    let pid = child.pid();
    let gone = |child: Child| {
        row.leave();
        tracing::warn!(pid, "a worker is replaced: {}", child.kill());
    };
    let left = loop {
        row.is_due(&shared.config.rules);
        if row.standing.must_start_afresh(jobs) {
            break Left::Renew;
        }
        match wait_for_work(&mut child, seat, bell, shared, row) {
            Some(Next::Work(work)) => match exchange(&mut child, work, seat, shared, row) {
                Outcome::Free => {}
                Outcome::Leaves => break Left::Renew,
                Outcome::Gone => {
                    gone(child);
                    return Left::Renew;
                }
            },
            Some(Next::Recalled) => break Left::Renew,
            Some(Next::Closed) => break Left::Closed,
            None => {
                seat.step_back();
                gone(child);
                return Left::Idle;
            }
        }
    };
    row.set(WorkerStatus::Stopping);
    child.stop(|| row.leave());
    left
}

/// What to do next; none if the process ends before that is known.
fn wait_for_work(child: &mut Child, seat: &Seat, bell: &Arc<EventFd>, shared: &Shared, row: &Row) -> Option<Next> {
    let rules = &shared.config.rules;
    let next_look = || (!rules.ask_for_nothing()).then(|| Instant::now() + rules.watch_tick);
    loop {
        // What rang before the look says nothing about what comes after it.
        _ = bell.read();
        let ring = bell.clone();
        if let Some(next) = seat.poll(move || _ = ring.write(1)) {
            let Next::Work(work) = next else { return Some(next) };
            // What it said too much for the last work must not answer this one.
            child.settle();
            return match unasked(child) {
                Ok(false) if !child.is_dead() => Some(Next::Work(work)),
                said => {
                    // Nobody has begun it, so that another may.
                    seat.give_back(work);
                    if let Err(reason) = &said {
                        tracing::error!(pid = child.pid(), "{reason}");
                    }
                    (said == Ok(true)).then_some(Next::Recalled)
                }
            };
        }
        loop {
            match child.turn(next_look(), Some(bell.as_fd())) {
                Turn::Rung => break,
                Turn::Ended => return None,
                Turn::Late if row.is_due(rules) && row.standing.may_start_afresh() => {
                    seat.step_back();
                    return Some(Next::Recalled);
                }
                Turn::Late | Turn::Moved => {}
            }
            match unasked(child) {
                Ok(false) => {}
                Ok(true) => return Some(Next::Recalled),
                Err(reason) => {
                    tracing::error!(pid = child.pid(), "{reason}");
                    return None;
                }
            }
        }
    }
}

/// Hears what a process says without a work; true if it wants to be replaced.
fn unasked(child: &mut Child) -> Result<bool, String> {
    while let Some(said) = child.said()? {
        match said {
            FromWorker::Stop => return Ok(true),
            FromWorker::Pid(_) => {}
            FromWorker::Answer(_) | FromWorker::Error(_) => {
                tracing::warn!(pid = child.pid(), "a worker answered without having been asked; nobody gets that");
            }
        }
    }
    Ok(false)
}

/// Has the process do a work.
fn exchange(child: &mut Child, work: Work, seat: &Seat, shared: &Shared, row: &Row) -> Outcome {
    if let Some(phases) = &work.request.phases {
        phases.begin(Instant::now());
    }
    let Some(exchange) = Exchange::begin(work, &shared.config.terms) else { return Outcome::Free };
    row.work(exchange.request(), exchange.lifeline());
    let outcome = perform(child, exchange, seat, shared);
    row.rest();
    outcome
}

fn perform(child: &mut Child, mut exchange: Exchange, seat: &Seat, shared: &Shared) -> Outcome {
    match exchange.frame() {
        Ok(pieces) => {
            child.send(pieces);
            converse(child, exchange, seat, shared.config.exec_ttl)
        }
        Err(error) => {
            tracing::error!(request = exchange.request().id, "request: {error}");
            exchange.fail(Failure::WorkerLost);
            Outcome::Free
        }
    }
}

fn converse(child: &mut Child, mut exchange: Exchange, seat: &Seat, exec_ttl: Duration) -> Outcome {
    let limit = || (!exec_ttl.is_zero()).then(|| Instant::now() + exec_ttl);
    let mut deadline = limit();
    loop {
        match child.said() {
            Ok(Some(said)) => {
                match exchange.hear(said) {
                    Step::Listen => {}
                    Step::Tell(frame) => child.tell(&frame),
                    Step::Done => return Outcome::Free,
                    Step::Renew => {
                        if let Some(work) = exchange.into_work() {
                            seat.give_back(work);
                        }
                        return Outcome::Leaves;
                    }
                }
                // Each part of a stream has the whole time, as in RoadRunner.
                deadline = limit();
                continue;
            }
            Ok(None) => {}
            Err(reason) => {
                tracing::error!(pid = child.pid(), "{reason}");
                exchange.fail(Failure::WorkerLost);
                return Outcome::Gone;
            }
        }
        let until = [deadline, exchange.deadline()].into_iter().flatten().min();
        match child.turn(until, None) {
            Turn::Moved | Turn::Rung => {}
            Turn::Ended => {
                exchange.fail(Failure::WorkerLost);
                return Outcome::Gone;
            }
            Turn::Late => {
                let request = exchange.request();
                if exchange.deadline().is_some() {
                    tracing::warn!(pid = child.pid(), "a worker goes on with a stream that it was asked to end; it is killed");
                } else {
                    tracing::warn!(pid = child.pid(), request = request.id, ?exec_ttl, "exec_ttl reached; the worker is killed");
                }
                exchange.fail(Failure::RequestTimeout);
                return Outcome::Gone;
            }
        }
    }
}
