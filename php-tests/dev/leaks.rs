//! What grows from request to request of a worker script is named, and nothing else is.

use crate::harness::{Server, Setup, fixtures, reference, server, wait_until};

/// How the script asks for requests.
const KINDS: [&str; 3] = ["callback", "pull", "frames"];

/// `leaks.php` in development mode.
fn leaky(kind: &str, threads: usize) -> Setup {
    let script = include_str!("leaks.php");
    let setup = server().bare().file("leaks.php", script).file("composer.json", "{}").argument("--watch").threads(threads);
    let path = setup.document_root().join("leaks.php").display().to_string();
    let setup = setup.env("RR_TEST_KIND", kind).env("RR_TEST_FIXTURES", &fixtures().display().to_string());
    let sessions = setup.scratch().display().to_string();
    let setup = setup.ini("session.save_path", &sessions);
    if kind == "frames" {
        setup.option(&format!("server.command=php {path}")).option("dev.debounce=50ms")
    } else {
        setup.option(&format!("http.worker={path}")).option("dev.debounce=50ms")
    }
}

/// The lines that name a leak.
fn named(server: &Server) -> Vec<String> {
    server.log.text().lines().filter(|line| line.contains(" grew from ")).map(str::to_owned).collect()
}

fn ask(server: &Server, path: &str, times: usize) {
    for _ in 0..times {
        assert_eq!(server.text(path), "done", "{path}");
    }
}

#[test]
fn each_kind_of_leak_is_named_after_a_few_requests() {
    if reference().is_some() {
        return;
    }
    for kind in KINDS {
        let server = leaky(kind, 1).start();
        for (path, expected) in [
            ("/static", "static property Base::$items grew from "),
            ("/nested", "static property Cache::$tree grew from "),
            ("/global", "global variable $list grew from "),
            ("/globals", "the number of global variables grew from "),
            ("/variable", "static variable $remembered of remember() grew from "),
            ("/method", "static variable $seen of Cache::seen() grew from "),
            ("/service", "property Container::$log grew from "),
            ("/objects", "the number of Node objects grew from "),
            ("/chain", "the number of Node objects grew from "),
            ("/text", "static property Cache::$text grew from "),
            ("/stream", "the number of open resources, streams among them, grew from "),
        ] {
            ask(&server, path, 12);
            assert!(server.logs(expected), "{kind} {path}: no {expected:?} in {}", server.log.text());
        }
        let lines = named(&server);
        let line = lines.iter().find(|line| line.contains("Base::$items")).unwrap();
        assert!(line.contains(" elements in each of the last ") && line.contains("(GET /static)"), "{line}");
        let lines: Vec<_> = lines.iter().filter(|line| !line.contains("Base::$items")).collect();
        assert!(!lines.iter().any(|line| line.contains("$fixed") || line.contains("$ring")), "{lines:?}");
    }
}

#[test]
fn a_leak_is_named_at_powers_of_two_by_one_worker() {
    if reference().is_some() {
        return;
    }
    let server = leaky("callback", 2).start();
    ask(&server, "/static", 60);
    assert!(server.logs("Base::$items grew"), "{}", server.log.text());
    let before = named(&server).len();
    // Six times, 8, 16 and 32 at most, whichever worker it was.
    assert!((1..=4).contains(&before), "{:?}", named(&server));
    // After a change it is news again.
    let script = server.root().join("leaks.php");
    std::fs::write(&script, format!("{}\n// changed", include_str!("leaks.php"))).unwrap();
    assert!(server.logs("leaks.php changed"), "{}", server.log.text());
    let again = || {
        ask(&server, "/static", 10);
        named(&server).len() > before
    };
    assert!(wait_until(std::time::Duration::from_secs(20), again), "{}", server.log.text());
}

#[test]
fn a_stable_worker_is_not_suspected() {
    if reference().is_some() {
        return;
    }
    for kind in KINDS {
        let server = leaky(kind, 2).start();
        for page in 0..8 {
            ask(&server, &format!("/clean/{page}"), 20);
        }
        ask(&server, "/clean", 200);
        server.stop();
        assert_eq!(named(&server), Vec::<String>::new(), "{kind}");
        assert!(!server.log.text().contains("boots again"), "{kind}: {}", server.log.text());
    }
}

#[test]
fn what_garbage_throws_ends_no_worker() {
    if reference().is_some() {
        return;
    }
    for kind in KINDS {
        let server = leaky(kind, 1).ini("display_errors", "0").ini("log_errors", "1").start();
        ask(&server, "/clean", 5);
        ask(&server, "/throws", 1);
        for _ in 0..10 {
            ask(&server, "/clean", 1);
        }
        assert!(server.logs("thrown by garbage"), "{kind}: {}", server.log.text());
        assert!(!server.log.text().contains("boots again"), "{kind}: {}", server.log.text());
    }
}

#[test]
fn nobody_looks_unless_asked_to() {
    if reference().is_some() {
        return;
    }
    let server = leaky("callback", 1).option("dev.leaks=false").start();
    ask(&server, "/static", 40);
    server.stop();
    assert_eq!(named(&server), Vec::<String>::new());
}
