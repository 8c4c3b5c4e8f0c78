//! What would touch the whole process is refused, with a warning, and the server goes on.

use serde_json::json;

use crate::harness::{reference, server};

#[test]
fn pcntl_functions_that_would_break_the_server_are_refused() {
    if reference().is_some() {
        return;
    }
    let server = server().threads(1).ini("display_errors", "0").start();
    for (name, call) in [
        ("pcntl_fork", "pcntl_fork()"),
        ("pcntl_exec", "pcntl_exec('/bin/true')"),
        ("pcntl_wait", "pcntl_wait($status)"),
        ("pcntl_waitpid", "pcntl_waitpid(-1, $status)"),
        ("pcntl_alarm", "pcntl_alarm(1)"),
        ("posix_setuid", "posix_setuid(12345)"),
        ("posix_setgid", "posix_setgid(12345)"),
        ("posix_setrlimit", "posix_setrlimit(POSIX_RLIMIT_NOFILE, 10, 10)"),
    ] {
        let code = format!(
            "<?php $status = 0; $pid = getmypid(); $r = {call}; if (getmypid() !== $pid) {{ posix_kill(getmypid(), 9); }} \
             $e = error_get_last(); echo json_encode([in_array($r, [false, -1, 0], true), str_contains($e['message'] ?? '', '{name}')]);"
        );
        std::fs::write(server.root().join(format!("{name}.php")), code).unwrap();
        assert_eq!(server.get(&format!("/{name}.php")).send().json(), json!([true, true]), "{name}");
        assert_eq!(server.text("/clean.php"), "clean ", "after {name}");
    }
}

#[test]
fn signal_handlers_of_a_script_last_one_request_and_never_touch_the_process() {
    let server = server()
        .threads(1)
        .ini("display_errors", "0")
        .php("s.php", "pcntl_async_signals(true); pcntl_signal(SIGUSR2, fn () => 1); pcntl_sigprocmask(SIG_BLOCK, [SIGUSR2]); echo 'ok';")
        .php("get.php", "echo json_encode([pcntl_signal_get_handler(SIGUSR2)]);")
        .start();
    let caught = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        status.lines().filter(|line| line.starts_with("SigCgt") || line.starts_with("SigIgn")).collect::<String>()
    };
    server.text("/get.php");
    let before = caught();
    assert_eq!(server.text("/s.php"), "ok");
    if reference().is_none() {
        assert_eq!((caught(), server.get("/get.php").send().json()), (before, json!([0])), "SIG_DFL again");
    }
}

#[test]
fn a_script_s_signal_handlers_do_not_replace_the_server_s() {
    if reference().is_some() {
        return;
    }
    let server = server().php("t.php", "pcntl_signal(SIGTERM, SIG_IGN); pcntl_signal(SIGINT, fn () => 1); pcntl_signal(SIGCHLD, SIG_IGN); echo 'set';").start();
    assert_eq!(server.text("/t.php"), "set");
    server.stop();
}

#[test]
fn posix_functions_that_only_look_work() {
    let server = server()
        .php("p.php", "echo json_encode([posix_getpid() === getmypid(), is_int(posix_getuid()), is_array(posix_uname()), is_array(posix_getpwuid(0)), is_array(posix_times()), posix_isatty(STDERR ?? 2)]);")
        .php("q.php", "echo json_encode([posix_getpid() === getmypid(), is_int(posix_getuid()), is_array(posix_uname()), is_array(posix_getpwuid(0)), is_array(posix_times()), posix_kill(getmypid(), 0)]);")
        .start();
    assert_eq!(server.get("/q.php").send().json(), json!([true, true, true, true, true, true]));
}

#[test]
fn php_fd_is_refused() {
    if reference().is_some() {
        return;
    }
    let server = server()
        .ini("display_errors", "0")
        .php("fd.php", "$r = []; for ($i = 0; $i < 30; $i++) { $r[] = @fopen(\"php://fd/$i\", 'r+') === false; @file_put_contents(\"php://fd/$i\", 'junk'); } echo json_encode(array_unique($r));")
        .start();
    assert_eq!(server.get("/fd.php").send().json(), json!([true]));
    assert_eq!(server.text("/clean.php"), "clean ");
}

#[test]
fn std_streams_are_not_the_server_s() {
    let server = server()
        .php("s.php", "echo json_encode([defined('STDIN'), defined('STDOUT'), defined('STDERR'), stream_get_contents(fopen('php://stdin', 'r'))]);")
        .start();
    let seen = server.get("/s.php").send().json();
    assert_eq!(seen, json!([false, false, false, ""]), "as under php-fpm");
}

#[test]
fn php_output_and_php_memory_work() {
    let server = server().php("o.php", "fwrite(fopen('php://output', 'w'), 'out'); $m = fopen('php://temp/maxmemory:10', 'w+'); fwrite($m, str_repeat('x', 100)); rewind($m); echo strlen(stream_get_contents($m));").start();
    assert_eq!(server.text("/o.php"), "out100");
}

#[test]
fn cli_only_functions_are_absent() {
    let server = server().php("c.php", "echo json_encode([function_exists('cli_set_process_title') || function_exists('dl'), function_exists('fastcgi_finish_request'), function_exists('fpm_get_status'), function_exists('getallheaders')]);").start();
    assert_eq!(server.get("/c.php").send().json(), json!([false, true, true, true]));
}
