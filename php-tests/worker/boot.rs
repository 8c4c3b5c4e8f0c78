//! Scripts that do not boot: at the start they fail it, later they are waited for.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use super::{elsewhere, script};
use crate::harness::{PATIENCE, TempDir, finish, rr, wait_until};

/// What `rr serve` says of a worker script that does not boot, and its exit code.
fn refusal(code: &str) -> (String, Option<i32>) {
    let dir = TempDir::new();
    let path = dir.write("worker.php", format!("<?php\n{code}\n"));
    let mut command: Command = rr();
    command.args([
        "serve",
        "-o",
        "http.address=127.0.0.1:0",
        "-o",
        "http.pool.num_workers=2",
        "-o",
        "http.pool.allocate_timeout=2s",
    ]);
    command.args(["-o", "php.ini.display_errors=0", "-o", &format!("http.worker={}", path.display())]).current_dir(dir.path());
    let output = finish(command, b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    (said, output.status.code())
}

#[test]
fn a_script_that_does_not_boot_fails_the_start_with_one_line() {
    if elsewhere() {
        return;
    }
    for (code, why) in [
        ("function {", "syntax error, unexpected token \"{\""),
        ("throw new RuntimeException('no database');", "no database"),
        ("eval('class Twice {} class Twice {}');", "Cannot redeclare class Twice"),
        ("exit(3);", "it ended without asking for a request"),
        ("$x = 1;", "it ended without asking for a request"),
        ("require 'nowhere.php';", "nowhere.php"),
        ("ini_set('memory_limit', '8M'); $x = str_repeat('x', 1 << 24);", "Allowed memory size"),
        ("sleep(60);", "has not asked for a request; waited 2 s"),
    ] {
        let (said, status) = refusal(code);
        let line = said.lines().find(|line| line.starts_with("rr:"));
        let line = line.unwrap_or_else(|| panic!("{code}: {said}"));
        assert!(line.contains(why) && line.contains("worker.php"), "{code}: {line}");
        assert_eq!(status, Some(70), "{code}: {said}");
    }
}

#[test]
fn a_script_that_is_not_there_is_a_mistake_in_the_configuration() {
    if elsewhere() {
        return;
    }
    let mut command = rr();
    command.args(["serve", "-o", "http.address=127.0.0.1:0", "-o", "http.worker=/nowhere/worker.php"]);
    let output = finish(command, b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("http.worker") && said.contains("/nowhere/worker.php"), "{said}");
    assert_ne!(output.status.code(), Some(0));
}

const GOOD: &str =
    "<?php $n = getenv('RR_TEST_N'); for ($i = 0; $i < 3 && rr_handle_request(function () { echo 'good'; }); $i++);";

fn write(path: &PathBuf, code: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, code).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[test]
fn a_script_that_breaks_later_is_waited_for_and_mended_scripts_serve_again() {
    if elsewhere() {
        return;
    }
    for broken in ["<?php function {", "<?php throw new RuntimeException('no database');", "<?php exit;"] {
        let setup = script("// replaced").ini("opcache.enable", "0").threads(2).option("http.pool.allocate_timeout=1s");
        let path = setup.document_root().join("worker.php");
        write(&path, GOOD);
        let server = setup.start();
        assert_eq!(server.text("/"), "good");
        write(&path, broken);
        // Each worker leaves its loop after three, and finds what is there now.
        assert!(wait_until(PATIENCE, || server.get("/").send().status != 200), "{}", server.log.text());
        let reply = server.get("/").send();
        assert_eq!((reply.status, reply.header("retry-after").is_some()), (503, true), "{}", server.log.text());
        assert!(server.logs("did not boot"), "{}", server.log.text());
        write(&path, GOOD);
        assert!(wait_until(PATIENCE, || server.get("/").send().status == 200), "{}", server.log.text());
        assert!(server.log.text().matches("did not boot").count() < 40, "a storm: {}", server.log.text());
    }
}

#[test]
fn a_boot_may_take_its_time() {
    if elsewhere() {
        return;
    }
    let server = script("usleep(800000); while (rr_handle_request(function () { echo 'late'; }));").start();
    assert_eq!(server.text("/"), "late");
}

#[test]
fn a_script_that_ignores_the_end_is_ended() {
    if elsewhere() {
        return;
    }
    for code in [
        "while (true) { rr_handle_request(function () { echo 'on and on'; }); }",
        "$w = new RR\\Worker; while (true) { if ($w->waitRequest()) $w->respond('on and on'); }",
    ] {
        let server = script(code).threads(2).start();
        assert_eq!(server.text("/"), "on and on");
        server.stop();
        assert!(server.log.contains("does not leave its loop", Duration::from_secs(1)), "{}", server.log.text());
    }
}

#[test]
fn only_worker_scripts_can_ask_for_requests() {
    if elsewhere() {
        return;
    }
    let code = "try { CALL; echo 'called'; } catch (Error $error) { echo $error->getMessage(); }";
    let mut setup = crate::harness::server().bare();
    for (name, call) in
        [("a", "rr_handle_request(fn () => 1)"), ("b", "frankenphp_handle_request(fn () => 1)"), ("c", "new RR\\Worker")]
    {
        setup = setup.php(&format!("{name}.php"), &code.replace("CALL", call));
    }
    let server = setup.start();
    for (name, what) in [("a", "rr_handle_request()"), ("b", "frankenphp_handle_request()"), ("c", "RR\\Worker")] {
        let said = server.text(&format!("/{name}.php"));
        assert!(said.starts_with(what) && said.contains("http.worker"), "{said}");
    }
}

#[test]
fn a_handler_cannot_ask_for_a_request() {
    if elsewhere() {
        return;
    }
    let inner = "function () { try { CALL; echo 'called'; } catch (Error $error) { echo $error->getMessage(); } }";
    for call in [
        "rr_handle_request(fn () => 1)",
        "(new RR\\Worker)->waitRequest()",
        "register_shutdown_function(function () { try { rr_handle_request(fn () => 1); } catch (Error $error) { echo $error->getMessage(); } })",
    ] {
        let server = script(&format!("while (rr_handle_request({}));", inner.replace("CALL", call))).threads(1).start();
        for _ in 0..2 {
            let said = server.text("/");
            assert!(said.contains("was called while a request is being handled"), "{call}: {said}");
        }
    }
}
