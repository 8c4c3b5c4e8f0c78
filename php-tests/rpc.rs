//! Remote procedure calls, by clients, by scripts and by the command line.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rr::worker::goridge::{Flags, Frame};
use serde_json::json;

use crate::harness::{Log, PATIENCE, Rpc, Server, Setup, TempDir, finish, free_port, reference, rr, server, wait_until};

/// A server with RPC, and where that is.
fn listening(setup: Setup) -> (Server, SocketAddr) {
    let address = free_port();
    let setup = setup.php("slow.php", "file_put_contents($_GET['began'], '1'); usleep((int) $_GET['ms'] * 1000); echo 'done';");
    (setup.option(&format!("rpc.listen=tcp://{address}")).start(), address)
}

/// Asks a script that takes `ms` milliseconds, and waits until it has begun.
fn busy(server: &Server, ms: u32) -> crate::harness::Connection {
    let began = server.dir().join(format!("began-{ms}"));
    let connection = server.get(&format!("/slow.php?ms={ms}&began={}", began.display())).fire();
    assert!(wait_until(PATIENCE, || began.exists()));
    connection
}

fn is_well(server: &Server, address: SocketAddr) {
    assert_eq!(Rpc::tcp(address).call("rpc.Version", &json!(true)), Ok(json!(env!("CARGO_PKG_VERSION"))));
    assert_eq!(server.text("/clean.php"), "clean ");
}

// === calls ===

#[test]
fn a_call_has_these_bytes() {
    if reference().is_some() {
        return;
    }
    let (_server, address) = listening(server());
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // As spiral/goridge 4.2 sends it: version 1 and five words; JSON; 17 bytes; checksum; no stream; call 7, a name of 13 bytes.
    let head = [0x15, 0x08, 17, 0, 0, 0, 0xb0, 0x49, 0x0c, 0x3a, 0, 0, 7, 0, 0, 0, 13, 0, 0, 0];
    stream.write_all(&head).unwrap();
    stream.write_all(b"informer.Listtrue").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head = [0x15, 0x08, 21, 0, 0, 0, 0xe7, 0xde, 0x6e, 0xb5, 0, 0, 7, 0, 0, 0, 13, 0, 0, 0];
    assert_eq!(answer, [&head[..], br#"informer.List["http"]"#].concat());
}

#[test]
fn workers_are_listed_with_what_they_do() {
    if reference().is_some() {
        return;
    }
    let (server, address) = listening(server().threads(3));
    for _ in 0..4 {
        server.text("/clean.php");
    }
    let mut running = busy(&server, 1500);
    let mut rpc = Rpc::tcp(address);
    let mut list = json!(null);
    // A worker is ready a moment after its answer is there.
    let one_works = || {
        list = rpc.call("informer.Workers", &json!("http")).unwrap();
        list["workers"].as_array().unwrap().iter().filter(|worker| worker["statusStr"] == "working").count() == 1
    };
    assert!(wait_until(PATIENCE, one_works), "{list}");
    let workers = list["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 3, "{list}");
    let total: u64 = workers.iter().map(|worker| worker["numExecs"].as_u64().unwrap()).sum();
    assert_eq!(total, 5, "{list}");
    let (working, ready): (Vec<_>, Vec<_>) = workers.iter().partition(|worker| worker["statusStr"] == "working");
    assert_eq!((working.len(), ready.iter().filter(|worker| worker["status"] == 1).count()), (1, 2), "{list}");
    assert!(working[0]["current"].as_str().unwrap().starts_with("GET /slow.php?ms=1500&began="), "{list}");
    assert!(working[0]["currentSince"].as_i64() >= working[0]["created"].as_i64(), "{list}");
    for worker in workers {
        let thread = format!("/proc/{}/comm", worker["pid"]);
        assert!(std::fs::read_to_string(&thread).unwrap().starts_with("php-http-"), "{thread}");
    }
    assert_eq!(running.read().unwrap().text(), "done");
    let mut later = json!(null);
    // A script has its answer sent before it has ended.
    let has_ended = wait_until(PATIENCE, || {
        later = rpc.call("informer.Workers", &json!("http")).unwrap();
        later["workers"].as_array().unwrap().iter().all(|worker| worker.get("current").is_none())
    });
    assert!(has_ended, "{later}");
    assert_eq!(later["workers"][0]["created"], list["workers"][0]["created"]);
}

#[test]
fn the_configuration_and_the_version_are_told() {
    if reference().is_some() {
        return;
    }
    let (_server, address) = listening(server().threads(3));
    let mut rpc = Rpc::tcp(address);
    assert_eq!(rpc.call("rpc.Version", &json!(true)), Ok(json!(env!("CARGO_PKG_VERSION"))));
    rpc.write(&Frame::new(Flags::RAW, "rpc.Config").with_options(&[9, 10]).to_bytes().unwrap()).unwrap();
    let config = rpc.read().unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config.payload["rpc.Config".len()..]).unwrap();
    assert_eq!((&config["http"]["pool"]["num_workers"], &config["rpc"]["listen"]), (&json!(3), &json!(address.to_string())));
}

#[test]
fn a_unix_socket_serves_as_well_and_goes_with_the_server() {
    if reference().is_some() {
        return;
    }
    let setup = server();
    let path = setup.scratch().join("rpc.sock");
    let server = setup.option(&format!("rpc.listen=unix://{}", path.display())).start();
    assert_eq!(Rpc::unix(&path).call("informer.List", &json!(true)), Ok(json!(["http"])));
    server.stop();
    assert!(!path.exists());
}

#[test]
fn a_script_finds_and_calls_its_own_server() {
    if reference().is_some() {
        return;
    }
    let (server, address) = listening(server().threads(2).php("call.php", CALL));
    assert_eq!(server.text("/call.php"), format!("tcp://{address} rpc.Version\"{}\"", env!("CARGO_PKG_VERSION")));
}

/// A call of `rpc.Version` in plain PHP.
const CALL: &str = r#"
    if (isset($_GET['began'])) { file_put_contents($_GET['began'], '1'); usleep(700000); }
    $socket = stream_socket_client(getenv('RR_RPC'), $code, $message, 5);
    $payload = 'rpc.Versiontrue';
    $head = pack('CCV', 0x15, 8, strlen($payload));
    fwrite($socket, $head . pack('VCCVV', crc32($head), 0, 0, 1, 11) . $payload);
    // fread() would be content with what has come so far.
    $head = stream_get_contents($socket, 20);
    echo getenv('RR_RPC'), ' ', stream_get_contents($socket, unpack('V', $head, 2)[1]);
"#;

#[test]
fn calls_are_heard_until_the_last_request_has_ended() {
    if reference().is_some() {
        return;
    }
    let (server, address) = listening(server().threads(2).php("call.php", CALL));
    let mut idle = Rpc::tcp(address);
    idle.call("rpc.Version", &json!(true)).unwrap();
    let began = server.dir().join("began");
    let mut running = server.get(&format!("/call.php?began={}", began.display())).fire();
    assert!(wait_until(PATIENCE, || began.exists()));
    server.signal(Signal::SIGTERM);
    assert!(running.read().unwrap().text().starts_with(&format!("tcp://{address} rpc.Version")));
    assert_eq!(idle.read(), None);
    assert_eq!(server.ended_within(Duration::from_secs(5)).and_then(|status| status.code()), Some(0));
}

// === abuse ===

#[test]
fn what_is_no_frame_harms_nobody() {
    if reference().is_some() {
        return;
    }
    let (server, address) = listening(server());
    let good = Frame::new(Flags::JSON, "informer.Listtrue").with_options(&[1, 13]).to_bytes().unwrap();
    let mut wrong_version = Frame::new(Flags::JSON, "").to_bytes().unwrap();
    wrong_version[..10].copy_from_slice(&[0x33, 8, 0, 0, 0, 0, 0x61, 0x9f, 0x5c, 0x03]);
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0; 4096],
        wrong_version,
        Frame::new(Flags::JSON, "informer.Listtrue").to_bytes().unwrap(),
        Frame::new(Flags::JSON, "informer.Listtrue").with_options(&[1; 10]).to_bytes().unwrap(),
        [good.clone(), b"and then nonsense".to_vec()].concat(),
    ] {
        let mut rpc = Rpc::tcp(address);
        rpc.write(&bytes).unwrap();
        while let Some(answer) = rpc.read() {
            assert_eq!(answer.payload, r#"informer.List["http"]"#, "{}", bytes.escape_ascii());
        }
    }
    // Every flipped bit of a whole request: an answer or an end, never silence and never a crash.
    for bit in 0..good.len() * 8 {
        let mut damaged = good.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&damaged).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // It may be cut off in the middle.
        _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 1000, "bit {bit}");
    }
    is_well(&server, address);
}

#[test]
fn requests_too_large_and_claims_too_long_are_told() {
    if reference().is_some() {
        return;
    }
    let (server, address) = listening(server().option("rpc.max_message=1M"));
    let mut rpc = Rpc::tcp(address);
    let large = Frame::new(Flags::JSON, vec![b'x'; 3 << 20]).with_options(&[5, 13]).to_bytes().unwrap();
    // The server need not take all of it.
    _ = rpc.write(&large);
    let answer = rpc.read().expect("a reason");
    assert_eq!((answer.header.flags, &answer.header.options[..]), (Flags::JSON | Flags::ERROR, &[5, 0][..]));
    assert_eq!(answer.payload, "rpc: a request of 3145728 bytes is larger than rpc.max_message, 1048576");
    assert_eq!(rpc.read(), None);
    let mut rpc = Rpc::tcp(address);
    rpc.write(&Frame::new(Flags::JSON, "informer.List").with_options(&[6, u32::MAX]).to_bytes().unwrap()).unwrap();
    assert!(rpc.read().unwrap().payload.starts_with(b"rpc: a method's name of 4294967295 bytes"));
    is_well(&server, address);
}

#[test]
fn half_frames_and_many_connections_are_bounded() {
    if reference().is_some() {
        return;
    }
    let (server, address) = listening(server().option("rpc.max_connections=40").option("rpc.timeout=1s"));
    let whole = Frame::new(Flags::JSON, "informer.Listtrue").with_options(&[1, 13]).to_bytes().unwrap();
    let half: Vec<Rpc> = (0..100)
        .map(|number| {
            let mut rpc = Rpc::tcp(address);
            rpc.write(&whole[..1 + number % (whole.len() - 1)]).unwrap();
            rpc
        })
        .collect();
    // They hold every place there is, and are thrown out of it in their turn.
    is_well(&server, address);
    for mut rpc in half {
        assert_eq!(rpc.read(), None);
    }
    let idle: Vec<_> = (0..39).map(|_| Rpc::tcp(address)).collect();
    is_well(&server, address);
    drop(idle);
    is_well(&server, address);
    let before = descriptors(&server);
    let again: Vec<_> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    drop(again);
    assert!(wait_until(PATIENCE, || descriptors(&server) <= before), "{before} before, {} after", descriptors(&server));
    is_well(&server, address);
}

fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

#[test]
fn many_callers_get_their_own_answers() {
    if reference().is_some() {
        return;
    }
    let (server, address) = listening(server());
    std::thread::scope(|scope| {
        for caller in 0..20 {
            scope.spawn(move || {
                let mut rpc = Rpc::tcp(address);
                for round in 0..100 {
                    let unknown = format!("caller-{caller}.Round{round}");
                    let error = rpc.call(&unknown, &json!(true)).unwrap_err();
                    assert_eq!(error, format!("rpc: can't find service {unknown}"));
                }
                // Pipelined: every number comes back once.
                let mut sent: Vec<u32> = (0..100).map(|_| rpc.send("informer.Workers", &json!("http"))).collect();
                for _ in 0..100 {
                    let number = rpc.read().unwrap().header.options[0];
                    sent.retain(|other| *other != number);
                }
                assert!(sent.is_empty(), "{sent:?}");
            });
        }
    });
    is_well(&server, address);
}

// === the command line ===

fn run(server: &Server, arguments: &[&str]) -> Output {
    let mut command = rr();
    command.args(arguments).current_dir(server.dir());
    finish(command, b"")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server that has nothing but its configuration file.
struct Configured {
    dir: TempDir,
    rpc: SocketAddr,
    child: Child,
    log: Log,
}

impl Configured {
    /// The exit code, which must come.
    fn ended(&mut self) -> Option<i32> {
        ended(&mut self.child)
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // Nothing to do if it has ended as it should.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Starts one, with what else the command line is to say.
fn configured(arguments: &[&str]) -> Configured {
    let dir = TempDir::new();
    let (http, rpc) = (free_port(), free_port());
    dir.write("public/index.php", "<?php echo 'served';");
    let config = format!(
        "version: \"3\"\nhttp:\n  address: {http}\n  root: public\n  pool: {{ num_workers: 2 }}\nrpc:\n  listen: tcp://{rpc}\n"
    );
    dir.write(".rr.yaml", config);
    let mut command = rr();
    command.arg("serve").args(arguments).current_dir(dir.path());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = Log::default();
    log.follow(child.stderr.take().unwrap());
    log.follow(child.stdout.take().unwrap());
    let server = Configured { dir, rpc, child, log };
    // The banner comes last.
    assert!(server.log.contains("  threads ", PATIENCE), "{}", server.log.text());
    server
}

fn ended(child: &mut Child) -> Option<i32> {
    let mut status = None;
    wait_until(PATIENCE, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    if status.is_none() {
        _ = child.kill();
        _ = child.wait();
    }
    status.and_then(|status| status.code())
}

#[test]
fn workers_are_shown_as_a_table() {
    if reference().is_some() {
        return;
    }
    let (server, address) = listening(server().threads(2));
    let listen = format!("rpc.listen=tcp://{address}");
    let mut running = busy(&server, 1200);
    let shown = run(&server, &["workers", "-o", &listen]);
    let lines: Vec<String> = out(&shown).lines().map(str::to_owned).collect();
    assert_eq!((shown.status.code(), lines.len()), (Some(0), 8), "{}{}", out(&shown), err(&shown));
    assert!(lines[7].starts_with("Memory: ") && lines[7].ends_with("; measure: none"), "{lines:#?}");
    assert_eq!(lines[0], "Workers of [http]:");
    let columns: Vec<_> = lines[2].split('|').map(str::trim).filter(|name| !name.is_empty()).collect();
    assert_eq!(columns, ["PID", "STATUS", "EXECS", "MEMORY", "CPU%", "CREATED", "REQUEST", "SINCE"]);
    let working: Vec<_> = lines.iter().filter(|line| line.contains("| working |")).collect();
    assert!(working.len() == 1 && working[0].contains("GET /slow.php?ms=1200"), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains("| ready ")).count(), 1, "{lines:#?}");
    assert_eq!(out(&run(&server, &["workers", "http", "-o", &listen])).lines().count(), 8);
    let unknown = run(&server, &["workers", "jobs", "-o", &listen]);
    assert_eq!(
        (unknown.status.code(), err(&unknown).as_str()),
        (Some(1), "rr: the server has no workers of a plugin \"jobs\"\n")
    );
    assert_eq!(running.read().unwrap().text(), "done");
}

#[test]
fn workers_are_watched_until_ctrl_c() {
    if reference().is_some() {
        return;
    }
    let (server, address) = listening(server().threads(1));
    let mut command = rr();
    command.args(["workers", "-i", "-o", &format!("rpc.listen=tcp://{address}")]).current_dir(server.dir());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = Log::default();
    log.follow(child.stdout.take().unwrap());
    assert!(log.contains("| 0     |", PATIENCE), "{}", log.text());
    server.text("/clean.php");
    assert!(log.contains("| 1     |", PATIENCE), "the table is drawn anew: {}", log.text());
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(ended(&mut child), Some(0), "{}", log.text());
}

#[test]
fn what_a_pool_cannot_do_is_an_error() {
    if reference().is_some() {
        return;
    }
    let (server, address) = listening(server());
    let listen = format!("rpc.listen=tcp://{address}");
    for (arguments, said) in [
        (&["reset", "nobody"][..], "rr: no such plugin: nobody\n"),
        (&["workers", "add", "nobody"], "rr: plugin nobody does not support workers management\n"),
    ] {
        let output = run(&server, &[arguments, &["-s", "-o", &listen]].concat());
        assert_eq!((output.status.code(), out(&output).as_str(), err(&output).as_str()), (Some(1), "", said), "{arguments:?}");
    }
}

#[test]
fn a_reload_without_the_configuration_file_changes_nothing() {
    if reference().is_some() {
        return;
    }
    let server = configured(&[]);
    let reload = || {
        let mut command = rr();
        command.arg("reload").args(["-o", &format!("rpc.listen=tcp://{}", server.rpc)]).current_dir(server.dir.path());
        finish(command, b"")
    };
    let (file, away) = (server.dir.path().join(".rr.yaml"), server.dir.path().join("away"));
    fs::rename(&file, &away).unwrap();
    // By itself the default would be served: a page of ours in the place of the site.
    let refused = reload();
    assert!(refused.status.code() == Some(78) && err(&refused).contains(".rr.yaml is gone"), "{}", err(&refused));
    fs::rename(&away, &file).unwrap();
    let done = reload();
    assert!(done.status.success() && out(&done).starts_with("engine 2 serves"), "{}", err(&done));
}

#[test]
fn commands_find_the_server_by_its_configuration_file() {
    if reference().is_some() {
        return;
    }
    let mut server = configured(&[]);
    let workers = |arguments: &[&str], directory: &std::path::Path| {
        let mut command = rr();
        command.arg("workers").args(arguments).current_dir(directory);
        let output = finish(command, b"");
        assert!(out(&output).starts_with("Workers of [http]:"), "{arguments:?}: {}", err(&output));
    };
    let dir = &server.dir;
    let (elsewhere, file) = (TempDir::new(), dir.path().join(".rr.yaml"));
    workers(&[], dir.path());
    workers(&["-c", file.to_str().unwrap()], elsewhere.path());
    workers(&["-w", dir.path().to_str().unwrap()], elsewhere.path());
    kill(Pid::from_raw(i32::try_from(server.child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(server.ended(), Some(0), "{}", server.log.text());
    let mut command = rr();
    command.args(["workers"]).current_dir(server.dir.path());
    let output = finish(command, b"");
    assert!(
        output.status.code() == Some(69) && err(&output).starts_with("rr: no server at tcp://127.0.0.1:"),
        "{}",
        err(&output)
    );
    assert!(err(&output).contains("is the server running") && err(&output).lines().count() == 1, "{}", err(&output));
}

#[test]
fn without_rpc_listen_commands_say_so_and_an_empty_file_is_enough_with_it() {
    if reference().is_some() {
        return;
    }
    let dir = TempDir::new();
    dir.write(".rr.yaml", "");
    let run = |arguments: &[&str]| {
        let mut command = rr();
        command.args(arguments).current_dir(dir.path());
        finish(command, b"")
    };
    for command in ["workers", "reset"] {
        let output = run(&[command]);
        assert!(output.status.code() == Some(78) && err(&output).starts_with("rr: rpc.listen is not set"), "{}", err(&output));
    }
    // As Laravel Octane reloads.
    let address = free_port();
    let output = run(&["reset", "-o", &format!("rpc.listen=tcp://{address}"), "-s"]);
    assert!(err(&output).starts_with(&format!("rr: no server at tcp://{address} (rpc.listen)")), "{}", err(&output));
}

#[test]
fn stop_ends_the_server_that_wrote_the_pid_file() {
    if reference().is_some() {
        return;
    }
    for force in [false, true] {
        let mut server = configured(&["-p"]);
        let pid = std::fs::read_to_string(server.dir.path().join(".pid")).unwrap();
        assert_eq!(pid, server.child.id().to_string());
        let mut command = rr();
        command.arg("stop").args(force.then_some("-f")).current_dir(server.dir.path());
        let stopped = finish(command, b"");
        assert_eq!(
            (stopped.status.code(), out(&stopped)),
            (Some(0), format!("stopping process with PID: {pid}\n")),
            "{}",
            err(&stopped)
        );
        assert_eq!(server.ended(), Some(0), "{}", server.log.text());
        assert!(!server.dir.path().join(".pid").exists());
        let mut command = rr();
        command.arg("stop").current_dir(server.dir.path());
        let missing = finish(command, b"");
        assert!(missing.status.code() == Some(69) && err(&missing).contains("rr serve -p"), "{}", err(&missing));
    }
}

#[test]
fn a_server_that_cannot_listen_leaves_the_pid_file_of_the_one_that_does() {
    if reference().is_some() {
        return;
    }
    for supervisor in ["engine.supervisor=true", "engine.supervisor=false"] {
        let mut server = configured(&["-p"]);
        let mut command = rr();
        command.args(["serve", "-p", "-o", supervisor]).current_dir(server.dir.path());
        let second = finish(command, b"");
        assert!(second.status.code() == Some(71) && err(&second).contains("address in use"), "{}", err(&second));
        let pid = std::fs::read_to_string(server.dir.path().join(".pid")).unwrap();
        assert_eq!(pid, server.child.id().to_string());
        let mut command = rr();
        command.arg("stop").current_dir(server.dir.path());
        assert!(finish(command, b"").status.success());
        assert_eq!(server.ended(), Some(0), "{}", server.log.text());
    }
}

#[test]
fn stop_spares_a_process_that_has_a_dead_server_s_number() {
    if reference().is_some() {
        return;
    }
    let dir = TempDir::new();
    let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
    dir.write(".pid", stranger.id().to_string());
    let mut command = rr();
    command.arg("stop").current_dir(dir.path());
    let output = finish(command, b"");
    let is_alive = stranger.try_wait().unwrap().is_none();
    _ = stranger.kill();
    _ = stranger.wait();
    assert!(is_alive && output.status.code() == Some(69), "{}", err(&output));
    assert!(err(&output).contains("was left behind by a server that has ended"), "{}", err(&output));
}

#[test]
fn an_rpc_port_in_use_is_said_in_one_line() {
    if reference().is_some() {
        return;
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let dir = TempDir::new();
    let mut command = rr();
    command.args(["serve", "-o", &format!("http.address={}", free_port()), "-o", &format!("rpc.listen=tcp://{address}")]);
    command.current_dir(dir.path());
    let output = finish(command, b"");
    assert_eq!(
        err(&output),
        format!("rr: rpc.listen: cannot listen on {address}: address in use; another server listens there\n")
    );
    assert_eq!(output.status.code(), Some(71));
}

#[test]
fn the_version_line_is_read_by_roadrunner_s_tools() {
    if reference().is_some() {
        return;
    }
    for flag in ["-v", "--version"] {
        let mut command = rr();
        command.arg(flag);
        let line = out(&finish(command, b""));
        // Laravel Octane: starts so, and the third word is the version.
        assert!(line.starts_with("rr version ") && line.split(' ').nth(2) == Some(env!("CARGO_PKG_VERSION")), "{line}");
        assert!(line.contains("(build time: ") && line.contains(", OS: linux, arch: ") && line.lines().count() == 1, "{line}");
    }
}
