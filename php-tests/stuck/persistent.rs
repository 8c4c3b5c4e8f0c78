//! Connections that outlive a script do not outlive one that a limit has ended: its peers would keep its locks for it.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
};

use super::{GIVEN_UP, ends, setup};
use crate::harness::PATIENCE;

/// Both ways to such a connection, to `$port`.
const OPENERS: [&str; 2] = [
    "pfsockopen('127.0.0.1', $port)",
    "stream_socket_client(\"tcp://127.0.0.1:$port\", flags: STREAM_CLIENT_CONNECT | STREAM_CLIENT_PERSISTENT)",
];

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// The next connection; one that is already there.
fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// All that its peer has said, once that has closed it.
fn last_words(mut peer: TcpStream) -> String {
    let mut said = String::new();
    peer.read_to_string(&mut said).expect("the peer has not closed its connection");
    said
}

#[test]
fn a_request_ended_by_a_limit_closes_its_persistent_connections() {
    let Some(setup) = setup() else { return };
    let (listener, port) = listener();
    let server = setup.ini("opcache.enable", "0").start();
    for opener in OPENERS {
        for stuck in ["sleep(600);", "fread($c, 10);", "while (true);"] {
            ends(&server, &format!("$port = {port}; $c = {opener}; fwrite($c, 'locked'); {stuck}"));
            assert_eq!(last_words(accept(&listener)), "locked", "{opener}, {stuck}");
        }
    }
}

#[test]
fn a_request_that_ends_by_itself_keeps_them_for_the_next() {
    let Some(setup) = setup() else { return };
    let (listener, port) = listener();
    let server = setup.php("keep.php", &format!("$port = {port}; fwrite({}, 'x'); echo 'kept';", OPENERS[0])).start();
    for _ in 0..3 {
        assert_eq!(server.text("/keep.php"), "kept");
    }
    let kept = accept(&listener);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "there is a second connection");
    drop(server);
    assert_eq!(last_words(kept), "xxx");
}

#[test]
fn a_worker_that_is_ended_or_starts_afresh_closes_them() {
    for jobs in ["0", "2"] {
        let Some(setup) = setup() else { return };
        let (listener, port) = listener();
        let setup = setup.option(&format!("http.pool.max_jobs={jobs}")).php(
            "worker.php",
            &format!(
                "$port = {port}; $c = {}; fwrite($c, 'booted'); while (rr_handle_request(function () {{ if (isset($_GET['stuck'])) {{ sleep(600); }} echo 'served'; }}));",
                OPENERS[0]
            ),
        );
        let script = setup.document_root().join("worker.php");
        let server = setup.option(&format!("http.worker={}", script.display())).start();
        let first = accept(&listener);
        assert_eq!(server.text("/"), "served");
        match jobs {
            "0" => assert_eq!(server.get("/?stuck").send().status, 504),
            _ => assert_eq!(server.text("/"), "served"),
        }
        assert_eq!(last_words(first), "booted", "max_jobs={jobs}");
        assert_eq!(server.text("/"), "served", "it has booted again");
        let second = accept(&listener);
        assert!(!server.log.text().contains(GIVEN_UP));
        drop(server);
        assert_eq!(last_words(second), "booted");
    }
}

#[test]
fn a_context_that_is_made_anew_closes_them() {
    let Some(setup) = setup() else { return };
    let (listener, port) = listener();
    let script = format!("$port = {port}; fwrite({}, 'x'); echo 'kept';", OPENERS[1]);
    let server = setup.option("http.pool.max_jobs=1").php("keep.php", &script).start();
    assert_eq!(server.text("/keep.php"), "kept");
    assert_eq!(last_words(accept(&listener)), "x");
    assert_eq!(server.text("/clean.php"), "clean");
}
