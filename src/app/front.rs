//! All that listens, and the io threads that answer there.

use std::{
    io, process,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};

use super::{PATIENCE, fileserver, rpc};
use crate::{
    config,
    error::Error,
    http::{
        Drain,
        conn::{self, Entry},
        dev::Dev,
        fcgi, h3,
        listen::Listeners,
        service::Service,
    },
    sys::{exit::Vital, limits},
    worker::{
        Pool, doorbell,
        process::Processes,
        scoreboard::{Heart, Scoreboard},
    },
};

/// How long calls may take that are in progress when everything else has ended.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// What workers' processes have to end in, when the requests have used up the grace period.
const LAST_CHANCE: Duration = Duration::from_millis(500);

/// How often an io thread shows that it goes on.
const BEAT: Duration = Duration::from_secs(1);

/// All that listens, shared by the io threads.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) entries: Arc<[Entry]>,
    /// All that listens, but for calls, packets and figures.
    pub(super) doors: Listeners,
    pub(super) quic: Option<Arc<h3::Server<Service>>>,
    pub(super) config: Arc<conn::Config>,
    pub(super) service: Service,
    pub(super) files: Option<fileserver::Serving>,
    pub(super) fcgi: Option<Arc<fcgi::Server>>,
    pub(super) tcp: Option<Arc<crate::tcp::Server>>,
    pub(super) calls: Option<Arc<rpc::Calls>>,
    pub(super) processes: Arc<[Arc<Processes>]>,
    pub(super) drain: Drain,
    pub(super) dev: Option<Dev>,
    pub(super) pools: Arc<[Pool]>,
    /// Keeps certificates up to date.
    pub(super) certificates: AbortHandle,
}

// === impl Front ===

impl Front {
    /// Serves on `count` threads.
    pub(super) fn start(&self, config: &config::Engine, board: Option<Scoreboard>) -> Result<Vec<JoinHandle<()>>, Error> {
        let count = config.io_threads.unwrap_or_else(|| limits::io_threads(limits::cpus() / config.processes));
        (0..count)
            .map(|index| {
                let front = self.clone();
                let runtime = runtime(&self.pools).map_err(Error::system("io runtime"))?;
                let name = format!("io-{index}");
                let heart = board.and_then(|board| board.heart(&name));
                let run = move || {
                    let _vital = Vital;
                    doorbell::hang_up();
                    if let Some(heart) = heart {
                        drop(runtime.spawn(beat(heart)));
                    }
                    runtime.block_on(front.serve(index, count));
                };
                thread::Builder::new().name(name).spawn(run).map_err(Error::system("io thread"))
            })
            .collect()
    }

    async fn serve(self, index: usize, count: usize) {
        let http = async {
            let served = conn::serve(&self.entries, self.config.clone(), self.service.clone(), self.drain.clone()).await;
            if let Err(error) = served {
                self.lost("the HTTP listener", &error);
            }
        };
        let quic = async {
            if let Some(server) = &self.quic
                && let Err(error) = server.serve(index, count).await
            {
                tracing::error!(%error, "the HTTP/3 listener ended");
            }
        };
        let fcgi = async {
            if let Some(server) = &self.fcgi
                && let Err(error) = server.serve().await
            {
                self.lost("the FastCGI listener", &error);
            }
        };
        let tcp = async {
            if let Some(server) = &self.tcp
                && let Err(error) = server.serve().await
            {
                self.lost("the TCP servers", &error);
            }
        };
        let calls = async {
            if let Some(calls) = &self.calls
                && let Err(error) = calls.server.serve().await
            {
                tracing::error!(%error, "the RPC listener ended");
            }
        };
        let files = async {
            if let Some(files) = &self.files {
                files.serve(self.drain.clone()).await;
            }
        };
        tokio::join!(http, files, quic, fcgi, tcp, calls);
        // The loops have ended; connections may still be open, and their tasks live on this runtime.
        self.wait(Instant::now() + Duration::from_secs(3600)).await;
    }

    /// A loop that takes connections is gone, and a process that went on would leave some of them waiting.
    fn lost(&self, what: &str, error: &io::Error) {
        if self.drain.is_started() {
            // It had not begun when the doors were closed.
            return;
        }
        tracing::error!(%error, "{what} ended too soon: the process is aborted");
        process::abort()
    }

    /// Lets connections finish until `deadline`; true if all did.
    pub(super) async fn stop(&self, deadline: Instant, idle: Option<Duration>) -> bool {
        if let Some(dev) = &self.dev {
            dev.close();
        }
        // The next engine takes orders over from here on. What is in the cache is answered to the end.
        self.certificates.abort();
        match idle {
            Some(idle) => self.drain.start_patiently(idle),
            None => self.drain.start(),
        }
        self.drain.stop_accepting();
        if let Some(server) = &self.fcgi {
            server.stop(idle);
        }
        if let Some(server) = &self.tcp {
            server.stop(idle.is_some());
        }
        // The loops have duplicates, until they have taken whom the kernel has greeted. Then it refuses, unless others listen too.
        self.doors.close();
        let finished = self.wait(deadline).await;
        // Last, for the scripts of those connections may still call.
        if let Some(calls) = &self.calls {
            calls.server.stop();
            return calls.server.wait(deadline.max(Instant::now() + LAST_CALLS)).await && finished;
        }
        finished
    }

    /// Waits until no connection is left, but no longer than `deadline`; true if none is.
    pub(super) async fn wait(&self, deadline: Instant) -> bool {
        let fcgi = async {
            match &self.fcgi {
                Some(server) => server.wait(deadline).await,
                None => true,
            }
        };
        let tcp = async {
            match &self.tcp {
                Some(server) => server.wait(deadline).await,
                None => true,
            }
        };
        let (http, fcgi, tcp) = tokio::join!(self.drain.wait(deadline), fcgi, tcp);
        http && fcgi && tcp
    }

    /// Takes leave of the threads, and of workers' processes by `deadline`.
    pub(super) fn finish(&self, io_threads: Vec<JoinHandle<()>>, deadline: Instant) {
        for thread in io_threads {
            // One that is still busy with a connection past the grace period ends with the process.
            if thread.is_finished() {
                drop(thread.join());
            }
        }
        for processes in &*self.processes {
            processes.stop(deadline.max(Instant::now() + LAST_CHANCE));
        }
    }
}

/// Shows that the runtime's thread goes on.
async fn beat(heart: Heart) {
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        heart.beat();
    }
}

/// A runtime of one thread, which looks at `pools` when it has nothing to do.
pub(super) fn runtime(pools: &[Pool]) -> io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    if !pools.is_empty() {
        let pools = pools.to_vec();
        builder.on_thread_park(move || {
            for pool in &pools {
                pool.wake_if_waiting(PATIENCE);
            }
            doorbell::before_sleep();
        });
        builder.on_thread_unpark(doorbell::after_sleep);
    }
    builder.enable_all().build()
}
