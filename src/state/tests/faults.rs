//! Engines whose other engine, played by a test, says what it should not, at each step of a hand-over: there are never two owners.

use bytes::BytesMut;

use super::{
    super::frame::{Frame, Frames, PROTOCOL},
    *,
};

/// The other engine.
struct Played {
    stream: net::UnixStream,
    frames: Frames,
}

impl Played {
    fn new(stream: net::UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { stream, frames: Frames(BytesMut::new()) }
    }

    /// One to succeed `old`.
    fn heir_of(old: &Engine) -> Self {
        let (ours, theirs) = net::UnixStream::pair().unwrap();
        passing::send(&old.door, theirs).unwrap();
        Self::new(ours)
    }

    /// What has been read by the other side may be followed by its end.
    fn say(&mut self, frames: &[Frame]) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        drop(self.stream.write_all(&bytes));
    }

    fn say_nonsense_after(&mut self, frames: &[Frame]) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).chain([0xff; 32]).collect();
        drop(self.stream.write_all(&bytes));
    }

    fn hear(&mut self) -> Frame {
        let mut chunk = [0; 4096];
        loop {
            if let Some(frame) = self.frames.next().unwrap() {
                return frame;
            }
            let read = self.stream.read(&mut chunk).unwrap();
            assert_ne!(read, 0, "the connection has ended");
            self.frames.0.extend_from_slice(&chunk[..read]);
        }
    }

    /// Acknowledges what comes until all has come; the number of parts.
    fn place_all(&mut self) -> u32 {
        loop {
            match self.hear() {
                Frame::Chunk { number, .. } => self.say(&[Frame::Placed(number)]),
                Frame::End(count) => return count,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn hello() -> Frame {
    Frame::Hello { protocol: PROTOCOL, forms: vec![("counter".into(), 0)] }
}

fn chunk(number: u32, count: u64) -> Frame {
    Frame::Chunk { number, plugin: 0, bytes: Bytes::copy_from_slice(&count.to_le_bytes()) }
}

/// Waits until no hand-over is in progress.
fn settle(engine: &Engine) {
    drop(block_on(engine.state.0.handing_over.lock()));
}

/// A step of the newer engine's, after which it says nonsense.
type Step = fn(&mut Played);

#[test]
fn a_newer_engine_that_talks_nonsense_leaves_one_owner_whenever_it_does() {
    let steps: [(&str, Step); 8] = [
        ("first", |new| new.say_nonsense_after(&[])),
        ("introduced", |new| new.say_nonsense_after(&[hello()])),
        ("asked", |new| new.say_nonsense_after(&[hello(), Frame::Take])),
        ("asked unintroduced", |new| new.say(&[Frame::Take])),
        ("copied", |new| {
            new.say(&[hello(), Frame::Take]);
            assert!(matches!(new.hear(), Frame::Chunk { .. }));
            new.say_nonsense_after(&[Frame::Placed(0)]);
        }),
        ("done too soon", |new| {
            new.say(&[hello(), Frame::Take, Frame::Complete]);
            new.place_all();
            new.say_nonsense_after(&[]);
        }),
        ("placed", |new| {
            new.say(&[hello(), Frame::Take]);
            new.place_all();
            new.say_nonsense_after(&[]);
        }),
        ("complete", |new| {
            new.say(&[hello(), Frame::Take]);
            new.place_all();
            new.say_nonsense_after(&[Frame::Complete]);
        }),
    ];
    // What comes in one piece may be heard before the hand-over goes on, or after.
    for (at, step) in steps.iter().cycle().take(20 * steps.len()) {
        let old = Engine::start(None);
        old.call("+7").unwrap();
        let mut new = Played::heir_of(&old);
        step(&mut new);
        let mut owns = false;
        loop {
            match new.hear() {
                Frame::Yours => owns = true,
                Frame::Severed(_) => break,
                Frame::Chunk { .. } | Frame::End(_) | Frame::Aborted(_) => {}
                other => panic!("{at}: {other:?}"),
            }
        }
        settle(&old);
        assert!(!(owns && old.state.is_here()), "{at}: two owners");
        if *at != "complete" && *at != "done too soon" {
            assert!(old.state.is_here(), "{at}: no owner");
        }
        drop(new);
        old.wait_until_here();
        assert_eq!(old.call("+1"), Ok(8), "{at}");
    }
}

#[test]
fn a_newer_engine_that_is_the_owner_stays_the_only_one_whatever_it_says() {
    let old = Engine::start(None);
    old.call("+7").unwrap();
    let mut new = Played::heir_of(&old);
    new.say(&[hello(), Frame::Take]);
    new.place_all();
    new.say(&[Frame::Complete]);
    assert_eq!(new.hear(), Frame::Yours);
    new.say_nonsense_after(&[]);
    assert!(matches!(new.hear(), Frame::Severed(_)));
    settle(&old);
    assert!(!old.state.is_here() && old.call("=").is_err());
    drop(new);
    old.wait_until_here();
    assert_eq!(old.call("="), Ok(7));
}

/// A step of the older engine's; what the newer one says of it.
type Answered = (&'static str, fn(&mut Played), &'static str);

#[test]
fn an_older_engine_that_talks_nonsense_stays_the_only_owner_whenever_it_does() {
    const NONSENSE: &str = "the other engine cannot be understood (a message that is too long)";
    const NOTHING_CAME: &str = "the other engine cannot be understood (it hands over what nobody waits for)";
    let steps: [Answered; 8] = [
        ("asked", |old| old.say_nonsense_after(&[]), NONSENSE),
        ("copied", |old| old.say_nonsense_after(&[chunk(0, 7)]), NONSENSE),
        ("placed", |old| old.say_nonsense_after(&[chunk(0, 7), chunk(1, 0)]), NONSENSE),
        (
            "complete",
            |old| {
                old.say(&[chunk(0, 7), Frame::End(1)]);
                assert_eq!((old.hear(), old.hear()), (Frame::Placed(0), Frame::Complete));
                old.say_nonsense_after(&[]);
            },
            NONSENSE,
        ),
        (
            "complete, then yours",
            |old| {
                old.say(&[chunk(0, 7), Frame::End(1)]);
                assert_eq!((old.hear(), old.hear()), (Frame::Placed(0), Frame::Complete));
                old.say(&[Frame::Severed("what?".into()), Frame::Yours]);
            },
            "the other engine cannot be understood (it does not understand this one: what?)",
        ),
        ("yours at once", |old| old.say(&[Frame::Yours]), NOTHING_CAME),
        ("yours too soon", |old| old.say(&[chunk(0, 7), Frame::Yours]), NOTHING_CAME),
        (
            "parts missing",
            |old| {
                old.say(&[chunk(0, 7), Frame::End(2)]);
                assert_eq!((old.hear(), old.hear()), (Frame::Placed(0), Frame::Aborted("1 of 2 parts came".into())));
                old.say(&[Frame::Yours]);
            },
            "1 of 2 parts came",
        ),
    ];
    for (at, step, why) in steps {
        let (door, heir) = passing::pair().unwrap();
        let new = Engine::after(Some(door), Counter::default());
        let mut old = Played::new(passing::receive(&heir).unwrap().into());
        assert_eq!(old.hear(), hello());
        thread::scope(|scope| {
            let taken = scope.spawn(|| new.take_over());
            assert_eq!(old.hear(), Frame::Take);
            step(&mut old);
            assert_eq!(taken.join().unwrap(), Err(why.into()), "{at}");
        });
        assert!(!new.state.is_here(), "{at}");
        drop((old, heir));
        assert!(!new.state.is_here(), "{at}: it does not serve, so it must not own");
    }
}

#[test]
fn an_older_engine_that_leaves_but_lives_is_not_taken_for_dead() {
    let (door, heir) = passing::pair().unwrap();
    let new = Engine::after(Some(door), Counter::default());
    // As if there had been no descriptor for it.
    drop(passing::receive(&heir).unwrap());
    let why = new.take_over().unwrap_err();
    assert!(why.starts_with("the engine that owns the state has left, and is not dead"), "{why}");
    drop(heir);
    assert!(!new.state.is_here());
}

#[test]
fn an_older_engine_that_died_before_it_was_asked_leaves_nothing() {
    let (door, heir) = passing::pair().unwrap();
    drop(heir);
    let new = Engine::after(Some(door), Counter::default());
    assert!(new.state.is_here());
    new.take_over().unwrap();
    // Nor does one that dies with the question unread.
    let (door, heir) = passing::pair().unwrap();
    let new = Engine::after(Some(door), Counter::default());
    assert!(!new.state.is_here());
    drop(heir);
    new.take_over().unwrap();
    assert_eq!(new.call("+1"), Ok(1));
}
