//! What requests of one worker share, and what they must not: sessions above all.

use super::{KINDS, Kind, WORKERS, boot_of, crowd, elsewhere};
use crate::harness::Reply;

#[test]
fn a_worker_keeps_its_state_and_a_classic_script_does_not() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.app().threads(1).start();
        let counts: Vec<_> = (0..4).map(|_| server.text("/count")).collect();
        let expected = if kind.is_worker() { ["1", "2", "3", "4"] } else { ["1"; 4] };
        assert_eq!(counts, expected, "{kind:?}");
        let boots: Vec<_> = (0..3).map(|_| boot_of(&server).0).collect();
        assert_eq!(boots[0] == boots[1] && boots[1] == boots[2], kind.is_worker(), "{kind:?}: {boots:?}");
        for _ in 0..3 {
            assert_eq!(server.text("/autoload"), "late", "{kind:?}");
        }
    }
}

fn session_cookie(reply: &Reply) -> String {
    let cookies = reply.cookies();
    let (name, value) = cookies.iter().find(|(name, _)| name == "PHPSESSID").unwrap_or_else(|| panic!("no session in {reply:?}"));
    format!("{name}={value}")
}

#[test]
fn sessions_belong_to_their_clients() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let setup = kind.app();
        let path = setup.scratch().display().to_string();
        let server = setup.ini("session.save_path", &path).start();
        crowd(
            |number| server.get(&format!("/session?tag={number}")),
            |number, first| {
                assert_eq!(first.text(), format!("1 {number}"), "{kind:?}");
                let cookie = session_cookie(&first);
                for count in 2..5 {
                    let reply = server.get("/session?tag=other").header("Cookie", &cookie).send();
                    assert_eq!((reply.text(), reply.header("set-cookie")), (format!("{count} {number}"), None), "{kind:?}");
                }
            },
        );
    }
}

#[test]
fn no_session_is_left_to_the_next_request() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let setup = kind.app().threads(1);
        let path = setup.scratch().display().to_string();
        let server = setup.ini("session.save_path", &path).start();
        for target in ["/session?tag=mine", "/session-exit?tag=mine", "/change?what=session"] {
            server.get(target).send();
            assert_eq!(server.text("/no-session"), r#"[true,false,""]"#, "{kind:?} after {target}");
            let other = server.get("/session?tag=other").send();
            assert_eq!(other.text(), "1 other", "{kind:?} after {target}");
        }
    }
}

#[test]
fn the_lock_of_a_session_goes_with_its_request() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let setup = kind.app().threads(2);
        let path = setup.scratch().display().to_string();
        let server = setup.ini("session.save_path", &path).ini("output_buffering", "0").start();
        let cookie = session_cookie(&server.get("/session?tag=a").send());
        for target in ["/session-exit?tag=a", "/change?what=session"] {
            server.get(target).header("Cookie", &cookie).send();
        }
        let streaming = server.get("/session-endless").header("Cookie", &cookie).fire();
        drop(streaming);
        // Were a lock left, this would wait for it until it is given up.
        let reply = server.get("/session?tag=a").header("Cookie", &cookie).send();
        assert_eq!(reply.text(), "2 a", "{kind:?}");
    }
}

#[test]
fn a_session_handler_of_a_request_goes_and_one_of_the_boot_stays() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.app().threads(1).start();
        for _ in 0..3 {
            assert_eq!(server.text("/session-handler"), "request", "{kind:?}");
            assert_eq!(server.text("/session-from"), "nowhere", "{kind:?}");
        }
    }
    for kind in WORKERS {
        for reset in ["basic", "strict"] {
            let setup = kind.app().threads(1).env("RR_TEST_AT_BOOT", "session").option(&format!("php.reset={reset}"));
            let server = setup.start();
            for _ in 0..3 {
                assert_eq!(server.text("/session-from"), "boot", "{kind:?} {reset}");
                assert_eq!(server.text("/session-handler"), "request", "{kind:?} {reset}");
            }
        }
    }
}

#[test]
fn opcache_resets_do_not_disturb_anybody() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.app().threads(4).start();
        for round in 0..4 {
            crowd(
                |number| {
                    server.get(&if number % 10 == 0 { "/opcache-reset".into() } else { format!("/hello?tag={round}-{number}") })
                },
                |number, reply| {
                    assert_eq!(reply.status, 200, "{kind:?}: {}", reply.text());
                    if number % 10 != 0 {
                        assert_eq!(reply.text(), format!("hello {round}-{number}"), "{kind:?}");
                    }
                },
            );
        }
    }
}

#[test]
fn workers_boot_again_after_max_jobs_without_losing_a_request() {
    if elsewhere() {
        return;
    }
    for kind in WORKERS {
        let server = kind.app().threads(2).option("http.pool.max_jobs=5").start();
        crowd(
            |number| server.get(&format!("/hello?tag={number}")),
            |number, reply| assert_eq!((reply.status, reply.text()), (200, format!("hello {number}")), "{kind:?}"),
        );
        let boots: std::collections::HashSet<_> = (0..20).map(|_| boot_of(&server).0).collect();
        assert!(boots.len() >= 4, "{kind:?}: {boots:?}");
        for _ in 0..20 {
            assert!(boot_of(&server).1 <= 5, "{kind:?}");
        }
    }
}

#[test]
fn a_loop_of_the_script_s_own_length_is_booted_again() {
    if elsewhere() {
        return;
    }
    // FrankenPHP's idiom: leave after MAX_REQUESTS.
    let loops = [
        (Kind::Callback, "for ($i = 0; $i < 3 && rr_handle_request(function () use ($boot) { echo $boot; }); $i++);"),
        (Kind::FrankenPhp, "for ($i = 0; $i < 3 && frankenphp_handle_request(function () use ($boot) { echo $boot; }); $i++);"),
        (Kind::Pull, "$w = new RR\\Worker; for ($i = 0; $i < 3 && $w->waitRequest(); $i++) $w->respond($boot);"),
    ];
    for (kind, code) in loops {
        let server = super::script(&format!("$boot = bin2hex(random_bytes(6)); {code}")).threads(1).start();
        let boots: Vec<_> = (0..9).map(|_| server.text("/")).collect();
        let distinct: std::collections::HashSet<_> = boots.iter().collect();
        assert_eq!(distinct.len(), 3, "{kind:?}: {boots:?}");
        assert_eq!((&boots[0], &boots[3]), (&boots[2], &boots[5]), "{kind:?}");
    }
}
