//! A change is seen by the next request, and no request suffers from it.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{both_modes, project, rewrite, source, unwatched, write};
use crate::harness::{Connection, Log, PATIENCE, TempDir, age, not_run, reference, rr, wait_until};

both_modes! {
    fn a_change_is_served_and_logged(mode) {
        let server = project(mode, "echo 'one';").start();
        assert_eq!(server.text("/"), "one");
        assert!(server.logs("watching 3 files in 3 directories below"), "{}", server.log.text());
        assert!(server.logs("by inotify"), "{}", server.log.text());
        rewrite(&server, "echo 'two';");
        assert!(wait_until(PATIENCE, || server.text("/") == "two"), "{}", server.log.text());
        assert!(server.logs("src/page.php changed"), "{}", server.log.text());
        // As editors do it.
        let aside = source(&server).with_extension("tmp");
        write(&aside, "echo 'three';");
        fs::rename(aside, source(&server)).unwrap();
        assert!(wait_until(PATIENCE, || server.text("/") == "three"), "{}", server.log.text());
    }

    fn polling_sees_it_too(mode) {
        let server = project(mode, "echo 'one';").option("dev.poll=100ms").start();
        assert!(server.logs("every 100 ms"), "{}", server.log.text());
        assert_eq!(server.text("/"), "one");
        rewrite(&server, "echo 'two';");
        assert!(wait_until(PATIENCE, || server.text("/") == "two"), "{}", server.log.text());
    }

    fn a_link_that_is_swapped_leads_elsewhere(mode) {
        let setup = project(mode, "include __DIR__ . '/../current/name.php';");
        let top = setup.document_root().parent().unwrap().to_owned();
        for release in ["a", "b"] {
            fs::create_dir_all(top.join("releases").join(release)).unwrap();
            fs::write(top.join(format!("releases/{release}/name.php")), format!("<?php echo '{release}';")).unwrap();
            age(&top.join(format!("releases/{release}/name.php")));
        }
        symlink("releases/a", top.join("current")).unwrap();
        let server = setup.start();
        for _ in 0..3 {
            assert_eq!(server.text("/"), "a");
        }
        symlink("releases/b", top.join("next")).unwrap();
        fs::rename(top.join("next"), top.join("current")).unwrap();
        assert!(wait_until(PATIENCE, || server.text("/") == "b"), "{}", server.log.text());
    }

    fn no_request_fails_while_files_change(mode) {
        let server = project(mode, "echo '0.';").threads(2).start();
        let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut connection = Connection::open(server.address).unwrap();
                    while !stop.load(SeqCst) {
                        let reply = connection.send(&server.get("/")).unwrap();
                        assert_eq!(reply.status, 200, "{}", reply.text());
                        assert!(reply.text().strip_suffix('.').is_some_and(|number| number.parse::<u32>().is_ok()), "{}", reply.text());
                        count.fetch_add(1, SeqCst);
                    }
                });
            }
            for number in 1..=10 {
                let aside = source(&server).with_extension("tmp");
                write(&aside, &format!("echo '{number}.';"));
                fs::rename(aside, source(&server)).unwrap();
                let wanted = format!("{number}.");
                let seen = wait_until(PATIENCE, || server.text("/") == wanted);
                if !seen {
                    stop.store(true, SeqCst);
                }
                assert!(seen, "{wanted} is not served: {}", server.log.text());
            }
            stop.store(true, SeqCst);
        });
        assert!(count.load(SeqCst) > 50, "{count:?}");
    }

    fn without_the_flag_nothing_of_this_is_there(mode) {
        let server = unwatched(mode, "echo 'one';").start();
        let reply = server.get("/").header("Accept", "text/html").send();
        assert_eq!((reply.text().as_str(), reply.header("cache-control")), ("one", None));
        assert_ne!(server.get("/.rr/reload").send().header("content-type"), Some("text/event-stream"));
        assert!(!server.log.text().contains("watching"), "{}", server.log.text());
    }
}

#[test]
fn a_worker_script_that_does_not_boot_says_why_until_it_is_mended() {
    if reference().is_some() {
        return;
    }
    let server = project(super::Mode::Worker, "echo 'one';").start();
    rewrite(&server, "echo 'two'");
    assert!(wait_until(PATIENCE, || server.get("/").send().status == 500), "{}", server.log.text());
    let told = server.get("/").send();
    assert!(told.text().starts_with("syntax error, ") && told.text().contains("src/page.php"), "{}", told.text());
    let page = server.get("/").header("Accept", "text/html").send();
    assert_eq!((page.status, page.header("content-type")), (500, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("syntax error, ") && page.text().contains("/.rr/reload.js"), "{}", page.text());
    rewrite(&server, "echo 'three';");
    assert!(wait_until(PATIENCE, || server.get("/").send().text() == "three"), "{}", server.log.text());
}

#[test]
fn a_server_starts_although_its_worker_script_does_not_boot() {
    if reference().is_some() {
        return;
    }
    let server = project(super::Mode::Worker, "echo 'one'").start();
    assert_eq!(server.get("/").send().status, 500);
    rewrite(&server, "echo 'mended';");
    assert!(wait_until(PATIENCE, || server.get("/").send().text() == "mended"), "{}", server.log.text());
}

#[test]
fn settings_for_production_do_not_hide_a_change() {
    if reference().is_some() {
        return;
    }
    let setup = project(super::Mode::Classic, "echo 'one';").ini("opcache.validate_timestamps", "0");
    let server = setup.ini("opcache.revalidate_freq", "60").start();
    assert_eq!((server.text("/"), server.text("/")), ("one".into(), "one".into()));
    rewrite(&server, "echo 'two';");
    assert!(wait_until(PATIENCE, || server.text("/") == "two"), "{}", server.log.text());
}

#[test]
fn what_is_ignored_changes_nothing() {
    if reference().is_some() {
        return;
    }
    let server = project(super::Mode::Worker, "echo 'one';").option("dev.ignore=generated").start();
    assert_eq!(server.text("/"), "one");
    let top = server.root().parent().unwrap();
    for name in ["generated/a.php", "var/cache/b.php", "vendor/acme/c.php", "notes.txt"] {
        fs::create_dir_all(top.join(name).parent().unwrap()).unwrap();
        fs::write(top.join(name), "<?php\n").unwrap();
    }
    rewrite(&server, "echo 'two';");
    assert!(wait_until(PATIENCE, || server.text("/") == "two"), "{}", server.log.text());
    assert!(server.logs("src/page.php changed"), "{}", server.log.text());
    let log = server.log.text();
    let changes: Vec<_> = log.lines().filter(|line| line.contains(" changed: ")).collect();
    assert!(changes.len() == 1 && changes[0].contains("src/page.php changed"), "{changes:?}");
}

#[test]
fn there_must_be_something_to_watch() {
    if reference().is_some() {
        return;
    }
    let mut command = rr();
    command.args(["serve", "--watch", "-o", "http.address=127.0.0.1:1"]);
    let output = crate::harness::finish(command, b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("nothing to watch"), "{said}");
}

/// A user's limit can be set for a namespace of its own.
#[test]
fn past_the_kernel_s_limit_files_are_looked_at_instead() {
    if reference().is_some() {
        return;
    }
    let limited = "echo 4 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let namespace = |command: &mut Command| {
        command.args(["--user", "--map-root-user", "sh", "-c", limited, "sh"]);
    };
    let mut probe = Command::new("unshare");
    namespace(&mut probe);
    match probe.arg("true").stderr(Stdio::null()).status() {
        Ok(status) if status.success() => {}
        other => return not_run("the limit of inotify watches", &format!("no user namespace can be had here: {other:?}")),
    }
    let dir = TempDir::new();
    for number in 0..8 {
        dir.write(&format!("src/{number}/a.php"), "<?php");
    }
    let program = rr();
    let mut command = Command::new("unshare");
    namespace(&mut command);
    command.arg(program.get_program()).arg("serve").arg(dir.path()).args(["--watch", "-o", "http.address=127.0.0.1:0"]);
    command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = Log::default();
    log.follow(child.stderr.take().unwrap());
    let told = log.contains("inotify watches to this user, and 10 are needed: raise fs.inotify.max_user_watches", PATIENCE)
        && log.contains("watching 8 files in 10 directories", PATIENCE)
        && log.contains("every 1000 ms", PATIENCE);
    // Only then is there somebody to tell of changes.
    let up = log.contains("threads", PATIENCE);
    dir.write("src/3/a.php", "<?php // changed");
    let seen = log.contains("src/3/a.php changed", PATIENCE);
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    _ = child.wait();
    assert!(told && up && seen, "{}", log.text());
}
