//! What a crash and a reload cost, for people to read: nothing here is asserted of time.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};

use crate::{
    apps::wordpress,
    harness::{Connection, PATIENCE, Request, Server, census, reference, server, wait_until},
};

#[test]
#[ignore = "measures, for a minute or two: ./x chaos prints it"]
fn the_price_of_a_crash_and_of_a_reload() {
    if reference().is_some() {
        return;
    }
    let server = server().bare().threads(4).php("index.php", "echo 'hello';").preset("files").start();
    crash(&server, "hello");
    reloads(&server);
    if let Some(server) = wordpress::installed(4) {
        crash(&server, "WordPress' front page");
    }
}

fn crash(server: &Server, what: &str) {
    let answers = || server.get("/").try_send().is_ok_and(|reply| reply.status == 200);
    let mut gaps = Vec::new();
    for round in 0..3 {
        assert!(wait_until(PATIENCE, answers));
        if round > 0 {
            // By then the death before is forgiven, and the next engine starts at once.
            thread::sleep(Duration::from_secs(31));
        }
        let engine = census::below(server.pid())[0];
        let begun = Instant::now();
        kill(engine, Signal::SIGKILL).unwrap();
        assert!(wait_until(PATIENCE, || !census::is_running(engine)));
        assert!(wait_until(PATIENCE, answers), "{}", server.log.text());
        gaps.push(begun.elapsed());
    }
    eprintln!("from a crash to the next answer, {what}: {gaps:?}");
}

/// The slowest hundredth of answers at half of what the server can do, without a reload and while one lasts.
fn reloads(server: &Server) {
    let full = load(server, Duration::from_secs(5), None, || ());
    let pace = Duration::from_secs_f64(5.0 * 2.0 * CLIENTS as f64 / full.len() as f64);
    eprintln!("full load: {} requests per second", full.len() / 5);
    let quiet = load(server, Duration::from_secs(15), Some(pace), || ());
    let windows = Mutex::new(Vec::new());
    let busy = load(server, Duration::from_secs(30), Some(pace), || {
        for _ in 0..5 {
            let (begun, old) = (Instant::now(), census::below(server.pid())[0]);
            server.signal(Signal::SIGHUP);
            assert!(wait_until(PATIENCE, || !census::is_running(old)), "{}", server.log.text());
            windows.lock().unwrap().push((begun, Instant::now()));
            thread::sleep(Duration::from_secs(2));
        }
    });
    let windows = windows.into_inner().unwrap();
    let during: Vec<_> = busy.iter().filter(|answer| windows.iter().any(|(from, to)| (*from..*to).contains(&answer.0))).collect();
    let lasted: Vec<_> = windows.iter().map(|(from, to)| *to - *from).collect();
    eprintln!("half load: p99 {:?} of {} requests", p99(quiet.iter()), quiet.len());
    eprintln!(
        "half load while a reload lasts: p99 {:?} of {} requests; they lasted {lasted:?}",
        p99(during.iter().copied()),
        during.len()
    );
}

const CLIENTS: usize = 8;

/// When each request was due, and how long after that its answer came. Without a pace one is due when the last one is answered.
fn load(server: &Server, time: Duration, pace: Option<Duration>, meanwhile: impl FnOnce()) -> Vec<(Instant, Duration)> {
    let (answers, done) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let until = Instant::now() + time;
    thread::scope(|scope| {
        let (answers, done) = (&answers, &done);
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut connection = server.connect();
                let request = Request::new(server.address, "GET", "/");
                let mut due = Instant::now() + pace.unwrap_or_default() * client as u32 / CLIENTS as u32;
                let mut own = Vec::new();
                while !done.load(Relaxed) {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let reply = connection.send(&request).expect("no request is lost");
                    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"hello"[..]));
                    own.push((due, due.elapsed()));
                    if reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                        connection = Connection::open(server.address).unwrap();
                    }
                    due = pace.map_or_else(Instant::now, |pace| due + pace);
                }
                answers.lock().unwrap().extend(own);
            });
        }
        meanwhile();
        thread::sleep(until.saturating_duration_since(Instant::now()));
        done.store(true, Relaxed);
    });
    answers.into_inner().unwrap()
}

fn p99<'a>(answers: impl Iterator<Item = &'a (Instant, Duration)>) -> Duration {
    let mut times: Vec<_> = answers.map(|(_, time)| *time).collect();
    times.sort();
    times.get(times.len() * 99 / 100).copied().unwrap_or_default()
}
