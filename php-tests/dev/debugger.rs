//! A step debugger stops where it was told to. Its other end is played here: PHP connects to it and is sent commands (DBGp).

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process,
    sync::{
        atomic::{AtomicU8, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use super::{Mode, both_modes, unwatched};
use crate::harness::{PATIENCE, Request, Setup, extension};

/// What is debugged; it is stopped before its second line runs.
const PAGE: &str = "\n$sum = $_GET['number'] + 1;\necho 'sum ' . $sum;\n";
const LINE: u32 = 4;

/// `page()` under Xdebug, whose client listens at `client`; none, and said so, without Xdebug.
fn debugged(mode: Mode, client: &Client) -> Option<Setup> {
    let xdebug = extension("xdebug", "RR_XDEBUG")?;
    let setup = unwatched(mode, PAGE).threads(1).ini("zend_extension", xdebug.to_str().unwrap());
    let (host, port) = (client.0.ip().to_string(), client.0.port().to_string());
    Some(setup.ini("xdebug.mode", "debug").ini("xdebug.client_host", &host).ini("xdebug.client_port", &port))
}

/// Where PHP connects to; refused until somebody debugs.
struct Client(SocketAddr);

impl Client {
    fn new() -> Self {
        static LAST: AtomicU8 = AtomicU8::new(0);
        // No other test's server comes to listen at an address of one's own.
        let [.., high, low] = process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, high, low, LAST.fetch_add(1, Relaxed) + 2);
        Self(TcpListener::bind((address, 0)).unwrap().local_addr().unwrap())
    }

    /// From now on each session that PHP begins stops at every breakpoint, tells of it, and goes on as `next` says.
    fn debug(self, file: &Path, next: &'static str) -> Receiver<Stop> {
        let listener = TcpListener::bind(self.0).unwrap();
        let (stops, told) = channel();
        let file = file.to_owned();
        // Ends with the test's process.
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let session = Session { number, stream: BufReader::new(stream.unwrap()), transaction: 0 };
                let (stops, file) = (stops.clone(), file.clone());
                thread::spawn(move || session.run(&file, next, &stops));
            }
        });
        told
    }
}

/// A line that was reached.
#[derive(Debug, PartialEq)]
struct Stop {
    /// Which session it was in.
    session: usize,
    function: String,
    sum: String,
}

/// One script, or one worker, that PHP lets debug.
struct Session {
    number: usize,
    stream: BufReader<TcpStream>,
    transaction: u32,
}

impl Session {
    fn run(mut self, file: &Path, next: &str, stops: &Sender<Stop>) {
        let init = self.packet().expect("PHP says who it is");
        assert!(init.contains("<init ") && init.contains("language=\"PHP\""), "{init}");
        let set = self.call(&format!("breakpoint_set -t line -f file://{} -n {LINE}", file.display())).unwrap();
        assert!(set.contains(" id=\"") && !set.contains("<error"), "{set}");
        let mut state = self.call("run");
        while let Some(stopped) = state.filter(|state| state.contains("status=\"break\"")) {
            assert!(stopped.contains(&format!("lineno=\"{LINE}\"")), "{stopped}");
            let stack = self.call("stack_get -d 0").unwrap();
            let sum = self.call("property_get -n $sum").unwrap();
            let stop = Stop { session: self.number, function: attribute(&stack, "where"), sum: character_data(&sum) };
            // Nobody asks any more once a test has failed.
            _ = stops.send(stop);
            state = self.call(next);
        }
        // A script that has come to its end waits for a last word.
        _ = self.call("run");
    }

    /// The answer to a command; none if the script is gone.
    fn call(&mut self, command: &str) -> Option<String> {
        self.transaction += 1;
        let (name, arguments) = command.split_once(' ').unwrap_or((command, ""));
        let line = format!("{name} -i {} {arguments}", self.transaction);
        self.stream.get_mut().write_all(format!("{}\0", line.trim_end()).as_bytes()).ok()?;
        let id = format!("transaction_id=\"{}\"", self.transaction);
        loop {
            let packet = self.packet()?;
            if packet.contains(&id) {
                return Some(packet);
            }
        }
    }

    /// A length, NUL, that many bytes of XML, NUL.
    fn packet(&mut self) -> Option<String> {
        let mut part = || {
            let mut bytes = Vec::new();
            self.stream.read_until(0, &mut bytes).ok()?;
            bytes.pop().filter(|last| *last == 0)?;
            String::from_utf8(bytes).ok()
        };
        let (length, xml) = (part()?, part()?);
        assert_eq!(length, xml.len().to_string());
        Some(xml)
    }
}

fn attribute(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!(" {name}=\"")).unwrap_or_else(|| panic!("no {name} in {xml}"));
    rest.split_once('"').unwrap().0.to_owned()
}

fn character_data(xml: &str) -> String {
    let (_, rest) = xml.split_once("<![CDATA[").unwrap_or_else(|| panic!("no text in {xml}"));
    rest.split_once("]]>").unwrap().0.to_owned()
}

/// Sends a request that is stopped once on its way.
fn stopped(request: Request, number: u32, stops: &Receiver<Stop>) -> Stop {
    let reply = thread::spawn(move || request.send());
    let stop = stops.recv_timeout(PATIENCE).unwrap();
    assert_eq!((stop.function.as_str(), stop.sum.as_str()), ("page", (number + 1).to_string().as_str()));
    assert_eq!(reply.join().unwrap().text(), format!("sum {}", number + 1));
    stop
}

fn source(setup: &Setup) -> PathBuf {
    setup.document_root().parent().unwrap().join("src/page.php")
}

both_modes! {
    fn a_breakpoint_is_hit_in_every_request(mode) {
        let client = Client::new();
        let Some(setup) = debugged(mode, &client) else { return };
        let setup = setup.ini("xdebug.start_with_request", "yes");
        let stops = client.debug(&source(&setup), "run");
        let server = setup.start();
        for number in 1..=3 {
            let stop = stopped(server.get(&format!("/?number={number}")), number, &stops);
            // A worker's session goes on as long as the worker.
            let session = match mode {
                Mode::Classic => number as usize - 1,
                Mode::Worker => 0,
            };
            assert_eq!(stop.session, session);
        }
    }

    fn a_request_that_asks_for_it_is_debugged_and_no_other(mode) {
        let client = Client::new();
        let Some(setup) = debugged(mode, &client) else { return };
        let setup = setup.ini("xdebug.start_with_request", "trigger").ini("xdebug.trigger_value", "other,secret");
        let stops = client.debug(&source(&setup), "detach");
        let server = setup.start();
        for session in 0..3 {
            assert_eq!(server.text("/?number=1"), "sum 2");
            assert_eq!(server.text("/?number=1&XDEBUG_TRIGGER=wrong"), "sum 2");
            let request = match session {
                0 => server.get("/?number=7&XDEBUG_TRIGGER=secret"),
                1 => server.get("/?number=7").header("Cookie", "XDEBUG_SESSION=secret"),
                _ => server.post("/?number=7", "application/x-www-form-urlencoded", "XDEBUG_TRIGGER=secret"),
            };
            assert_eq!(stopped(request, 7, &stops).session, session);
        }
        assert!(stops.try_recv().is_err());
    }

    fn without_a_client_requests_are_answered(mode) {
        let client = Client::new();
        let Some(setup) = debugged(mode, &client) else { return };
        let server = setup.ini("xdebug.start_with_request", "yes").start();
        assert_eq!((server.text("/?number=1"), server.text("/?number=2")), ("sum 2".into(), "sum 3".into()));
        assert!(server.logs("Could not connect to debugging client"), "{}", server.log.text());
    }
}

#[test]
fn a_worker_finds_a_client_that_came_after_it() {
    if crate::harness::reference().is_some() {
        return;
    }
    let client = Client::new();
    let Some(setup) = debugged(Mode::Worker, &client) else { return };
    let file = source(&setup);
    let server = setup.ini("xdebug.start_with_request", "yes").start();
    assert_eq!(server.text("/?number=1"), "sum 2");
    let stops = client.debug(&file, "run");
    assert_eq!(stopped(server.get("/?number=4"), 4, &stops).session, 0);
}
