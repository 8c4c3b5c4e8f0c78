//! Who is connected: how many connections each client has, and which of all have waited longest for a request.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// All connections of one front. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crowd(Arc<Shared>);

/// A connection that can be asked to leave.
pub(crate) trait Idler: std::fmt::Debug + Send + Sync {
    /// Since when it has had nothing to do; none while it has, or if it was asked already.
    fn idle_since(&self) -> Option<Instant>;

    /// Asks it to leave, if it still has nothing to do when it hears that.
    fn leave(&self);
}

/// One connection of a client, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    crowd: Crowd,
    client: u128,
}

/// A connection's place among those that can be asked to leave.
#[derive(Debug)]
pub(crate) struct Seat {
    crowd: Crowd,
    number: usize,
}

/// The connections of one listening socket, counted by all threads that accept there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listened(Arc<AtomicUsize>);

/// How many connections there may be.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    /// On all sockets together.
    pub(crate) all: usize,
    /// On the socket.
    pub(crate) here: usize,
    /// Those that there are on it.
    pub(crate) listened: Listened,
}

/// A connection that has not said yet what it wants.
#[derive(Debug)]
struct Newcomer {
    since: Instant,
    is_asked: AtomicBool,
    asked: Notify,
}

#[derive(Debug, Default)]
struct Shared {
    clients: Mutex<HashMap<u128, usize>>,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    taken: Vec<Option<(Arc<dyn Idler>, Listened)>>,
    free: Vec<usize>,
    // One for each socket that was full lately, and one for all together.
    asked: Vec<Asked>,
}

/// Some that were asked to leave.
#[derive(Debug)]
struct Asked {
    of: Option<Listened>,
    at: Instant,
    // As many have to leave before others are asked.
    count: usize,
}

/// Whoever has been idle for less is likely to be about to send: a request that crosses our goodbye is lost.
const IDLE_FOR: Duration = Duration::from_secs(1);

/// How often it is looked anew for somebody who waits, and somebody who may leave.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Of all connections this part leaves at once, for looking for them takes time.
const PART: usize = 64;

// === impl Crowd ===

impl Crowd {
    /// Counts a connection of `client`; none if it has `most` already.
    pub(crate) fn welcome(&self, client: IpAddr, most: usize) -> Option<Guest> {
        let client = key(client);
        let mut clients = self.0.clients.lock();
        let count = clients.entry(client).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Guest { crowd: self.clone(), client })
    }

    /// A place for a connection that came from `listened`.
    pub(crate) fn seat(&self, idler: Arc<dyn Idler>, listened: Listened) -> Seat {
        let mut seats = self.0.seats.lock();
        let taken = Some((idler, listened));
        let number = match seats.free.pop() {
            Some(number) => {
                seats.taken[number] = taken;
                number
            }
            None => {
                seats.taken.push(taken);
                seats.taken.len() - 1
            }
        };
        Seat { crowd: self.clone(), number }
    }

    /// Resolves when a connection that came from `listened`, and has yet to say what it wants, is asked to leave.
    pub(crate) async fn asked_to_leave(&self, listened: &Listened) {
        let newcomer = Newcomer { since: Instant::now(), is_asked: AtomicBool::new(false), asked: Notify::new() };
        let newcomer = Arc::new(newcomer);
        let _seat = self.seat(newcomer.clone(), listened.clone());
        newcomer.asked.notified().await;
    }

    /// Asks some of those that have been idle longest to leave; those of one socket, if it is that which is full.
    pub(crate) fn make_room(&self, of: Option<&Listened>) {
        self.make_room_at(of, Instant::now());
    }

    fn make_room_at(&self, of: Option<&Listened>, now: Instant) {
        let Some(before) = now.checked_sub(IDLE_FOR) else { return };
        let mut seats = self.0.seats.lock();
        let seats = &mut *seats;
        seats.asked.retain(|asked| now.saturating_duration_since(asked.at) < LOOK_AGAIN);
        // Every thread on which somebody waits would else ask others, before the first have had the time to leave.
        if seats.asked.iter().any(|asked| asked.is_of(of)) {
            return;
        }
        let here = seats.taken.iter().flatten().filter(|(_, listened)| of.is_none_or(|of| of.is(listened)));
        let mut idle: Vec<_> = here.filter_map(|(idler, _)| Some((idler.idle_since()?, idler))).collect();
        let count = (seats.taken.len() / PART).max(1);
        idle.retain(|(since, _)| *since <= before);
        if idle.len() > count {
            idle.select_nth_unstable_by_key(count, |(since, _)| *since);
        }
        idle.truncate(count);
        idle.iter().for_each(|(_, idler)| idler.leave());
        seats.asked.push(Asked { of: of.cloned(), at: now, count: idle.len() });
    }
}

/// What one client has: an IPv4 address, or a network of IPv6 as providers give it to one customer.
fn key(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}

// === impl Room ===

impl Room {
    /// No other limit than that on all sockets.
    pub(crate) fn of_all(all: usize) -> Self {
        Self { all, here: usize::MAX, listened: Listened::default() }
    }
}

// === impl Listened ===

impl Listened {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Relaxed)
    }

    pub(crate) fn come(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn go(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

// === impl Asked ===

impl Asked {
    fn is_of(&self, of: Option<&Listened>) -> bool {
        match (&self.of, of) {
            (Some(one), Some(other)) => one.is(other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

// === impl Newcomer ===

impl Idler for Newcomer {
    fn idle_since(&self) -> Option<Instant> {
        (!self.is_asked.load(Relaxed)).then_some(self.since)
    }

    fn leave(&self) {
        self.is_asked.store(true, Relaxed);
        self.asked.notify_one();
    }
}

// === impl Guest, Seat ===

impl Drop for Guest {
    fn drop(&mut self) {
        let mut clients = self.crowd.0.clients.lock();
        if let Some(count) = clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.crowd.0.seats.lock();
        let left = seats.taken[self.number].take();
        seats.free.push(self.number);
        if let Some((_, listened)) = &left {
            seats.asked.retain_mut(|asked| {
                if asked.of.as_ref().is_none_or(|of| of.is(listened)) {
                    asked.count = asked.count.saturating_sub(1);
                }
                asked.count > 0
            });
        }
        drop(seats);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Sitter {
        since: Option<Instant>,
        was_asked: AtomicBool,
    }

    impl Idler for Sitter {
        fn idle_since(&self) -> Option<Instant> {
            self.since
        }

        fn leave(&self) {
            self.was_asked.store(true, Relaxed);
        }
    }

    #[test]
    fn who_was_asked_has_time_to_leave_before_others_are() {
        let (crowd, here) = (Crowd::default(), Listened::default());
        let now = Instant::now() + Duration::from_secs(100);
        let sit = |_| {
            let sitter = Arc::new(Sitter { since: Some(Instant::now()), was_asked: AtomicBool::new(false) });
            (crowd.seat(sitter.clone(), here.clone()), sitter)
        };
        let mut all: Vec<_> = (0..3 * PART).map(sit).collect();
        let asked = |all: &[(Seat, Arc<Sitter>)]| all.iter().filter(|(_, sitter)| sitter.was_asked.swap(false, Relaxed)).count();
        for _ in 0..PART {
            crowd.make_room_at(None, now);
        }
        assert_eq!(asked(&all), 3, "the threads on which somebody waits are many, those who wait are not");
        crowd.make_room_at(Some(&here), now);
        assert_eq!(asked(&all), 3, "another socket's turn does not depend on that");
        crowd.make_room_at(None, now + LOOK_AGAIN);
        assert_eq!(asked(&all), 3, "nobody has left");
        all.truncate(3 * PART - 2);
        crowd.make_room_at(None, now + LOOK_AGAIN);
        assert_eq!(asked(&all), 0);
        all.pop();
        crowd.make_room_at(None, now + LOOK_AGAIN);
        assert_eq!(asked(&all), 3, "all three have left");
    }

    #[test]
    fn a_client_is_an_address_or_a_network() {
        let crowd = Crowd::default();
        let welcome = |client: &str| crowd.welcome(client.parse().unwrap(), 1);
        let guests = ["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8:0:1::1", "::1"].map(|client| welcome(client).unwrap());
        for again in ["10.0.0.1", "::ffff:10.0.0.2", "2001:db8::ffff", "2001:db8:0:1:a:b:c:d", "::2"] {
            assert!(welcome(again).is_none(), "{again}");
        }
        drop(guests);
        assert!(crowd.0.clients.lock().is_empty(), "nobody is remembered");
        assert!(welcome("10.0.0.1").is_some());
    }

    #[test]
    fn those_idle_longest_leave_where_it_is_full() {
        let (crowd, here, there) = (Crowd::default(), Listened::default(), Listened::default());
        let now = Instant::now() + Duration::from_secs(100);
        let sit = |seconds: Option<u64>, listened: &Listened| {
            let since = seconds.and_then(|seconds| now.checked_sub(Duration::from_secs(seconds)));
            let sitter = Arc::new(Sitter { since, was_asked: AtomicBool::new(false) });
            (crowd.seat(sitter.clone(), listened.clone()), sitter)
        };
        let all = [sit(Some(200), &here), sit(Some(300), &here), sit(None, &here), sit(Some(400), &there), sit(Some(0), &here)];
        let asked = || all.each_ref().map(|(_, sitter)| sitter.was_asked.load(Relaxed));
        crowd.make_room(Some(&here));
        assert_eq!(asked(), [false, true, false, false, false]);
        crowd.make_room(None);
        assert_eq!(asked(), [false, true, false, true, false]);
        let number = all[0].0.number;
        drop(all);
        assert!(crowd.0.seats.lock().taken.iter().all(Option::is_none));
        let (seat, _) = sit(None, &here);
        assert!(seat.number <= 4 && number <= 4, "seats are used again");
    }
}
