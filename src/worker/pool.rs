//! One bounded hand-off: works queue in order, and go to the worker that fell idle last.

use std::{
    cell::Cell,
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{Failure, Pressure, Work};

mod polled;

/// The size and the bounds of a pool (`http.pool`).
#[derive(Clone, Debug)]
pub struct Config {
    /// Works that run at once.
    pub num_workers: usize,
    /// Works that wait; one more is refused at once.
    pub max_queue_size: usize,
    /// How long a work may wait.
    pub allocate_timeout: Duration,
}

/// Works waiting, and the workers that take them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Shared>);

/// A worker's place in a [`Pool`]; lives on the worker's own thread.
#[derive(Debug)]
pub struct Seat {
    pool: Arc<Shared>,
    slot: Arc<Slot>,
    began: Cell<Option<Instant>>,
    recalls: Cell<u64>,
    rest: Option<Rest>,
    /// Among the idle, by `poll`; whoever takes it from there has something for it.
    listed: Cell<bool>,
}

/// What a worker does once in each wait that lasts.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// How long nothing must have come.
    pub after: Duration,
    /// Called on the worker's thread.
    pub call: fn(),
}

/// A [`Seat`] as others know it, to tell that worker alone what to do.
#[derive(Clone, Debug)]
pub struct Place(Arc<Slot>);

/// When to wake a further worker while others run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wake {
    /// At once.
    Now,
    /// Not at once if works are short: those that come with it can share the wake-up, and workers that run are about to take them.
    /// The caller then sees to it by [`Pool::wake_if_waiting`], when its thread is about to sleep and after a short while.
    WhenParked,
}

/// What a worker is to do next.
#[derive(Debug)]
pub enum Next {
    /// Run this.
    Work(Work),
    /// Start afresh, then ask again: [`Pool::recall`] or [`Pool::recall_idle`] was called.
    Recalled,
    /// Leave: the pool is closed and its queue empty, or [`Pool::dismiss`] was called.
    Closed,
}

/// What became of a submitted work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Submitted {
    /// A worker has it.
    Taken,
    /// It waits.
    Queued,
}

/// The pool took nothing: its queue is full, or it is closing.
#[derive(Debug)]
pub struct Refused(pub Box<Work>);

/// A pool's figures at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// Workers with a seat.
    pub workers: usize,
    /// Workers waiting for work.
    pub idle: usize,
    /// Works waiting.
    pub queued: usize,
    /// The longest the queue has been.
    pub queued_max: usize,
    /// Works handed out since the start.
    pub taken: u64,
    /// Works refused since the start because the queue was full.
    pub refused: u64,
    /// Works whose wait ended by `allocate_timeout`.
    pub expired: u64,
}

/// Works shorter than this are not worth waking a worker for while the cores are busy: waking costs about as much.
const SHORT: Duration = Duration::from_micros(200);

/// Works that a submitting thread gathers before it wakes a worker for them, divided by the cores: the fewer these are, the likelier
/// the worker takes the core of the thread that wakes it, for one work, and gives it back.
const GATHER: usize = 32;

#[derive(Debug)]
struct Shared {
    config: Config,
    cores: usize,
    batch: usize,
    state: Mutex<State>,
    queued: AtomicUsize,
    // How long works take, in nanoseconds: a moving average that any worker may overwrite.
    typical: AtomicU64,
    taken: AtomicU64,
    refused: AtomicU64,
    expired: AtomicU64,
    // A `Pressure`.
    pressure: AtomicU8,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Work>,
    idle: Vec<Arc<Slot>>,
    seats: usize,
    queued_max: usize,
    recalls: u64,
    closed: bool,
}

#[derive(Debug)]
struct Slot {
    thread: Thread,
    work: Mutex<Option<Work>>,
    // What this worker alone was told, until it hears of it: 0, or an `Order`. Written under the lock of the pool's state.
    told: AtomicU8,
    bell: OnceLock<polled::Bell>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
enum Order {
    StartAfresh = 1,
    Leave = 2,
}

// === impl Pool ===

impl Pool {
    /// A pool without workers yet: each takes its [`seat`](Self::seat).
    pub fn new(config: Config) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Shared {
            cores,
            batch: (GATHER / cores).max(2),
            state: Mutex::new(State::default()),
            queued: AtomicUsize::new(0),
            typical: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            pressure: AtomicU8::new(Pressure::None as u8),
            config,
        }))
    }

    /// Its size and bounds.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Gives `work` to the most recently idle worker, else queues it, else refuses it.
    pub fn submit(&self, work: Work, wake: Wake) -> Result<Submitted, Refused> {
        let mut gone = Vec::new();
        let mut state = self.0.state.lock();
        let is_full = state.idle.is_empty() && state.queue.len() >= self.0.config.max_queue_size;
        if state.closed || is_full || self.0.is_limited(&state) {
            drop(state);
            self.0.refused.fetch_add(1, Relaxed);
            return Err(Refused(Box::new(work)));
        }
        state.queue.push_back(work);
        let wakes = wake == Wake::Now || !self.0.is_gathering(&state);
        if wakes && let Some(slot) = state.idle.pop() {
            let first = self.0.pop(&mut state, &mut gone).expect("one was just put in");
            let submitted = if state.queue.is_empty() { Submitted::Taken } else { Submitted::Queued };
            drop(state);
            slot.give(first);
            return Ok(submitted);
        }
        state.queued_max = state.queued_max.max(state.queue.len());
        self.0.queued.store(state.queue.len(), Relaxed);
        Ok(Submitted::Queued)
    }

    /// Wakes idle workers for the works that wait, as many as there are cores for; a further one for each work that has waited longer
    /// than `patience`.
    pub fn wake_if_waiting(&self, patience: Duration) {
        while self.0.queued.load(Relaxed) != 0 {
            let mut gone = Vec::new();
            let mut state = self.0.state.lock();
            let Some(oldest) = state.queue.front() else { return };
            if !self.0.has_free_core(&state) && oldest.submitted.elapsed() < patience {
                return;
            }
            let Some(slot) = state.idle.pop() else { return };
            let Some(work) = self.0.pop(&mut state, &mut gone) else {
                // All of them were taken back.
                state.idle.push(slot);
                return;
            };
            drop(state);
            slot.give(work);
        }
    }

    /// True while works wait.
    pub fn has_waiting(&self) -> bool {
        self.0.queued.load(Relaxed) != 0
    }

    /// Drops the works that have waited longer than `allocate_timeout`; their askers hear [`Failure::QueueTimeout`].
    /// Returns when the next one is due.
    pub fn expire(&self, now: Instant) -> Option<Instant> {
        let limit = self.0.config.allocate_timeout;
        let mut gone = Vec::new();
        let mut state = self.0.state.lock();
        while state.queue.front().is_some_and(|work| now.duration_since(work.submitted) >= limit) {
            gone.extend(state.queue.pop_front());
        }
        self.0.queued.store(state.queue.len(), Relaxed);
        let next = state.queue.front().map(|work| work.submitted + limit);
        drop(state);
        self.0.expired.fetch_add(gone.len() as u64, Relaxed);
        for work in gone {
            work.responder.send(Err(Failure::QueueTimeout));
        }
        next
    }

    /// Takes a seat for the calling thread.
    pub fn seat(&self) -> Seat {
        let mut state = self.0.state.lock();
        state.seats += 1;
        Seat {
            recalls: Cell::new(state.recalls),
            pool: self.0.clone(),
            slot: Arc::new(Slot {
                thread: thread::current(),
                work: Mutex::new(None),
                told: AtomicU8::new(0),
                bell: OnceLock::new(),
            }),
            began: Cell::new(None),
            rest: None,
            listed: Cell::new(false),
        }
    }

    /// Memory is so short from now on, which bounds how many works run at once, and whether any waits.
    pub fn feel(&self, pressure: Pressure) {
        self.0.pressure.store(pressure as u8, Relaxed);
    }

    /// Whether memory is short.
    pub fn is_short_of_memory(&self) -> bool {
        self.0.pressure.load(Relaxed) != Pressure::None as u8
    }

    /// Tells every worker to start afresh before its next work, the waiting ones at once. Works wait meanwhile. Returns the
    /// recall's number.
    pub fn recall(&self) -> u64 {
        let mut state = self.0.state.lock();
        state.recalls += 1;
        for slot in state.idle.drain(..) {
            slot.wake();
        }
        state.recalls
    }

    /// Tells one worker to start afresh if it waits for work; false if it does not.
    pub fn recall_idle(&self, place: &Place) -> bool {
        self.0.tell(place, Order::StartAfresh)
    }

    /// Tells one worker to leave: at once if it waits for work, else before its next.
    pub fn dismiss(&self, place: &Place) {
        self.0.tell(place, Order::Leave);
    }

    /// Works waiting.
    pub fn queued(&self) -> usize {
        self.0.queued.load(Relaxed)
    }

    /// How long the work that waits longest has waited, if one does.
    pub fn longest_wait(&self) -> Option<Duration> {
        if self.0.queued.load(Relaxed) == 0 {
            return None;
        }
        self.0.state.lock().queue.front().map(|work| work.submitted.elapsed())
    }

    /// Answers every work that waits with `failure`: no worker is about to take it.
    pub fn fail_waiting(&self, failure: Failure) {
        let mut state = self.0.state.lock();
        let waiting = std::mem::take(&mut state.queue);
        self.0.queued.store(0, Relaxed);
        drop(state);
        for work in waiting {
            work.responder.send(Err(failure));
        }
    }

    /// Refuses new works; workers leave when the queue is empty.
    pub fn close(&self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        for slot in state.idle.drain(..) {
            slot.wake();
        }
    }

    /// Its figures now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.0.state.lock();
        Snapshot {
            workers: state.seats,
            idle: state.idle.len(),
            queued: state.queue.len(),
            queued_max: state.queued_max,
            taken: self.0.taken.load(Relaxed),
            refused: self.0.refused.load(Relaxed),
            expired: self.0.expired.load(Relaxed),
        }
    }
}

// === impl Shared ===

impl Shared {
    /// True if the queued works may wait until the thread that submits them is about to sleep.
    fn is_gathering(&self, state: &State) -> bool {
        let few = state.queue.len() < self.batch || !self.has_free_core(state);
        few && self.works_are_short() && state.queue.len() <= self.config.max_queue_size
    }

    /// True if a further worker would not take the core of one that runs, or of the thread that asks.
    fn has_free_core(&self, state: &State) -> bool {
        let running = state.seats - state.idle.len();
        running == 0 || running + 1 < self.cores
    }

    /// True if as many works run or wait as may at the moment.
    fn is_limited(&self, state: &State) -> bool {
        self.pressure.load(Relaxed) == Pressure::Shed as u8
            && state.seats - state.idle.len() + state.queue.len() >= Pressure::most_running(self.config.num_workers)
    }

    fn works_are_short(&self) -> bool {
        self.typical.load(Relaxed) < SHORT.as_nanos() as u64
    }

    fn note_length(&self, length: Duration) {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let typical = self.typical.load(Relaxed);
        self.typical.store(typical - typical / 8 + length / 8, Relaxed);
    }

    /// False if the worker does not wait for work; then only an order to leave is kept.
    fn tell(&self, place: &Place, order: Order) -> bool {
        let mut state = self.state.lock();
        let waiting = state.idle.iter().position(|slot| Arc::ptr_eq(slot, &place.0));
        if waiting.is_some() || order == Order::Leave {
            place.0.told.store(order as u8, Relaxed);
        }
        let Some(at) = waiting else { return false };
        let slot = state.idle.remove(at);
        drop(state);
        slot.wake();
        true
    }

    /// The next work that is still wanted. Those before it go to `gone`, to be dropped without the lock: their bodies may be files.
    fn pop(&self, state: &mut State, gone: &mut Vec<Work>) -> Option<Work> {
        let work = loop {
            match state.queue.pop_front() {
                Some(work) if work.is_taken_back() => gone.push(work),
                next => break next,
            }
        };
        self.queued.store(state.queue.len(), Relaxed);
        self.taken.fetch_add(u64::from(work.is_some()), Relaxed);
        work
    }
}

// === impl Slot ===

impl Slot {
    fn give(&self, work: Work) {
        *self.work.lock() = Some(work);
        self.wake();
    }
}

// === impl Seat ===

impl Seat {
    /// With something to do in each wait that lasts.
    pub fn resting(mut self, rest: Rest) -> Self {
        self.rest = Some(rest);
        self
    }

    /// The seat as others know it.
    pub fn place(&self) -> Place {
        Place(self.slot.clone())
    }

    /// The worker starts afresh by itself: it has done what recalls up to now ask for. Returns the last one's number.
    pub fn start_afresh(&self) -> u64 {
        let state = self.pool.state.lock();
        self.recalls.set(state.recalls);
        if self.slot.told.load(Relaxed) == Order::StartAfresh as u8 {
            self.slot.told.store(0, Relaxed);
        }
        state.recalls
    }

    /// What to do next, waiting for it.
    pub fn next(&self) -> Next {
        self.note_end();
        let next = self.wait();
        self.note_begin(Some(&next));
        next
    }

    fn note_end(&self) {
        if let Some(began) = self.began.take() {
            self.pool.note_length(began.elapsed());
        }
    }

    fn note_begin(&self, next: Option<&Next>) {
        self.began.set(matches!(next, Some(Next::Work(_))).then(Instant::now));
    }

    fn wait(&self) -> Next {
        let mut gone = Vec::new();
        {
            let mut state = self.pool.state.lock();
            let given = self.slot.work.lock().take().map(Next::Work);
            if let Some(next) = given.or_else(|| self.look(&mut state, &mut gone)) {
                self.listed.set(false);
                return next;
            }
            if !self.listed.replace(false) {
                state.idle.push(self.slot.clone());
            }
        }
        gone.clear();
        let (idle, mut rest) = (Instant::now(), self.rest);
        loop {
            match rest {
                Some(rest) => thread::park_timeout(rest.after),
                None => thread::park(),
            }
            if let Some(work) = self.slot.work.lock().take() {
                return Next::Work(work);
            }
            let mut state = self.pool.state.lock();
            // Looked at again under the lock: a work given just before the pool closed must not be left behind.
            if (state.closed || state.recalls != self.recalls.get() || self.slot.told.load(Relaxed) != 0)
                && let Some(next) = self.slot.work.lock().take().map(Next::Work).or_else(|| self.look(&mut state, &mut gone))
            {
                return next;
            }
            drop(state);
            if let Some(rest) = rest.take_if(|rest| idle.elapsed() >= rest.after) {
                (rest.call)();
            }
        }
    }

    fn look(&self, state: &mut State, gone: &mut Vec<Work>) -> Option<Next> {
        let told = self.slot.told.load(Relaxed);
        if told != 0 {
            self.slot.told.store(0, Relaxed);
            return Some(if told == Order::Leave as u8 { Next::Closed } else { Next::Recalled });
        }
        if !state.closed && state.recalls != self.recalls.get() {
            self.recalls.set(state.recalls);
            return Some(Next::Recalled);
        }
        match self.pool.pop(state, gone) {
            Some(work) => Some(Next::Work(work)),
            None => state.closed.then_some(Next::Closed),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.step_back();
        self.pool.state.lock().seats -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;
    use crate::worker::{Answer, Body, Head, Reply, ReplyBody, Request, Responder, Script, Source};

    pub(super) fn work(id: u64) -> (Work, Answer) {
        let (responder, answer) = Responder::new();
        let script = Script { filename: "/x.php".into(), name: "/x.php".into(), path_info: "".into(), document_root: "/".into() };
        let request = Box::new(Request {
            id,
            received: std::time::SystemTime::now(),
            script,
            source: Source::FastCgi(Vec::new()),
            body: Body::Empty,
            ini: Vec::new(),
            interim: None,
            phases: None,
        });
        (Work { request, responder, submitted: Instant::now() }, answer)
    }

    pub(super) fn pool(max_queue_size: usize) -> Pool {
        Pool::new(Config { num_workers: 2, max_queue_size, allocate_timeout: Duration::from_millis(50) })
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    /// What was answered: the body, or why there is none.
    pub(super) fn answered(answer: Answer) -> Result<String, Failure> {
        let ReplyBody::Whole(body) = runtime().block_on(answer)?.body else { panic!("a whole body was sent") };
        Ok(String::from_utf8(body.to_vec()).expect("text"))
    }

    pub(super) fn echo(work: Work) {
        let body = bytes::Bytes::from(work.request.id.to_string());
        let head = Head { status: http::StatusCode::OK, reason: None, headers: http::HeaderMap::new(), lines: Vec::new() };
        work.responder.send(Ok(Reply { head, body: ReplyBody::Whole(body), log: String::new(), request: None }));
    }

    #[test]
    fn every_work_is_answered_once_by_many_workers() {
        let pool = pool(10_000);
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || {
                    let seat = pool.seat();
                    while let Next::Work(work) = seat.next() {
                        echo(work);
                    }
                })
            })
            .collect();
        let answers: Vec<_> = (0..5_000)
            .map(|id| {
                let (work, answer) = work(id);
                pool.submit(work, if id % 2 == 0 { Wake::Now } else { Wake::WhenParked }).expect("the queue is large enough");
                pool.wake_if_waiting(Duration::ZERO);
                (id, answer)
            })
            .collect();
        pool.close();
        let runtime = runtime();
        for (id, answer) in answers {
            let reply = runtime.block_on(answer).expect("no failure");
            let ReplyBody::Whole(body) = reply.body else { panic!("a whole body was sent") };
            assert_eq!(body, id.to_string());
        }
        for worker in workers {
            worker.join().expect("no panic");
        }
        assert_eq!(pool.snapshot().workers, 0);
    }

    #[test]
    fn a_recall_reaches_idle_workers_and_busy_ones_before_their_next_work() {
        let pool = pool(10);
        let worker = thread::spawn({
            let pool = pool.clone();
            move || {
                let seat = pool.seat();
                let mut seen = Vec::new();
                loop {
                    match seat.next() {
                        Next::Work(work) => {
                            seen.push(work.request.id);
                            if work.request.id == 1 {
                                pool.recall();
                            }
                            echo(work);
                        }
                        Next::Recalled => seen.push(0),
                        Next::Closed => return seen,
                    }
                }
            }
        });
        for id in [1, 2] {
            let (work, answer) = work(id);
            pool.submit(work, Wake::Now).expect("room");
            runtime().block_on(answer).expect("no failure");
        }
        while pool.snapshot().idle == 0 {
            thread::yield_now();
        }
        pool.recall();
        while pool.snapshot().idle == 0 {
            thread::yield_now();
        }
        pool.close();
        assert_eq!(worker.join().expect("no panic"), [1, 0, 2, 0]);
    }

    #[test]
    fn short_works_wait_for_company_but_not_past_the_queue_s_bound() {
        for (max_queue_size, expected) in [(10, Submitted::Queued), (0, Submitted::Taken)] {
            let pool = pool(max_queue_size);
            let worker = thread::spawn({
                let pool = pool.clone();
                move || {
                    let seat = pool.seat();
                    while let Next::Work(work) = seat.next() {
                        echo(work);
                    }
                }
            });
            while pool.snapshot().idle == 0 {
                thread::yield_now();
            }
            let (work, answer) = work(1);
            assert_eq!(pool.submit(work, Wake::WhenParked).expect("room"), expected);
            assert_eq!(pool.has_waiting(), expected == Submitted::Queued);
            // There is a core for the first worker, so patience does not matter.
            pool.wake_if_waiting(Duration::from_secs(60));
            runtime().block_on(answer).expect("no failure");
            pool.close();
            worker.join().expect("no panic");
        }
    }

    #[test]
    fn a_worker_that_waits_for_long_rests_once_and_goes_on() {
        static RESTED: AtomicUsize = AtomicUsize::new(0);
        let rest = Rest { after: Duration::from_millis(5), call: || _ = RESTED.fetch_add(1, Relaxed) };
        let pool = pool(10);
        let worker = thread::spawn({
            let pool = pool.clone();
            move || {
                let seat = pool.seat().resting(rest);
                while let Next::Work(work) = seat.next() {
                    echo(work);
                }
            }
        });
        for waits in 1..=2 {
            while RESTED.load(Relaxed) < waits {
                thread::yield_now();
            }
            thread::sleep(rest.after * 4);
            assert_eq!(RESTED.load(Relaxed), waits);
            let (work, answer) = work(1);
            pool.submit(work, Wake::Now).expect("room");
            assert!(runtime().block_on(answer).is_ok());
        }
        pool.close();
        worker.join().expect("no panic");
    }

    #[test]
    fn one_worker_is_told_alone_and_only_between_works() {
        let pool = pool(10);
        let (places, arrivals) = std::sync::mpsc::channel();
        let (to_main, events) = std::sync::mpsc::channel();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (pool, places, to_main) = (pool.clone(), places.clone(), to_main.clone());
                thread::spawn(move || {
                    let seat = pool.seat();
                    places.send((thread::current().id(), seat.place())).expect("the test waits");
                    loop {
                        match seat.next() {
                            Next::Work(work) => {
                                // While it works it cannot be told to start afresh.
                                assert!(!pool.recall_idle(&seat.place()));
                                pool.dismiss(&seat.place());
                                echo(work);
                            }
                            Next::Recalled => to_main.send((thread::current().id(), "afresh")).expect("the test waits"),
                            Next::Closed => return to_main.send((thread::current().id(), "left")).expect("the test waits"),
                        }
                    }
                })
            })
            .collect();
        let places: Vec<_> = arrivals.iter().take(2).collect();
        while pool.snapshot().idle < 2 {
            thread::yield_now();
        }
        assert!(pool.recall_idle(&places[0].1));
        assert_eq!(events.recv(), Ok((places[0].0, "afresh")));
        pool.dismiss(&places[1].1);
        assert_eq!(events.recv(), Ok((places[1].0, "left")));
        let (work, answer) = work(1);
        pool.submit(work, Wake::Now).expect("room");
        runtime().block_on(answer).expect("no failure");
        assert_eq!(events.recv(), Ok((places[0].0, "left")), "after the work during which it was dismissed");
        for worker in workers {
            worker.join().expect("no panic");
        }
        assert_eq!(pool.snapshot().workers, 0);
    }

    #[test]
    fn whoever_starts_afresh_has_done_what_earlier_recalls_ask() {
        let pool = pool(10);
        let seat = pool.seat();
        let recall = pool.recall();
        assert_eq!(seat.start_afresh(), recall);
        let (work, _keep) = work(1);
        pool.submit(work, Wake::Now).expect("room");
        assert!(pool.longest_wait().is_some());
        assert!(matches!(seat.next(), Next::Work(_)));
        assert_eq!(pool.longest_wait(), None);
    }

    #[test]
    fn those_that_wait_can_be_told_that_nobody_comes() {
        let pool = pool(10);
        let (work, answer) = work(1);
        pool.submit(work, Wake::Now).expect("room");
        pool.fail_waiting(Failure::WorkerLost);
        assert_eq!(runtime().block_on(answer).expect_err("no worker"), Failure::WorkerLost);
        assert_eq!(pool.snapshot().queued, 0);
    }

    #[test]
    fn refuses_at_once_when_the_queue_is_full() {
        let pool = pool(1);
        let (first, _keep) = work(1);
        let (second, _keep) = work(2);
        assert_eq!(pool.submit(first, Wake::Now).expect("room for one"), Submitted::Queued);
        let Refused(back) = pool.submit(second, Wake::Now).expect_err("no room");
        assert_eq!(back.request.id, 2);
        assert_eq!(pool.snapshot().refused, 1);
    }

    #[test]
    fn while_works_are_limited_fewer_run_and_none_waits() {
        let pool = pool(10);
        // Of two workers one is at work, which is half.
        let (busy, idle) = (pool.seat(), pool.seat());
        let (first, _keep) = work(1);
        pool.submit(first, Wake::Now).expect("room");
        assert!(matches!(busy.next(), Next::Work(_)));
        pool.feel(Pressure::Shed);
        let (second, _keep) = work(2);
        pool.submit(second, Wake::Now).expect_err("as many run as may");
        pool.feel(Pressure::Recycle);
        let (second, _keep) = work(2);
        assert_eq!(pool.submit(second, Wake::Now).expect("room"), Submitted::Queued);
        assert!(matches!(idle.next(), Next::Work(_)));
    }

    #[test]
    fn a_wait_ends_at_its_limit() {
        let pool = pool(10);
        let (work, answer) = work(1);
        let submitted = work.submitted;
        pool.submit(work, Wake::Now).expect("room");
        assert_eq!(pool.expire(submitted), Some(submitted + Duration::from_millis(50)));
        assert_eq!(pool.expire(submitted + Duration::from_millis(50)), None);
        assert_eq!(runtime().block_on(answer).expect_err("timed out"), Failure::QueueTimeout);
    }
}
