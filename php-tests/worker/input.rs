//! What a request brings, in every kind of script.

use std::path::Path;

use serde_json::{Value, json};

use super::{KINDS, Kind, WORKERS, crowd, elsewhere};
use crate::harness::{PATIENCE, multipart, wait_until};

#[test]
fn each_client_gets_its_own_answer() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.start();
        crowd(
            |number| server.get(&format!("/hello?tag={number}")),
            |number, reply| assert_eq!((reply.status, reply.text()), (200, format!("hello {number}")), "{kind:?}"),
        );
    }
}

#[test]
fn forms_queries_and_cookies_are_parsed() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.start();
        crowd(
            |number| {
                let tag = number.to_string();
                let request = server.request("POST", &format!("/input?tag={tag}&a[]=1&a[]=2"));
                request.form(&[("tag", &tag), ("b", "x y")]).header("Cookie", &format!("tag={tag}; broken; =x; two=2"))
            },
            |number, reply| {
                let (tag, seen) = (number.to_string(), reply.json());
                assert_eq!(seen["get"], json!({"tag": tag, "a": ["1", "2"]}), "{kind:?}");
                assert_eq!(seen["post"], json!({"tag": tag, "b": "x y"}), "{kind:?}");
                assert_eq!((&seen["cookie"]["tag"], &seen["cookie"]["two"]), (&json!(tag), &json!("2")), "{kind:?}");
                assert_eq!(
                    seen["request"],
                    json!({"tag": tag, "a": ["1", "2"], "b": "x y", "broken": "", "two": "2"}),
                    "{kind:?}"
                );
                assert_eq!(seen["body"], json!(format!("tag={tag}&b=x%20y")), "{kind:?}");
            },
        );
        let plain = server.get("/input?x=1").send().json();
        assert_eq!((&plain["post"], &plain["cookie"], &plain["body"]), (&json!([]), &json!([]), &json!("")), "{kind:?}");
        assert_eq!(plain["request"], json!({"x": "1"}), "{kind:?}");
    }
}

#[test]
fn several_lines_of_cookies_are_one_list() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.start();
        let seen = server.get("/input").header("Cookie", "one=1; two=a%20b").header("Cookie", "three=3; one=later").send().json();
        assert_eq!(seen["cookie"], json!({"one": "1", "two": "a b", "three": "3"}), "{kind:?}");
    }
}

#[test]
fn other_methods_and_json_leave_the_body_to_php_input() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.start();
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let seen = server.request(method, "/input").body("application/json", "{\"a\": 1}").send().json();
            assert_eq!((&seen["post"], &seen["body"]), (&json!([]), &json!("{\"a\": 1}")), "{kind:?} {method}");
        }
        let form = server.request("PUT", "/form").form(&[("a", "b")]).send();
        assert_eq!(form.json(), json!([[], {"a": "b"}]), "{kind:?}: {}", server.log.text());
    }
}

#[test]
fn superglobals_that_are_asked_for_late_are_of_the_request() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.app().threads(1).start();
        for round in 0..4 {
            let asked = server.get(&format!("/conditional?ask&tag={round}")).send().json();
            assert_eq!(asked[0], json!(round.to_string()), "{kind:?}");
            assert_eq!(server.text("/conditional?tag=x"), "not asked", "{kind:?}");
        }
    }
}

#[test]
fn a_megabyte_comes_back_as_it_went() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.app().ini("memory_limit", "512M").start();
        let body = |number: usize| vec![u8::try_from(number).unwrap(); 1 << 20];
        crowd(
            |number| server.post(&format!("/echo?tag={number}"), "application/octet-stream", body(number)),
            |number, reply| {
                assert_eq!(reply.header("x-tag"), Some(number.to_string().as_str()), "{kind:?}");
                assert!(reply.body == body(number), "{kind:?} {number}: {} bytes", reply.body.len());
            },
        );
    }
}

#[test]
fn six_megabytes_are_read_in_pieces() {
    if elsewhere() {
        return;
    }
    let body: Vec<u8> = (0..6 << 20).map(|at: u32| (at % 251) as u8).collect();
    for kind in KINDS {
        let server = kind.start();
        for chunked in [false, true] {
            let request = server.post("/md5", "application/octet-stream", body.clone());
            let request = if chunked { request.chunked() } else { request };
            // What md5sum says of these bytes.
            assert_eq!(request.send().text(), format!("{} {} small", md5(&body), body.len()), "{kind:?}");
        }
    }
}

/// As another program computes it.
fn md5(bytes: &[u8]) -> String {
    let output = crate::harness::finish(std::process::Command::new("md5sum"), bytes);
    String::from_utf8(output.stdout).unwrap()[..32].to_owned()
}

#[test]
fn uploads_arrive_whole_and_their_files_go() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let setup = kind.app();
        let uploads = setup.scratch().join("uploads");
        std::fs::create_dir(&uploads).unwrap();
        let server = setup.ini("upload_tmp_dir", uploads.to_str().unwrap()).start();
        crowd(
            |number| {
                let content = vec![u8::try_from(number).unwrap(); 10_000 + number];
                let (kind, body) = multipart(&[("field", "", number.to_string().as_bytes()), ("one", "a.bin", &content)]);
                server.post("/upload", &kind, body)
            },
            |number, reply| {
                let seen = reply.json();
                let content = vec![u8::try_from(number).unwrap(); 10_000 + number];
                assert_eq!(seen[0], json!({"field": number.to_string()}), "{kind:?}");
                let file: &Value = &seen[1]["one"];
                assert_eq!(file.as_array().unwrap()[..3], [json!("a.bin"), json!(content.len()), json!(0)], "{kind:?}");
                assert_eq!((&file[3], &file[4]), (&json!(md5(&content)), &json!(true)), "{kind:?}");
            },
        );
        // A pulled request ends when the next one is asked for, which may be a moment after its answer.
        assert!(wait_until(PATIENCE, || std::fs::read_dir(&uploads).unwrap().count() == 0), "{kind:?}: temporary files are left");
        let to = server.dir().join("moved");
        let (kind_of_body, body) = multipart(&[("one", "a.bin", b"content")]);
        let moved = server.post(&format!("/upload?move={}", to.display()), &kind_of_body, body).send().json();
        assert_eq!((&moved[1]["moved"], std::fs::read(&to).unwrap()), (&json!(true), b"content".to_vec()), "{kind:?}");
    }
}

#[test]
fn the_server_table_is_that_of_a_classic_script() {
    if elsewhere() {
        return;
    }
    let see = |kind: Kind| {
        let server = kind.start();
        let request = server.request("POST", "/server?a=1&b[]=2").form(&[("c", "d")]);
        let request = request.header("X-Own", "1").header("X-Own", "2").header("Authorization", "Basic dXNlcjpwYXNz");
        let mut seen = request.header("Cookie", "one=1").send().json();
        let again = server.request("POST", "/server?a=1&b[]=2").form(&[("c", "d")]).send().json();
        assert_eq!(again["table"]["HTTP_X_OWN"], Value::Null, "{kind:?}: left by the request before");
        assert_eq!(again["table"]["PHP_AUTH_USER"], Value::Null, "{kind:?}: left by the request before");
        seen["headers"].as_object_mut().unwrap().remove("Host");
        let root = server.dir().to_str().unwrap();
        serde_json::from_str::<Value>(&seen.to_string().replace(root, "DIR")).unwrap()
    };
    let classic = see(Kind::Classic);
    let table = classic["table"].as_object().unwrap();
    assert_eq!(table["PHP_AUTH_USER"], json!("user"));
    assert_eq!(table["SCRIPT_FILENAME"], json!("DIR/app/public/index.php"));
    assert_eq!((&table["REQUEST_URI"], &table["HTTP_X_OWN"]), (&json!("/server?a=1&b[]=2"), &json!("1, 2")));
    assert_eq!(classic["time"], json!(true));
    for kind in WORKERS {
        let seen = see(kind);
        assert_eq!(seen["table"], classic["table"], "{kind:?}");
        assert_eq!(seen, classic, "{kind:?}");
    }
}

/// PHP makes an underscore of a dot, and of what comes last it says that it is the one.
#[test]
fn a_header_that_a_proxy_sets_cannot_be_set_by_another_spelling() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let server = kind.start();
        let request = server.get("/server").header("X-Auth-User", "proxy");
        let odd = ["X.Auth.User", "X-Auth.User", "X_Auth_User", "X.Auth_User", "X~Auth~User", "X!Auth"];
        let seen = odd.iter().fold(request, |request, name| request.header(name, "admin")).send().json();
        assert_eq!(seen["table"]["HTTP_X_AUTH_USER"], "proxy", "{kind:?}");
        assert_eq!(seen["headers"]["X-Auth-User"], "proxy", "{kind:?}");
        assert!(!seen.to_string().contains("admin"), "{kind:?}: {seen}");
    }
}

#[test]
fn worker_scripts_know_what_they_are() {
    if elsewhere() {
        return;
    }
    let server = script_that_says("$_SERVER['FRANKENPHP_WORKER'] ?? 'no'").start();
    assert_eq!(server.text("/"), "1 1");
    let classic = crate::harness::server().bare().php("a.php", "echo $_SERVER['FRANKENPHP_WORKER'] ?? 'no';").start();
    assert_eq!(classic.text("/a.php"), "no");
}

fn script_that_says(what: &str) -> crate::harness::Setup {
    super::script(&format!("$boot = {what}; while (rr_handle_request(function () use ($boot) {{ echo $boot, ' ', {what}; }}));"))
}

#[test]
fn files_below_the_root_are_still_served() {
    if elsewhere() {
        return;
    }
    for kind in KINDS {
        let setup = kind.app();
        std::fs::write(setup.document_root().join("style.css"), "a {}").unwrap();
        let server = setup.start();
        let reply = server.get("/style.css").send();
        assert_eq!((reply.text().as_str(), reply.header("content-type")), ("a {}", Some("text/css; charset=utf-8")), "{kind:?}");
        assert_eq!(server.text("/hello?tag=1"), "hello 1", "{kind:?}");
    }
}

#[test]
fn what_belongs_to_a_request_goes_with_it() {
    if elsewhere() {
        return;
    }
    for kind in WORKERS {
        let server = kind.app().threads(1).start();
        let kept = server.post("/keep-input", "text/plain", "first body").send();
        assert_eq!(kept.text(), "firs", "{kind:?}");
        let used = server.post("/use-kept-input", "text/plain", "second body").send();
        assert_eq!(used.json(), json!(["resource (closed)", null, "second body"]), "{kind:?}");
        for round in 0..3 {
            assert_eq!(
                server.text("/keep-file"),
                format!("[{},10]", round * 10),
                "{kind:?}: a file of the script's own stays open"
            );
        }
    }
}

#[test]
fn a_symlinked_script_is_known_by_its_real_path() {
    if elsewhere() {
        return;
    }
    let setup = script_that_says("__FILE__");
    let real = setup.document_root().join("worker.php").display().to_string();
    let link = setup.scratch().join("link.php");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let server = setup.option(&format!("http.worker={}", link.display())).start();
    assert_eq!(server.text("/"), format!("{real} {real}"));
    assert!(Path::new(&real).exists());
}
