//! TCP servers in an operator's hands: calls, reloads, stops, and configurations.

use std::{fs, net::TcpStream, process::Stdio};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use super::{Client, every_kind, is_told};
use crate::harness::{Log, PATIENCE, Rpc, Server, TempDir, copy_tree, finish, fixtures, free_port, reference, rr, wait_until};

every_kind! {
    fn a_connection_is_closed_by_a_call_and_workers_are_shown(kind: Kind) {
        let (address, calls) = (free_port(), free_port());
        let server = kind.setup(address).option(&format!("rpc.listen=tcp://{calls}")).start();
        let mut rpc = Rpc::tcp(calls);
        let mut client = Client::greeted(address);
        let uuid = client.ask("uuid");
        assert_eq!(rpc.call("tcp.Close", &json!("no-such-connection")), Ok(json!(true)));
        assert_eq!(client.ask("still here"), "STILL HERE");
        assert_eq!(rpc.call("tcp.Close", &json!(uuid)), Ok(json!(true)));
        assert_eq!(client.rest(), "");
        assert!(is_told(&server, &uuid));
        assert!(rpc.call("tcp.Open", &json!(uuid)).unwrap_err().contains("can't find method"));
        // A call while the worker is at it: closed at once, and told when it is done.
        let mut client = Client::greeted(address);
        let uuid = client.ask("uuid");
        client.say("wait go\r\n");
        assert!(wait_until(PATIENCE, || server.root().join("go-began").exists()));
        let mut list = json!(null);
        // A worker is ready a moment after its answer is there.
        let one_works = || {
            list = rpc.call("informer.Workers", &json!("tcp")).unwrap();
            list["workers"].as_array().unwrap().iter().filter(|worker| worker["statusStr"] == "working").count() == 1
        };
        assert!(wait_until(PATIENCE, one_works), "{list}");
        let workers = list["workers"].as_array().unwrap();
        let working = workers.iter().find(|worker| worker["statusStr"] == "working").unwrap();
        assert_eq!((workers.len(), &working["current"]), (2, &json!("tcp echo DATA")));
        assert_eq!(rpc.call("tcp.Close", &json!(uuid)), Ok(json!(true)));
        assert_eq!(client.rest(), "");
        assert!(!fs::read_to_string(server.root().join("closed")).unwrap().contains(&uuid));
        fs::write(server.root().join("go"), "").unwrap();
        assert!(is_told(&server, &uuid));
    }

    fn a_reset_boots_workers_anew_under_open_connections(kind: Kind) {
        let (address, calls) = (free_port(), free_port());
        let setup = kind.setup(address).option(&format!("rpc.listen=tcp://{calls}")).option("tcp.pool.num_workers=1");
        let _server = setup.start();
        let mut rpc = Rpc::tcp(calls);
        let mut client = Client::greeted(address);
        assert!(client.json("worker")["served"].as_u64() > Some(1));
        assert_eq!(rpc.call("resetter.List", &json!(true)), Ok(json!(["http", "tcp"])));
        assert_eq!(rpc.call("resetter.Reset", &json!("tcp")), Ok(json!(true)));
        assert_eq!(client.json("worker")["served"], 1);
    }

    fn a_stop_finishes_what_runs_and_tells_of_what_it_closes(kind: Kind) {
        let (server, address) = kind.start();
        let mut idle = Client::greeted(address);
        let idle_uuid = idle.ask("uuid");
        let mut busy = Client::greeted(address);
        let busy_uuid = busy.ask("uuid");
        busy.say("wait go\r\n");
        assert!(wait_until(PATIENCE, || server.root().join("go-began").exists()));
        server.signal(Signal::SIGTERM);
        assert_eq!(idle.rest(), "");
        assert!(is_told(&server, &idle_uuid));
        fs::write(server.root().join("go"), "").unwrap();
        assert_eq!(busy.rest(), "waited\r\n");
        assert_eq!(server.ended_within(PATIENCE).unwrap().code(), Some(0), "{}", server.log.text());
        let closed = fs::read_to_string(server.root().join("closed")).unwrap();
        assert_eq!(closed, format!("{idle_uuid}\n{busy_uuid}\n"));
    }

    fn a_reload_closes_connections_and_never_the_socket(kind: Kind) {
        let (server, address) = kind.start();
        let mut client = Client::greeted(address);
        let (uuid, old) = (client.ask("uuid"), engine(&server));
        server.signal(Signal::SIGHUP);
        assert_eq!(client.rest(), "");
        assert!(is_told(&server, &uuid));
        assert!(wait_until(PATIENCE, || kill(old, None::<Signal>).is_err()), "{}", server.log.text());
        assert_eq!(Client::greeted(address).ask("again"), "AGAIN");
        assert_ne!(engine(&server), old);
    }
}

/// The one child of the supervisor: the engine that accepts.
fn engine(server: &Server) -> Pid {
    let children = || {
        let path = format!("/proc/{0}/task/{0}/children", server.pid());
        let children = fs::read_to_string(path).unwrap();
        children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect::<Vec<_>>()
    };
    assert!(wait_until(PATIENCE, || children().len() == 1), "{:?}", children());
    children()[0]
}

#[test]
fn a_configuration_of_tcp_alone_serves() {
    if reference().is_some() {
        return;
    }
    let (dir, address) = (TempDir::new(), free_port());
    copy_tree(&fixtures(), dir.path());
    for keys in ["server: { command: php tcp/frames.php }\ntcp:", "tcp:\n  worker: tcp/pull.php"] {
        let config = format!(
            "version: '3'\n{keys}\n  servers:\n    echo: {{ addr: 'tcp://{address}', delimiter: \"\\r\\n\" }}\n  pool: {{ num_workers: 1 }}\n"
        );
        dir.write(".rr.yaml", &config);
        let mut command = rr();
        command.arg("serve").current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Log::default();
        log.follow(child.stderr.take().unwrap());
        let up = wait_until(PATIENCE, || TcpStream::connect(address).is_ok());
        assert!(up, "{}", log.text());
        assert_eq!(Client::greeted(address).json("worker")["mode"][0], "tcp");
        assert!(log.contains(&format!("{address} (echo)"), PATIENCE) && !log.text().contains("http://"), "{}", log.text());
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let mut status = None;
        wait_until(PATIENCE, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(status.is_some_and(|status| status.success()), "{status:?}: {}", log.text());
    }
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    if reference().is_some() {
        return;
    }
    let dir = TempDir::new();
    copy_tree(&fixtures(), dir.path());
    for (options, reason) in [
        (&["tcp.servers.a.addr=127.0.0.1:0"][..], "tcp: no workers: set server.command, tcp.pool.command or tcp.worker"),
        (&["tcp.servers.a.addr=127.0.0.1:0", "tcp.worker=gone.php"], "tcp.worker gone.php"),
        (&["tcp.servers.a.addr=127.0.0.1:0", "tcp.pool.command=php -x w.php"], "tcp.pool.command: option -x of php"),
        (
            &["tcp.servers.a.addr=127.0.0.1:0", "tcp.pool.command=php tcp/frames.php", "http.address=127.0.0.1:0"],
            "RoadRunner workers on threads see PHP_SAPI cli",
        ),
        (&["tcp.servers.a.addr=nonsense:x", "tcp.worker=tcp/pull.php"], "tcp.servers.a.addr: expected an address"),
        (&["tcp.servers.a.addr=192.0.2.1:1", "tcp.worker=tcp/pull.php"], "tcp.servers.a.addr: cannot listen on 192.0.2.1:1"),
    ] {
        let mut command = rr();
        command.arg("serve").current_dir(dir.path());
        for option in options {
            command.args(["-o", option]);
        }
        let output = finish(command, b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(reason), "{options:?}: {said}");
    }
}
