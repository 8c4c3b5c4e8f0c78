//! Every way a script can end: the client gets what php-fpm gives, and the next request on that thread is clean.

use std::{path::Path, time::Duration};

use crate::harness::{PATIENCE, Reply, Server, reference, server, wait_until};

/// One thread, so that the next request runs where the last one ended.
fn one_thread() -> Server {
    server().threads(1).ini("display_errors", "1").ini("html_errors", "0").ini("log_errors", "1").start()
}

/// Runs a fixture three times, with a clean request after each.
fn runs(script: &str, check: impl Fn(&Reply)) -> Server {
    let server = one_thread();
    for round in 0..3 {
        check(&server.get(&format!("/end/{script}.php")).send());
        assert_eq!(server.text(&format!("/clean.php?tag={round}")), format!("clean {round}"), "after {script}");
    }
    server
}

fn says(script: &str, status: u16, text: &str) -> Server {
    runs(script, |reply| assert_eq!((reply.status, reply.text().as_str()), (status, text)))
}

fn says_among_others(script: &str, status: u16, text: &str) -> Server {
    runs(script, |reply| {
        assert_eq!(reply.status, status, "{}", reply.text());
        assert!(reply.text().contains(text), "{}", reply.text());
    })
}

#[test]
fn a_normal_end_leaves_nothing() {
    says("normal", 200, "normal");
}

#[test]
fn exit_with_a_code_ends_the_script() {
    says("exit", 200, "before");
}

#[test]
fn exit_with_a_text_prints_it() {
    says("exit-text", 200, "before goodbye");
}

#[test]
fn exit_from_deep_inside_runs_shutdown_functions_and_no_finally() {
    says("exit-deep", 200, "shut");
}

#[test]
fn an_uncaught_exception_is_a_fatal_error() {
    let server = says_among_others("exception", 200, "Uncaught RuntimeException: nobody catches this");
    assert!(server.logs("Uncaught RuntimeException: nobody catches this"));
}

#[test]
fn an_uncaught_exception_is_a_500_when_errors_are_not_shown() {
    let server = server().threads(1).ini("display_errors", "0").ini("log_errors", "1").start();
    for script in ["exception", "parse-error", "fatal-engine", "memory"] {
        let reply = server.get(&format!("/end/{script}.php")).send();
        assert_eq!((reply.status, reply.text().as_str()), (500, ""), "{script}");
        assert_eq!(server.text("/clean.php"), "clean ");
    }
}

#[test]
fn an_exception_after_output_keeps_the_status() {
    says_among_others("exception-late", 200, "sent already");
}

#[test]
fn a_parse_error_is_reported() {
    says_among_others("parse-error", 200, "Parse error: syntax error");
}

#[test]
fn a_fatal_error_keeps_what_was_printed() {
    says_among_others("fatal", 200, "partly ");
}

#[test]
fn a_compile_time_fatal_error_leaves_no_half_class() {
    says_among_others("fatal-engine", 200, "Class LeftBehind contains 1 abstract method");
}

#[test]
fn running_out_of_memory_ends_one_request() {
    let server = says_among_others("memory", 200, "Allowed memory size of 16777216 bytes exhausted");
    assert!(server.logs("Allowed memory size"));
}

#[test]
fn shutdown_functions_run_after_running_out_of_memory() {
    says_among_others("memory-shutdown", 200, "last words 1048576");
}

#[test]
fn a_timed_out_script_runs_its_shutdown_functions() {
    runs("time", |reply| {
        assert!(reply.text().contains("Maximum execution time of 1 second exceeded"), "{}", reply.text());
        assert!(reply.text().ends_with("shut"), "{}", reply.text());
    });
}

#[test]
fn a_shutdown_function_that_never_ends_is_ended_too() {
    if reference().is_some() {
        return; // php-fpm kills the child by its hard timeout, nginx answers 502
    }
    let server = server().threads(1).ini("hard_timeout", "1").option("http.request_timeout=4s").start();
    let reply = server.get("/end/time-hard.php").try_send();
    assert!(reply.is_err() || reply.is_ok_and(|reply| reply.status >= 500 || reply.text().contains("Maximum execution time")));
    assert_eq!(server.text("/clean.php"), "clean ");
}

#[test]
fn exit_in_a_shutdown_function_skips_the_others() {
    says("exit-in-shutdown", 200, "main one ");
}

#[test]
fn an_exception_in_a_shutdown_function_is_reported() {
    says_among_others("exception-in-shutdown", 200, "Uncaught LogicException: in shutdown");
}

#[test]
fn an_exception_in_a_destructor_is_reported() {
    says_among_others("exception-in-destructor", 200, "Uncaught LogicException: in destructor");
}

#[test]
fn exit_in_a_destructor_ends_well() {
    says("exit-in-destructor", 200, "main bye");
}

#[test]
fn exit_in_an_output_callback_ends_well() {
    runs("exit-in-buffer", |reply| assert!(reply.status == 200 || reply.status == 500, "{reply:?}"));
}

#[test]
fn a_fatal_error_in_an_output_callback_ends_well() {
    runs("fatal-in-buffer", |reply| assert!(reply.status == 200 || reply.status == 500, "{reply:?}"));
}

#[test]
fn output_after_fastcgi_finish_request_goes_nowhere() {
    let server = says("after-finish", 200, "answer");
    // php-fpm has nowhere to send it once the request is closed.
    assert!(reference().is_some() || server.logs("late too"));
}

#[test]
fn infinite_recursion_ends_by_the_memory_limit_or_the_stack_limit() {
    runs("recursion", |reply| {
        let text = reply.text();
        assert!(text.contains("Allowed memory size") || text.contains("Maximum call stack size"), "{text}");
    });
}

#[test]
fn recursion_through_native_code_ends_by_the_stack_limit() {
    runs("recursion-native", |reply| {
        let text = reply.text();
        assert!(text.contains("Maximum call stack size") || text.contains("Allowed memory size"), "{text}");
    });
}

#[test]
fn exit_in_an_error_handler_ends_well() {
    says("exit-in-handler", 200, "handled ");
}

#[test]
fn exit_in_a_generator_ends_well() {
    says("exit-in-generator", 200, "1gen");
}

#[test]
fn exit_in_a_fiber_ends_well() {
    says("exit-in-fiber", 200, "fiber");
}

#[test]
fn a_fiber_left_behind_is_unwound() {
    says("fiber-left", 200, "main unwound");
}

#[test]
fn a_client_that_leaves_mid_reply_ends_its_script_only() {
    let server = one_thread();
    for round in 0..3 {
        let to = server.dir().join(format!("aborted{round}"));
        let mut connection = server.get(&format!("/abort.php?to={}", to.display())).fire();
        connection.read_head().unwrap();
        drop(connection);
        assert!(wait_until(PATIENCE, || Path::new(&to).exists()));
        assert_eq!(server.text("/clean.php"), "clean ");
    }
}

#[test]
fn a_client_that_leaves_mid_upload_holds_no_thread() {
    let server = one_thread();
    for _ in 0..3 {
        let mut connection = server.connect();
        connection.write("POST /input.php HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nonly this");
        drop(connection);
        assert_eq!(server.text("/clean.php"), "clean ");
    }
}

#[test]
fn a_missing_script_is_a_404_and_a_missing_include_is_not() {
    let server = one_thread();
    assert_eq!(server.get("/end/nowhere.php").send().status, 404);
    assert_eq!(server.text("/clean.php"), "clean ");
}

#[test]
fn all_ends_in_a_row_leave_one_thread_clean() {
    let server = one_thread();
    let mut scripts: Vec<_> = std::fs::read_dir(server.root().join("end")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    scripts.sort();
    for script in scripts.iter().filter_map(|name| name.to_str()).filter(|name| !name.starts_with("time")) {
        server.get(&format!("/end/{script}")).send();
        assert_eq!(server.text(&format!("/clean.php?tag={script}")), format!("clean {script}"));
    }
    assert!(server.ended_within(Duration::ZERO).is_none());
    server.stop();
}
