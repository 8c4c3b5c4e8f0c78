//! The rules, by a clock of the tests' own.

use super::*;

fn want(id: &str, exclusive: bool) -> Want {
    Want { id: id.into(), exclusive, since: 0, ttl: 100 }
}

fn writer(id: &str) -> Want {
    want(id, true)
}

fn reader(id: &str) -> Want {
    want(id, false)
}

fn is_empty(table: &Table) -> bool {
    (table.len(), table.resources(), table.waiting()) == (0, 0, 0)
}

#[test]
fn a_writer_excludes_everybody_and_readers_exclude_writers() {
    let mut table = Table::default();
    assert!(table.lock("r", &writer("a"), 0));
    assert!(!table.lock("r", &writer("b"), 0) && !table.lock("r", &reader("b"), 0) && !table.lock("r", &writer("a"), 0));
    assert!(table.lock("other", &writer("b"), 0));
    assert!(!table.release("r", "b", 0) && table.release("r", "a", 0) && !table.release("r", "a", 0));
    assert!(table.lock("r", &reader("a"), 0) && table.lock("r", &reader("b"), 0));
    assert!(!table.lock("r", &writer("c"), 0) && !table.lock("r", &writer("a"), 0));
    assert!(table.is_held("r", Some("a")) && table.is_held("r", None) && !table.is_held("r", Some("c")));
    assert!(table.release("r", "a", 0) && table.release("r", "b", 0) && table.release("other", "b", 0));
    assert!(!table.is_held("r", None) && is_empty(&table));
}

#[test]
fn the_only_reader_becomes_the_writer() {
    let mut table = Table::default();
    assert!(table.lock("r", &reader("a"), 0) && table.lock("r", &reader("b"), 0));
    let (_, mut first) = table.wait("r", writer("c"));
    let (_, mut upgrade) = table.wait("r", writer("a"));
    assert!(table.release("r", "b", 0));
    // It would wait for itself otherwise.
    assert!(upgrade.try_recv().is_ok() && first.try_recv().is_err());
    assert_eq!(table.held().map(|held| (held.id.to_owned(), held.exclusive)).collect::<Vec<_>>(), [("a".into(), true)]);
    assert!(table.release("r", "a", 0) && first.try_recv().is_ok());
}

#[test]
fn those_who_wait_are_served_in_the_order_of_their_first_request() {
    let mut table = Table::default();
    assert!(table.lock("r", &writer("a"), 0));
    let at = |since, want: Want| Want { since, ..want };
    // As after a hand-over, when they ask again in any order.
    let (_, mut third) = table.wait("r", at(3, writer("third")));
    let (_, mut first) = table.wait("r", at(1, reader("first")));
    let (_, mut second) = table.wait("r", at(2, reader("second")));
    assert!(table.release("r", "a", 10));
    assert!(first.try_recv().is_ok() && second.try_recv().is_ok() && third.try_recv().is_err());
    // A reader that comes now does not go before the writer that waits.
    assert!(!table.lock("r", &reader("late"), 10));
    assert!(table.release("r", "first", 10) && table.release("r", "second", 10));
    assert!(third.try_recv().is_ok() && table.waiting() == 0);
}

#[test]
fn who_has_left_the_queue_gets_nothing() {
    let mut table = Table::default();
    assert!(table.lock("r", &reader("a"), 0));
    let (ticket, _kept) = table.wait("r", writer("b"));
    let (_, gone) = table.wait("r", writer("c"));
    drop(gone);
    let (_, mut reads) = table.wait("r", reader("d"));
    assert!(table.withdraw("r", ticket, 0) && !table.withdraw("r", ticket, 0));
    assert!(table.release("r", "a", 0));
    assert!(reads.try_recv().is_ok());
    assert!(table.release("r", "d", 0) && is_empty(&table));
}

#[test]
fn a_queue_goes_on_when_the_writer_in_it_withdraws() {
    let mut table = Table::default();
    assert!(table.lock("r", &reader("a"), 0));
    let (ticket, _kept) = table.wait("r", writer("b"));
    let (_, mut reads) = table.wait("r", reader("d"));
    assert!(table.withdraw("r", ticket, 0) && reads.try_recv().is_ok());
}

#[test]
fn locks_end_with_their_time_and_are_renewed() {
    let mut table = Table::default();
    assert!(table.lock("r", &writer("a"), 0) && table.lock("s", &reader("a"), 50));
    let (_, mut waits) = table.wait("r", writer("b"));
    assert_eq!(table.next_end(), Some(100));
    assert!(table.renew("r", "a", 200, 60) && !table.renew("r", "b", 200, 60) && !table.renew("none", "a", 1, 60));
    table.expire(150);
    assert!(table.is_held("r", Some("a")) && !table.is_held("s", None) && waits.try_recv().is_err());
    table.expire(260);
    assert!(table.is_held("r", Some("b")) && waits.try_recv().is_ok());
    // Asked for again by a reader, a lock has a new time.
    assert!(table.lock("s", &reader("a"), 300) && table.lock("s", &reader("a"), 350));
    table.expire(400);
    assert!(table.is_held("s", Some("a")) && table.len() == 1);
    table.expire(450);
    assert!(is_empty(&table));
}

#[test]
fn times_that_do_not_count_any_more_are_not_kept() {
    let mut table = Table::default();
    assert!(table.lock("kept", &writer("a"), 500));
    for round in 0..1000 {
        assert!(table.lock("r", &writer("a"), round) && table.renew("r", "a", 100, round) && table.release("r", "a", round));
    }
    assert!(table.ends.len() < 100, "{}", table.ends.len());
    table.expire(599);
    assert!(table.is_held("kept", None));
    table.expire(600);
    assert!(is_empty(&table));
}

#[test]
fn all_holders_can_be_made_to_let_go() {
    let mut table = Table::default();
    assert!(table.lock("r", &reader("a"), 0) && table.lock("r", &reader("b"), 0));
    let (_, mut waits) = table.wait("r", writer("c"));
    assert!(table.release_all("r", 0) && waits.try_recv().is_ok());
    assert!(table.release_all("r", 0) && !table.release_all("r", 0) && is_empty(&table));
}

#[test]
fn what_was_held_is_put_back_and_nothing_that_contradicts_it() {
    let mut table = Table::default();
    assert!(table.lock("r", &reader("a"), 0) && table.lock("r", &reader("b"), 5) && table.lock("s", &writer("c"), 7));
    let mut copy = Table::default();
    assert!(table.held().all(|held| copy.put(&held)));
    assert_eq!((copy.len(), copy.next_end()), (3, Some(100)));
    assert!(!copy.lock("s", &reader("a"), 9) && copy.lock("r", &reader("c"), 9) && copy.release("s", "c", 9));
    for (id, exclusive) in [("a", false), ("x", true)] {
        assert!(!copy.put(&Held { resource: "r", id, exclusive, until: 1 }), "{id}");
    }
}
