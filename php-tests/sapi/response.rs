//! What a script says: status, headers, body, and when it leaves.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{PATIENCE, reference, server, wait_until};

#[test]
fn headers_are_replaced_added_removed_and_listed() {
    let server = server().start();
    let reply = server.get("/headers.php").send();
    assert_eq!(reply.header("x-one"), Some("2"));
    assert_eq!(reply.all("x-many").collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(reply.header("x-gone"), None);
    assert_eq!(reply.header("x-powered-by"), None);
    assert_eq!(reply.all("set-cookie").collect::<Vec<_>>(), ["one=a%20b; path=/; HttpOnly; SameSite=Lax", "two=2"]);
    let seen = reply.json();
    assert_eq!(
        seen[0],
        json!(["X-One: 2", "X-Many: a", "X-Many: b", "Set-Cookie: one=a%20b; path=/; HttpOnly; SameSite=Lax", "Set-Cookie: two=2"])
    );
    assert_eq!(seen[1], json!(200));
}

#[test]
fn apache_response_headers_names_what_will_be_sent() {
    if reference().is_some() {
        return; // mod_php has it, php-fpm does not
    }
    let server = server().php("a.php", "header('X-One: 1'); header('X-Two: a'); header('X-Two: b', false); echo json_encode(apache_response_headers());").start();
    let seen = server.get("/a.php").send().json();
    assert_eq!((&seen["X-One"], &seen["X-Two"]), (&json!("1"), &json!("b")), "{seen}");
}

#[test]
fn content_type_and_charset_are_php_s() {
    let server = server()
        .php("a.php", "echo 1;")
        .php("b.php", "header('Content-Type: text/plain'); echo 1;")
        .php("c.php", "header('Content-Type: application/json'); echo 1;")
        .php("d.php", "ini_set('default_mimetype', ''); echo 1;")
        .start();
    assert_eq!(server.get("/a.php").send().header("content-type"), Some("text/html; charset=UTF-8"));
    assert_eq!(server.get("/b.php").send().header("content-type"), Some("text/plain;charset=UTF-8"));
    assert_eq!(server.get("/c.php").send().header("content-type"), Some("application/json"));
    assert_eq!(server.get("/d.php").send().header("content-type"), None);
}

#[test]
fn powered_by_follows_expose_php() {
    let shown = server().php("a.php", "").start();
    assert_eq!(shown.get("/a.php").send().header("x-powered-by"), Some(format!("PHP/{}", version(&shown)).as_str()));
    let hidden = server().ini("expose_php", "0").php("a.php", "").start();
    assert_eq!(hidden.get("/a.php").send().header("x-powered-by"), None);
}

fn version(server: &crate::harness::Server) -> String {
    std::fs::write(server.root().join("version.php"), "<?= PHP_VERSION;").unwrap();
    server.text("/version.php")
}

#[test]
fn status_can_be_set_in_every_way() {
    let server = server()
        .php("code.php", "http_response_code(418); echo http_response_code();")
        .php("line.php", "header('HTTP/1.1 404 Nothing Here'); echo http_response_code();")
        .php("status.php", "header('Status: 503 Back Soon'); echo http_response_code();")
        .php("third.php", "header('X-A: 1', true, 201); echo http_response_code();")
        .php("unknown.php", "http_response_code(599);")
        .php("location.php", "header('Location: /there?a=b');")
        .php("location301.php", "header('Location: /there', true, 301);")
        .php("location201.php", "http_response_code(201); header('Location: /there');")
        .start();
    let get = |target: &str| server.get(target).send();
    assert_eq!((get("/code.php").status, get("/code.php").text().as_str()), (418, "418"));
    let line = get("/line.php");
    assert_eq!((line.status, line.reason.as_str(), line.text().as_str()), (404, "Nothing Here", "404"));
    assert_eq!(get("/status.php").status, 503);
    assert_eq!((get("/third.php").status, get("/unknown.php").status), (201, 599));
    let location = get("/location.php");
    assert_eq!((location.status, location.header("location")), (302, Some("/there?a=b")));
    assert_eq!((get("/location301.php").status, get("/location201.php").status), (301, 201));
}

#[test]
fn a_redirect_after_a_post_is_a_302_as_under_php_fpm() {
    let server = server().php("r.php", "header('Location: /there');").start();
    for method in ["POST", "PUT", "GET"] {
        assert_eq!(server.request(method, "/r.php").form(&[("a", "b")]).send().status, 302, "{method}");
    }
}

#[test]
fn bodiless_statuses_have_no_body() {
    let server = server().threads(1).php("n.php", "http_response_code((int) $_GET['s']); echo 'body';").start();
    let mut connection = server.connect();
    for status in [204, 304] {
        let reply = connection.send(&server.get(&format!("/n.php?s={status}"))).unwrap();
        assert_eq!((reply.status, reply.header("transfer-encoding")), (status, None));
    }
    let reply = connection.send(&server.get("/n.php?s=200")).unwrap();
    assert_eq!(reply.text(), "body", "the connection is still in step");
}

#[test]
fn header_injection_is_refused() {
    let server = server()
        .ini("display_errors", "0")
        .php("i.php", r#"foreach (["X-A: 1\r\nX-B: 2", "X-C: 1\nX-D: 2", "X-E: a\0b"] as $h) { @header($h); } @header("HTTP/1.1 200 OK\r\nX-F: 1"); echo 'ok';"#)
        .start();
    let reply = server.get("/i.php").send();
    assert_eq!(reply.text(), "ok");
    for name in ["x-a", "x-b", "x-c", "x-d", "x-e", "x-f"] {
        assert_eq!(reply.header(name), None, "{name}");
    }
}

#[test]
fn odd_response_headers_do_not_break_the_reply() {
    let server = server()
        .php("o.php", r#"header('No colon'); header('X Y: 1'); header('X-Latin: ' . "\xe9"); header('X-Empty:'); header(': v'); header('X-Ok: 1'); echo 'ok';"#)
        .start();
    let reply = server.get("/o.php").send();
    if reference().is_none() {
        assert_eq!((reply.status, reply.text().as_str(), reply.header("x-ok")), (200, "ok", Some("1")));
    }
}

#[test]
fn hop_by_hop_headers_of_a_script_cannot_desync_the_connection() {
    let server = server()
        .threads(1)
        .php("h.php", "header('Transfer-Encoding: chunked'); header('Connection: keep-alive, X'); header('Content-Length: 3'); echo 'abcdef';")
        .php("ok.php", "echo 'ok';")
        .start();
    if reference().is_some() {
        return;
    }
    let mut connection = server.connect();
    let first = connection.send(&server.get("/h.php"));
    if let Ok(first) = first {
        assert!(first.text() == "abc" || first.text() == "abcdef", "{}", first.text());
        if let Ok(second) = connection.send(&server.get("/ok.php")) {
            assert_eq!(second.text(), "ok");
        }
    }
    assert_eq!(server.text("/ok.php"), "ok");
}

#[test]
fn content_length_of_a_script_is_kept() {
    let server = server().php("l.php", "header('Content-Length: 5'); echo 'hello';").start();
    let reply = server.get("/l.php").send();
    assert_eq!((reply.text().as_str(), reply.all("content-length").count()), ("hello", 1));
    assert_eq!(server.request("HEAD", "/l.php").send().header("content-length"), Some("5"));
}

#[test]
fn small_replies_carry_their_length() {
    let server = server().php("s.php", "echo 'small';").start();
    if reference().is_none() {
        let reply = server.get("/s.php").send();
        assert_eq!((reply.header("content-length"), reply.header("transfer-encoding")), (Some("5"), None));
    }
}

#[test]
fn header_register_callback_runs_once_before_the_headers() {
    let server = server().start();
    let reply = server.get("/callback.php").send();
    assert_eq!((reply.header("x-removed"), reply.text().as_str()), (None, "body"));
    assert!(reply.header("x-callback").is_some());
}

#[test]
fn headers_sent_names_the_place() {
    let server = server()
        .ini("output_buffering", "0")
        .ini("display_errors", "0")
        .ini("log_errors", "1")
        .php("s.php", "var_dump(headers_sent()); echo 'x'; flush();\nvar_dump(headers_sent($file, $line)); echo basename($file), ':', $line; header('X-Late: 1');")
        .start();
    let reply = server.get("/s.php").send();
    assert_eq!(reply.text(), "bool(false)\nxbool(true)\ns.php:2");
    assert_eq!(reply.header("x-late"), None);
    assert!(server.logs("headers already sent"));
}

#[test]
fn fastcgi_finish_request_answers_and_goes_on() {
    let server = server().threads(1).start();
    let to = server.dir().join("finished");
    let reply = server.get(&format!("/finish.php?to={}", to.display())).send();
    assert_eq!((reply.text().as_str(), reply.header("x-finished"), reply.header("x-late")), ("before", Some("true"), None));
    assert!(wait_until(PATIENCE, || to.exists() && std::fs::metadata(&to).unwrap().len() > 0), "{}", server.log.text());
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "[true,false,true,0]");
    assert_eq!(server.text("/clean.php"), "clean ");
}

#[test]
fn the_answer_does_not_wait_for_what_follows_fastcgi_finish_request() {
    let server = server().php("f.php", "session_start(); echo 'now'; fastcgi_finish_request(); sleep(3);").start();
    let begun = Instant::now();
    assert_eq!(server.text("/f.php"), "now");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn flush_passes_at_once() {
    let server = server()
        .ini("output_buffering", "0")
        .php("f.php", "header('X-Accel-Buffering: no'); foreach ([1, 2, 3] as $n) { echo \"part $n\\n\"; flush(); file_exists($_GET['go']) || $n === 3 || usleep(300000); }")
        .start();
    let mut connection = server.get(&format!("/f.php?go={}", server.dir().join("go").display())).fire();
    let head = connection.read_head().unwrap();
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    let begun = Instant::now();
    assert_eq!(connection.read_chunk().unwrap().unwrap(), b"part 1\n");
    let first = begun.elapsed();
    assert_eq!(connection.read_chunk().unwrap().unwrap(), b"part 2\n");
    assert!(begun.elapsed() > first + Duration::from_millis(150), "the parts came together");
    assert_eq!(connection.read_chunk().unwrap().unwrap(), b"part 3\n");
    assert_eq!(connection.read_chunk().unwrap(), None);
}

#[test]
fn implicit_flush_and_ob_flush_pass_too() {
    let server = server()
        .php("i.php", "header('X-Accel-Buffering: no'); ob_implicit_flush(); while (ob_get_level()) ob_end_flush(); echo 'a'; usleep(300000); echo 'b';")
        .php("o.php", "header('X-Accel-Buffering: no'); ob_start(); echo 'a'; ob_flush(); flush(); usleep(300000); echo 'b';")
        .start();
    for target in ["/i.php", "/o.php"] {
        let mut connection = server.get(target).fire();
        connection.read_head().unwrap();
        assert_eq!(connection.read_chunk().unwrap().unwrap(), b"a", "{target}");
        assert_eq!(connection.read_chunk().unwrap().unwrap(), b"b", "{target}");
    }
}

#[test]
fn output_buffers_nest_and_close_at_the_end() {
    let server = server().start();
    assert_eq!(server.text("/buffers.php"), "OUTER  RENNI1 OPEN");
}

#[test]
fn megabytes_of_output_arrive_whole() {
    let server = server().php("big.php", "for ($i = 0; $i < 2048; $i++) echo str_repeat(chr(65 + $i % 26), 4096);").start();
    let body = server.get("/big.php").send().body;
    assert_eq!(body.len(), 8 << 20);
    assert!(body.chunks(4096).enumerate().all(|(index, part)| part.iter().all(|byte| usize::from(*byte) == 65 + index % 26)));
}

#[test]
fn readfile_and_passthru_streams_arrive_whole() {
    let server = server()
        .file("data.bin", vec![7_u8; 3_000_000])
        .php("r.php", "header('Content-Type: application/octet-stream'); readfile('data.bin');")
        .php("c.php", "fpassthru(fopen('data.bin', 'r'));")
        .php("o.php", "stream_copy_to_stream(fopen('data.bin', 'r'), fopen('php://output', 'w'));")
        .start();
    for target in ["/r.php", "/c.php", "/o.php"] {
        assert_eq!(server.get(target).send().body, vec![7_u8; 3_000_000], "{target}");
    }
}

#[test]
fn php_compresses_when_told_to() {
    let server = server().ini("zlib.output_compression", "1").php("z.php", "echo str_repeat('abc', 1000);").start();
    let reply = server.get("/z.php").header("Accept-Encoding", "gzip").send();
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    assert_eq!(&reply.body[..2], [0x1f, 0x8b]);
    assert_eq!(server.get("/z.php").send().text(), "abc".repeat(1000));
}

#[test]
fn early_hints_come_before_the_answer() {
    let server = server()
        .php("h.php", "header('Link: </a.css>; rel=preload'); $sent = headers_send(103); header_remove('Link'); header('X-Final: 1'); echo $sent;")
        .start();
    if reference().is_some() {
        return; // nginx 1.22 drops them
    }
    let reply = server.get("/h.php").send();
    assert_eq!((reply.status, reply.header("x-final")), (200, Some("1")));
    assert_eq!(reply.interim.len(), 1, "{reply:?}");
    assert_eq!((reply.interim[0].status, reply.interim[0].header("link")), (103, Some("</a.css>; rel=preload")));
}
