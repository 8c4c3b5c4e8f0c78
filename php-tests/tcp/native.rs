//! `RR\Worker::waitTask()` and `RR\Task` themselves.

use crate::{
    harness::{Server, finish, free_port, reference, server},
    tcp::Client,
};

use std::net::SocketAddr;

/// A server whose only TCP worker does `code` with each `$task`; it has `$worker` too.
fn tasks(code: &str) -> (Server, SocketAddr) {
    let address = free_port();
    let code = format!(
        "$worker = new RR\\Worker; $n = 0; while ($task = $worker->waitTask()) {{ $n++; $event = json_decode($task->context())->event; {code} }}"
    );
    let setup = server().php("task.php", &code).option(&format!("tcp.servers.t.addr={address}")).option("tcp.pool.num_workers=1");
    let script = setup.document_root().join("task.php");
    (setup.option(&format!("tcp.worker={}", script.display())).start(), address)
}

#[test]
fn a_task_is_answered_once() {
    if reference().is_some() {
        return;
    }
    let (_server, address) = tasks(
        r#"
        if ($event !== 'DATA') { $worker->respond('', 'CONTINUE'); continue; }
        $said = [$task->body(), $task->body(), file_get_contents('php://input')];
        foreach ([new RR\Response(['a', 1, 'b']), 'twice'] as $answer) {
            try { $worker->respond($answer, 'WRITECLOSE'); } catch (Error $error) { $said[] = $error->getMessage(); }
        }
        try { $worker->error('late'); } catch (Error $error) { $said[] = $error->getMessage(); }
        is_file(__DIR__ . '/said') || file_put_contents(__DIR__ . '/said', json_encode($said));
        "#,
    );
    let mut client = Client::connect(address);
    client.say("ping\r\n");
    assert_eq!(client.rest(), "a1b");
    // The close has been told once the next connection is served by the only worker.
    let mut next = Client::connect(address);
    next.say("x\r\n");
    assert_eq!(next.rest(), "a1b");
    let said: Vec<String> = serde_json::from_str(&_server.text("/said")).unwrap();
    let again = "the task has been answered";
    let expected =
        ["ping\r\n", "ping\r\n", "", &format!("RR\\Worker::respond(): {again}"), &format!("RR\\Worker::error(): {again}")];
    assert_eq!(said, expected);
}

#[test]
fn a_task_without_an_answer_closes_and_what_is_set_is_reset() {
    if reference().is_some() {
        return;
    }
    let (server, address) = tasks(
        "if ($event !== 'DATA') { $worker->respond(ini_get('precision') . \"\\r\\n\", 'WRITE'); continue; } ini_set('precision', 3); header('X-A: b'); if ($task->body() === \"say\\r\\n\") { $worker->respond(\"said $n\\r\\n\", 'WRITE'); }",
    );
    let mut client = Client::connect(address);
    assert_eq!((client.line(), client.ask("say")), ("14".into(), "said 2".into()));
    client.say("nothing\r\n");
    assert_eq!(client.rest(), "");
    assert!(server.logs("tcp t DATA: the worker script left it without a complete answer"), "{}", server.log.text());
    let mut client = Client::connect(address);
    assert_eq!((client.line(), client.ask("say")), ("14".into(), "said 6".into()));
}

#[test]
fn requests_and_tasks_are_not_mixed_up() {
    if reference().is_some() {
        return;
    }
    for (key, code, reason) in [
        (
            "tcp.worker",
            "(new RR\\Worker)->waitRequest();",
            "RR\\Worker::waitRequest(): this worker is given tasks, not requests: call RR\\Worker::waitTask()",
        ),
        ("tcp.worker", "rr_handle_request(fn () => 0);", "rr_handle_request(): this worker is given tasks"),
        (
            "http.worker",
            "(new RR\\Worker)->waitTask();",
            "RR\\Worker::waitTask(): this worker is given requests, not tasks: call RR\\Worker::waitRequest()",
        ),
    ] {
        let setup = server().php("w.php", code).option("tcp.servers.t.addr=127.0.0.1:0");
        let (wrong, good) = (setup.document_root().join("w.php"), setup.document_root().join("tcp/pull.php"));
        let setup = setup.option(&format!("tcp.worker={}", good.display())).option(&format!("{key}={}", wrong.display()));
        let output = finish(setup.command(free_port(), None), b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(reason), "{said}");
    }
    let code = "$worker = new RR\\Worker; while ($worker->waitRequest()) { try { $worker->respond('x', 'WRITE'); } catch (ValueError $error) { $worker->respond($error->getMessage()); } }";
    let setup = server().php("w.php", code);
    let script = setup.document_root().join("w.php");
    let server = setup.option(&format!("http.worker={}", script.display())).start();
    let text = server.text("/");
    assert_eq!(text, "RR\\Worker::respond(): Argument #2 ($context) must be empty: the answer to a request has no context");
}
