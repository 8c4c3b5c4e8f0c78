//! The other engines of this server: how this one calls them, and how it is called.

use std::{
    collections::HashMap,
    io,
    os::{fd::OwnedFd, unix::net},
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::Interest,
    net::{UnixDatagram, UnixStream},
    runtime::Runtime,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    kept::Kept,
    line::Wished,
    metrics::{DECLARED, Figures},
};
use crate::{
    error::Error,
    metrics::{Collectors, Declaration},
    rpc::{self, Caller, Codec, Keeper, Meeting, Met, Payload, Server, Service, Services},
    supervisor::{self, Parcel, Wish},
    sys::passing,
};

/// This engine among those that serve side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// Which of the server's engines it is, from 0.
    pub(super) place: usize,
    /// How many there are.
    pub(super) engines: usize,
}

/// The way to the others.
#[derive(Debug)]
pub(super) struct Fellows {
    pub(super) seat: Seat,
    wishes: mpsc::Sender<Wished>,
    /// Those who wait for the supervisor's answer, by the number of their question.
    waiting: Mutex<HashMap<u32, oneshot::Sender<Introduced>>>,
    asked: AtomicU32,
    /// One question at a time: a letter box holds ten parcels on some systems.
    turn: tokio::sync::Mutex<()>,
    /// Another engine serves in the place of this one.
    has_successor: AtomicBool,
}

/// Where this engine serves among others, and how it hears of them.
pub(super) struct Beside {
    pub(super) seat: Seat,
    pub(super) letter_box: OwnedFd,
}

/// The same once wishes can be said.
pub(super) struct Neighbours {
    pub(super) fellows: Arc<Fellows>,
    letter_box: OwnedFd,
}

/// What this engine answers the others with.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    /// They act on this engine.
    pub(super) services: &'a [Arc<dyn Service>],
    /// Its page.
    pub(super) figures: Option<&'a Figures>,
    pub(super) kept: &'a Kept,
}

/// A place among those who wait, given back however the wait ends.
struct Waiting<'a> {
    fellows: &'a Fellows,
    token: u32,
}

/// The supervisor's answer.
#[derive(Debug)]
struct Introduced {
    first: Option<u64>,
    all: Vec<supervisor::Fellow>,
    ends: Vec<OwnedFd>,
}

/// What is called by the others.
pub(super) struct Among {
    fellows: Arc<Fellows>,
    server: Server,
    collectors: Option<Collectors>,
}

/// The supervisor only makes the connections.
const MEETS_WITHIN: Duration = Duration::from_secs(2);
/// An engine that is not hung has read what the supervisor has sent by then.
const READS_WITHIN: Duration = Duration::from_secs(1);
/// The first pause, and the longest.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LOOK_AT_LEAST: Duration = Duration::from_millis(320);
/// What the others have declared, they tell at once.
const TELLS_WITHIN: Duration = Duration::from_secs(2);
const LEARN_AGAIN: Duration = Duration::from_secs(1);

// === impl Fellows ===

impl Fellows {
    /// By what the supervisor is asked through `wishes`.
    fn new(seat: Seat, wishes: mpsc::Sender<Wished>) -> Self {
        let (waiting, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { seat, wishes, waiting, asked: AtomicU32::new(0), turn, has_successor: AtomicBool::new(false) }
    }

    /// Those whose letter boxes are full have a little time to read what is there.
    async fn ask(&self) -> Result<Met, String> {
        let until = Instant::now() + READS_WITHIN;
        let mut pause = LOOK_AGAIN;
        loop {
            let met = self.ask_once().await?;
            if met.others.iter().all(|fellow| fellow.caller.is_ok()) || Instant::now() + pause >= until {
                return Ok(met);
            }
            tokio::time::sleep(pause).await;
            // Each time all others get a parcel.
            pause = (2 * pause).min(LOOK_AT_LEAST);
        }
    }

    async fn ask_once(&self) -> Result<Met, String> {
        let within = MEETS_WITHIN.as_secs();
        let busy = |_| format!("others have been asking for the other engines for {within} s: try again");
        let _turn = timeout(MEETS_WITHIN, self.turn.lock()).await.map_err(busy)?;
        let silent = |_| format!("the supervisor has not told of the other engines within {within} s: try again");
        Ok(self.met(timeout(MEETS_WITHIN, self.introduced()).await.map_err(silent)??))
    }

    fn met(&self, Introduced { first, all, ends }: Introduced) -> Met {
        let mut ends = ends.into_iter();
        let keeper = match first {
            None => Keeper::Nobody,
            Some(first) => {
                let there = all.iter().position(|fellow| fellow.generation == first);
                there.map_or(Keeper::Here, Keeper::There)
            }
        };
        let fellow = |fellow: supervisor::Fellow| rpc::Fellow {
            name: name(fellow.place, fellow.pid),
            place: fellow.place,
            caller: match fellow.fault {
                Some(fault) => Err(format!("it cannot be reached: {fault}")),
                None => ends.next().ok_or_else(|| "no connection came".to_owned()).and_then(caller),
            },
        };
        let others = all.into_iter().map(fellow).collect();
        let own = name(self.seat.place, i32::try_from(process::id()).unwrap_or_default());
        Met { own, place: self.seat.place, keeper, others }
    }

    async fn introduced(&self) -> Result<Introduced, String> {
        let token = self.asked.fetch_add(1, Relaxed);
        let (introduce, told) = oneshot::channel();
        let _waiting = Waiting { fellows: self, token };
        self.waiting.lock().insert(token, introduce);
        let (tell, outcome) = oneshot::channel();
        let wished = self.wishes.send((Wish::Introduce { token }, tell)).await;
        let ended = || "the server is stopping".to_owned();
        wished.map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?.map_err(|refusal| refusal.text)?;
        told.await.map_err(|_| ended())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.fellows.waiting.lock().remove(&self.token);
    }
}

impl rpc::Fellows for Fellows {
    fn meet(&self) -> Meeting<'_> {
        Box::pin(self.ask())
    }

    fn has_successor(&self) -> bool {
        self.has_successor.load(Relaxed)
    }
}

/// As people know an engine.
fn name(place: usize, pid: i32) -> String {
    format!("engine {place} (process {pid})")
}

fn caller(end: OwnedFd) -> Result<Caller, String> {
    let end = net::UnixStream::from(end);
    let end = end.set_nonblocking(true).and_then(|()| UnixStream::from_std(end));
    end.map(Caller::new).map_err(|error| error.to_string())
}

// === impl Neighbours ===

impl Neighbours {
    pub(super) fn new(beside: Beside, wishes: mpsc::Sender<Wished>) -> Self {
        Self { fellows: Arc::new(Fellows::new(beside.seat, wishes)), letter_box: beside.letter_box }
    }
}

// === impl Among ===

impl Among {
    /// Answers the others, who come by what is in the letter box.
    pub(super) fn start(runtime: &Runtime, neighbours: Neighbours, shown: Shown<'_>) -> Result<Arc<Self>, Error> {
        let Neighbours { fellows, letter_box } = neighbours;
        let Shown { services, figures, kept } = shown;
        let services = services.iter().cloned().chain(figures.map(Figures::service)).collect();
        let server = rpc::Config::default().build(Vec::new(), Services::new(services));
        let among = Arc::new(Self { fellows, server, collectors: kept.figures.as_ref().map(|figures| figures.here().clone()) });
        let letter_box = net::UnixDatagram::from(letter_box);
        let _inside = runtime.enter();
        let letter_box = letter_box.set_nonblocking(true).and_then(|()| UnixDatagram::from_std(letter_box));
        tokio::spawn(among.clone().open(letter_box.map_err(Error::system("connection with other engines"))?));
        Ok(among)
    }

    /// Reads one parcel after another.
    async fn open(self: Arc<Self>, letter_box: UnixDatagram) {
        loop {
            let read = letter_box.async_io(Interest::READABLE, || passing::receive_with(&letter_box)).await;
            if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
                // Nor will any more come: the supervisor is gone.
                return;
            }
            if let Err(error) = read.and_then(|(parcel, ends)| self.take(&parcel, ends)) {
                tracing::error!(%error, "what the supervisor has sent is not understood");
                // Whatever it is, it is not to be heard of all the time.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    fn take(&self, parcel: &[u8], ends: Vec<OwnedFd>) -> io::Result<()> {
        match serde_json::from_slice(parcel)? {
            Parcel::Caller => {
                for end in ends {
                    let end = net::UnixStream::from(end);
                    end.set_nonblocking(true)?;
                    self.server.attend(UnixStream::from_std(end)?);
                }
            }
            Parcel::Fellows { token, first, all } => {
                if let Some(waiting) = self.fellows.waiting.lock().remove(&token) {
                    // It may have stopped waiting.
                    drop(waiting.send(Introduced { first, all, ends }));
                }
            }
        }
        Ok(())
    }

    /// Learns what applications have declared before this engine was ready: it may have to keep their figures one day. Goes on until
    /// another engine has told, or there is none.
    pub(super) async fn learn(self: Arc<Self>) {
        let Some(collectors) = &self.collectors else { return };
        let mut has_complained = false;
        let declared = loop {
            match self.declared().await {
                Ok(declared) => break declared,
                Err(why) if !std::mem::replace(&mut has_complained, true) => {
                    tracing::warn!("metrics that the other engines know of are not known here yet: {why}");
                }
                Err(why) => tracing::debug!("metrics that the other engines know of are still not known here: {why}"),
            }
            tokio::time::sleep(LEARN_AGAIN).await;
        };
        let count = declared.len();
        // What is known already stays as it is.
        declared.into_iter().for_each(|one| drop(collectors.declare(one)));
        tracing::debug!(count, "metrics that the other engines know of are known here");
    }

    /// What one of the others says; nothing if there are none.
    async fn declared(&self) -> Result<Vec<Declaration>, String> {
        let nothing = Payload { codec: Codec::Msgpack, body: Bytes::new() };
        let mut faults = Vec::new();
        for mut fellow in self.fellows.ask().await?.others {
            let told = fellow.ask(DECLARED, &nothing, TELLS_WITHIN).await;
            match told.and_then(|told| told.read().map_err(|error| error.to_string())) {
                Ok(declared) => return Ok(declared),
                Err(why) => faults.push(format!("{}: {why}", fellow.name)),
            }
        }
        if faults.is_empty() { Ok(Vec::new()) } else { Err(faults.join("; ")) }
    }

    /// Another engine serves in the place of this one: the others are to call that.
    pub(super) fn leave(&self) {
        self.fellows.has_successor.store(true, Relaxed);
        self.server.stop();
    }
}
