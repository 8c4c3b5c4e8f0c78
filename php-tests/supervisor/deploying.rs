//! `rr reload` and `rr rollback` return when what was served before may be deleted.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Child,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{engine, is_gone, operator::started, site, waiting};
use crate::harness::{Server, free_port, reference};

/// Makes the release `number` and has `current` lead to it.
fn deploy(folder: &Path, number: usize) -> PathBuf {
    let release = folder.join(number.to_string());
    fs::create_dir_all(&release).unwrap();
    fs::write(release.join("page.php"), "<?php echo 'page';").unwrap();
    fs::write(release.join("style.css"), "a { color: red }").unwrap();
    let fresh = folder.join("fresh");
    symlink(&release, &fresh).unwrap();
    fs::rename(&fresh, folder.join("current")).unwrap();
    release
}

/// Asks on connections that idle for so long between two requests, until all is `over`: how many answers, and what was wrong.
fn browse(server: &Server, idle: Duration, over: &AtomicBool) -> (usize, Vec<String>) {
    let (mut answers, mut wrong) = (0, Vec::new());
    let mut connection = server.connect();
    for target in ["/page.php", "/style.css"].iter().cycle() {
        match connection.send(&server.get(target)) {
            Ok(reply) => {
                answers += 1;
                wrong.extend((reply.status != 200).then(|| format!("{target} after {idle:?}: {}", reply.status)));
                if reply.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                    connection = server.connect();
                }
            }
            // Closed in passing, which is another matter.
            Err(_) => connection = server.connect(),
        }
        if over.load(Ordering::Relaxed) {
            break;
        }
        thread::sleep(idle);
    }
    (answers, wrong)
}

#[test]
fn what_was_served_before_may_be_deleted_when_a_reload_returns() {
    if reference().is_some() {
        return;
    }
    let address = free_port();
    let setup = site().option(&format!("rpc.listen=tcp://{address}"));
    let folder = setup.scratch().join("releases");
    let mut release = deploy(&folder, 1);
    let server = setup.root(&folder.join("current")).preset("files").start();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let idle = [1, 300, 1000, 3000].map(Duration::from_millis);
        let clients = idle.map(|idle| {
            scope.spawn({
                let (server, over) = (&server, &over);
                move || browse(server, idle, over)
            })
        });
        let deploys = (2..=3).map(|number| {
            let next = deploy(&folder, number);
            let output = started(address, &["reload"]).wait_with_output().unwrap();
            fs::remove_dir_all(std::mem::replace(&mut release, next)).unwrap();
            output
        });
        let outputs: Vec<_> = deploys.collect();
        over.store(true, Ordering::Relaxed);
        for client in clients {
            let (answers, wrong) = client.join().unwrap();
            assert!(answers > 1 && wrong.is_empty(), "{answers} answers, {wrong:?}: {}", server.log.text());
        }
        assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
    });
    server.stop();
}

/// A server whose first engine, which is returned, is busy with a request, and where it is called.
fn busy() -> (Server, SocketAddr, Pid, crate::harness::Connection) {
    let address = free_port();
    let server = site().option("engine.grace_period=60s").option(&format!("rpc.listen=tcp://{address}")).start();
    let (running, _) = waiting(&server);
    let first = engine(&server);
    (server, address, first, running)
}

/// The next lines of a command's two streams, in which a complaint comes second.
fn lines(command: &mut Child) -> (String, BufReader<std::process::ChildStderr>) {
    let (mut said, mut complaint) = (String::new(), String::new());
    BufReader::new(command.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let mut complaints = BufReader::new(command.stderr.take().unwrap());
    complaints.read_line(&mut complaint).unwrap();
    (format!("{said}{complaint}"), complaints)
}

#[test]
fn a_reload_says_what_it_waits_for_and_whether_that_was_killed() {
    if reference().is_some() {
        return;
    }
    let (server, address, first, mut running) = busy();
    let mut reload = started(address, &["reload"]);
    let (said, mut complaints) = lines(&mut reload);
    let waits = format!("rr: waiting for engine 1, process {first}, to finish 1 request within ");
    assert!(said.starts_with("engine 2 serves, after ") && said.contains(&waits), "{said}");
    kill(first, Signal::SIGKILL).unwrap();
    let mut complaint = String::new();
    complaints.read_line(&mut complaint).unwrap();
    assert_eq!(complaint, "rr: engine 1 has not finished what it had begun: killed by SIGKILL\n");
    assert!(reload.wait().unwrap().success(), "{}", server.log.text());
    assert!(running.read().is_err());
    server.stop();
}

#[test]
fn a_rollback_waits_until_the_engine_before_has_ended() {
    if reference().is_some() {
        return;
    }
    let (server, address, first, mut running) = busy();
    let output = started(address, &["reload", "--no-wait"]).wait_with_output().unwrap();
    assert!(output.status.success() && kill(first, None).is_ok(), "{output:?}");
    let mut rollback = started(address, &["rollback"]);
    let (said, _complaints) = lines(&mut rollback);
    assert!(said.starts_with("engine 3 serves, after ") && said.contains("waiting for engine 1, process "), "{said}");
    assert!(rollback.try_wait().unwrap().is_none(), "{}", server.log.text());
    fs::write(server.dir().join("gate"), "").unwrap();
    assert_eq!(running.read().unwrap().text(), "finished");
    drop(running);
    assert!(rollback.wait().unwrap().success(), "{}", server.log.text());
    assert!(is_gone(first));
    server.stop();
}
