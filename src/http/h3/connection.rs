//! One connection: its control streams, its requests, and when it has to leave.

use std::{
    future::pending,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::sync::{
    Notify,
    mpsc::{self, Receiver},
};

use super::{
    Faults,
    control::{self, Unique},
    frame::code,
    stream,
};
use crate::{
    http::{
        Drain, Peer,
        accept::canonical,
        conn::{Config, Handler, roughly},
        crowd::{Idler, Listened},
        drain::{Closed, Timeout},
    },
    worker::{Secure, doorbell},
};

/// What all connections of a server have in common.
#[derive(Debug)]
pub(super) struct Shared<S> {
    pub(super) config: Arc<Config>,
    pub(super) handler: S,
    pub(super) drain: Drain,
}

/// A connection that was greeted.
pub(super) struct Connection<S> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) quic: quinn::Connection,
    pub(super) secure: Arc<Secure>,
    pub(super) local: Option<SocketAddr>,
    pub(super) listened: Listened,
}

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Streams {
    active: AtomicUsize,
    requests: AtomicU64,
    answered: AtomicUsize,
    // Requests that their client left while a script was at work for them.
    abandoned: AtomicUsize,
    idle_since: Mutex<Instant>,
    is_to_leave: AtomicBool,
    changed: Notify,
}

/// A request, until its client has the answer.
#[derive(Debug)]
pub(super) struct Active {
    streams: Arc<Streams>,
    is_answered: AtomicBool,
}

/// How the end of a connection is going (RFC 9114 §5.2).
#[derive(Clone, Copy, Debug)]
enum Leaving {
    /// The client was told that it comes, and what it has sent before it knew is still taken until then.
    Soon(Instant),
    /// Requests from this stream on are not looked at.
    From(u64),
}

/// As on HTTP/2: how many more requests than were answered a client may leave before their answer.
const ABANDONED: usize = 100;

/// What the first word of an end says: no request is lost yet.
const NO_LIMIT: u64 = (1 << 62) - 4;

/// How many words there are.
const WORDS: usize = 2;

/// How long a client has to hear that word: two round trips, in these bounds.
const SOON: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// The next request's stream has a number higher by this.
const STREAM_STEP: u64 = 4;

/// Turns of the runtime in which quinn gets to send the last packet of a connection.
const LAST_TURNS: usize = 3;

// === impl Connection ===

impl<S: Handler> Connection<S> {
    /// Serves it to its end.
    pub(super) async fn serve(self) {
        let Ok(control) = self.open_control().await else { return };
        let (words, said) = mpsc::channel(WORDS);
        let mut saying = pin!(say(control, said));
        let this = Arc::new(self);
        let (streams, unique) = (Arc::new(Streams::new()), Arc::new(Unique::default()));
        let _seat = this.shared.drain.crowd().seat(streams.clone(), this.listened.clone());
        let old_at = this.shared.config.max_age.and_then(|age| Instant::now().checked_add(roughly(age)));
        let faults = Faults { connection: this.quic.clone(), drain: this.shared.drain.clone() };
        let mut started = pin!(this.shared.drain.started());
        let (mut leaving, mut next_id) = (None::<Leaving>, 0);
        loop {
            let deadline = this.deadline(&streams, leaving, old_at);
            let mut is_to_leave = false;
            tokio::select! {
                stream = this.quic.accept_bi() => {
                    let Ok((send, receive)) = stream else { break };
                    next_id = VarInt::from(receive.id()).into_inner() + STREAM_STEP;
                    match leaving {
                        Some(Leaving::From(limit)) if next_id > limit => reject(send, receive),
                        _ => this.request(send, receive, &streams, &faults),
                    }
                }
                stream = this.quic.accept_uni() => {
                    let Ok(receive) = stream else { break };
                    tokio::spawn(control::receive(receive, unique.clone(), streams.clone(), faults.clone()));
                }
                () = &mut started, if leaving.is_none() => is_to_leave = true,
                () = streams.changed.notified() => {}
                () = &mut saying => break,
                () = until(deadline) => match leaving {
                    Some(Leaving::From(_)) => break,
                    Some(Leaving::Soon(_)) => {}
                    None if old_at.is_some_and(|at| at <= Instant::now()) => {
                        this.shared.drain.count_closed(Closed::Age);
                        is_to_leave = true;
                    }
                    None => {
                        this.shared.drain.count_timeout(if streams.requests() == 0 { Timeout::First } else { Timeout::Idle });
                        is_to_leave = true;
                    }
                },
            }
            if streams.is_abused() {
                faults.raise(code::EXCESSIVE_LOAD, "too many requests were left before their answer");
                break;
            }
            if leaving.is_none() && streams.takes_leave() {
                this.shared.drain.count_closed(Closed::Room);
                is_to_leave = true;
            }
            let is_worn = streams.requests() >= this.shared.config.keepalive_requests;
            let word = match leaving {
                None if is_worn => next_id,
                None if is_to_leave => NO_LIMIT,
                Some(Leaving::Soon(until)) if is_worn || until <= Instant::now() => next_id,
                _ => continue,
            };
            leaving = Some(match word {
                NO_LIMIT => Leaving::Soon(Instant::now() + (2 * this.quic.rtt()).clamp(SOON[0], SOON[1])),
                limit => Leaving::From(limit),
            });
            streams.leave_soon();
            // It fails if nobody says words any more, and then that has been seen.
            _ = words.try_send(word);
        }
        this.quic.close(code::NO_ERROR, b"");
        // The process may end with its last connection.
        for _ in 0..LAST_TURNS {
            tokio::task::yield_now().await;
        }
    }

    async fn open_control(&self) -> Result<SendStream, ()> {
        let open = async {
            let mut control = self.quic.open_uni().await.map_err(drop)?;
            control.write_all(&control::greeting(self.shared.config.max_header_bytes)).await.map_err(drop)?;
            Ok(control)
        };
        // A client that lets us open no stream is none.
        tokio::time::timeout(self.shared.config.header_timeout, open).await.unwrap_or(Err(()))
    }

    fn request(self: &Arc<Self>, send: SendStream, receive: RecvStream, streams: &Arc<Streams>, faults: &Faults) {
        let active = Active::new(streams.clone());
        // Now, for the client may move.
        let peer = Peer {
            remote: Some(canonical(self.quic.remote_address())),
            local: self.local,
            port: None,
            secure: Some(self.secure.clone()),
        };
        let (this, faults) = (self.clone(), faults.clone());
        tokio::spawn(doorbell::heeding(async move {
            stream::serve(&this.shared, stream::Ends { send, receive }, peer, active, faults).await;
        }));
    }

    /// When to look again; a connection that is leaving has been told so.
    fn deadline(&self, streams: &Streams, leaving: Option<Leaving>, old_at: Option<Instant>) -> Option<Instant> {
        let (config, drain) = (&self.shared.config, &self.shared.drain);
        let old_at = old_at.filter(|_| leaving.is_none());
        if let Some(Leaving::Soon(until)) = leaving {
            return Some(until);
        }
        let limit = match streams.requests() {
            _ if streams.active.load(SeqCst) > 0 => return old_at,
            _ if leaving.is_some() => drain.idle(config.drain_idle),
            0 => config.header_timeout,
            _ => config.keepalive_timeout,
        };
        // Not forever, whatever is configured: the sum must be a time.
        let idle = streams.idle_since.lock().checked_add(limit.min(LONGEST));
        idle.into_iter().chain(old_at).min()
    }
}

/// Tells the client the words of an end, until it takes none. Meanwhile the connection goes on, for one that gives no credit for them
/// has to leave as well.
async fn say(mut control: SendStream, mut words: Receiver<u64>) {
    while let Some(word) = words.recv().await {
        if control.write_all(&control::goaway(word)).await.is_err() {
            return;
        }
    }
}

const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// It was not looked at, so it may be sent again elsewhere.
fn reject(mut send: SendStream, mut receive: RecvStream) {
    // These fail on streams that are gone.
    _ = send.reset(code::REJECTED);
    _ = receive.stop(code::REJECTED);
}

// === impl Streams ===

impl Streams {
    fn new() -> Self {
        Self {
            active: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            answered: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
            is_to_leave: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// How many there were.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    fn is_abused(&self) -> bool {
        self.abandoned.load(Relaxed) > self.answered.load(Relaxed) + ABANDONED
    }

    fn touch(&self) {
        *self.idle_since.lock() = Instant::now();
    }

    /// It was told to go: its time to do so starts, and there is no use in asking it.
    fn leave_soon(&self) {
        self.is_to_leave.store(true, Relaxed);
        self.touch();
    }

    fn takes_leave(&self) -> bool {
        self.is_to_leave.swap(false, Relaxed) && self.active.load(SeqCst) == 0
    }
}

impl Idler for Streams {
    fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.active.load(SeqCst) == 0 && !self.is_to_leave.load(Relaxed);
        is_idle.then(|| *self.idle_since.lock())
    }

    fn leave(&self) {
        self.is_to_leave.store(true, Relaxed);
        self.changed.notify_one();
    }
}

// === impl Active ===

impl Active {
    fn new(streams: Arc<Streams>) -> Self {
        streams.active.fetch_add(1, SeqCst);
        streams.requests.fetch_add(1, Relaxed);
        Self { streams, is_answered: AtomicBool::new(false) }
    }

    /// A script, or whoever else, has done its part.
    pub(super) fn answer(&self) {
        self.is_answered.store(true, Relaxed);
        self.streams.answered.fetch_add(1, Relaxed);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if !self.is_answered.load(Relaxed) {
            self.streams.abandoned.fetch_add(1, Relaxed);
        }
        self.streams.touch();
        if self.streams.active.fetch_sub(1, SeqCst) == 1 || self.streams.is_abused() {
            self.streams.changed.notify_one();
        }
    }
}
