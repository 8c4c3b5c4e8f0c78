//! The process carrier: workers that are programs of their own, spoken to in Goridge frames through pipes or sockets.
//!
//! Each worker has a thread that starts the process, takes works from the pool for it, passes frames both ways, logs what
//! it writes to standard error, and starts another when it ends. The thread sleeps in `poll` and nowhere else, so
//! that it sees a process that dies while nothing is asked of it.

mod child;
mod relay;
mod rows;
mod serve;

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    process::Command,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{Control, Done, Failure, NotDone, Permit, Pool, Relief, Rules, WorkerRow, WorkerStatus, roadrunner::Terms};
use relay::Sockets;
use rows::Row;

/// How the processes of a pool are started and treated.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pool's name.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// All of their environment.
    pub environment: Vec<(OsString, OsString)>,
    /// What else is done with a command before it is started, on the thread that its process must not outlive.
    pub prepare: fn(&mut Command),
    /// How they are spoken to.
    pub relay: Relay,
    /// Where works come from; its `num_workers` is the number of processes.
    pub pool: Pool,
    /// How works are given to them.
    pub terms: Arc<Terms>,
    /// Each work has a fresh process, and clients are told errors.
    pub debug: bool,
    /// How long one may take to be ready.
    pub allocate_timeout: Duration,
    /// How long a reset waits until all have been replaced.
    pub reset_timeout: Duration,
    /// How long it may say nothing while it has a work; zero is for ever. Then it is killed.
    pub exec_ttl: Duration,
    /// Works after which it is replaced; zero is never.
    pub max_jobs: u64,
    /// When it is replaced besides.
    pub rules: Rules,
}

/// How a worker's process is spoken to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Relay {
    /// Through its standard input and output.
    Pipes,
    /// It connects to this address.
    Tcp(String),
    /// It connects to the socket at this path.
    Unix(PathBuf),
}

/// Why there are no workers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The relay's socket cannot be had.
    #[error("server.relay {relay}: {error}")]
    Relay {
        /// The address.
        relay: String,
        /// Why not.
        error: io::Error,
    },
    /// No thread.
    #[error("cannot start a worker's thread: {0}")]
    Thread(io::Error),
    /// A process was not ready in time, or ended.
    #[error("pool {pool}: {reason}")]
    Boot {
        /// The pool.
        pool: String,
        /// What the process said, or how it ended.
        reason: String,
    },
}

/// The running processes of a pool.
#[derive(Debug)]
pub struct Processes {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    sockets: Option<Sockets>,
    rows: Vec<Row>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopping: bool,
    /// Why the last boot failed, if none has succeeded since.
    failure: Option<String>,
}

/// How long a process that was asked to leave may take, as in RoadRunner.
const LEAVE: Duration = Duration::from_secs(10);
/// From one look at processes that should have ended to the next.
const TICK: Duration = Duration::from_millis(20);

// === impl Config ===

impl Config {
    /// Starts the processes, and waits until each is ready. If one is not in time, all are stopped.
    pub fn start(self) -> Result<Processes, Error> {
        let relay_error = |error| Error::Relay { relay: self.relay.to_string(), error };
        let sockets = Sockets::listen(&self.relay, self.allocate_timeout).map_err(relay_error)?;
        let count = self.pool.config().num_workers;
        let (deadline, pool) = (Instant::now() + self.allocate_timeout * 2, self.name.clone());
        let permit = Arc::<Permit>::default();
        let rows = (1..).take(count).map(|number| Row::new(number, permit.clone(), &self.command)).collect();
        let shared = Arc::new(Shared { config: self, sockets, rows, state: Mutex::default(), changed: Condvar::new() });
        let processes = Processes { shared, threads: Mutex::default() };
        let (tell, told) = mpsc::channel();
        for number in 0..count {
            let (shared, tell) = (processes.shared.clone(), tell.clone());
            let thread = thread::Builder::new().name(format!("worker-{pool}-{number}"));
            let thread = thread.spawn(move || serve::live(&shared, number, &tell));
            processes.threads.lock().push(thread.map_err(Error::Thread)?);
        }
        for _ in 0..count {
            let patience = deadline.saturating_duration_since(Instant::now());
            let booted = told.recv_timeout(patience).unwrap_or_else(|_| Err("it was not ready in time".into()));
            if let Err(reason) = booted {
                processes.stop(Instant::now());
                return Err(Error::Boot { pool, reason });
            }
        }
        Ok(processes)
    }
}

// === impl Processes ===

impl Processes {
    /// Why the pool cannot serve, if its processes do not start.
    pub fn boot_failure(&self) -> Option<String> {
        self.shared.state.lock().failure.clone()
    }

    /// Closes the pool and lets the processes end what they do, until `deadline`; then they are killed. None is left.
    pub fn stop(&self, deadline: Instant) {
        self.shared.config.pool.close();
        self.shared.state.lock().stopping = true;
        self.shared.changed.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        while Instant::now() < deadline && !threads.iter().all(JoinHandle::is_finished) {
            thread::sleep(TICK);
        }
        for (row, thread) in self.shared.rows.iter().zip(&threads) {
            if !thread.is_finished() {
                row.kill();
            }
        }
        for thread in threads {
            drop(thread.join());
        }
    }
}

impl Processes {
    /// Has another process take the place of the one that was the worker's at `birth`, after what it does, and waits for that.
    async fn replace(&self, row: &Row, birth: u64, deadline: Instant) -> Result<(), String> {
        let (mut seen, mut failures) = (birth, 0);
        loop {
            if row.birth() == birth {
                row.renew(WorkerStatus::Invalid, &self.shared.config.pool);
            } else if row.is_ready() {
                return Ok(());
            } else if row.has_stopped() && row.birth() != seen {
                // It has been started since, and has ended.
                (seen, failures) = (row.birth(), failures + 1);
            }
            if Instant::now() >= deadline {
                return Err(self.boot_failure().unwrap_or_else(|| "workers are still busy".into()));
            }
            if failures > 0
                && let Some(reason) = self.boot_failure()
            {
                let left = self.shared.rows.iter().filter(|row| row.is_ready()).count();
                return Err(match left {
                    0 => format!("{reason}; no other worker is left, and it is tried again"),
                    _ => format!("{reason}; the other workers ({left}) go on as they are"),
                });
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// The server waits no longer: whoever waits for a process, or for what one does, hears so.
    pub fn cut_running(&self) {
        self.shared.rows.iter().for_each(|row| row.cut(Failure::Stopped));
        self.shared.config.pool.fail_waiting(Failure::Stopped);
    }

    /// Kills all of them at once, for a server that leaves at once.
    pub fn kill(&self) {
        self.shared.rows.iter().for_each(Row::kill);
    }
}

impl Control for Processes {
    fn name(&self) -> &str {
        &self.shared.config.name
    }

    fn workers(&self) -> Vec<WorkerRow> {
        self.shared.rows.iter().filter_map(Row::show).collect()
    }

    fn relief(&self, settled: Duration) -> Option<Relief<'_>> {
        let candidates = self.shared.rows.iter().filter(|row| !self.shared.config.debug && row.may_be_rid_of_memory(settled));
        let (row, shown) = candidates.filter_map(|row| Some((row, row.show()?))).max_by_key(|(_, shown)| shown.memory)?;
        let renew = Box::new(|| row.renew(WorkerStatus::MaxMemoryReached, &self.shared.config.pool));
        Some(Relief { memory: shown.memory, worker: format!("process {}", shown.pid), renew })
    }

    fn reset(&self) -> Done<'_> {
        Box::pin(async {
            if self.shared.config.debug {
                return Ok(());
            }
            let (deadline, mut failed) = (Instant::now() + self.shared.config.reset_timeout, None);
            let mut rows: Vec<_> = self.shared.rows.iter().map(|row| (row.birth(), row)).collect();
            // Those that do not serve anyway try it first, and those last that somebody waits for.
            rows.sort_by_key(|(_, row)| row.trouble());
            for (before, row) in rows {
                // Past the deadline the rest does it without being waited for.
                match self.replace(row, before, deadline).await {
                    Ok(()) => {}
                    Err(reason) if Instant::now() < deadline => return Err(NotDone::Failed(reason)),
                    Err(reason) => failed = failed.or(Some(reason)),
                }
            }
            failed.map_or(Ok(()), |reason| Err(NotDone::Failed(reason)))
        })
    }
}

// === impl Shared ===

impl Shared {
    /// Notes what became of a boot.
    fn note_boot(&self, failure: Option<String>) {
        self.state.lock().failure = failure;
    }

    /// False if the server stops meanwhile.
    fn pause(&self, length: Duration) -> bool {
        let deadline = Instant::now() + length;
        let mut state = self.state.lock();
        while !state.stopping && !self.changed.wait_until(&mut state, deadline).timed_out() {}
        !state.stopping
    }

    fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }
}

// === impl Relay ===

impl std::fmt::Display for Relay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pipes => formatter.write_str("pipes"),
            Self::Tcp(address) => write!(formatter, "tcp://{address}"),
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
        }
    }
}
