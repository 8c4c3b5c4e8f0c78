//! Slow ones, by the thousand, one kind after another, while a normal client asks on: all of its requests are answered, and how soon is
//! printed. `./x attack` takes 5,000 of each.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use super::{
    Target,
    swarm::{Member, Swarm, descriptors},
    target,
};
use crate::harness::{Connection, census::Census, reference};

/// What a slow client does.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Nothing at all.
    Silent,
    /// Sends its head in pieces.
    Heads,
    /// Sends its body in pieces.
    Bodies,
    /// Asks for a large file, and reads little.
    FileReaders,
    /// The same with what a script says.
    ScriptReaders,
    /// The same over HTTP/2.
    Http2Readers,
}

const KINDS: [Kind; 6] = [Kind::Silent, Kind::Heads, Kind::Bodies, Kind::FileReaders, Kind::ScriptReaders, Kind::Http2Readers];

/// Between two pieces.
const PAUSE: Duration = Duration::from_secs(2);

#[test]
fn some_slow_clients_keep_nobody_waiting() {
    crowd(200, Duration::from_secs(1));
}

#[test]
#[ignore = "./x attack: 5,000 of each kind, some minutes"]
fn thousands_of_slow_clients_keep_nobody_waiting() {
    crowd(5000.min(descriptors()), Duration::from_secs(15));
}

fn crowd(count: usize, time: Duration) {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| {
        setup
            .threads(4)
            .php("large.php", "for ($i = 0; $i < 16; $i++) { echo str_repeat('x', 8192); }")
            .file("large.bin", vec![b'x'; 4 << 20])
    });
    eprintln!("{:14} {}", "nobody", measure(&target, time));
    for kind in KINDS {
        let before = Census::settled(&target.server).engine;
        let address = target.server.address;
        let swarm = Swarm::start(count, move |member| live(kind, address, member));
        swarm.gathered(count);
        let seen = measure(&target, time);
        let during = Census::now(&target.server).unwrap().engine;
        let each = (during.kilobytes.saturating_sub(before.kilobytes) * 1024) as f64 / count as f64;
        eprintln!(
            "{:14} {seen}; {count} connections, {each:.0} bytes each, {} closed by the server, {} failed",
            format!("{kind:?}"),
            swarm.cut(),
            swarm.failed()
        );
        drop(swarm);
        // What the allocator keeps of it.
        target.is_well_within(128 * 1024 + 128 * count as u64);
    }
}

/// A normal client, every other time over a new connection; each request is answered.
fn measure(target: &Target, time: Duration) -> String {
    let (mut kept, begun) = (target.server.connect(), Instant::now());
    let mut times = Vec::new();
    while begun.elapsed() < time {
        let request = target.server.get("/well.php");
        for is_new in [true, false] {
            let asked = Instant::now();
            let reply =
                if is_new { Connection::open(target.server.address).unwrap().send(&request) } else { kept.send(&request) };
            times.push(asked.elapsed());
            assert_eq!(reply.unwrap().body, b"well");
        }
        thread::sleep(Duration::from_millis(5));
    }
    times.sort();
    format!(
        "median {:?}, p99 {:?}, longest {:?} of {}",
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1],
        times.len()
    )
}

async fn live(kind: Kind, address: SocketAddr, mut member: Member) -> Result<(), String> {
    let mut stream = connect(kind, address).await.map_err(|error| error.to_string())?;
    let large = "HTTP/1.1\r\nHost: x\r\n\r\n";
    let start = match kind {
        Kind::Silent => String::new(),
        Kind::Heads => "GET /well.php HTTP/1.1\r\nHost: x\r\n".into(),
        Kind::Bodies => "POST /echo.php HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n".into(),
        Kind::FileReaders => format!("GET /large.bin {large}"),
        Kind::ScriptReaders => format!("GET /large.php {large}"),
        Kind::Http2Readers => String::new(),
    };
    if matches!(kind, Kind::Http2Readers) {
        use crate::harness::frames::{SETTINGS, frame, get};
        let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..], &get(1, "/large.bin")].concat();
        stream.write_all(&hello).await.map_err(|error| error.to_string())?;
    }
    stream.write_all(start.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut piece = [0; 512];
    if matches!(kind, Kind::FileReaders | Kind::ScriptReaders | Kind::Http2Readers) {
        // It is being answered.
        stream.read_exact(&mut piece[..64]).await.map_err(|error| error.to_string())?;
    }
    member.is_open();
    // Not all in step.
    tokio::time::sleep(PAUSE / 100 * (member.number % 100) as u32).await;
    loop {
        let goes_on = match kind {
            Kind::Silent => return quiet(stream).await,
            Kind::Heads => stream.write_all(b"A: b\r\n").await.is_ok(),
            Kind::Bodies => stream.write_all(b"x").await.is_ok(),
            _ => matches!(stream.read(&mut piece).await, Ok(1..)),
        };
        if !goes_on {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Until the server has had enough.
async fn quiet(mut stream: TcpStream) -> Result<(), String> {
    while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {}
    Ok(())
}

async fn connect(kind: Kind, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if matches!(kind, Kind::FileReaders | Kind::ScriptReaders | Kind::Http2Readers) {
        socket.set_recv_buffer_size(4096)?;
    }
    socket.connect(address).await
}
