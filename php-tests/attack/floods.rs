//! Floods of HTTP/2: frames that cost the server more than their sender. Each ends its connection; each kind is tried again without
//! reading what comes back. The same at the level of the connection, with exact counts, is in `conn::tests::http2`.

use std::{
    io::{ErrorKind, Read, Write as _},
    thread,
};

use super::{Target, target};
use crate::harness::{
    H2, PATIENCE,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, PRIORITY, RESET, SETTINGS, WINDOW_UPDATE, fields,
        frame, get,
    },
    reference, wait_until,
};

/// A request that is not over.
fn post(stream: u32, path: &str) -> Vec<u8> {
    let head = fields(&[(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", path)]);
    frame(HEADERS, END_HEADERS, stream, &head)
}

fn numbers(flood: impl Fn(u32) -> Vec<u8>, count: u32) -> Vec<u8> {
    (0..count).flat_map(|number| flood(2 * number + 1)).collect()
}

/// Whether the server closes before it has answered what stands behind the flood. Without `reads` the client is one that takes nothing.
fn is_cut(target: &Target, start: &[u8], flood: &[u8], reads: bool) -> bool {
    let mut client = Frames::open(target.server.address);
    client.send(start);
    let mut reading = client.stream().try_clone().unwrap();
    thread::scope(|scope| {
        let drained = reads.then(|| scope.spawn(move || drain(&mut reading)));
        let mut writing = client.stream();
        let sent = [flood, &get(LAST, "/well.php")].concat();
        let is_refused = sent.chunks(16 * 1024).any(|piece| writing.write_all(piece).is_err());
        match drained {
            Some(drained) => drained.join().unwrap(),
            // What it cannot write the server waits to write, for as long as any client may take nothing.
            None => is_refused || wait_until(PATIENCE, || target.is_alone()),
        }
    })
}

/// Reads to the server's close; false if the answer came before.
fn drain(from: &mut impl Read) -> bool {
    let (mut piece, mut tail) = (vec![0; 65_536], Vec::new());
    loop {
        match from.read(&mut piece) {
            Ok(0) => break true,
            Ok(count) => tail.extend_from_slice(&piece[..count]),
            Err(error) => break error.kind() == ErrorKind::ConnectionReset,
        }
        if tail.windows(4).any(|part| part == b"well") {
            break false;
        }
        tail.drain(..tail.len().saturating_sub(3));
    }
}

/// A connection that is not cut answers this, behind all of the flood.
const LAST: u32 = 0x7fff_ffff;

#[test]
fn floods_of_frames_end_their_connections() {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| setup.option("http.limits.write_timeout=1s").php("slow.php", "usleep(20_000);"));
    let big = fields(&[("a", "b".repeat(15_000))]);
    // The largest frame that is taken, again and again.
    let windows = [0, 4, 0, 0, 0, 0];
    let floods: [(&str, Vec<u8>, Vec<u8>); 17] = [
        ("pings", vec![], frame(PING, 0, 0, &[0; 8]).repeat(100_000)),
        ("answers to no ping", vec![], frame(PING, 1, 0, &[0; 8]).repeat(100_000)),
        ("settings", vec![], frame(SETTINGS, 0, 0, &[]).repeat(100_000)),
        ("settings of windows", get(1, "/slow.php"), frame(SETTINGS, 0, 0, &windows).repeat(100_000)),
        ("windows of the connection", vec![], frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(100_000)),
        ("windows of a stream", post(1, "/echo.php"), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).repeat(100_000)),
        ("priorities", vec![], frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 9]).repeat(100_000)),
        ("empty data", post(1, "/echo.php"), frame(DATA, 0, 1, &[]).repeat(100_000)),
        ("padding", post(1, "/echo.php"), frame(DATA, 8, 1, &[&[255][..], &[0; 255]].concat()).repeat(50_000)),
        ("continuations of nothing", frame(HEADERS, 0, 1, &[]), frame(CONTINUATION, 0, 1, &[]).repeat(100_000)),
        ("continuations of much", frame(HEADERS, 0, 1, &big), frame(CONTINUATION, 0, 1, &big).repeat(2000)),
        ("frames of no known kind", vec![], frame(99, 0, 0, &[0; 9]).repeat(100_000)),
        (
            "requests reset at once",
            vec![],
            numbers(|number| [get(number, "/slow.php"), frame(RESET, 0, number, &[0, 0, 0, 8])].concat(), 20_000),
        ),
        (
            "bodies reset at once",
            vec![],
            numbers(|number| [post(number, "/slow.php"), frame(RESET, 0, number, &[0, 0, 0, 8])].concat(), 20_000),
        ),
        // Those have the server do the resetting: a window of nothing, data after the end, a head that is none.
        (
            "windows of nothing",
            vec![],
            numbers(|number| [get(number, "/slow.php"), frame(WINDOW_UPDATE, 0, number, &[0; 4])].concat(), 20_000),
        ),
        (
            "data after the end",
            vec![],
            numbers(|number| [get(number, "/slow.php"), frame(DATA, 0, number, b"x")].concat(), 20_000),
        ),
        (
            "heads that are none",
            vec![],
            numbers(|number| frame(HEADERS, END_STREAM | END_HEADERS, number, &fields(&[("a", "b")])), 20_000),
        ),
    ];
    for (what, start, flood) in &floods {
        for reads in [true, false] {
            eprintln!("{what}, {}", if reads { "reading" } else { "not reading" });
            assert!(is_cut(&target, start, flood, reads), "{what}, reading: {reads}");
        }
    }
    target.is_well();
}

/// What a client does to be rid of a stream, by its number.
type Leaving = (&'static str, fn(u32) -> Vec<u8>);

/// Scripts that nobody waits for: how many run is bounded by the connection, not by who asks.
#[test]
fn requests_left_at_once_run_few_scripts() {
    if reference().is_some() {
        return;
    }
    let note = "file_put_contents(dirname(__DIR__) . '/ran', '1', FILE_APPEND); usleep(1000);";
    let target = target(|setup| setup.php("note.php", note));
    let leave: [Leaving; 3] = [
        ("reset", |stream| frame(RESET, 0, stream, &[0, 0, 0, 8])),
        ("a window of nothing", |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4])),
        ("data after the end", |stream| frame(DATA, 0, stream, b"x")),
    ];
    for (what, leave) in leave {
        let flood = numbers(|stream| [get(stream, "/note.php"), leave(stream)].concat(), 10_000);
        assert!(is_cut(&target, &[], &flood, true), "{what}");
        target.is_well();
        let ran = std::fs::read(target.server.dir().join("ran")).unwrap_or_default().len();
        eprintln!("{what}: {ran} scripts ran of 10000 that were asked for");
        assert!(ran <= 1000, "{what}: {ran}");
        _ = std::fs::remove_file(target.server.dir().join("ran"));
    }
}

#[test]
fn a_download_byte_by_byte_ends_some_time() {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| setup.file("big.txt", vec![b'x'; 1 << 20]));
    let mut client = Frames::open(target.server.address);
    // A window of nothing for every stream, and then bytes one at a time.
    client.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    client.send(get(1, "/big.txt"));
    let mut reading = client.stream().try_clone().unwrap();
    let (mut taken, begun) = (0, std::time::Instant::now());
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok(count @ 1..) = reading.read(&mut [0; 65_536]) {
                taken += count
            }
        });
        while client.send(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])) && begun.elapsed() < PATIENCE {}
        _ = client.stream().shutdown(std::net::Shutdown::Both);
    });
    assert!(taken < 1 << 20 && begun.elapsed() < PATIENCE, "{taken} bytes in {:?}", begun.elapsed());
    target.is_well();
}

/// A browser's worst behaviour is no flood.
#[test]
fn a_page_that_is_left_early_is_no_flood() {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| setup.php("slow.php", "usleep(1000); echo 'slow';"));
    let mut client = Frames::open(target.server.address);
    let mut stream = 1;
    for _ in 0..20 {
        // Half of a page's parts are left, half of them taken.
        for number in 0..40 {
            client.send(get(stream, "/slow.php"));
            if number % 2 == 0 {
                client.send(frame(RESET, 0, stream, &[0, 0, 0, 8]));
            }
            stream += 2;
        }
        let outcome = client.outcome(stream - 2);
        assert_eq!(outcome, crate::harness::frames::Outcome::Answer(200, b"slow".to_vec()), "{stream}");
    }
    let mut other = H2::open(target.server.address).unwrap();
    assert_eq!(other.send("GET", "/well.php", Vec::new()).unwrap().1, b"well");
    drop((client, other));
    target.is_well();
}
