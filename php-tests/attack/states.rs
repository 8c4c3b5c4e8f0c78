//! Clients who leave in the middle, in each state that a connection can be in: by closing, by a reset, by closing their half.

use std::{
    io::Read as _,
    net::{Shutdown, SocketAddr},
    time::Duration,
};

use super::{Target, target};
use crate::harness::{
    Connection, Fcgi, PATIENCE,
    census::Census,
    fastcgi::{PARAMS, STDIN},
    frames::{DATA, END_STREAM, Frames, RESET, frame, get},
    h3::{Http3, request},
    params, reference, wait_until,
};

/// How a client leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Leave {
    /// It closes, and has read all there was.
    Close,
    /// It resets the connection.
    Reset,
    /// It closes its half, and reads on.
    Half,
}

const LEAVES: [Leave; 3] = [Leave::Close, Leave::Reset, Leave::Half];

/// What comes of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// The script does not run, and a half-closed client is told this; 0 is nothing.
    Nothing(u16),
    /// The script runs to its end, and a half-closed client is answered.
    Runs,
    /// The script ends at its next output, unless the client can still read.
    Ends,
}

/// Scripts that say when they began and when they ended, and one that takes a thread for as long as it is told.
fn noting() -> Target {
    target(|setup| {
        setup
            .threads(1)
            .option("http.limits.body_memory=4K")
            .option("http.output.memory=64K")
            .option("http.output.first_chunk=16K")
            .option("http.output.file=128K")
            // As long does a script wait for a client that vanished, and the next request for the one thread.
            .option("http.http3.idle_timeout=2s")
            .php("note.php", "touch(dirname(__DIR__) . '/began'); usleep(300_000); echo 'noted'; touch(dirname(__DIR__) . '/ended');")
            .php("quick.php", "touch(dirname(__DIR__) . '/began'); echo 'quick'; touch(dirname(__DIR__) . '/ended');")
            .php("big.php", "touch(dirname(__DIR__) . '/began'); for ($i = 0; $i < 2000; $i++) { echo str_repeat('x', 10_000); } touch(dirname(__DIR__) . '/ended');")
            .php("hold.php", "touch(dirname(__DIR__) . '/held'); while (!file_exists(dirname(__DIR__) . '/let')) { usleep(5000); }")
            .file("big.bin", vec![b'x'; 20 << 20])
    })
}

impl Target {
    fn noted(&self, what: &str) -> bool {
        self.server.dir().join(what).exists()
    }

    fn wait_for(&self, what: &str) {
        assert!(wait_until(PATIENCE, || self.noted(what)), "not {what}: {}", self.server.log.text());
    }

    fn forget(&self) {
        for what in ["began", "ended", "held", "let"] {
            _ = std::fs::remove_file(self.server.dir().join(what));
        }
    }

    /// A script that runs until it is let go.
    fn hold(&self) -> Connection {
        let held = self.server.get("/hold.php").fire();
        self.wait_for("held");
        held
    }

    fn release(&self, mut held: Connection) {
        std::fs::write(self.server.dir().join("let"), "").unwrap();
        assert_eq!(held.read().unwrap().status, 200);
    }
}

/// What a client that has closed its half is told: a status, 0 if nothing.
fn leave(mut connection: Connection, how: Leave) -> Option<u16> {
    match how {
        Leave::Close => {}
        Leave::Reset => socket2::SockRef::from(connection.stream()).set_linger(Some(Duration::ZERO)).unwrap(),
        Leave::Half => {
            connection.stream().shutdown(Shutdown::Write).unwrap();
            let status = connection.read_head().map_or(0, |head| head.status);
            let mut rest = Vec::new();
            _ = connection.stream().read_to_end(&mut rest);
            return Some(status);
        }
    }
    None
}

#[test]
fn who_leaves_in_the_middle_leaves_nothing_behind() {
    if reference().is_some() {
        return;
    }
    let target = noting();
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let post = "POST /quick.php HTTP/1.1\r\nHost: x\r\n";
    let waiting = Some("began");
    // What is sent, what is waited for then, and what comes of it.
    let states: Vec<(&str, String, Option<&str>, Outcome)> = vec![
        ("connected", String::new(), None, Outcome::Nothing(0)),
        ("in the request line", "GET /quick.p".into(), None, Outcome::Nothing(0)),
        ("in the head", "GET /quick.php HTTP/1.1\r\nHost: x\r\nA:".into(), None, Outcome::Nothing(0)),
        ("before the body", format!("{post}Content-Length: 10\r\n\r\n"), None, Outcome::Nothing(400)),
        ("in the body", format!("{post}Content-Length: 10\r\n\r\nhello"), None, Outcome::Nothing(400)),
        ("in a body's file", format!("{post}Content-Length: 100000\r\n\r\n{}", "x".repeat(50_000)), None, Outcome::Nothing(400)),
        ("in a chunk", format!("{post}Transfer-Encoding: chunked\r\n\r\n5\r\nhel"), None, Outcome::Nothing(400)),
        (
            "in the trailers",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: "),
            None,
            Outcome::Nothing(400),
        ),
        (
            "before a wanted body",
            format!("{post}Expect: 100-continue\r\nContent-Length: 10\r\n\r\n"),
            None,
            Outcome::Nothing(100),
        ),
        ("while the script runs", request("/note.php"), waiting, Outcome::Runs),
        ("while much is written", request("/big.php"), waiting, Outcome::Ends),
        ("while a file is written", request("/big.bin"), None, Outcome::Nothing(200)),
        ("after the answer", request("/well.php"), None, Outcome::Nothing(200)),
        ("after a pipeline", request("/well.php").repeat(3), None, Outcome::Nothing(200)),
    ];
    for (state, bytes, begun, expected) in &states {
        for how in LEAVES {
            target.forget();
            let mut connection = target.server.connect();
            connection.write(bytes);
            if let Some(begun) = begun {
                target.wait_for(begun);
            }
            let told = leave(connection, how);
            match (expected, told) {
                (Outcome::Nothing(status), Some(told)) => assert_eq!(told, *status, "{state}, {how:?}"),
                (Outcome::Runs | Outcome::Ends, Some(told)) => assert_eq!(told, 200, "{state}, {how:?}"),
                (_, None) => {}
            }
            // The one thread is free again, by whatever way.
            assert_eq!(target.server.text("/well.php"), "well");
            match expected {
                Outcome::Nothing(_) => assert!(!target.noted("began"), "{state}, {how:?}: a script ran"),
                Outcome::Runs => target.wait_for("ended"),
                Outcome::Ends => assert_eq!(target.noted("ended"), how == Leave::Half, "{state}, {how:?}"),
            }
        }
    }
    target.forget();
    target.is_well();
}

/// Asks for something and takes it back; what is returned is kept open.
type TakeBack = (&'static str, fn(&Target) -> Option<Box<dyn std::any::Any>>);

/// Who has asked completely over HTTP/1 may go: WordPress' cron does. Over HTTP/2 and 3 a request can be taken back.
#[test]
fn who_leaves_the_queue_is_served_or_not_as_the_protocol_says() {
    if reference().is_some() {
        return;
    }
    let target = noting();
    let file = target.server.root().join("quick.php");
    let script = params(&[("REQUEST_METHOD", "GET"), ("SCRIPT_FILENAME", file.to_str().unwrap())]);
    for how in LEAVES {
        target.forget();
        let held = target.hold();
        let mut connection = target.server.connect();
        connection.write("GET /quick.php HTTP/1.1\r\nHost: x\r\n\r\n");
        let asked = std::thread::spawn(move || leave(connection, how));
        if how != Leave::Half {
            asked.join().unwrap();
            target.release(held);
        } else {
            target.release(held);
            assert_eq!(asked.join().unwrap(), Some(200));
        }
        target.wait_for("ended");
    }
    // Taken back in word, or by going.
    let ways: [TakeBack; 4] = [
        ("an h2 reset", |target| {
            let mut client = Frames::open(target.server.address);
            client.send([get(1, "/quick.php"), frame(RESET, 0, 1, &[0, 0, 0, 8]), get(3, "/nowhere.php")].concat());
            // It has been read once what is behind it is answered.
            client.outcome(3);
            Some(Box::new(client))
        }),
        ("a closed h2 connection", |target| {
            let mut client = Frames::open(target.server.address);
            client.send([get(1, "/quick.php"), get(3, "/nowhere.php")].concat());
            client.outcome(3);
            None
        }),
        ("an h3 reset", |target| {
            let mut client = Http3::connect(&target.office);
            drop(client.send(request("GET", "/quick.php"), b"").unwrap());
            assert_eq!(client.get("/nowhere.php").status, 404);
            Some(Box::new(client))
        }),
        ("a closed h3 connection", |target| {
            let mut client = Http3::connect(&target.office);
            let pending = client.send(request("GET", "/quick.php"), b"").unwrap();
            assert_eq!(client.get("/nowhere.php").status, 404);
            drop((pending, client));
            // No socket goes with it. The one of all has told the server of its end before it brings this.
            assert_eq!(Http3::connect(&target.office).get("/nowhere.php").status, 404);
            None
        }),
    ];
    for (what, leave) in ways {
        target.forget();
        let held = target.hold();
        let before = Census::settled(&target.server).engine.sockets;
        let kept = leave(&target);
        // The server has heard of it when its connection is gone; of a reset, when what came behind it was answered.
        let is_gone = || Census::now(&target.server).is_some_and(|now| now.engine.sockets == before);
        assert!(kept.is_some() || wait_until(PATIENCE, is_gone), "{what}: it stays");
        target.release(held);
        assert_eq!(target.server.text("/well.php"), "well");
        assert!(!target.noted("began"), "{what}: it ran");
        drop(kept);
    }
    // FastCGI: nginx hangs up.
    target.forget();
    let held = target.hold();
    let mut client = Fcgi::connect(target.server.fcgi.unwrap()).unwrap();
    client.begin(1, false).record(PARAMS, 1, &script).record(PARAMS, 1, &[]).record(STDIN, 1, &[]);
    drop(client);
    target.release(held);
    target.forget();
    target.is_well();
}

/// Before there is a request at all: handshakes and prefaces in halves, over TCP.
#[test]
fn handshakes_that_break_off_leave_nothing_behind() {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| setup);
    // The start of a ClientHello that says it is 512 bytes long, and things that are none.
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 200]].concat();
    let (plain, tls) = (target.server.address, target.office.port);
    let cases: [(&str, SocketAddr, &[u8]); 9] = [
        ("nothing", tls, b""),
        ("a byte of a handshake", tls, &hello[..1]),
        ("half a handshake", tls, &hello),
        ("a record that is too long", tls, b"\x16\x03\x01\xff\xff\x01\x00"),
        ("no handshake", tls, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("an alert", tls, b"\x15\x03\x01\x00\x02\x02\x28"),
        ("half a preface", plain, b"PRI * HTTP/2.0\r\n\r\nSM"),
        ("a preface", plain, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("half a frame", plain, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x03"),
    ];
    for (what, address, bytes) in cases {
        for how in LEAVES {
            let mut connection = Connection::open(address).unwrap();
            connection.write(bytes);
            let told = leave(connection, how);
            // To half a preface as to a request of a version that is none.
            assert!(matches!(told, None | Some(0 | 505)), "{what}: {told:?}");
        }
    }
    // Over UDP anyone may send anything, and nothing is kept for them.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in [0, 1, 20, 1200, 9000] {
        for first in [0x00, 0x40, 0xc0, 0xd0, 0xff] {
            let packet: Vec<u8> =
                [first, 0, 0, 0, 1, 8].into_iter().chain((0..).map(|byte: u32| byte as u8)).take(length).collect();
            socket.send_to(&packet, tls).unwrap();
        }
    }
    target.is_well();
}

/// Streams of HTTP/2 and 3 in each state.
#[test]
fn streams_that_break_off_leave_nothing_behind() {
    if reference().is_some() {
        return;
    }
    let target = noting();
    let post = |path: &str| {
        let head = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", path)];
        frame(1, 4, 1, &crate::harness::frames::fields(&head))
    };
    let body = [post("/quick.php"), frame(DATA, 0, 1, b"hello")].concat();
    for (what, bytes, waits, runs) in [
        ("in the head", frame(1, 0, 1, &[0]), false, false),
        ("before the body", post("/quick.php"), false, false),
        ("in the body", body, false, false),
        ("while the script runs", get(1, "/note.php"), true, true),
        ("while much is written", get(1, "/big.php"), true, false),
        ("while a file is written", get(1, "/big.bin"), false, false),
    ] {
        for how in [None, Some(Leave::Close), Some(Leave::Reset)] {
            target.forget();
            let mut client = Frames::open(target.server.address);
            client.send(&bytes);
            if waits {
                target.wait_for("began");
            }
            match how {
                // The stream alone.
                None if what != "in the head" => _ = client.send(frame(RESET, END_STREAM, 1, &[0, 0, 0, 8])),
                Some(Leave::Reset) => socket2::SockRef::from(client.stream()).set_linger(Some(Duration::ZERO)).unwrap(),
                _ => {}
            }
            let kept = how.is_none().then_some(client);
            assert_eq!(target.server.text("/well.php"), "well");
            if runs {
                target.wait_for("began");
            } else {
                assert!(!target.noted("ended"), "{what}, {how:?}: it ran to its end");
            }
            drop(kept);
        }
    }
    for path in ["/note.php", "/big.php", "/big.bin"] {
        for vanishes in [false, true] {
            target.forget();
            let mut client = Http3::connect(&target.office);
            let pending = client.send(request("GET", path), b"").unwrap();
            if path != "/big.bin" {
                target.wait_for("began");
            }
            // Who vanishes is missed when nothing has been heard of it for the time that QUIC gives it.
            if vanishes {
                client.vanish();
                drop(pending);
            } else {
                drop(pending);
                drop(client);
            }
            assert_eq!(target.server.text("/well.php"), "well");
        }
    }
    target.forget();
    target.is_well();
}
