//! Scripts that are stuck, in everything a script can be stuck in: the client hears of it in time, and the thread goes on to serve.

mod children;
mod held;
mod library;
mod limits;
mod lost;
mod persistent;
mod seen;

use std::{net::TcpListener, path::Path, time::Duration};

use crate::harness::{PATIENCE, Server, Setup, reference, server, wait_until};

/// What the log says of a thread that had to be given up.
const GIVEN_UP: &str = "cannot be interrupted";

/// One thread, so that the next request needs the one that was stuck; a request may take a second.
fn setup() -> Option<Setup> {
    if reference().is_some() {
        return None;
    }
    let setup = server().bare().threads(1).option("http.request_timeout=1s").php("clean.php", "echo 'clean';");
    Some(setup.ini("display_errors", "0").ini("default_socket_timeout", "600").ini("max_execution_time", "0"))
}

/// Runs a script that is stuck: its client has a 504, its own shutdown functions run, and its thread serves the next request.
fn ends(server: &Server, script: &str) {
    let path = server.root().join("stuck.php");
    let mark = server.dir().join("shut-down");
    let note = format!("register_shutdown_function(fn() => touch('{}'));", mark.display());
    _ = std::fs::remove_file(&mark);
    std::fs::write(&path, format!("<?php\n{note}\n{script}\n")).unwrap();
    let reply = server.get("/stuck.php").send();
    assert_eq!(reply.status, 504, "{script}: {}\n{}", reply.text(), server.log.text());
    assert_eq!(server.text("/clean.php"), "clean", "after {script}");
    assert!(mark.exists(), "{script} was not ended in good order: {}", server.log.text());
    assert!(!server.log.text().contains(GIVEN_UP), "{script}: {}", server.log.text());
}

/// Each of these on one server, as a new file every time.
fn all_end(scripts: &[&str]) {
    let Some(setup) = setup() else { return };
    let server = setup.ini("opcache.enable", "0").start();
    for script in scripts {
        ends(&server, script);
    }
}

/// The same against a peer that takes connections and never says a word (`$address`).
fn all_end_talking_to_nobody(scripts: &[&str]) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let scripts: Vec<_> = scripts.iter().map(|script| format!("$address = '{address}'; {script}")).collect();
    all_end(&scripts.iter().map(String::as_str).collect::<Vec<_>>());
}

fn is_gone(process: &Path) -> bool {
    let text = std::fs::read_to_string(process).unwrap_or_default();
    let Ok(pid) = text.trim().parse::<u32>() else { return false };
    // A zombie has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |line| line.is_empty())
}

#[test]
fn loops_and_sleeps_end() {
    all_end(&[
        "while (true);",
        "while (true) { strlen(str_repeat('x', 1000)); }",
        "sleep(600);",
        "usleep(600_000_000);",
        "time_nanosleep(600, 0);",
        "(function () { $fiber = new Fiber(fn() => sleep(600)); $fiber->start(); })();",
    ]);
}

#[test]
fn waits_for_a_socket_end() {
    all_end_talking_to_nobody(&[
        "fread(stream_socket_client(\"tcp://$address\"), 10);",
        "$socket = stream_socket_client(\"tcp://$address\"); while (!feof($socket)) { fgets($socket); }",
        "stream_get_contents(stream_socket_client(\"tcp://$address\"));",
        "$r = [stream_socket_client(\"tcp://$address\")]; $w = $e = null; stream_select($r, $w, $e, 600);",
        "@stream_socket_client(\"tls://$address\", timeout: 600);",
        "stream_socket_accept(stream_socket_server('tcp://127.0.0.1:0'), 600);",
        "$s = socket_create(AF_INET, SOCK_STREAM, 0); socket_connect($s, ...explode(':', $address)); socket_read($s, 10);",
        "@file_get_contents(\"http://$address/\");",
    ]);
}

#[test]
fn waits_in_libraries_end() {
    all_end_talking_to_nobody(&[
        "curl_exec(curl_init(\"http://$address/\"));",
        "curl_exec(curl_init(\"https://$address/\"));",
        "$m = curl_multi_init(); curl_multi_add_handle($m, curl_init(\"http://$address/\")); do { curl_multi_exec($m, $n); curl_multi_select($m, 600); } while ($n);",
        "[$host, $port] = explode(':', $address); @pg_connect(\"host=$host port=$port user=x\");",
        "[$host, $port] = explode(':', $address); @mysqli_connect($host, 'u', 'p', 'd', (int) $port);",
        "[$host, $port] = explode(':', $address); new PDO(\"mysql:host=$host;port=$port\", 'u', 'p');",
    ]);
}

#[test]
fn waits_for_a_child_end_and_the_child_with_them() {
    let Some(setup) = setup() else { return };
    let server = setup.ini("opcache.enable", "0").start();
    let pid = server.dir().join("pid");
    let sleeper = format!("echo $$ > {}; exec sleep 600", pid.display());
    let deaf = format!("trap '' TERM; echo $$ > {}; while true; do sleep 600; done", pid.display());
    let deep = format!("sh -c 'echo $$ > {}; exec sleep 600' | cat", pid.display());
    let scripts = [
        format!("shell_exec({sleeper:?});"),
        format!("exec({sleeper:?});"),
        format!("fgets(popen({sleeper:?}, 'r'));"),
        format!("proc_close(proc_open({sleeper:?}, [], $pipes));"),
        format!("$p = proc_open({sleeper:?}, [1 => ['pipe', 'w']], $pipes); stream_get_contents($pipes[1]);"),
        format!("shell_exec({deaf:?});"),
        format!("shell_exec({deep:?});"),
    ];
    for script in scripts {
        // PHP would take the shell's variable for its own.
        ends(&server, &script.replace("$$", "\\$\\$"));
        assert!(wait_until(PATIENCE, || is_gone(&pid)), "{script} has left its child");
    }
}

#[test]
fn a_stream_on_its_way_is_broken_off() {
    let Some(setup) = setup() else { return };
    let server = setup.php("stream.php", "echo 'some'; flush(); sleep(600);").start();
    let mut connection = server.get("/stream.php").fire();
    assert_eq!(connection.read_head().unwrap().status, 200);
    assert_eq!(connection.read_chunk().unwrap().as_deref(), Some(&b"some"[..]));
    assert!(connection.read_chunk().is_err(), "a missing end must not look like one");
    assert_eq!(server.text("/clean.php"), "clean");
    assert!(!server.log.text().contains(GIVEN_UP));
}

#[test]
fn what_a_cut_off_script_prints_at_its_end_stops_nothing() {
    let Some(setup) = setup() else { return };
    let server = setup
        .php(
            "s.php",
            "register_shutdown_function(function () { for ($i = 0; $i < 100; $i++) { echo str_repeat('x', 10_000); flush(); }
                file_put_contents(dirname(__DIR__) . '/printed', 'all'); });
            sleep(600);",
        )
        .start();
    assert_eq!(server.get("/s.php").send().status, 504);
    assert_eq!(server.text("/clean.php"), "clean");
    assert_eq!(std::fs::read_to_string(server.dir().join("printed")).unwrap(), "all");
}

#[test]
fn a_worker_script_that_is_stuck_boots_again() {
    let Some(setup) = setup() else { return };
    let setup = setup.php(
        "worker.php",
        "$served = 0; while (rr_handle_request(function () use (&$served) { $served++; if (isset($_GET['stuck'])) { sleep(600); } echo $served; }));",
    );
    let script = setup.document_root().join("worker.php");
    let server = setup.option(&format!("http.worker={}", script.display())).start();
    assert!(server.log.contains("  threads ", PATIENCE), "{}", server.log.text());
    assert_eq!(server.text("/"), "1");
    assert_eq!(server.get("/?stuck").send().status, 504);
    assert_eq!(server.text("/"), "1", "it has booted again");
    assert!(!server.log.text().contains(GIVEN_UP));
}

#[test]
fn a_script_within_its_time_is_left_alone() {
    let Some(setup) = setup() else { return };
    let server = setup
        .option("http.request_timeout=600s")
        .php("s.php", "$t = hrtime(true); sleep(1); echo hrtime(true) - $t >= 1e9 ? 'slept' : 'woken', shell_exec('sleep 1; echo -n child');")
        .start();
    assert_eq!(server.text("/s.php"), "sleptchild");
    assert!(server.ended_within(Duration::ZERO).is_none());
}
