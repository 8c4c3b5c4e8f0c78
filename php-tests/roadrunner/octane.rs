//! The command line that Laravel Octane starts a server with, and what it reads from its output.

use std::{path::Path, process::Stdio};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::harness::{Log, PATIENCE, Request, TempDir, copy_tree, finish, fixtures, free_port, reference, rr, wait_until};

/// What Octane 2 gives, but for the addresses and paths.
fn options(dir: &Path, http: &str, rpc: &str) -> Vec<String> {
    let (script, public) = (dir.join("roadrunner/worker.php"), dir.join("public"));
    [
        "version=3".to_owned(),
        format!("http.address={http}"),
        format!("server.command=/usr/bin/php,{}", script.display()),
        "http.pool.num_workers=0".to_owned(),
        "http.pool.max_jobs=500".to_owned(),
        format!("rpc.listen=tcp://{rpc}"),
        "http.pool.supervisor.exec_ttl=30s".to_owned(),
        format!("http.static.dir={}", public.display()),
        "http.middleware=static".to_owned(),
        "logs.mode=production".to_owned(),
        "logs.level=debug".to_owned(),
        "logs.output=stdout".to_owned(),
        "logs.encoding=json".to_owned(),
    ]
    .into_iter()
    .flat_map(|option| ["-o".to_owned(), option])
    .collect()
}

#[test]
fn octanes_command_line_and_log_work() {
    if reference().is_some() {
        return;
    }
    let (dir, http, rpc) = (TempDir::new(), free_port(), free_port().to_string());
    copy_tree(&fixtures(), dir.path());
    dir.write("public/style.css", "from a file");
    let empty = dir.write(".rr.yaml", "");
    let mut command = rr();
    command.arg("-c").arg(&empty).args(options(dir.path(), &http.to_string(), &rpc)).arg("serve").current_dir(dir.path());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (out, errors) = (Log::default(), Log::default());
    out.follow(child.stdout.take().unwrap());
    errors.follow(child.stderr.take().unwrap());
    assert!(out.contains(" serves: http ", PATIENCE), "{}{}", out.text(), errors.text());

    assert_eq!(Request::new(http, "GET", "/style.css").send().text(), "from a file");
    assert_eq!(Request::new(http, "GET", "/print").send().text(), "printed");
    assert_eq!(Request::new(http, "GET", "/error-log").send().text(), "logged");
    assert!(out.contains("\"URI\":\"/error-log\"", PATIENCE), "{}", out.text());
    let mut reset = rr();
    reset.args(["reset", "-o", &format!("rpc.listen=tcp://{rpc}"), "-s"]).current_dir(dir.path());
    let output = finish(reset, b"");
    assert!(output.status.success() && output.stderr.is_empty(), "what is on its standard error fails octane:reload");
    assert_eq!(Request::new(http, "GET", "/echo").send().status, 200);

    // It stops what it has started, not what that has started.
    kill(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    let mut status = None;
    assert!(wait_until(PATIENCE, || {
        status = child.try_wait().unwrap();
        status.is_some()
    }));
    assert!(status.unwrap().success());
    assert_eq!(errors.text(), "", "it shows this as errors");
    let text = out.text();
    let records: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect();
    for record in &records {
        assert!(["level", "logger", "msg"].iter().all(|key| record[key].is_string()), "{record}");
    }
    let request = records.iter().find(|record| record["URI"] == "/print").unwrap();
    assert_eq!((&request["level"], &request["msg"], &request["method"]), (&"info".into(), &"http log".into(), &"GET".into()));
    assert!(request["elapsed"].is_u64() && request["status"] == 200 && request["remote_address"].is_string(), "{request}");
    for shown in ["first half, second half", "from error_log()"] {
        let record = records.iter().find(|record| record["msg"] == shown).unwrap_or_else(|| panic!("{shown}: {text}"));
        assert_eq!(record["logger"], "server", "no other is shown");
    }
}
