use std::{
    sync::{atomic::AtomicBool, mpsc},
    thread,
};

use prometheus::TextEncoder;
use tokio::{runtime::Builder, sync::oneshot};

use super::{
    super::{Change, Figures, Kind, Shown, tests::declared},
    *,
};
use crate::{
    state::{Kin, State},
    sys::passing,
};

fn one_of_each() -> Vec<Declaration> {
    vec![
        declared("hits", Kind::Counter, &["path"]),
        declared("open", Kind::Gauge, &[]),
        Declaration { buckets: vec![1.0, 2.0], ..declared("took", Kind::Histogram, &["path"]) },
        Declaration { objectives: vec![(0.5, 0.0), (1.0, 0.0)], ..declared("size", Kind::Summary, &[]) },
    ]
}

fn change(all: &Collectors, name: &str, change: Change, value: f64, labels: &[&str]) {
    let labels: Vec<_> = labels.iter().map(|label| (*label).to_owned()).collect();
    all.change(name, change, value, &labels).unwrap();
}

fn text(all: &Collectors) -> String {
    TextEncoder::new().encode_to_string(&all.gather()).unwrap()
}

/// Moves all of it into `new`, while `meanwhile` is called between the parts of the copy with their number.
fn move_to(old: &Collectors, new: &Collectors, mut meanwhile: impl FnMut(usize)) -> usize {
    let mut parts = 0;
    for chunk in Arc::new(old.clone()).copy() {
        new.restore(&chunk).unwrap();
        meanwhile(parts);
        parts += 1;
    }
    old.freeze().for_each(|chunk| new.restore(&chunk).unwrap());
    parts
}

#[test]
fn figures_of_each_kind_move() {
    let old = Collectors::with(100, one_of_each()).unwrap();
    old.declare(declared("by_call", Kind::Counter, &[])).unwrap();
    old.declare(declared("unused", Kind::Counter, &["a"])).unwrap();
    for path in ["/a", "/b"] {
        change(&old, "hits", Change::Add, 2.5, &[path]);
        change(&old, "took", Change::Observe, 1.5, &[path]);
    }
    change(&old, "open", Change::Set, f64::INFINITY, &[]);
    (1..=9).for_each(|size| change(&old, "size", Change::Observe, f64::from(size), &[]));
    change(&old, "by_call", Change::Add, 7.0, &[]);
    let new = Collectors::with(100, one_of_each()).unwrap();
    move_to(&old, &new, |_| {});
    assert_eq!((text(&new), new.len()), (text(&old), old.len()));
    // And go on there.
    for all in [&old, &new] {
        change(all, "hits", Change::Add, 1.0, &["/a"]);
        change(all, "unused", Change::Add, 1.0, &["x"]);
        change(all, "size", Change::Observe, 100.0, &[]);
    }
    assert_eq!(text(&new), text(&old));
    assert!(text(&new).contains("hits{path=\"/a\"} 3.5\n") && text(&new).contains("size{quantile=\"1\"} 100\n"));
    new.clear();
    assert_eq!(text(&new), text(&Collectors::with(100, one_of_each()).unwrap()));
    assert_eq!(new.len(), 4);
}

#[test]
fn what_changes_while_they_are_copied_comes_after_the_copy() {
    let old = Collectors::with(100_000, one_of_each()).unwrap();
    let path = |number: usize| format!("/{number:0200}");
    (0..3000).for_each(|number| change(&old, "hits", Change::Add, 1.0, &[&path(number)]));
    for name in ["again", "gone", "other"] {
        old.declare(declared(name, Kind::Counter, &[])).unwrap();
        change(&old, name, Change::Add, 5.0, &[]);
    }
    let new = Collectors::with(100_000, one_of_each()).unwrap();
    let parts = move_to(&old, &new, |part| {
        (0..3000).step_by(7).for_each(|number| change(&old, "hits", Change::Add, 1.0, &[&path(number + part)]));
        if part == 1 {
            old.unregister("gone").unwrap();
            old.unregister("again").unwrap();
            old.declare(declared("again", Kind::Counter, &[])).unwrap();
            old.unregister("other").unwrap();
            old.declare(declared("other", Kind::Gauge, &["label"])).unwrap();
            change(&old, "other", Change::Set, 3.0, &["x"]);
            old.declare(declared("late", Kind::Counter, &[])).unwrap();
            old.unregister("open").unwrap();
        }
        change(&old, "took", Change::Observe, 0.5, &[&path(part)]);
    });
    assert!(parts > 5, "{parts}");
    // The configuration has it also if a call has unregistered it.
    let open = "# HELP open Helps.\n# TYPE open gauge\nopen 0\n";
    assert_eq!(text(&new).replace(open, ""), text(&old));
    assert!(text(&new).contains(open) && text(&new).contains("other{label=\"x\"} 3\n") && !text(&new).contains("gone"));
    assert_eq!(new.len(), old.len() + 1);
}

#[test]
fn when_too_many_were_forgotten_all_are_told_anew() {
    let old = Collectors::new(10_000);
    old.declare(declared("kept", Kind::Counter, &[])).unwrap();
    let new = Collectors::new(10_000);
    move_to(&old, &new, |_| {
        for number in 0..2000 {
            let name = format!("some_{number}");
            old.declare(declared(&name, Kind::Counter, &[])).unwrap();
            old.unregister(&name).unwrap();
        }
        change(&old, "kept", Change::Add, 1.0, &[]);
    });
    assert_eq!((text(&new), new.len()), (text(&old), 1));
}

#[test]
fn the_next_configuration_has_the_last_word() {
    let old = Collectors::with(100, one_of_each()).unwrap();
    old.declare(declared("called", Kind::Counter, &[])).unwrap();
    old.declare(Declaration { namespace: "x".into(), ..declared("y", Kind::Counter, &[]) }).unwrap();
    change(&old, "hits", Change::Add, 3.0, &["/a"]);
    change(&old, "took", Change::Observe, 1.0, &["/a"]);
    change(&old, "open", Change::Set, 4.0, &[]);
    change(&old, "called", Change::Add, 6.0, &[]);
    let fixed = vec![
        // Another help is no other figure, other bounds are; another is not declared any more; a name is taken.
        Declaration { help: "Counts.".into(), ..declared("hits", Kind::Counter, &["path"]) },
        Declaration { buckets: vec![1.0, 3.0], ..declared("took", Kind::Histogram, &["path"]) },
        declared("x_y", Kind::Gauge, &[]),
    ];
    let new = Collectors::with(100, fixed).unwrap();
    move_to(&old, &new, |_| {});
    assert_eq!(
        text(&new),
        "# HELP called Helps.\n# TYPE called counter\ncalled 6\n\
         # HELP hits Counts.\n# TYPE hits counter\nhits{path=\"/a\"} 3\n\
         # HELP x_y Helps.\n# TYPE x_y gauge\nx_y 0\n"
    );
}

#[test]
fn there_are_never_more_than_the_new_bound() {
    let old = Collectors::new(100);
    old.declare(declared("hits", Kind::Counter, &["path"])).unwrap();
    (0..50).for_each(|path| change(&old, "hits", Change::Add, 1.0, &[&path.to_string()]));
    old.declare(declared("more", Kind::Gauge, &[])).unwrap();
    let new = Collectors::new(10);
    move_to(&old, &new, |_| {});
    assert_eq!((new.len(), text(&new).matches("hits{").count()), (10, 9));
}

#[test]
fn long_declarations_with_long_labels_move() {
    let labels: Vec<_> = (0..32).map(|number| format!("l{number}_{}", "x".repeat(4000))).collect();
    let long = Declaration {
        labels: labels.clone(),
        buckets: (0..500).map(f64::from).collect(),
        ..declared("long", Kind::Histogram, &[])
    };
    let old = Collectors::with(100, vec![long.clone()]).unwrap();
    for number in 0..5 {
        let values: Vec<_> = labels.iter().map(|_| format!("{number}{}", "y".repeat(1000))).collect();
        old.change("long", Change::Observe, 250.0, &values).unwrap();
    }
    let new = Collectors::with(100, vec![long]).unwrap();
    assert!(Arc::new(old.clone()).copy().all(|chunk| chunk.len() < 512 * 1024));
    move_to(&old, &new, |_| {});
    assert_eq!(text(&new), text(&old));
}

#[test]
fn nonsense_is_refused() {
    let all = Collectors::with(100, one_of_each()).unwrap();
    let good: Vec<u8> = Arc::new(all.clone()).copy().flatten().collect();
    for bytes in [&good[..good.len() - 1], &[9], &[LINE], &[FORGET, 1, 0, 0, 0], &[DECLARED, 7]] {
        assert!(all.restore(bytes).unwrap_err().starts_with("a figure cannot be read: "), "{bytes:?}");
    }
}

/// An engine on a thread of its own, as long as it is kept.
struct Engine {
    figures: Figures,
    state: State,
    door: std::os::fd::OwnedFd,
    _life: oneshot::Sender<()>,
}

impl Engine {
    fn after(before: Option<&Self>) -> Self {
        let predecessor = before.map(|before| before.door.try_clone().unwrap());
        let (door, heir) = passing::pair().unwrap();
        let (life, end) = oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let all = Collectors::with(10_000, one_of_each()).unwrap();
                let state = State::start(vec![Arc::new(all.clone())], Kin { predecessor, heir: Some(heir), is_later: false });
                tell.send((Figures::new(all, state.clone()), state)).unwrap();
                drop(end.await);
            });
        });
        let (figures, state) = told.recv().unwrap();
        Self { figures, state, door, _life: life }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn nothing_is_lost_and_no_counter_goes_back_while_they_move() {
    let mut engines = vec![Engine::after(None)];
    let add = |figures: &Figures, path: String| {
        let act = Act::Change { change: Change::Add, name: "hits".into(), value: 1.0, labels: vec![path] };
        block_on(figures.act(&act)).unwrap();
    };
    // So many that they are read in parts.
    (0..2000).for_each(|path| add(&engines[0].figures, format!("/{path:0100}")));
    let sum = |figures: &Figures| {
        let Shown { families, series } = block_on(figures.gather()).unwrap();
        let hits = families.iter().find(|family| family.name() == "hits").unwrap();
        (hits.get_metric().iter().map(|metric| metric.get_counter().get_value()).sum::<f64>(), series)
    };
    assert_eq!(sum(&engines[0].figures), (2000.0, 2004));
    let (done, mut expected) = (AtomicBool::new(false), 2000.0);
    for _ in 0..5 {
        engines.push(Engine::after(engines.last()));
        let [.., old, new] = &engines[..] else { unreachable!() };
        done.store(false, Relaxed);
        let made: f64 = thread::scope(|scope| {
            let adders: Vec<_> = [old, new]
                .map(|engine| {
                    let (done, add) = (&done, &add);
                    scope.spawn(move || {
                        let mut made = 0.0;
                        while !done.load(Relaxed) {
                            add(&engine.figures, format!("/{:0100}", 7));
                            made += 1.0;
                        }
                        made
                    })
                })
                .into();
            let mut last = 0.0;
            let mut look = |figures: &Figures| {
                let (now, series) = sum(figures);
                assert!(now >= last && series == 2004, "{now} after {last}, {series}");
                last = now;
            };
            look(&new.figures);
            block_on(new.state.take_over()).unwrap();
            look(&new.figures);
            look(&old.figures);
            old.state.leave();
            look(&old.figures);
            done.store(true, Relaxed);
            adders.into_iter().map(|adder| adder.join().unwrap()).sum()
        });
        expected += made;
        assert_eq!((sum(&new.figures).0, sum(&old.figures).0), (expected, expected));
    }
}
