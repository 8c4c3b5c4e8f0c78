//! TCP servers whose protocol is a script's: the same application by each kind of worker.

mod native;
mod operation;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
};

use serde_json::{Value, json};

use crate::{
    harness::{PATIENCE, Server, Setup, free_port, server, wait_until},
    roadrunner::with_php,
};

/// What does the work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// RoadRunner workers on PHP threads.
    Threads,
    /// RoadRunner workers in processes.
    Processes,
    /// `RR\Worker`.
    Native,
}

/// The same behaviour by every kind of worker.
macro_rules! every_kind {
    ($(fn $name:ident($kind:ident: Kind) $body:block)*) => {
        $(
            mod $name {
                #[test]
                fn on_threads() {
                    super::$name(crate::tcp::Kind::Threads);
                }

                #[test]
                fn in_processes() {
                    super::$name(crate::tcp::Kind::Processes);
                }

                #[test]
                fn by_rr_worker() {
                    super::$name(crate::tcp::Kind::Native);
                }
            }

            fn $name($kind: crate::tcp::Kind) {
                if crate::harness::reference().is_none() {
                    $body
                }
            }
        )*
    };
}
use every_kind;

/// A client that reads lines.
struct Client(BufReader<TcpStream>);

// === impl Kind ===

impl Kind {
    /// A server with HTTP, and with the TCP server `echo` there.
    fn setup(self, address: SocketAddr) -> Setup {
        let setup = server().option(&format!("tcp.servers.echo.addr={address}")).option("tcp.pool.num_workers=2");
        match self {
            Self::Native => {
                let script = setup.document_root().join("tcp/pull.php");
                setup.option(&format!("tcp.worker={}", script.display()))
            }
            Self::Threads => setup.option("server.command=php root/tcp/frames.php"),
            Self::Processes => with_php(setup)
                .option("server.command=php root/tcp/frames.php")
                .option("http.pool.carrier=process")
                .option("tcp.pool.carrier=process"),
        }
    }

    fn start(self) -> (Server, SocketAddr) {
        let address = free_port();
        (self.setup(address).start(), address)
    }
}

// === impl Client ===

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// One that has been greeted.
    fn greeted(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        assert_eq!(client.line(), "welcome");
        client
    }

    fn say(&mut self, text: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(text.as_ref()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.strip_suffix("\r\n").unwrap_or_else(|| panic!("no whole line came: {line:?}")).to_owned()
    }

    fn ask(&mut self, text: &str) -> String {
        self.say(format!("{text}\r\n"));
        self.line()
    }

    fn json(&mut self, text: &str) -> Value {
        serde_json::from_str(&self.ask(text)).unwrap()
    }

    /// All that comes until the server closes.
    fn rest(mut self) -> String {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        text
    }
}

/// Whether workers have been told that this connection is closed.
fn is_told(server: &Server, uuid: &str) -> bool {
    let path = server.root().join("closed");
    wait_until(PATIENCE, || fs::read_to_string(&path).is_ok_and(|closed| closed.lines().any(|line| line == uuid)))
}

every_kind! {
    fn messages_reach_workers_and_commands_reach_clients(kind: Kind) {
        let (server, address) = kind.start();
        let mut client = Client::greeted(address);
        let uuid = client.ask("uuid");
        assert_eq!(client.ask("one"), "ONE");
        client.say("two\r\nquiet\r\nthr");
        assert_eq!(client.line(), "TWO");
        client.say("ee\r");
        client.say("\n");
        assert_eq!(client.line(), "THREE");
        client.say("bye\r\nignored\r\n");
        assert_eq!(client.rest(), "bye\r\n");
        assert!(is_told(&server, &uuid));
        let mut client = Client::greeted(address);
        let uuid = client.ask("uuid");
        client.say("cut\r\n");
        assert_eq!(client.rest(), "");
        assert!(is_told(&server, &uuid));
        let mut client = Client::greeted(address);
        let uuid = client.ask("uuid");
        client.say("last words");
        client.0.get_ref().shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.rest(), "LAST WORDS");
        assert!(is_told(&server, &uuid));
    }

    fn workers_know_what_they_are_and_whom_they_serve(kind: Kind) {
        let address = free_port();
        let server = kind.setup(address).option("tcp.servers.Other.addr=127.0.0.1:0").ini("variables_order", "EGPCS").start();
        let mut client = Client::greeted(address);
        let local = client.0.get_ref().local_addr().unwrap();
        let (context, uuid) = (client.json("context"), client.ask("uuid"));
        assert_eq!(context, json!({"remote_addr": local.to_string(), "server": "echo", "uuid": uuid, "event": "DATA"}));
        assert_eq!((uuid.len(), uuid.as_bytes()[14]), (36, b'4'), "{uuid}");
        let worker = client.json("worker");
        assert_eq!((&worker["mode"], &worker["method"]), (&json!(["tcp", "tcp", "tcp"]), &Value::Null));
        assert_eq!(worker["sapi"], if kind == Kind::Native { "fpm-fcgi" } else { "cli" });
        assert_ne!(worker["pid"], json!(server.pid().as_raw()), "the supervisor runs no script");
        assert!(server.logs("127.0.0.1"), "{}", server.log.text());
    }

    fn an_error_closes_and_the_worker_lives(kind: Kind) {
        let address = free_port();
        let server = kind.setup(address).option("tcp.pool.num_workers=1").start();
        for (message, logged) in [("error", "it broke"), ("stream", "streaming is not supported")] {
            let mut client = Client::greeted(address);
            let (uuid, served) = (client.ask("uuid"), client.json("worker")["served"].as_u64().unwrap());
            client.say(format!("{message}\r\n"));
            assert_eq!(client.rest(), "", "{message}");
            assert!(is_told(&server, &uuid));
            assert!(server.logs(logged), "{message}: {}", server.log.text());
            let again = Client::greeted(address).json("worker")["served"].as_u64().unwrap();
            assert!(again > served, "{message}: the same worker serves on");
        }
        for message in ["exit", "throw"] {
            let mut client = Client::greeted(address);
            let uuid = client.ask("uuid");
            client.say(format!("{message}\r\n"));
            assert_eq!(client.rest(), "", "{message}");
            assert!(is_told(&server, &uuid), "by the next worker");
            assert_eq!(Client::greeted(address).ask("up again"), "UP AGAIN");
        }
        // A process prints where frames belong, which ends it.
        if kind != Kind::Processes {
            assert_eq!(Client::greeted(address).ask("print"), "printed");
        }
    }

    fn messages_of_any_bytes_and_any_length_up_to_the_bound(kind: Kind) {
        let address = free_port();
        let server = kind.setup(address).option("tcp.max_message_size=3").start();
        let mut client = Client::greeted(address);
        let bytes: Vec<u8> = (0..2_500_000_u32).map(|number| (number * 7 % 251) as u8).filter(|byte| *byte != b'\n').collect();
        client.say([b"hash ", &bytes[..], b"x\r\n"].concat());
        let hash = crc32fast::hash(&[&bytes[..], b"x"].concat());
        assert_eq!(client.line(), format!("{hash:08x}"));
        assert_eq!(client.ask("large 3000000").len(), 3_000_000);
        let uuid = client.ask("uuid");
        // The server stops reading at its bound, so that the client may find its connection broken.
        drop(client.0.get_mut().write_all(&vec![b'a'; 6 << 20]));
        assert!(is_told(&server, &uuid));
        assert!(server.logs("tcp.max_message_size"));
    }

    fn many_clients_do_not_get_in_each_others_way(kind: Kind) {
        let (_server, address) = kind.start();
        thread::scope(|scope| {
            for client in 0..40 {
                scope.spawn(move || {
                    let mut connection = Client::greeted(address);
                    for message in 0..20 {
                        let text = format!("client-{client} says {message}");
                        assert_eq!(connection.ask(&text), text.to_uppercase());
                    }
                });
            }
        });
    }

    fn servers_have_delimiters_of_their_own(kind: Kind) {
        let (address, piped, refusing) = (free_port(), free_port(), free_port());
        let setup = kind.setup(address).option(&format!("tcp.servers.piped.addr={piped}"));
        let setup = setup.option("tcp.servers.piped.delimiter=||").option(&format!("tcp.servers.refuse.addr=tcp://{refusing}"));
        let _server = setup.start();
        assert_eq!(Client::connect(refusing).rest(), "not today");
        let mut client = Client::connect(piped);
        client.say("a|b\r\nc|");
        client.say("|bye||");
        assert_eq!(client.rest(), "A|B\r\nC||bye\r\n");
        assert_eq!(Client::greeted(address).ask("a||b"), "A||B");
    }
}
