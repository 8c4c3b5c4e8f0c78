//! What a request is answered, in every kind of script.

use std::time::Duration;

use serde_json::json;

use super::{KINDS, Kind, PRINTING, WORKERS, crowd, elsewhere};
use crate::harness::{PATIENCE, wait_until};

#[test]
fn headers_and_cookies_are_the_request_s_own() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.start();
        crowd(
            |number| server.get(&format!("/headers?tag={number}")),
            |number, reply| {
                assert_eq!(reply.all("x-one").collect::<Vec<_>>(), ["2"], "{kind:?}");
                assert_eq!(reply.all("x-many").collect::<Vec<_>>(), ["a", "b"], "{kind:?}");
                assert_eq!(
                    (reply.header("x-gone"), reply.header("x-tag")),
                    (None, Some(number.to_string().as_str())),
                    "{kind:?}"
                );
                assert_eq!(reply.all("set-cookie").collect::<Vec<_>>(), ["one=a%20b; path=/; HttpOnly", "two=2"], "{kind:?}");
                assert_eq!(reply.json()[1], json!("X-Many: a"), "{kind:?}");
            },
        );
        let next = server.get("/hello").send();
        assert_eq!((next.header("x-one"), next.header("set-cookie")), (None, None), "{kind:?}");
    }
}

#[test]
fn a_header_after_the_output_is_too_late() {
    if elsewhere() {
        return;
    }
    for kind in PRINTING {
        let server = kind.app().ini("output_buffering", "0").start();
        let reply = server.get("/late-header").send();
        assert!(reply.header("x-late").is_none() && reply.text().ends_with("true"), "{kind:?}");
        assert!(server.logs("headers already sent"), "{kind:?}");
    }
}

#[test]
fn the_status_is_what_the_script_says() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.start();
        crowd(
            |number| server.get(&format!("/status?code={}", 400 + number)),
            |number, reply| {
                let code = u16::try_from(400 + number).unwrap();
                assert_eq!((reply.status, reply.text()), (code, code.to_string()), "{kind:?}");
            },
        );
        let redirect = server.get("/redirect").send();
        assert_eq!((redirect.status, redirect.header("location")), (302, Some("/there")), "{kind:?}");
        assert_eq!(server.get("/no-such-handler").send().status, 404, "{kind:?}");
        assert_eq!(server.get("/hello").send().status, 200, "{kind:?}: the next one starts anew");
    }
    for kind in PRINTING {
        let server = kind.start();
        let reply = server.get("/reason").send();
        assert_eq!((reply.status, reply.reason.as_str()), (404, "Gone Fishing"), "{kind:?}");
        assert_eq!(server.get("/hello").send().reason, "OK", "{kind:?}");
    }
}

#[test]
fn malformed_status_lines_do_no_harm() {
    if elsewhere() {
        return;
    }
    for kind in PRINTING {
        let server = kind.app().threads(1).start();
        for (line, status) in [
            ("HTTP/1.1%20404", 404),
            ("HTTP/1.1", 200),
            ("HTTP/1.1%20", 200),
            ("HTTP/1.1%20%20410%20Gone", 410),
            ("HTTP/9%20abc", 500),
        ] {
            let reply = server.get(&format!("/status-line?line={line}")).send();
            assert_eq!((reply.status, reply.text()), (status, "line".to_owned()), "{kind:?} {line}");
            assert_eq!(server.get("/hello").send().status, 200, "{kind:?} after {line}");
        }
    }
}

#[test]
fn the_type_is_php_s_unless_the_script_says_another() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.start();
        let default = server.get("/type").send();
        assert_eq!(default.header("content-type"), Some("text/html; charset=UTF-8"), "{kind:?}");
        let own = server.get("/type?type=application/json").send();
        assert_eq!(own.all("content-type").collect::<Vec<_>>(), ["application/json"], "{kind:?}");
        let version = default.header("x-powered-by").unwrap_or_default();
        assert!(version.starts_with("PHP/"), "{kind:?}: {version}");
        let silent = kind.app().ini("expose_php", "0").start();
        assert_eq!(silent.get("/type").send().header("x-powered-by"), None, "{kind:?}");
    }
}

#[test]
fn odd_headers_do_not_break_the_answer() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.start();
        let reply = server.get("/odd-headers").send();
        assert_eq!((reply.status, reply.text().as_str(), reply.header("x-ok")), (200, "ok", Some("1")), "{kind:?}");
        assert_eq!((reply.header("x-b"), reply.header("x-c")), (None, None), "{kind:?}");
    }
}

#[test]
fn bodiless_answers_have_no_body() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.app().threads(1).start();
        let mut connection = server.connect();
        for code in [204, 304] {
            let reply = connection.send(&server.get(&format!("/status?code={code}"))).unwrap();
            assert_eq!((reply.status, reply.header("transfer-encoding")), (code, None), "{kind:?}");
        }
        let head = connection.send(&server.request("HEAD", "/hello?tag=1")).unwrap();
        assert_eq!((head.status, head.body.len()), (200, 0), "{kind:?}");
        assert!(head.header("content-type").is_some(), "{kind:?}");
        let reply = connection.send(&server.get("/hello?tag=2")).unwrap();
        assert_eq!(reply.text(), "hello 2", "{kind:?}: the connection is still in step");
    }
}

#[test]
fn large_answers_arrive_whole() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.start();
        let body = server.get("/large").send().body;
        let right = |(index, part): (usize, &[u8])| part.iter().all(|byte| usize::from(*byte) == 65 + index % 26);
        assert!(body.len() == 8 << 20 && body.chunks(4096).enumerate().all(right), "{kind:?}: {} bytes", body.len());
    }
}

#[test]
fn small_answers_carry_their_length() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.start();
        let reply = server.get("/hello?tag=1").send();
        assert_eq!((reply.header("content-length"), reply.header("transfer-encoding")), (Some("7"), None), "{kind:?}");
    }
}

#[test]
fn open_buffers_are_closed_at_the_end() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.app().threads(1).start();
        for _ in 0..3 {
            assert_eq!(server.text("/buffers"), "OUTER INNER CBA", "{kind:?}");
        }
    }
}

#[test]
fn links_are_rewritten_for_their_request_alone() {
    if elsewhere() {
        return;
    }
    for kind in PRINTING {
        let server = kind.app().threads(1).ini("url_rewriter.tags", "a=href").start();
        for tag in ["one", "two", "three"] {
            let expected = format!("<a href=\"there.php?token={tag}\">x</a>");
            assert_eq!(server.text(&format!("/rewrite?tag={tag}")), expected, "{kind:?}");
        }
    }
}

#[test]
fn streams_pass_at_once_and_each_to_its_client() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.app().ini("output_buffering", "0").start();
        let go = server.dir().join("go");
        let mut waiting = server.get(&format!("/stream?tag=w&go={}", go.display())).fire();
        let head = waiting.read_head().unwrap();
        assert_eq!(head.header("transfer-encoding"), Some("chunked"), "{kind:?}");
        assert_eq!(waiting.read_chunk().unwrap().unwrap(), b"data: w 1\n\n", "{kind:?}: it waits for us, so this was flushed");
        std::fs::write(&go, "").unwrap();
        assert_eq!(waiting.read_chunk().unwrap().unwrap(), b"data: w 2\n\n", "{kind:?}");
        crowd(
            |number| server.get(&format!("/stream?tag={number}")),
            |number, reply| {
                let parts: String = (1..4).map(|part| format!("data: {number} {part}\n\n")).collect();
                assert_eq!(reply.text(), parts, "{kind:?}");
                assert!(reply.header("content-type").unwrap().starts_with("text/event-stream"), "{kind:?}");
            },
        );
    }
}

#[test]
fn a_client_that_leaves_ends_its_request_and_not_the_worker() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.app().threads(1).ini("output_buffering", "0").start();
        let before = kind.is_worker().then(|| super::boot_of(&server).0);
        let to = server.dir().join("end");
        drop(server.get(&format!("/endless?to={}", to.display())).fire().read_head().unwrap());
        let finally = || std::fs::read_to_string(&to).is_ok_and(|text| text == "finally");
        // An abort in a classic script is a bailout, which runs no finally; php-fpm has it so.
        if kind.is_worker() {
            assert!(wait_until(PATIENCE, finally), "{kind:?}: {}", server.log.text());
        }
        assert_eq!(server.text("/hello?tag=1"), "hello 1", "{kind:?}");
        assert_eq!(kind.is_worker().then(|| super::boot_of(&server).0), before, "{kind:?}: the worker lives");
    }
}

#[test]
fn a_script_may_ignore_that_its_client_leaves() {
    if elsewhere() {
        return;
    }
    // A pulled answer has no use for it: respond() asks for no more, and says so.
    for kind in PRINTING {
        let server = kind.app().threads(1).ini("output_buffering", "0").start();
        let to = server.dir().join("end");
        drop(server.get(&format!("/endless?ignore&to={}", to.display())).fire().read_head().unwrap());
        let ignored = || std::fs::read_to_string(&to).is_ok_and(|text| text == "ignored");
        assert!(wait_until(PATIENCE, ignored), "{kind:?}: {}", server.log.text());
        assert_eq!(server.text("/hello?tag=1"), "hello 1", "{kind:?}");
    }
}

#[test]
fn early_hints_come_before_the_answer() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let reply = kind.start().get("/hints").send();
        assert_eq!((reply.status, reply.text().as_str()), (200, "103"), "{kind:?}");
        assert_eq!((reply.header("x-final"), reply.header("link")), (Some("1"), None), "{kind:?}");
        assert_eq!((reply.interim.len(), reply.interim[0].status), (1, 103), "{kind:?}");
        assert_eq!(reply.interim[0].header("link"), Some("</a.css>; rel=preload"), "{kind:?}");
    }
}

#[test]
fn an_answer_may_be_finished_early() {
    if elsewhere() {
        return;
    }
    for kind in PRINTING {
        let server = kind.app().threads(1).start();
        let to = server.dir().join("end");
        let reply = server.post(&format!("/finish?to={}", to.display()), "text/plain", "late").send();
        assert_eq!(reply.text(), "before", "{kind:?}");
        let seen = || std::fs::read_to_string(&to).is_ok_and(|text| text == r#"[true,false,"late",0]"#);
        assert!(wait_until(PATIENCE, seen), "{kind:?}: {:?}", std::fs::read_to_string(&to));
        assert_eq!(server.text("/hello?tag=1"), "hello 1", "{kind:?}");
    }
    // There respond() is that, and the script goes on after it anyway.
    let server = Kind::Pull.start();
    let to = server.dir().join("end");
    server.text(&format!("/finish?to={}", to.display()));
    assert_eq!(std::fs::read_to_string(&to).unwrap(), r#"[false,false,"",0]"#);
}

#[test]
fn fibers_print_and_set_headers() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.app().threads(1).start();
        for _ in 0..20 {
            let reply = server.get("/fiber").send();
            assert_eq!((reply.text().as_str(), reply.header("x-fiber")), ("in out left", Some("yes")), "{kind:?}");
        }
    }
}

#[test]
fn logs_name_their_level() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.start();
        assert_eq!(server.text("/log?tag=t1"), "logged", "{kind:?}");
        for line in ["said by error_log t1", "said by frankenphp_log {\"tag\":\"t1\"}", "said on stderr t1"] {
            assert!(server.logs(line), "{kind:?}: {line}");
        }
        let log = server.log.text();
        let line = log.lines().find(|line| line.contains("said by frankenphp_log")).unwrap();
        assert!(line.contains("WARN"), "{kind:?}: {line}");
    }
}

#[test]
fn what_a_boot_prints_goes_to_the_log_alone() {
    if elsewhere() {
        return;
    }
    let server = super::script("echo \"printed at boot\\n\"; header('X-Boot: 1'); http_response_code(500); ob_start(); echo 'in a buffer'; while (rr_handle_request(function () { echo 'answer'; })) { echo \"between\\n\"; }").threads(1).start();
    for _ in 0..3 {
        let reply = server.get("/").send();
        assert_eq!((reply.status, reply.text().as_str(), reply.header("x-boot")), (200, "answer", None));
    }
    for line in ["printed at boot", "in a buffer", "between"] {
        assert!(server.log.contains(line, Duration::from_secs(5)), "{line}: {}", server.log.text());
    }
}

#[test]
fn compression_and_output_handlers_work_per_request() {
    if elsewhere() {
        return;
    }
    for kind in WORKERS.into_iter().filter(|kind| *kind != Kind::Pull) {
        let server = kind.app().ini("zlib.output_compression", "1").threads(1).start();
        for _ in 0..3 {
            let reply = server.get("/hello?tag=1").header("Accept-Encoding", "gzip").send();
            assert_eq!((reply.header("content-encoding"), &reply.body[..2]), (Some("gzip"), &[0x1f, 0x8b][..]), "{kind:?}");
            assert_eq!(server.text("/hello?tag=2"), "hello 2", "{kind:?}");
        }
    }
}
