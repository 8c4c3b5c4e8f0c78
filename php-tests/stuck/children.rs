//! Processes that a script has started and does not wait for: none stays as a zombie, and none is waited for too early.

use std::fs;

use super::{GIVEN_UP, ends, setup};
use crate::harness::{PATIENCE, Server, wait_until};

/// The children of the process that runs PHP with that name, zombies too.
fn children(server: &Server, name: &str) -> usize {
    let engine = server.text("/pid.php");
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    processes
        .filter(|stat| {
            stat.contains(&format!("({name}) ")) && stat.rsplit(") ").next().unwrap()[2..].starts_with(&format!("{engine} "))
        })
        .count()
}

fn all_are_gone(server: &Server, name: &str) -> bool {
    wait_until(PATIENCE, || children(server, name) == 0)
}

const PID: &str = "echo getmypid();";
/// A child that ends after its script.
const LEAVE: &str = "$p = proc_open(['sleep', '0.2'], [], $pipes); echo 'left';";

#[test]
fn children_of_a_request_that_a_limit_has_ended_are_no_zombies() {
    let Some(setup) = setup() else { return };
    let server = setup.ini("opcache.enable", "0").php("pid.php", PID).start();
    for script in [
        "$p = proc_open(['sleep', '100'], [1 => ['pipe', 'w']], $pipes); fgets($pipes[1]);",
        "$p = popen('exec sleep 100', 'r'); fgets($p);",
    ] {
        ends(&server, script);
        assert!(all_are_gone(&server, "sleep"), "{script}");
    }
}

#[test]
fn children_that_a_script_leaves_are_no_zombies() {
    let Some(setup) = setup() else { return };
    let many = "for ($i = 0; $i < 50; $i++) { $all[] = proc_open(['sleep', '0.2'], [], $pipes); } echo 'left';";
    let server =
        setup.php("pid.php", PID).php("leave.php", LEAVE).php("many.php", many).option("http.request_timeout=60s").start();
    for script in ["/leave.php", "/leave.php", "/many.php"] {
        assert_eq!(server.text(script), "left");
    }
    assert!(all_are_gone(&server, "sleep"));
}

#[test]
fn a_script_has_the_exit_status_of_its_own_children() {
    let Some(setup) = setup() else { return };
    let status = "$a = proc_open(['sh', '-c', 'exit 7'], [], $x); $b = proc_open(['sh', '-c', 'exit 8'], [], $x); $c = popen('exit 9', 'r');
        $running = proc_open(['sleep', '3'], [], $x); proc_get_status($running); $stopped = proc_open(['sleep', '100'], [], $x);
        proc_terminate($stopped, 19); do { $s = proc_get_status($stopped); } while (!$s['stopped']); usleep(2_500_000);
        proc_terminate($stopped, 9); do { $s = proc_get_status($stopped); } while ($s['running']);
        echo proc_get_status($a)['exitcode'], ' ', proc_close($b), ' ', pclose($c), ' ', proc_close($running), ' ', $s['termsig'];";
    let server = setup
        .threads(2)
        .php("pid.php", PID)
        .php("leave.php", LEAVE)
        .php("status.php", status)
        .option("http.request_timeout=60s")
        .start();
    let mut client = server.get("/status.php").fire();
    for _ in 0..10 {
        assert_eq!(server.text("/leave.php"), "left");
    }
    assert_eq!(client.read().unwrap().text(), "7 8 9 0 9");
    assert!(all_are_gone(&server, "sleep") && all_are_gone(&server, "sh"));
}

#[test]
fn a_worker_keeps_its_children_and_leaves_no_zombies() {
    let Some(setup) = setup() else { return };
    let setup = setup.option("http.request_timeout=60s").php(
        "worker.php",
        "$kept = null; $handle = function () use (&$kept) {
            if (isset($_GET['keep'])) { $kept = proc_open(['sh', '-c', 'sleep 0.2; exit 7'], [], $x); }
            if (isset($_GET['leave'])) { proc_open(['sleep', '0.2'], [], $x); }
            if (isset($_GET['ended'])) { $status = proc_get_status($kept); echo $status['running'] ? 'runs' : $status['exitcode']; return; }
            echo getmypid(); }; while (rr_handle_request($handle));",
    );
    let script = setup.document_root().join("worker.php");
    let server = setup.option(&format!("http.worker={}", script.display())).start();
    let engine = server.text("/?keep");
    for _ in 0..5 {
        assert_eq!(server.text("/?leave"), engine);
    }
    let pid = server.text("/pid.php");
    assert_eq!(pid, engine);
    // The shell that is kept is one of its children too.
    assert!(all_are_gone(&server, "sleep"));
    assert!(wait_until(PATIENCE, || server.text("/?ended") == "7"), "{}", server.text("/?ended"));
    assert!(all_are_gone(&server, "sh"));
    assert!(!server.log.text().contains(GIVEN_UP));
}
