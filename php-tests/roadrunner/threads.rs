//! What only workers on PHP threads have, or have in another way.

use std::collections::HashSet;

use serde_json::json;

use super::{Carrier, setup, with, worker};
use crate::harness::{finish, free_port, reference};

#[test]
fn a_worker_runs_in_the_server() {
    if reference().is_some() {
        return;
    }
    let server = setup(Carrier::Threads).start();
    let seen = worker(&server);
    let pids: HashSet<_> = (0..8).map(|_| worker(&server)["pid"].to_string()).collect();
    assert_eq!(pids, HashSet::from([seen["pid"].to_string()]), "one process for all workers");
    let program = |pid: &str| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(program(&seen["pid"].to_string()), program(&server.pid().to_string()));
    assert_eq!(seen["streams"], json!([["stream", "r"], ["stream", "w"], ["stream", "w"]]));
    assert_eq!(seen["opcache"], true);
    let ini = "html_errors,register_argc_argv,implicit_flush,output_buffering,max_execution_time,max_input_time";
    let seen = server.get(&format!("/worker?ini={ini}")).send().json()["ini"].clone();
    let expected = json!({
        "html_errors": "0", "register_argc_argv": "1", "implicit_flush": "1", "output_buffering": "0",
        "max_execution_time": "0", "max_input_time": "-1",
    });
    assert_eq!(seen, expected);
}

#[test]
fn what_a_worker_prints_goes_to_the_log() {
    if reference().is_some() {
        return;
    }
    let server = setup(Carrier::Threads).start();
    let reply = server.get("/print").send();
    assert_eq!((reply.status, reply.text().as_str(), reply.header("x-not")), (200, "printed", None));
    for line in ["echoed line", "INFO  server: first half, second half"] {
        assert!(server.logs(line), "{line}: {}", server.log.text());
    }
    for _ in 0..3 {
        // As with php itself, whose output has gone to a log.
        assert_eq!(server.get("/headers").send().json(), json!([false, [], true]));
    }
    assert_eq!(server.text("/notice"), "noticed");
    assert!(server.logs("INFO  server: Warning: Undefined variable $undefined in "), "{}", server.log.text());
    assert_eq!(server.text("/text"), "went on");
    assert!(server.logs("where frames are expected: text where frames belong"));
}

#[test]
fn options_of_php_in_the_command_count() {
    if reference().is_some() {
        return;
    }
    let setup = with(Carrier::Threads, "-d precision=5 -dmemory_limit=77M -c root/own.ini root/roadrunner/worker.php");
    let server = setup.file("own.ini", "precision=3\ndefault_mimetype=text/own\n").start();
    let seen = server.get("/worker?ini=precision,memory_limit,default_mimetype").send().json();
    assert_eq!(seen["ini"], json!({"precision": "5", "memory_limit": "77M", "default_mimetype": "text/own"}));
    let setup = with(Carrier::Threads, "-r exit;");
    let output = finish(setup.command(free_port(), None), b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("server.command: option -r of php is not supported on threads"), "{said}");
    assert_eq!(output.status.code(), Some(78), "{said}");
}

#[test]
fn a_script_that_is_not_there_is_named() {
    if reference().is_some() {
        return;
    }
    let output = finish(with(Carrier::Threads, "root/nowhere.php").command(free_port(), None), b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("rr: worker script root/nowhere.php: No such file"), "{said}");
}

#[test]
fn the_php_streams_are_the_constants() {
    if reference().is_some() {
        return;
    }
    let server = setup(Carrier::Threads).option("server.env.rr_relay=php").start();
    assert_eq!(server.post("/echo", "text/plain", "through php://stdin").send().text(), "through php://stdin");
    assert_eq!(server.get("/stream").send().body.len(), 53);
}

#[test]
fn a_worker_may_wait_in_a_select() {
    if reference().is_some() {
        return;
    }
    let server = with(Carrier::Threads, "root/roadrunner/select.php").start();
    for round in 0..20 {
        let body = format!("round {round}");
        assert_eq!(server.post("/", "text/plain", body.clone()).send().text(), format!("selected: {body}"));
    }
    server.stop();
    assert!(server.log.text().contains("select.php was told to stop"), "{}", server.log.text());
}

#[test]
fn a_worker_that_reads_on_has_not_answered() {
    if reference().is_some() {
        return;
    }
    let server = setup(Carrier::Threads).threads(1).start();
    let boot = worker(&server)["boot"].clone();
    assert_eq!(server.get("/silent").send().status, 500);
    assert_eq!(worker(&server)["boot"], boot);
}

#[test]
fn a_worker_that_does_not_leave_is_made_to() {
    if reference().is_some() {
        return;
    }
    let server = with(Carrier::Threads, "root/roadrunner/deaf.php").start();
    assert_eq!(server.text("/"), "heard nothing");
    server.stop();
    assert!(server.log.text().contains("shutdown function ran"), "{}", server.log.text());
}

#[test]
fn an_answer_that_nobody_asked_for_is_nobodys() {
    if reference().is_some() {
        return;
    }
    let server = setup(Carrier::Threads).threads(1).start();
    assert_eq!(server.text("/twice"), "first");
    assert_eq!(server.post("/echo", "text/plain", "own").send().text(), "own");
    assert!(server.logs("without having been asked"), "{}", server.log.text());
}
