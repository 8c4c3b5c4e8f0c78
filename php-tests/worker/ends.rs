//! Every way a request can end: the client gets an answer, and what the next one finds.

use super::{KINDS, Kind, PRINTING, boot_of, crowd, elsewhere};
use crate::harness::Reply;

/// What is left of a worker after the end of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    Lives,
    BootsAgain,
}

/// Asks for `target` three times on one thread; says whether the worker that answers next is the same.
fn after(kind: Kind, target: &str, check: impl Fn(&Reply)) -> Then {
    let server = kind.app().threads(1).start();
    let mut then = Vec::new();
    for round in 0..3 {
        let before = boot_of(&server).0;
        check(&server.get(target).send());
        assert_eq!(server.text(&format!("/hello?tag={round}")), format!("hello {round}"), "{kind:?} after {target}");
        then.push(if boot_of(&server).0 == before { Then::Lives } else { Then::BootsAgain });
    }
    assert!(then.iter().all(|one| *one == then[0]), "{kind:?} {target}: {then:?}");
    then[0]
}

/// What a request that ends the script leaves of each kind, when it ends only the request in callback style.
fn unwound(kind: Kind) -> Then {
    match kind {
        Kind::Callback | Kind::FrankenPhp => Then::Lives,
        // Classic scripts boot for each request; a pull script's own loop is unwound.
        Kind::Classic | Kind::Pull => Then::BootsAgain,
    }
}

#[test]
fn exit_ends_the_request_and_keeps_its_output() {
    if elsewhere() {
        return;
    }
    for kind in PRINTING {
        for (target, text) in [
            ("/exit", "before "),
            ("/exit?with=bye", "before bye"),
            ("/exit-in-buffer", "BUFFERED"),
            ("/exit-in-fiber", "before"),
            ("/exit-in-finally", "from finally"),
            ("/exit-in-destructor", "destructor"),
        ] {
            let then =
                after(kind, target, |reply| assert_eq!((reply.status, reply.text().as_str()), (200, text), "{kind:?} {target}"));
            assert_eq!(then, unwound(kind), "{kind:?} {target}");
        }
    }
}

#[test]
fn exit_unwinds_the_loop_of_a_script_that_pulls() {
    if elsewhere() {
        return;
    }
    let then = after(Kind::Pull, "/exit", |reply| assert_eq!(reply.status, 500));
    assert_eq!(then, Then::BootsAgain);
}

#[test]
fn an_uncaught_exception_is_a_500_without_its_text() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        for (target, text) in [("/exception", "nobody catches this"), ("/error", "undefined_function")] {
            let then = after(kind, target, |reply| {
                assert_eq!(reply.status, 500, "{kind:?} {target}: {}", reply.text());
                assert!(!reply.text().contains(text), "{kind:?} {target}: {}", reply.text());
            });
            let expected = if kind.is_worker() { Then::Lives } else { Then::BootsAgain };
            assert_eq!(then, expected, "{kind:?} {target}");
        }
        let shown = kind.app().ini("display_errors", "1").start();
        assert!(shown.get("/exception").send().text().contains("nobody catches this"), "{kind:?}");
        assert!(shown.logs("nobody catches this"), "{kind:?}");
    }
}

#[test]
fn exceptions_of_many_clients_do_not_mix() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.start();
        crowd(
            |number| server.get(&if number % 3 == 0 { "/exception".into() } else { format!("/hello?tag={number}") }),
            |number, reply| match number % 3 {
                0 => assert_eq!(reply.status, 500, "{kind:?}"),
                _ => assert_eq!((reply.status, reply.text()), (200, format!("hello {number}")), "{kind:?}"),
            },
        );
    }
}

#[test]
fn a_handler_for_exceptions_makes_the_answer() {
    if elsewhere() {
        return;
    }
    for kind in PRINTING {
        let then = after(kind, "/handled-exception", |reply| {
            assert_eq!((reply.status, reply.text().as_str()), (418, "handled this"), "{kind:?}");
        });
        assert_eq!(then, unwound(kind), "{kind:?}");
    }
}

#[test]
fn an_exception_of_a_shutdown_function_is_the_request_s() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let then = after(kind, "/exception-at-end", |reply| assert_eq!(reply.text(), "body", "{kind:?}"));
        assert_eq!(then, if kind.is_worker() { Then::Lives } else { Then::BootsAgain }, "{kind:?}");
    }
}

#[test]
fn shutdown_functions_and_destructors_still_print() {
    if elsewhere() {
        return;
    }
    for kind in PRINTING {
        after(kind, "/shutdown", |reply| assert_eq!(reply.text(), "body shutdown and another", "{kind:?}"));
    }
    for kind in KINDS {
        after(kind, "/destructor", |reply| assert_eq!(reply.text(), "body local gone", "{kind:?}"));
    }
}

#[test]
fn a_fatal_error_is_a_500_and_another_boot() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        for target in ["/fatal", "/memory", "/recursion", "/time"] {
            let then = after(kind, target, |reply| assert_eq!(reply.status, 500, "{kind:?} {target}: {}", reply.text()));
            assert_eq!(then, Then::BootsAgain, "{kind:?} {target}");
        }
    }
}

#[test]
fn a_fatal_error_at_the_end_runs_no_shutdown_function_twice() {
    if elsewhere() {
        return;
    }
    for kind in PRINTING {
        let server = kind.app().threads(1).start();
        let to = server.dir().join("ran");
        server.text("/hello");
        server.get(&format!("/fatal-at-end?to={}", to.display())).send();
        assert_eq!(server.text("/hello?tag=1"), "hello 1", "{kind:?}");
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "ran ", "{kind:?}");
    }
}

#[test]
fn crashes_among_a_crowd_cost_nobody_else_an_answer() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.start();
        let target = |number: usize| match number % 6 {
            0 => "/fatal".to_owned(),
            1 => "/memory".to_owned(),
            _ => format!("/hello?tag={number}"),
        };
        crowd(
            |number| server.get(&target(number)),
            |number, reply| match number % 6 {
                0 | 1 => assert_eq!(reply.status, 500, "{kind:?}"),
                _ => assert_eq!((reply.status, reply.text()), (200, format!("hello {number}")), "{kind:?}"),
            },
        );
    }
}

#[test]
fn a_time_limit_is_the_request_s_own() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.app().threads(1).ini("max_execution_time", "20").start();
        assert_eq!(server.get("/time").send().status, 500, "{kind:?}");
        assert!(server.logs("Maximum execution time of 1 second exceeded"), "{kind:?}");
        assert_eq!(server.text("/time-left"), "20", "{kind:?}: the next request has the usual limit");
    }
}

#[test]
fn a_request_that_takes_too_long_is_ended() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.app().option("http.request_timeout=1s").threads(1).start();
        let reply = server.get("/sleep?ms=20000").send();
        // 500 where the script could be ended, 504 where it could only be given up.
        assert!(matches!(reply.status, 500 | 504), "{kind:?}: {}", reply.status);
        assert_eq!(server.text("/hello?tag=1"), "hello 1", "{kind:?}");
    }
}

#[test]
fn stopping_lets_every_client_have_its_answer() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.app().threads(2).start();
        let connect = |tag: i32| {
            let mut connection = server.connect();
            connection.send(&server.get("/hello")).unwrap();
            (tag, connection)
        };
        let mut waiting: Vec<_> = (0..6).map(connect).collect();
        for (tag, connection) in &mut waiting {
            connection.write(server.get(&format!("/sleep?ms=100&tag={tag}")).bytes(true));
        }
        server.stop();
        for (tag, connection) in &mut waiting {
            assert_eq!(connection.read().unwrap().text(), format!("slept {tag}"), "{kind:?}");
        }
    }
}
