//! What is undone between two requests of a worker: each row of the table at `php::Reset`, for both levels.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Kind, WORKERS, elsewhere};
use crate::harness::{Server, Setup, is_sanitized, not_run};

type Look = BTreeMap<String, Value>;

/// Rows that go at either level: they are the client's.
const ALWAYS: &[&str] =
    &["last error", "buffer", "buffer callback", "output rewrite", "header", "status", "superglobal", "session"];

/// Rows that go at `strict`, and stay at `basic`: what a request changed for its own use.
const STRICT: &[&str] = &[
    "ini",
    "ini twice",
    "include path",
    "error level",
    "time limit",
    "abort",
    "directory",
    "umask",
    "locale",
    "timezone",
    "environment",
    "removed from the environment",
    "error handler",
    "exception handler",
];

/// Rows that stay at either level: the script's own state.
const NEVER: &[&str] = &["global", "static", "constant", "$_ENV", "stream wrapper", "autoloader", "encoding"];

fn look(server: &Server) -> Look {
    serde_json::from_value(server.get("/look").send().json()).unwrap()
}

fn app(kind: Kind, reset: &str) -> Setup {
    let setup = kind.app().threads(1).option(&format!("php.reset={reset}")).env("RR_TEST_REMOVED", "there");
    let path = setup.scratch().display().to_string();
    setup.ini("session.save_path", &path)
}

/// Every change alone, on a worker of its own; what is seen before, in the request that makes it, and after.
fn each_row(kind: Kind, reset: &str, setup: impl Fn(Setup) -> Setup) -> BTreeMap<String, [Value; 3]> {
    let server = setup(app(kind, reset)).start();
    let rows: Vec<String> = serde_json::from_value(server.get("/changes").send().json()).unwrap();
    let mut seen = BTreeMap::new();
    for row in rows {
        let server = setup(app(kind, reset)).start();
        let before = look(&server).remove(&row).unwrap();
        let during = server.get(&format!("/change?what={}", row.replace(' ', "%20"))).send().json();
        let after = look(&server).remove(&row).unwrap();
        seen.insert(row, [before, during, after]);
    }
    seen
}

#[test]
fn every_row_of_the_table_holds() {
    if elsewhere() {
        return;
    }
    for (kind, reset) in [(Kind::Callback, "strict"), (Kind::Callback, "basic"), (Kind::Pull, "strict"), (Kind::Pull, "basic")] {
        let seen = each_row(kind, reset, |setup| setup);
        assert_eq!(seen.len(), ALWAYS.len() + STRICT.len() + NEVER.len(), "a row without a place: {:?}", seen.keys());
        for (row, [before, during, after]) in &seen {
            let name = row.as_str();
            assert_ne!(before, during, "{kind:?} {reset}: {row} was not changed at all");
            if ALWAYS.contains(&name) || (reset == "strict" && STRICT.contains(&name)) {
                assert_eq!(after, before, "{kind:?} {reset}: {row} was left");
            } else {
                assert!(STRICT.contains(&name) || NEVER.contains(&name), "{row}");
                assert_eq!(after, during, "{kind:?} {reset}: {row} went");
            }
        }
    }
}

#[test]
fn a_request_is_brought_back_to_what_the_boot_chose() {
    if elsewhere() {
        return;
    }
    for kind in WORKERS {
        let server = app(kind, "strict").env("RR_TEST_AT_BOOT", "changed").start();
        let booted = look(&server);
        assert_eq!((&booted["ini"], &booted["environment"][0]), (&"9".into(), &"boot".into()), "{kind:?}: {booted:?}");
        assert_eq!((&booted["error handler"], &booted["umask"]), (&"Reset::bootError".into(), &0o27.into()), "{kind:?}");
        assert_eq!((&booted["directory"][0], &booted["timezone"][0]), (&"/tmp".into(), &"Europe/Paris".into()), "{kind:?}");
        for round in 0..3 {
            server.get("/change-all").send();
            let now = look(&server);
            for row in ALWAYS.iter().chain(STRICT) {
                assert_eq!(now[*row], booted[*row], "{kind:?} round {round}: {row}");
            }
        }
        let to = server.dir().join("file");
        assert_eq!(server.text(&format!("/mkfile?to={}", to.display())), "640", "{kind:?}: the umask in force is the boot's");
        // A pulled exception is caught by the script.
        if kind != Kind::Pull {
            let reply = server.get("/exception").send();
            assert_eq!((reply.status, reply.text().as_str()), (511, "boot handler"), "{kind:?}");
        }
    }
}

#[test]
fn many_changed_values_are_all_brought_back() {
    if elsewhere() {
        return;
    }
    // More than one round of the collection that restores them.
    let code = "$all = array_filter(ini_get_all(null, true), fn ($entry) => $entry['access'] & 1); $change = function () use ($all) { foreach ($all as $name => $entry) { if ((is_numeric($entry['local_value']) || preg_match('/highlight|pend_string|docref|user_agent|from|assert/', $name)) && !str_contains($name, 'memory') && !str_contains($name, 'opcache') && !str_contains($name, 'execution')) { @ini_set($name, is_numeric($entry['local_value']) ? (string) ($entry['local_value'] + 1) : 'changed'); } } }; $state = fn () => array_map(fn ($entry) => $entry['local_value'], ini_get_all(null, true)); $booted = $state(); while (rr_handle_request(function () use ($change, $state, $booted) { $changed = array_diff_assoc($state(), $booted); echo json_encode(array_keys($changed)), ' '; $change(); ini_set('precision', '14'); echo count(array_diff_assoc($state(), $booted)); }));";
    let server = super::script(code).threads(1).start();
    for _ in 0..4 {
        let text = server.text("/");
        let (left, changed) = text.split_once(' ').unwrap();
        assert!(left == "[]" && changed.parse::<u32>().unwrap() > 64, "{text}");
    }
}

#[test]
fn handlers_pushed_and_popped_by_a_request_are_put_right() {
    if elsewhere() {
        return;
    }
    let code = "set_error_handler('b'); set_exception_handler('c'); function b() { return true; } function c() {} while (rr_handle_request(function () { $now = [set_error_handler(null), set_exception_handler(null)]; restore_error_handler(); restore_exception_handler(); echo json_encode($now); for ($i = 0; $i < (int) ($_GET['push'] ?? 0); $i++) { set_error_handler(fn () => true); set_exception_handler(fn () => 1); } for ($i = 0; $i < (int) ($_GET['pop'] ?? 0); $i++) { restore_error_handler(); restore_exception_handler(); } }));";
    let server = super::script(code).threads(1).start();
    for target in ["/?push=3", "/?pop=1", "/?pop=5", "/?push=1&pop=1", "/?push=2&pop=4", "/"] {
        server.text(target);
        assert_eq!(server.text("/"), r#"["b","c"]"#, "after {target}");
    }
}

#[test]
fn shutdown_functions_run_with_their_request_or_with_their_worker() {
    if elsewhere() {
        return;
    }
    for kind in WORKERS {
        for reset in ["strict", "basic"] {
            let setup = app(kind, reset).env("RR_TEST_AT_BOOT", "shutdown");
            let to = setup.scratch().join("ran");
            let server = setup.env("RR_TEST_TO", to.to_str().unwrap()).start();
            server.text("/hello");
            let ran = || std::fs::read_to_string(&to).unwrap_or_default();
            for round in 1..3 {
                assert_eq!(server.text(&format!("/shutdown-to?to={}", to.display())), "registered", "{kind:?} {reset}");
                server.text("/hello?tag=1");
                let expected = if reset == "strict" { "request ".repeat(round) } else { String::new() };
                assert_eq!(ran(), expected, "{kind:?} {reset}");
            }
            server.stop();
            let expected = if reset == "strict" { "request request boot " } else { "boot request request " };
            assert_eq!(ran(), expected, "{kind:?} {reset}");
        }
    }
}

#[test]
fn the_answer_waits_for_the_shutdown_functions_of_its_request() {
    if elsewhere() {
        return;
    }
    for kind in [Kind::Callback, Kind::FrankenPhp] {
        let server = app(kind, "strict").start();
        server.text("/hello");
        let to = server.dir().join("ran");
        for round in 1..4 {
            server.text(&format!("/shutdown-to?to={}", to.display()));
            assert_eq!(std::fs::read_to_string(&to).unwrap(), "request ".repeat(round), "{kind:?}");
        }
    }
}

#[test]
fn the_first_request_of_a_frankenphp_script_is_part_of_its_boot() {
    if elsewhere() {
        return;
    }
    for kind in WORKERS {
        let server = app(kind, "strict").start();
        let to = server.dir().join("ran");
        server.get("/change-all").send();
        let second = look(&server);
        let changed = kind == Kind::FrankenPhp;
        assert_eq!(second["timezone"][0] == "Asia/Tokyo", changed, "{kind:?}");
        assert_eq!(second["error handler"] == "Reset::requestError", changed, "{kind:?}");
        let fresh = look(&app(kind, "strict").start());
        for row in ALWAYS {
            assert_eq!(second[*row], fresh[*row], "{kind:?}: {row} is the client's");
        }
        // From here on it is as after any other boot.
        for row in ["ini", "umask", "environment"] {
            server.text(&format!("/change?what={row}"));
        }
        server.text("/change?what=time%20limit");
        assert_eq!(look(&server), second, "{kind:?}");
        server.text(&format!("/shutdown-to?to={}", to.display()));
        server.text("/hello");
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "request ", "{kind:?}");
    }
}

#[test]
fn random_numbers_go_on() {
    if elsewhere() {
        return;
    }
    for kind in WORKERS {
        let server = app(kind, "strict").start();
        assert_ne!(server.text("/seeded"), server.text("/seeded"), "{kind:?}");
        // The seeds are the script's own state: what follows a seed is known, in the next request too.
        let seeded = [server.text("/seeded?seed"), server.text("/seeded")];
        assert_eq!([server.text("/seeded?seed"), server.text("/seeded")], seeded, "{kind:?}");
    }
}

#[test]
fn the_peak_of_memory_is_counted_per_request() {
    if elsewhere() {
        return;
    }
    if is_sanitized() {
        return not_run("the_peak_of_memory_is_counted_per_request", "PHP counts no peak of what AddressSanitizer hands out");
    }
    for kind in WORKERS {
        let server = app(kind, "strict").start();
        let used: u64 = server.text("/peak?use=20000000").parse().unwrap();
        let next: u64 = server.text("/peak").parse().unwrap();
        assert!(used > 20_000_000 && next < 10_000_000, "{kind:?}: {used}, then {next}");
    }
}

#[test]
fn requests_that_change_everything_at_once_do_not_meet() {
    if elsewhere() {
        return;
    }
    for kind in [Kind::Callback, Kind::Pull] {
        let server = kind.app().threads(2).start();
        let fresh = look(&server);
        super::crowd(
            |number| server.get(if number % 2 == 0 { "/change-all" } else { "/look" }),
            |number, reply| {
                if number % 2 == 1 {
                    let seen: Look = serde_json::from_value(reply.json()).unwrap();
                    for row in ALWAYS.iter().chain(STRICT) {
                        assert_eq!(seen[*row], fresh[*row], "{kind:?}: {row}");
                    }
                }
            },
        );
    }
}
