//! Engines in one process, tied to each other as a supervisor ties them, with a plugin that counts.

mod faults;

use std::{
    io::{Read, Write},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use tokio::{runtime::Builder, sync::oneshot};

use super::{owner::Owner, *};

/// A number that calls add to, and that a call can wait for.
#[derive(Default)]
struct Counter {
    kept: Mutex<Kept>,
    /// Fails to put a state in its place.
    is_full: AtomicBool,
    form: u32,
}

#[derive(Default)]
struct Kept {
    serves: bool,
    count: u64,
    /// What it was when the copy began.
    copied: u64,
    /// What makes the state large.
    ballast: usize,
    waiting: Vec<(u64, oneshot::Sender<()>)>,
}

impl Plugin for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn form(&self) -> u32 {
        self.form
    }

    fn entries(&self) -> usize {
        usize::from(self.kept.lock().count > 0)
    }

    fn call(self: Arc<Self>, request: &[u8]) -> Called {
        let mut kept = self.kept.lock();
        assert!(kept.serves, "called while it does not serve");
        let number = |text: &[u8]| str::from_utf8(text).unwrap().parse::<u64>().unwrap();
        match request.split_first().unwrap() {
            (b'+', count) => {
                kept.count += number(count);
                let now = kept.count;
                kept.waiting.retain(|(target, _)| now < *target);
            }
            (b'=', _) => {}
            (b'*', _) => return Called::Done(vec![b'0'; 2 << 20].into()),
            (_, target) if kept.count < number(target) => {
                let (tell, told) = oneshot::channel::<()>();
                kept.waiting.push((number(target), tell));
                drop(kept);
                return Called::Waits(Box::pin(async move {
                    // Both ends of a wait drop the sender: what the state is then tells which it was.
                    drop(told.await);
                    None
                }));
            }
            _ => {}
        }
        Called::Done(kept.count.to_string().into())
    }

    fn serve(&self) {
        let mut kept = self.kept.lock();
        (kept.serves, kept.copied) = (true, 0);
    }

    fn copy(self: Arc<Self>) -> Chunks {
        let mut kept = self.kept.lock();
        kept.copied = kept.count;
        let (count, ballast) = (kept.count, kept.ballast);
        Box::new((0..ballast).map(|_| vec![0; CHUNK]).chain([count.to_le_bytes().to_vec()]))
    }

    fn freeze(&self) -> Chunks {
        let mut kept = self.kept.lock();
        kept.serves = false;
        kept.waiting.clear();
        let added = kept.count - kept.copied;
        Box::new([added.to_le_bytes().to_vec()].into_iter())
    }

    fn restore(&self, chunk: &[u8]) -> Result<(), String> {
        let mut kept = self.kept.lock();
        assert!(!kept.serves);
        match chunk.try_into() {
            _ if self.is_full.load(Relaxed) => return Err("there is no room".into()),
            Ok(count) => kept.count += u64::from_le_bytes(count),
            Err(_) => kept.ballast += 1,
        }
        Ok(())
    }

    fn clear(&self) {
        let mut kept = self.kept.lock();
        assert!(!kept.serves || kept.count == 0);
        (kept.count, kept.ballast) = (0, 0);
    }
}

/// An engine on a thread of its own, as long as it is kept.
struct Engine {
    state: State,
    counter: Arc<Counter>,
    /// For the one to succeed it.
    door: OwnedFd,
    _life: oneshot::Sender<()>,
}

impl Engine {
    fn start(before: Option<&Self>) -> Self {
        Self::with(before, Counter::default())
    }

    fn with(before: Option<&Self>, counter: Counter) -> Self {
        Self::after(before.map(|before| before.door.try_clone().unwrap()), counter)
    }

    fn after(predecessor: Option<OwnedFd>, counter: Counter) -> Self {
        let (door, heir) = passing::pair().unwrap();
        let counter = Arc::new(counter);
        let plugins: Vec<Arc<dyn Plugin>> = vec![counter.clone()];
        let (life, end) = oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let is_later = predecessor.is_some();
                tell.send(State::start(plugins, Kin { predecessor, heir: Some(heir), is_later })).unwrap();
                // Its tasks end with it, as those of a process that is killed.
                drop(end.await);
            });
        });
        Self { state: told.recv().unwrap(), counter, door, _life: life }
    }

    fn call(&self, request: &str) -> Result<u64, Error> {
        call(&self.state, request)
    }

    fn take_over(&self) -> Result<(), String> {
        block_on(self.state.take_over())
    }

    fn wait_until_here(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.state.is_here() {
            assert!(Instant::now() < deadline, "the state never came");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn call(state: &State, request: &str) -> Result<u64, Error> {
    block_on(state.call("counter", request.to_owned().into())).map(|result| str::from_utf8(&result).unwrap().parse().unwrap())
}

/// Callers of two engines, by turns, until told to stop.
struct Callers<'a> {
    pair: &'a RwLock<(State, State)>,
    made: AtomicU64,
    slowest_us: AtomicU64,
    done: AtomicBool,
}

impl Callers<'_> {
    fn call(&self, caller: usize) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        for round in 0.. {
            if self.done.load(Relaxed) {
                return;
            }
            let (old, new) = self.pair.read().clone();
            let state = if (caller + round).is_multiple_of(2) { old } else { new };
            let began = Instant::now();
            runtime.block_on(state.call("counter", Bytes::from_static(b"+1"))).expect("no call fails");
            self.made.fetch_add(1, Relaxed);
            self.slowest_us.fetch_max(began.elapsed().as_micros().try_into().unwrap(), Relaxed);
        }
    }

    /// Waits until many more calls were made.
    fn go_on(&self) {
        let (target, deadline) = (self.made.load(Relaxed) + 50, Instant::now() + Duration::from_secs(30));
        while self.made.load(Relaxed) < target {
            assert!(Instant::now() < deadline, "calls hang");
            thread::yield_now();
        }
    }
}

#[test]
fn no_increment_is_lost_or_doubled_while_the_state_moves_fifty_times() {
    let mut engines = vec![Engine::start(None)];
    engines[0].counter.kept.lock().ballast = 64;
    let pair = RwLock::new((engines[0].state.clone(), engines[0].state.clone()));
    let callers = Callers { pair: &pair, made: AtomicU64::new(0), slowest_us: AtomicU64::new(0), done: AtomicBool::new(false) };
    thread::scope(|scope| {
        for caller in 0..8 {
            let callers = &callers;
            scope.spawn(move || callers.call(caller));
        }
        let moves = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..50 {
                let old = engines.last().unwrap();
                let next = Engine::start(Some(old));
                *pair.write() = (old.state.clone(), next.state.clone());
                callers.go_on();
                next.take_over().unwrap();
                callers.go_on();
                old.state.leave();
                callers.go_on();
                assert!(next.state.is_here() && !old.state.is_here());
                engines.push(next);
            }
        }));
        callers.done.store(true, Relaxed);
        moves.unwrap();
    });
    let made = callers.made.load(Relaxed);
    assert_eq!((engines[50].call("="), engines[50].counter.kept.lock().ballast), (Ok(made), 64));
    // Also through those that have been succeeded, one by one.
    assert_eq!(engines[0].call("="), Ok(made));
    println!("{made} increments; the slowest took {} us", callers.slowest_us.load(Relaxed));
}

#[test]
fn calls_that_wait_are_made_again_at_the_new_owner() {
    let old = Engine::start(None);
    let new = Engine::start(Some(&old));
    thread::scope(|scope| {
        let waiting: Vec<_> = [&old, &new].map(|engine| scope.spawn(|| engine.call("?5"))).into();
        while old.counter.kept.lock().waiting.len() < 2 {
            thread::yield_now();
        }
        new.take_over().unwrap();
        old.state.leave();
        while new.counter.kept.lock().waiting.len() < 2 {
            thread::yield_now();
        }
        assert_eq!(old.call("+2"), Ok(2));
        assert!(waiting.iter().all(|call| !call.is_finished()));
        assert_eq!(old.call("+3"), Ok(5));
        for call in waiting {
            assert_eq!(call.join().unwrap(), Ok(5));
        }
    });
}

#[test]
fn a_hand_over_that_fails_leaves_the_state_where_it_was() {
    let old = Engine::start(None);
    old.call("+7").unwrap();
    let new = Engine::start(Some(&old));
    new.counter.is_full.store(true, Relaxed);
    assert_eq!(new.take_over(), Err("counter: there is no room".into()));
    assert_eq!((old.call("+1"), new.call("+1")), (Ok(8), Ok(9)));
    drop(new);
    let another = Engine::start(Some(&old));
    another.take_over().unwrap();
    assert_eq!((old.call("+1"), another.call("+1")), (Ok(10), Ok(11)));
}

#[test]
fn a_new_engine_that_dies_at_once_leaves_the_state_with_the_old_one() {
    let old = Engine::start(None);
    old.call("+7").unwrap();
    let new = Engine::start(Some(&old));
    new.take_over().unwrap();
    assert_eq!(old.call("="), Ok(7));
    drop(new);
    old.wait_until_here();
    assert_eq!(old.call("+1"), Ok(8));
}

#[test]
fn an_engine_whose_successor_has_died_makes_no_more_calls() {
    let old = Engine::start(None);
    old.call("+7").unwrap();
    let new = Engine::start(Some(&old));
    new.take_over().unwrap();
    old.state.leave();
    drop(new);
    while !matches!(old.state.0.owner(), Owner::Gone) {
        thread::yield_now();
    }
    let error = old.call("=").unwrap_err();
    assert_eq!(error.to_string(), "counter: its state is not in this engine any more, which is about to end");
}

#[test]
fn what_no_message_holds_is_an_error_and_the_engines_stay_tied() {
    let old = Engine::start(None);
    old.call("+7").unwrap();
    let new = Engine::start(Some(&old));
    let error = new.call(&"+".repeat(1 << 20)).unwrap_err();
    assert!(error.to_string().contains("is too long"), "{error}");
    // Nor is there one for this result.
    let error = new.call("*").unwrap_err();
    assert!(error.to_string().contains("is too long for a message"), "{error}");
    assert_eq!((old.call("*"), new.call("=")), (Ok(0), Ok(7)));
    new.take_over().unwrap();
    assert_eq!((old.call("+1"), new.call("=")), (Ok(8), Ok(8)));
}

/// An engine whose owner is this test, by a connection that it says what it likes on.
fn engine_after(said: &[u8]) -> (Engine, net::UnixStream) {
    let (door, heir) = passing::pair().unwrap();
    let engine = Engine::after(Some(door), Counter::default());
    let mut stream = net::UnixStream::from(passing::receive(&heir).unwrap());
    stream.write_all(said).unwrap();
    while !matches!(engine.state.0.owner(), Owner::Gone) {
        thread::yield_now();
    }
    (engine, stream)
}

#[test]
fn an_owner_that_cannot_be_understood_is_not_taken_for_dead() {
    let (new, stream) = engine_after(&[0xff; 32]);
    let why = "the other engine cannot be understood (a message that is too long)";
    assert_eq!(new.take_over(), Err(why.to_owned()));
    assert!(new.call("=").is_err());
    // Nor later, for then it must not serve.
    drop(stream);
    assert!(!new.state.is_here());
}

#[test]
fn an_engine_that_a_broken_one_introduces_itself_to_goes_on() {
    let old = Engine::start(None);
    old.call("+7").unwrap();
    let (ours, theirs) = net::UnixStream::pair().unwrap();
    passing::send(&old.door, &theirs).unwrap();
    drop(theirs);
    (&ours).write_all(&[0xff; 32]).unwrap();
    let mut said = [0; 9];
    (&ours).read_exact(&mut said).unwrap();
    assert_eq!(said[4], 14);
    assert_eq!(old.call("+1"), Ok(8));
    let new = Engine::start(Some(&old));
    new.take_over().unwrap();
    assert_eq!(new.call("="), Ok(8));
}

#[test]
fn an_engine_that_speaks_another_version_starts_empty_when_it_is_ready() {
    let (new, _stream) = engine_after(&[0, 0, 0, 0, 2, 0, 0, 0, 0]);
    assert!(new.call("=").is_err());
    new.take_over().unwrap();
    assert_eq!(new.call("+1"), Ok(1));
}

#[test]
fn what_a_dead_engine_kept_is_lost() {
    let old = Engine::start(None);
    old.call("+7").unwrap();
    let new = Engine::start(Some(&old));
    assert_eq!(new.call("="), Ok(7));
    drop(old);
    new.wait_until_here();
    new.take_over().unwrap();
    assert_eq!(new.call("+1"), Ok(1));
}

#[test]
fn a_call_that_waits_at_a_dead_engine_is_an_error() {
    let old = Engine::start(None);
    let new = Engine::start(Some(&old));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| new.call("?5"));
        while old.counter.kept.lock().waiting.is_empty() {
            thread::yield_now();
        }
        drop(old);
        let error = waiting.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("has died: whether the call was made is unknown"), "{error}");
    });
}

#[test]
fn a_state_in_another_form_is_not_taken_and_the_old_engine_gives_it_up() {
    let old = Engine::start(None);
    old.call("+7").unwrap();
    let new = Engine::with(Some(&old), Counter { form: 1, ..Counter::default() });
    new.take_over().unwrap();
    assert_eq!((new.call("="), old.call("+1"), new.call("=")), (Ok(0), Ok(1), Ok(1)));
}

#[test]
fn an_engine_that_nobody_asked_for_its_state_is_its_owner_no_more_when_another_serves() {
    let old = Engine::start(None);
    old.call("+7").unwrap();
    old.state.leave();
    assert!(old.call("=").is_err());
    assert_eq!(old.counter.entries(), 0);
}
