//! What goes wrong, one thing at a time.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};

use super::{
    clients::outcome,
    random::Numbers,
    site::{QUEUE, WORKERS},
    trial::{Outcome, Trial},
};
use crate::harness::{Fcgi, PATIENCE, census, params, wait_until};

/// Its name, and how to make it.
pub(super) type Trouble = (&'static str, fn(&Trial, &mut Numbers));

/// The first one takes longer than the short form.
pub(super) const ALL: &[Trouble] = &[
    ("hang", hang),
    ("kill", kill_engine),
    ("stop", stop),
    ("signal", signal),
    ("reload", |trial, _| trial.command(&["reload", "--no-wait"])),
    ("reset", |trial, _| trial.command(&["reset"])),
    ("opcache_reset", forget),
    ("flood", flood),
    ("broken clients", break_off),
    ("broken clients", break_off),
];

/// Those after which the engine is the same.
pub(super) const HARMLESS: &[Trouble] = &[
    ("stop", stop),
    ("reset", |trial, _| trial.command(&["reset"])),
    ("opcache_reset", forget),
    ("flood", flood),
    ("broken clients", break_off),
    ("broken clients", break_off),
];

fn kill_engine(trial: &Trial, numbers: &mut Numbers) {
    let engines = census::below(trial.server.pid());
    if !engines.is_empty() {
        trial.kill(numbers.choose(&engines), numbers.choose(&[Signal::SIGSEGV, Signal::SIGKILL, Signal::SIGABRT]));
    }
}

/// Long enough to be noticed, too short to be taken for dead.
fn stop(trial: &Trial, numbers: &mut Numbers) {
    for engine in census::below(trial.server.pid()) {
        _ = kill(engine, Signal::SIGSTOP);
        trial.pause(numbers.between(50, 1500));
        _ = kill(engine, Signal::SIGCONT);
    }
}

/// Until the supervisor gives it up.
fn hang(trial: &Trial, numbers: &mut Numbers) {
    let engines = census::below(trial.server.pid());
    // It takes ten seconds and more, so it is rare.
    if engines.is_empty() || numbers.below(4) > 0 {
        return;
    }
    let (engine, caused) = (numbers.choose(&engines), Instant::now());
    _ = kill(engine, Signal::SIGSTOP);
    assert!(wait_until(PATIENCE, || !census::is_running(engine)), "a hung engine stays: {}", trial.server.log.text());
    trial.note_death(caused);
    trial.recovered();
}

fn signal(trial: &Trial, numbers: &mut Numbers) {
    trial.server.signal(numbers.choose(&[Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGUSR1]));
}

fn forget(trial: &Trial, numbers: &mut Numbers) {
    for _ in 0..numbers.below(5) {
        drop(trial.server.get("/forget.php").try_send());
    }
}

/// More at once than there is room for.
fn flood(trial: &Trial, _numbers: &mut Numbers) {
    thread::scope(|scope| {
        for _ in 0..WORKERS + QUEUE + 20 {
            scope.spawn(|| {
                let begun = Instant::now();
                let reply = trial.server.get("/slow.php").try_send();
                trial.note("flood", begun, outcome(reply, b"slow"));
            });
        }
    });
}

fn break_off(trial: &Trial, numbers: &mut Numbers) {
    for _ in 0..10 {
        // There is always someone to connect to: the sockets are the supervisor's.
        let mut stream = TcpStream::connect_timeout(&trial.server.address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match numbers.below(9) {
            0 => drop(stream.write_all(b"GET /hello.php HTTP/1.1\r\nHo")),
            1 => {
                drop(stream.write_all(b"POST /echo.php HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n"));
                let part = numbers.below(100_000);
                drop(stream.write_all(&numbers.bytes(part)));
                reset(stream);
            }
            2 => {
                drop(stream.write_all(b"GET /stream.php HTTP/1.1\r\nHost: a\r\n\r\n"));
                drop(stream.read(&mut [0; 1000]));
                reset(stream);
            }
            3 => dribble(trial, &mut stream),
            4 => half_close(trial, stream),
            5 => {
                drop(stream.write_all(&numbers.bytes(200)));
                drop(stream.shutdown(Shutdown::Write));
                drop(stream.read(&mut [0; 1000]));
            }
            6 => drop(stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &numbers.bytes(100)].concat())),
            7 => {
                if let Ok(mut fcgi) = Fcgi::connect(trial.server.fcgi.unwrap()) {
                    fcgi.begin(1, true).record(crate::harness::fastcgi::PARAMS, 1, &params(&[("REQUEST_METHOD", "GET")])[..9]);
                }
            }
            _ => {
                drop(stream.write_all("GET /hello.php HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5).as_bytes()));
                drop(stream.read(&mut [0; 10]));
            }
        }
    }
}

const PATIENT: &[u8] = b"GET /hello.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn dribble(trial: &Trial, stream: &mut TcpStream) {
    let begun = Instant::now();
    for piece in PATIENT.chunks(7) {
        drop(stream.write_all(piece));
        thread::sleep(Duration::from_millis(5));
    }
    trial.note("dribble", begun, hello(stream));
}

fn half_close(trial: &Trial, mut stream: TcpStream) {
    let begun = Instant::now();
    drop(stream.write_all(PATIENT));
    drop(stream.shutdown(Shutdown::Write));
    trial.note("half-closed", begun, hello(&mut stream));
}

fn hello(stream: &mut TcpStream) -> Outcome {
    outcome(crate::harness::Reply::read(&mut std::io::BufReader::new(stream), "GET"), b"hello")
}

/// Closes without a farewell.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}
