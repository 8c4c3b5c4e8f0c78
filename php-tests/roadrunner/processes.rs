//! What only workers in processes of their own have.

use std::{path::PathBuf, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Carrier, setup, with, with_php, worker};
use crate::harness::{PATIENCE, finish, free_port, reference, server, wait_until};

fn is_gone(pid: &serde_json::Value) -> bool {
    let pid = Pid::from_raw(pid.as_i64().unwrap().try_into().unwrap());
    // One that was killed with its parent is reaped by whoever inherited it.
    kill(pid, None) == Err(Errno::ESRCH)
        || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn nothing_is_left_behind() {
    if reference().is_some() {
        return;
    }
    let server = setup(Carrier::Processes).threads(1).start();
    let pid = worker(&server)["pid"].clone();
    assert_ne!(pid, serde_json::json!(server.pid().as_raw()));
    // A hurried stop kills what the worker has started, too.
    let child: serde_json::Value = serde_json::from_str(&server.text("/background")).unwrap();
    let _running = server.get("/sleep").fire();
    assert!(wait_until(PATIENCE, || server.log.text().contains("falls asleep")));
    server.signal(Signal::SIGTERM);
    assert!(server.logs("stopping"));
    server.signal(Signal::SIGTERM);
    assert!(server.ended_within(PATIENCE).is_some());
    assert!(wait_until(PATIENCE, || is_gone(&pid)), "the worker lives");
    assert!(wait_until(PATIENCE, || is_gone(&child)), "its child lives");
}

#[test]
fn a_graceful_stop_reaps_the_workers() {
    if reference().is_some() {
        return;
    }
    let server = setup(Carrier::Processes).threads(1).start();
    let pid = worker(&server)["pid"].clone();
    server.stop();
    assert!(is_gone(&pid));
    assert!(server.log.text().contains("left the loop after 1"), "{}", server.log.text());
}

#[test]
fn an_idle_worker_that_dies_is_replaced_at_once() {
    if reference().is_some() {
        return;
    }
    let server = setup(Carrier::Processes).threads(1).start();
    let before = worker(&server);
    let pid = Pid::from_raw(before["pid"].as_i64().unwrap().try_into().unwrap());
    kill(pid, Signal::SIGKILL).unwrap();
    assert!(server.logs("a worker is replaced: it ended with signal: 9"), "{}", server.log.text());
    let after = worker(&server);
    assert_ne!(before["pid"], after["pid"]);
}

#[test]
fn workers_are_replaced_by_the_supervisors_rules() {
    if reference().is_some() {
        return;
    }
    let tick = "http.pool.supervisor.watch_tick=100ms";
    for rule in ["ttl=300ms", "idle_ttl=200ms", "max_worker_memory=1"] {
        let server = setup(Carrier::Processes).threads(1).option(tick).option(&format!("http.pool.supervisor.{rule}")).start();
        let before = worker(&server);
        assert!(wait_until(PATIENCE, || std::fs::metadata(format!("/proc/{}", before["pid"])).is_err()), "{rule}");
        assert_ne!(worker(&server)["boot"], before["boot"], "{rule}");
    }
}

#[test]
fn workers_with_a_socket_survive_a_reload() {
    if reference().is_some() {
        return;
    }
    let setup = with(Carrier::Processes, "root/roadrunner/worker.php");
    let address = format!("unix://{}", setup.scratch().join("relay.sock").display());
    let server = setup.option(&format!("server.relay={address}")).start();
    let before = worker(&server)["boot"].clone();
    server.signal(Signal::SIGUSR2);
    assert!(wait_until(PATIENCE, || worker(&server)["boot"] != before));
    assert_eq!(server.post("/echo", "text/plain", "again").send().text(), "again");
    server.stop();
    assert!(
        std::fs::read_dir(server.dir()).unwrap().all(|entry| !entry.unwrap().file_name().to_string_lossy().contains(".sock"))
    );
}

#[test]
fn workers_die_with_the_engine() {
    if reference().is_some() {
        return;
    }
    let server = setup(Carrier::Processes).threads(1).start();
    let pid = worker(&server)["pid"].clone();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let engine: i32 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_ne!(engine, server.pid().as_raw());
    let _running = server.get("/sleep").fire();
    assert!(server.logs("falls asleep"));
    kill(Pid::from_raw(engine), Signal::SIGKILL).unwrap();
    assert!(wait_until(PATIENCE, || is_gone(&pid)));
    assert!(wait_until(PATIENCE, || server.get("/nothing").try_send().is_ok_and(|reply| reply.status == 404)));
}

#[test]
fn workers_may_connect_to_a_socket() {
    if reference().is_some() {
        return;
    }
    let unix = |setup: &crate::harness::Setup| format!("unix://{}", setup.scratch().join("relay.sock").display());
    let tcp = |_: &crate::harness::Setup| format!("tcp://{}", free_port());
    for relay in [&unix as &dyn Fn(&_) -> _, &tcp] {
        // Named or not, a socket means processes.
        let setup = with(Carrier::Processes, "root/roadrunner/worker.php");
        let address = relay(&setup);
        let server = setup.option(&format!("server.relay={address}")).start();
        assert_eq!(worker(&server)["server"]["RR_RELAY"], address.as_str());
        assert_eq!(server.post("/echo", "text/plain", "connected").send().text(), "connected");
        assert_eq!(server.get("/stream").send().body.len(), 53);
        assert_eq!(server.get("/exit").send().status, 500);
        assert_eq!(server.get("/exit").send().status, 500);
        assert_eq!(server.post("/echo", "text/plain", "again").send().text(), "again");
        // Standard output is free, and so is for people.
        assert_eq!(server.text("/print"), "printed");
        assert!(server.logs("echoed line"));
        server.stop();
        let path = address.strip_prefix("unix://").map(PathBuf::from);
        assert!(path.is_none_or(|path| !path.exists()));
    }
}

#[test]
fn any_program_can_be_a_worker() {
    if reference().is_some() {
        return;
    }
    let setup = with_php(server()).option("server.command=sh,-c,exec php root/roadrunner/worker.php");
    let server = setup.start();
    let seen = worker(&server);
    assert_eq!((&seen["sapi"], &seen["argc"]), (&"cli".into(), &1.into()));
    assert_ne!(seen["pid"], serde_json::json!(server.pid().as_raw()));
}

#[test]
fn a_program_that_cannot_work_is_told_about() {
    if reference().is_some() {
        return;
    }
    for (command, reason) in [
        ("no-such-program root/x", "no-such-program root/x: No such file"),
        ("sh,-c,echo Could not open input file", "Could not open input file"),
        ("sh,-c,echo broken >&2; exit 7", "it ended with exit status: 7: broken"),
        ("sleep 100", "it was not ready within"),
    ] {
        let setup = server().option(&format!("server.command={command}")).option("http.pool.allocate_timeout=500ms");
        let output = finish(setup.command(free_port(), None), b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("rr: pool http: ") && last.contains(reason), "{command}: {said}");
        assert!(!output.status.success());
    }
}

#[test]
fn a_worker_that_cannot_be_replaced_is_tried_again_with_pauses() {
    if reference().is_some() {
        return;
    }
    let setup = with(Carrier::Processes, "root/flag.php").option("http.pool.carrier=process").threads(1);
    let flag = setup.scratch().join("broken");
    let code = format!(
        "if (file_exists('{}')) {{ fwrite(STDERR, \"cannot start\\n\"); exit(9); }} require __DIR__ . '/roadrunner/worker.php';",
        flag.display()
    );
    let server = setup.php("flag.php", &code).start();
    worker(&server);
    std::fs::write(&flag, "").unwrap();
    assert_eq!(server.get("/exit").send().status, 500);
    assert!(server.logs("a worker did not start: it ended with exit status: 9: cannot start"), "{}", server.log.text());
    std::thread::sleep(Duration::from_millis(1500));
    let tries = server.log.text().matches("a worker did not start").count();
    assert!((2..=6).contains(&tries), "{tries} in 1.5 s");
    std::fs::remove_file(&flag).unwrap();
    assert_eq!(server.post("/echo", "text/plain", "back").send().text(), "back");
}
