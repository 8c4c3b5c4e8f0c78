//! Calls as engines make them.

use std::time::Instant;

use super::*;
use crate::{
    state::{Kin, State},
    sys::passing,
};

const CONFIG: Config = Config { max_locks: 4, max_waiting: 2, max_name: 8 };
const SECOND: u64 = 1_000_000_000;

fn ask(verb: Verb, id: &str, wait: u64) -> Ask {
    let since = now();
    Ask { verb, resource: "r".into(), id: id.into(), ttl: 60 * SECOND, since, until: since + wait }
}

struct Engine {
    state: State,
    locks: Arc<Locks>,
    door: std::os::fd::OwnedFd,
}

impl Engine {
    fn start(before: Option<&Self>, config: Config) -> Self {
        let (door, heir) = passing::pair().unwrap();
        let locks = Arc::new(Locks::new(config));
        let predecessor = before.map(|before| before.door.try_clone().unwrap());
        let state = State::start(vec![locks.clone()], Kin { predecessor, heir: Some(heir), is_later: false });
        let timed = locks.clone();
        tokio::spawn(async move { timed.keep_time().await });
        Self { state, locks, door }
    }

    async fn ask(&self, ask: &Ask) -> Answer {
        decode_answer(&self.state.call(NAME, ask.encode()).await.unwrap())
    }
}

async fn until(mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !ready() {
        assert!(Instant::now() < deadline, "it never comes");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_call_waits_until_the_lock_is_released_or_ends() {
    let engine = Engine::start(None, CONFIG);
    assert_eq!(engine.ask(&ask(Verb::Lock, "a", 0)).await, Ok(true));
    assert_eq!(engine.ask(&ask(Verb::Lock, "b", SECOND / 1000)).await, Ok(false));
    let waits = tokio::spawn({
        let (state, b) = (engine.state.clone(), ask(Verb::Lock, "b", 60 * SECOND).encode());
        async move { decode_answer(&state.call(NAME, b).await.unwrap()) }
    });
    until(|| engine.locks.figures().waiting == 1).await;
    // Its time is shortened while somebody waits for it.
    let soon = Ask { ttl: SECOND / 100, ..ask(Verb::UpdateTtl, "a", 0) };
    assert_eq!(engine.ask(&soon).await, Ok(true));
    assert_eq!(waits.await.unwrap(), Ok(true));
    assert_eq!(engine.ask(&ask(Verb::Exists, "b", 0)).await, Ok(true));
    assert_eq!(engine.ask(&ask(Verb::Exists, "*", 0)).await, Ok(true));
    assert_eq!(engine.ask(&ask(Verb::ForceRelease, "", 0)).await, Ok(true));
    assert_eq!(engine.ask(&ask(Verb::Exists, "*", 0)).await, Ok(false));
    assert_eq!(engine.locks.figures(), Figures::default());
}

#[tokio::test]
async fn who_stops_waiting_leaves_nothing_behind() {
    let engine = Engine::start(None, CONFIG);
    assert_eq!(engine.ask(&ask(Verb::Lock, "a", 0)).await, Ok(true));
    for is_granted in [false, true] {
        let Called::Waits(waits) = engine.locks.clone().call(&ask(Verb::Lock, "b", 60 * SECOND).encode()) else {
            panic!("it does not wait")
        };
        if is_granted {
            assert_eq!(engine.ask(&ask(Verb::Release, "a", 0)).await, Ok(true));
            assert_eq!(engine.locks.figures().held, 1);
        }
        drop(waits);
    }
    assert_eq!(engine.locks.figures(), Figures::default());
}

#[tokio::test]
async fn too_many_locks_calls_that_wait_and_long_names_are_refused() {
    let engine = Engine::start(None, CONFIG);
    for id in ["a", "b", "c"] {
        assert_eq!(engine.ask(&ask(Verb::LockRead, id, 0)).await, Ok(true));
    }
    let waits = [1, 2].map(|_| engine.locks.clone().call(&ask(Verb::Lock, "w", 60 * SECOND).encode()));
    let refused = engine.ask(&ask(Verb::Lock, "w", SECOND)).await.unwrap_err();
    assert_eq!(refused, "2 calls wait for a lock, which lock.max_waiting lets there be: try again later");
    drop(waits);
    assert_eq!(engine.ask(&ask(Verb::LockRead, "d", 0)).await, Ok(true));
    let refused = engine.ask(&ask(Verb::LockRead, "e", 0)).await.unwrap_err();
    assert_eq!(refused, "4 locks are held, which lock.max_locks lets there be: try again later");
    assert_eq!(engine.ask(&ask(Verb::LockRead, "d", 0)).await, Ok(true));
    let refused = engine.ask(&ask(Verb::Exists, "123456789", 0)).await.unwrap_err();
    assert_eq!(refused, "a name of 9 bytes is longer than lock.max_name, 8");
    assert_eq!(engine.locks.figures().refused, 2);
}

#[tokio::test]
async fn locks_and_those_who_wait_for_them_go_to_the_next_engine() {
    let old = Engine::start(None, CONFIG);
    let new = Engine::start(Some(&old), CONFIG);
    assert_eq!(old.ask(&ask(Verb::Lock, "a", 0)).await, Ok(true));
    let short = Ask { resource: "s".into(), ttl: SECOND / 5, ..ask(Verb::LockRead, "a", 0) };
    assert_eq!(new.ask(&short).await, Ok(true));
    // Asked of both, in this order.
    let [first, second] = [ask(Verb::Lock, "b", 60 * SECOND), ask(Verb::Lock, "c", 60 * SECOND)];
    assert!(first.since < second.since);
    let wait = |engine: &Engine, ask: Ask| {
        let state = engine.state.clone();
        tokio::spawn(async move { decode_answer(&state.call(NAME, ask.encode()).await.unwrap()) })
    };
    let second = wait(&new, second);
    until(|| old.locks.figures().waiting == 1).await;
    let first = wait(&old, first);
    until(|| old.locks.figures().waiting == 2).await;
    new.state.take_over().await.unwrap();
    old.state.leave();
    until(|| new.locks.figures().waiting == 2).await;
    assert_eq!((old.locks.figures(), new.locks.figures().resources), (Figures::default(), 2));
    assert_eq!(new.ask(&ask(Verb::Release, "a", 0)).await, Ok(true));
    assert_eq!(first.await.unwrap(), Ok(true));
    assert!(!second.is_finished());
    assert_eq!(old.ask(&ask(Verb::Release, "b", 0)).await, Ok(true));
    assert_eq!(second.await.unwrap(), Ok(true));
    // Time goes on over there.
    until(|| new.locks.figures().held == 1).await;
    assert_eq!(new.ask(&Ask { verb: Verb::Exists, ..short }).await, Ok(false));
}

/// All that is held, in order.
fn all(locks: &Locks) -> Vec<(String, String, bool, u64)> {
    let kept = locks.kept.lock();
    let mut all: Vec<_> =
        kept.table.held().map(|held| (held.resource.to_owned(), held.id.to_owned(), held.exclusive, held.until)).collect();
    all.sort();
    all
}

#[test]
fn what_changes_while_it_is_copied_comes_after_the_copy() {
    for changes in [10, 70_000] {
        let config = Config { max_locks: 1_000_000, max_waiting: 1, max_name: 64 };
        let (locks, other) = (Arc::new(Locks::new(config)), Arc::new(Locks::new(config)));
        let make = |verb, number: usize, id: &str| {
            let made = locks.act(&Ask { resource: format!("resource {number}"), ..ask(verb, id, 0) });
            assert!(matches!(made, Ok(Step::Answer(true))), "{number}");
        };
        locks.serve();
        (0..5000).for_each(|number| make(Verb::LockRead, number, "a"));
        let mut chunks = locks.clone().copy();
        let first = chunks.next().unwrap();
        (0..1000).for_each(|number| make(Verb::Release, number * 5, "a"));
        (0..1000).for_each(|number| make(Verb::LockRead, number * 5 + 1, "b"));
        let copied: Vec<_> = [first].into_iter().chain(chunks).collect();
        assert!(copied.len() > 2);
        (0..1000).for_each(|number| make(Verb::Lock, number * 5, "c"));
        (0..1000).for_each(|number| make(Verb::UpdateTtl, number * 5 + 2, "a"));
        (0..1000).for_each(|number| make(Verb::ForceRelease, number * 5 + 3, ""));
        (10_000..10_000 + changes).for_each(|number| make(Verb::Lock, number, "d"));
        for chunk in copied.into_iter().chain(locks.freeze()) {
            other.restore(&chunk).unwrap();
        }
        assert_eq!(all(&locks).len(), 5000 + changes);
        assert!(all(&locks) == all(&other), "{changes}");
        assert_eq!(locks.figures(), other.figures());
    }
}

#[tokio::test]
async fn many_readers_of_one_resource_move() {
    let config = Config { max_locks: 20_000, max_waiting: 1, max_name: 64 };
    let old = Engine::start(None, config);
    for number in 0..15_000 {
        let id = format!("5f0c63e2-7d0b-4b3c-9f6e-{number:012}");
        assert_eq!(old.ask(&ask(Verb::LockRead, &id, 0)).await, Ok(true));
    }
    let before = all(&old.locks);
    let new = Engine::start(Some(&old), config);
    new.state.take_over().await.unwrap();
    assert_eq!(before.len(), 15_000);
    assert!(before == all(&new.locks));
}

#[test]
fn a_writer_that_comes_while_readers_are_copied_is_alone() {
    let config = Config { max_locks: 20_000, max_waiting: 1, max_name: 64 };
    let (locks, other) = (Arc::new(Locks::new(config)), Arc::new(Locks::new(config)));
    let make = |verb, id: &str| assert!(matches!(locks.act(&ask(verb, id, 0)), Ok(Step::Answer(true))));
    locks.serve();
    (0..5000).for_each(|number| make(Verb::LockRead, &format!("reader {number}")));
    let mut chunks = locks.clone().copy();
    let first = chunks.next().unwrap();
    assert!(first.len() < 2 * CHUNK);
    make(Verb::ForceRelease, "");
    make(Verb::Lock, "writer");
    for chunk in [first].into_iter().chain(chunks).chain(locks.freeze()) {
        other.restore(&chunk).unwrap();
    }
    assert_eq!((all(&other).len(), all(&other)), (1, all(&locks)));
}

#[test]
fn a_hundred_thousand_locks_move() {
    let block_on = |future: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
    };
    for count in [1, 10_000, 100_000] {
        let config = Config { max_locks: count, max_waiting: 1, max_name: 64 };
        let (tell, told) = std::sync::mpsc::channel();
        let (done, until_done) = oneshot::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                block_on(Box::pin(async move {
                    let old = Engine::start(None, config);
                    for number in 0..count {
                        let id = format!("5f0c63e2-7d0b-4b3c-9f6e-{number:012}");
                        let locked = old.ask(&Ask { resource: format!("order:{number}"), ..ask(Verb::Lock, &id, 0) }).await;
                        assert_eq!(locked, Ok(true));
                    }
                    tell.send(old.door.try_clone().unwrap()).unwrap();
                    until_done.await.unwrap();
                }));
            });
            let door = told.recv().unwrap();
            block_on(Box::pin(async move {
                let locks = Arc::new(Locks::new(config));
                let state = State::start(vec![locks.clone()], Kin { predecessor: Some(door), heir: None, is_later: true });
                let began = Instant::now();
                state.take_over().await.unwrap();
                println!("{count} locks: {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
                assert_eq!((locks.figures().held, locks.figures().resources), (count, count));
                done.send(()).unwrap();
            }));
        });
    }
}
