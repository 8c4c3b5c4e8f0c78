use std::{
    collections::HashSet,
    fs,
    path::PathBuf,
    process, thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        ptrace,
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{engine, is_gone, serving, site};
use crate::harness::{PATIENCE, free_port, is_sanitized, not_run, reference, wait_until};

#[test]
fn an_engine_that_crashes_is_replaced_and_the_log_says_what_it_ran() {
    if reference().is_some() {
        return;
    }
    for (signal, traced) in [(Signal::SIGSEGV, true), (Signal::SIGABRT, true), (Signal::SIGKILL, false)] {
        let server = serving(site());
        let old = engine(&server);
        let began = server.dir().join("began");
        let mut lost = server.get(&format!("/slow.php?ms=20000&began={}", began.display())).fire();
        assert!(wait_until(PATIENCE, || began.exists()));
        kill(old, signal).unwrap();
        let begun = Instant::now();
        // The other threads may go on answering for the moment that a crash takes.
        let next = || server.get("/pid.php").try_send().is_ok_and(|reply| reply.text() != old.to_string());
        assert!(wait_until(PATIENCE, next), "no other engine answers: {}", server.log.text());
        eprintln!("{signal}: answered again after {:?}", begun.elapsed());
        assert!(lost.read().is_err(), "a request that was running cannot be answered");
        assert!(server.logs(&format!("the engine died: killed by {signal}")), "{}", server.log.text());
        let script = server.root().join("slow.php");
        assert!(server.logs(&format!("GET /slow.php {}", script.display())), "{}", server.log.text());
        if traced {
            assert!(server.log.contains("native backtrace of engine 1", PATIENCE), "{}", server.log.text());
            let told = server.log.text();
            assert!(told.contains(&format!("{signal} sent by process {}", process::id())), "{told}");
            // The signal came to the main thread, which waits.
            for part in ["  rr::cli::run  src/cli/mod.rs:", "  rr::main  src/main.rs:"] {
                assert!(told.contains(part), "{part:?} is not in {told}");
            }
            assert!(!told.contains("on_crash"), "{told}");
        } else {
            assert!(!server.log.text().contains("native backtrace"), "{}", server.log.text());
        }
    }
}

#[test]
fn a_crash_in_a_script_names_what_php_was_doing() {
    if reference().is_some() {
        return;
    }
    let server = site()
        .php("spin.php", "file_put_contents($_GET['began'], '1'); while (true) { $a = 1; }")
        .option("http.pool.num_workers=1")
        .start();
    let (old, began) = (engine(&server), server.dir().join("began"));
    let _lost = server.get(&format!("/spin.php?began={}", began.display())).fire();
    assert!(wait_until(PATIENCE, || began.exists()));
    // The kernel prefers the thread that is named.
    kill(thread_of(old, "php-http-0").unwrap(), Signal::SIGSEGV).unwrap();
    assert!(server.log.contains("in thread php-http-0", PATIENCE), "{}", server.log.text());
    let told = server.log.text();
    assert!(told.contains("it crashed while running: php-http-0 GET /spin.php"), "{told}");
    // Its code is C, and but for the sanitizer's without line tables.
    assert!(told.contains(if is_sanitized() { "  execute_ex  " } else { "  execute_ex  rr" }), "{told}");
    assert!(told.contains("  rr_php_run  src/php/shim.c:") && told.contains("  src/php/run.rs:"), "{told}");
    assert_eq!(server.text("/echo.php?tag=next"), "next");
}

#[test]
fn of_crashes_that_come_at_once_one_is_named_and_all_are_told() {
    if reference().is_some() {
        return;
    }
    let server = serving(site().option("engine.processes=2"));
    let mut both = HashSet::new();
    let all_answer = wait_until(PATIENCE, || {
        both.insert(engine(&server));
        both.len() == 2
    });
    assert!(all_answer, "{both:?} {}", server.log.text());
    both.iter().for_each(|engine| kill(*engine, Signal::SIGSEGV).unwrap());
    for engine in both {
        assert!(server.log.contains(&format!("process {engine}: SIGSEGV"), PATIENCE), "{}", server.log.text());
    }
    assert!(server.log.contains("  rr::main  src/main.rs:", PATIENCE), "{}", server.log.text());
    assert_eq!(server.text("/echo.php?tag=next"), "next");
}

#[test]
fn connections_made_while_no_engine_lives_wait_and_are_answered() {
    if reference().is_some() {
        return;
    }
    let server = serving(site());
    // Three deaths in a row: from the second on there is a pause before the next engine.
    for round in 0..3 {
        kill(engine(&server), Signal::SIGKILL).unwrap();
        let waiting: Vec<_> = (0..20).map(|tag| (tag, server.get(&format!("/echo.php?tag={tag}")).fire())).collect();
        for (tag, mut connection) in waiting {
            // Accepted by the dying engine, it may have been lost with it; never answered wrongly.
            if let Ok(reply) = connection.read() {
                assert_eq!(reply.text(), tag.to_string(), "round {round}");
            }
        }
        assert_eq!(server.text("/echo.php?tag=after"), "after");
    }
}

#[test]
fn an_engine_that_hangs_is_replaced() {
    if reference().is_some() {
        return;
    }
    let server = serving(site());
    let old = engine(&server);
    // Its log tells that it has come as far as beating.
    assert!(server.logs("GET /pid.php"));
    kill(old, Signal::SIGSTOP).unwrap();
    assert!(server.log.contains("the engine is hung", Duration::from_secs(30)), "{}", server.log.text());
    assert!(server.logs("the engine died: killed by"), "{}", server.log.text());
    assert_ne!(engine(&server), old);
}

/// The engine's thread of that name.
fn thread_of(engine: Pid, name: &str) -> Option<Pid> {
    let threads = fs::read_dir(format!("/proc/{engine}/task")).unwrap().map(|entry| entry.unwrap().path());
    let mut called = threads.filter(|path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name));
    called.next().map(|path| Pid::from_raw(path.file_name().unwrap().to_str().unwrap().parse().unwrap()))
}

#[test]
fn an_engine_of_which_one_thread_is_stuck_is_replaced() {
    if reference().is_some() {
        return;
    }
    for name in ["io-0", "php-watchdog"] {
        let server = serving(site().option("engine.io_threads=2"));
        let old = engine(&server);
        let thread = thread_of(old, name).unwrap();
        if let Err(error) = ptrace::seize(thread, ptrace::Options::empty()) {
            return not_run("a thread that is stuck", &format!("this machine lets no process stop a thread of another: {error}"));
        }
        ptrace::interrupt(thread).unwrap();
        assert!(server.log.contains("the engine is hung", Duration::from_secs(30)), "{}", server.log.text());
        assert!(server.logs(&format!("thread={name:?}")), "{}", server.log.text());
        // The process ends when all its threads were waited for, this one by who traces it.
        while !matches!(
            waitpid(thread, Some(WaitPidFlag::__WALL)),
            Ok(WaitStatus::Signaled(..) | WaitStatus::Exited(..)) | Err(_)
        ) {}
        assert!(server.logs("the engine died: killed by"), "{}", server.log.text());
        assert!(wait_until(PATIENCE, || server.get("/pid.php").try_send().is_ok_and(|reply| reply.text() != old.to_string())));
        server.stop();
    }
}

#[test]
fn a_server_that_was_stopped_as_a_whole_goes_on() {
    if reference().is_some() {
        return;
    }
    let server = serving(site());
    let old = engine(&server);
    server.signal(Signal::SIGSTOP);
    kill(old, Signal::SIGSTOP).unwrap();
    // Longer than an engine may be silent.
    thread::sleep(Duration::from_secs(12));
    server.signal(Signal::SIGCONT);
    assert!(server.logs("has not run for a while"), "{}", server.log.text());
    kill(old, Signal::SIGCONT).unwrap();
    assert_eq!(engine(&server), old, "{}", server.log.text());
    assert!(!server.log.text().contains("is hung"), "{}", server.log.text());
    server.stop();
}

#[test]
fn when_the_supervisor_is_killed_the_engine_finishes_and_ends() {
    if reference().is_some() {
        return;
    }
    let server = serving(site());
    let (address, old) = (server.address, engine(&server));
    let began = server.dir().join("began");
    let mut running = server.get(&format!("/slow.php?ms=1000&began={}", began.display())).fire();
    assert!(wait_until(PATIENCE, || began.exists()));
    server.signal(Signal::SIGKILL);
    assert_eq!(running.read().unwrap().text(), "finished");
    assert!(is_gone(old), "{}", server.log.text());
    assert!(server.ended_within(PATIENCE).is_some());
    let next = site().at(address).start();
    assert_eq!(next.text("/echo.php?tag=next"), "next");
}

#[test]
fn what_scripts_left_running_ends_with_a_dead_engine() {
    if reference().is_some() {
        return;
    }
    let server = site()
        .php("spawn.php", "proc_open(['sleep', '600'], [], $pipes); echo exec('pgrep -P ' . getmypid() . ' sleep'); sleep(600);")
        .start();
    let old = engine(&server);
    let _running = server.get("/spawn.php").fire();
    let mut child = 0;
    assert!(wait_until(PATIENCE, || {
        let found = std::process::Command::new("pgrep").args(["-P", &old.to_string(), "sleep"]).output().unwrap();
        child = String::from_utf8_lossy(&found.stdout).trim().parse().unwrap_or(0);
        child != 0
    }));
    kill(old, Signal::SIGKILL).unwrap();
    assert!(is_gone(nix::unistd::Pid::from_raw(child)));
}

#[test]
fn a_server_whose_engines_keep_dying_can_be_stopped() {
    if reference().is_some() {
        return;
    }
    let server = serving(site());
    // From the second death on there is a pause before the next engine.
    for _ in 0..3 {
        let old = engine(&server);
        kill(old, Signal::SIGKILL).unwrap();
        assert!(is_gone(old));
    }
    assert!(server.logs("engines keep dying"), "{}", server.log.text());
    server.stop();
}

#[test]
fn a_crash_at_the_end_is_told() {
    if reference().is_some() {
        return;
    }
    let server = serving(site());
    let (old, began) = (engine(&server), server.dir().join("began"));
    let _lost = server.get(&format!("/slow.php?ms=20000&began={}", began.display())).fire();
    assert!(wait_until(PATIENCE, || began.exists()));
    server.signal(Signal::SIGTERM);
    assert!(server.logs("stopping: requests in progress"), "{}", server.log.text());
    kill(old, Signal::SIGSEGV).unwrap();
    assert_eq!(server.ended_within(PATIENCE).and_then(|status| status.code()), Some(1), "{}", server.log.text());
    assert!(server.logs("the engine died: killed by SIGSEGV"), "{}", server.log.text());
    assert!(server.logs("GET /slow.php"), "{}", server.log.text());
}

#[test]
fn a_crash_at_the_first_boot_is_told() {
    if reference().is_some() {
        return;
    }
    let setup = site().file("boot.php", "<?php posix_kill(getmypid(), 9);");
    let worker = setup.document_root().join("boot.php");
    let output = setup.option(&format!("http.worker={}", worker.display())).command(free_port(), None).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the engine died: killed by SIGKILL"), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
}

/// A control group that bounds memory, below that of this process; it goes with the test.
struct Group(PathBuf);

impl Group {
    /// None if this process may make none, which is said.
    fn bounded_to(bytes: u64) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let paths = own.lines().filter_map(|line| match line.splitn(3, ':').collect::<Vec<_>>()[..] {
            [_, "memory", path] => Some((format!("memory{path}"), "memory.limit_in_bytes")),
            [_, "", path] => Some((path.trim_start_matches('/').to_owned(), "memory.max")),
            _ => None,
        });
        for (path, limit) in paths {
            let group = Self(PathBuf::from("/sys/fs/cgroup").join(path).join(format!("rr-test-{}", std::process::id())));
            if fs::create_dir(&group.0).is_ok() && fs::write(group.0.join(limit), bytes.to_string()).is_ok() {
                for swap in ["memory.memsw.limit_in_bytes", "memory.swap.max"] {
                    // Where there is no swap to be had, there is no such file, or it does no harm.
                    _ = fs::write(group.0.join(swap), if swap.contains("memsw") { bytes } else { 0 }.to_string());
                }
                return Some(group);
            }
        }
        not_run("out of memory in a control group", "this process may make no control group that bounds memory");
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty a moment after its last process has ended.
        wait_until(PATIENCE, || !self.0.exists() || fs::remove_dir(&self.0).is_ok());
    }
}

#[test]
fn an_engine_that_the_kernel_kills_for_want_of_memory_is_told_from_others() {
    if reference().is_some() {
        return;
    }
    let Some(group) = Group::bounded_to(400 << 20) else { return };
    let eat = "ini_set('memory_limit', -1); $all = []; while (true) { $all[] = str_repeat('x', 8 << 20); }";
    let setup = site().php("eat.php", eat).option("engine.memory.guard=false");
    let server = setup.before(&format!("echo $$ > {}/cgroup.procs", group.0.display())).start();
    let old = engine(&server);
    _ = server.connect().send(&server.get("/eat.php"));
    assert!(is_gone(old));
    let expected = "the engine died: killed by SIGKILL: out of memory (the control group's oom_kill went from 0 to 1)";
    assert!(server.logs(expected), "{}", server.log.text());
    let other = engine(&server);
    kill(other, Signal::SIGKILL).unwrap();
    assert!(is_gone(other));
    assert!(server.logs("killed by SIGKILL: nobody here did that"), "{}", server.log.text());
    server.stop();
}
