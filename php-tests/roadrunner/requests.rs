//! What a worker is given.

use std::{collections::HashSet, path::Path, thread};

use serde_json::json;

use super::{both_carriers, setup, worker};
use crate::harness::{Fcgi, PATIENCE, multipart, params, wait_until};

both_carriers! {
    fn every_request_gets_its_own_answer(carrier: Carrier) {
        let server = setup(carrier).option("http.pool.num_workers=4").start();
        thread::scope(|scope| {
            for client in 0..50 {
                let server = &server;
                scope.spawn(move || {
                    let mut connection = server.connect();
                    for number in 0..10 {
                        let tag = format!("{client}-{number}");
                        let body = format!("{tag}:").repeat(1 + (client * number) % 3000);
                        let us = (client * 7 + number * 13) % 900;
                        let request = server.post(&format!("/echo?tag={tag}&us={us}"), "text/plain", body.clone());
                        let reply = connection.send(&request).unwrap();
                        assert_eq!((reply.status, reply.header("x-tag"), reply.text() == body), (200, Some(tag.as_str()), true));
                    }
                });
            }
        });
    }

    fn a_request_is_what_roadrunner_sends(carrier: Carrier) {
        let server = setup(carrier).start();
        let request = server.request("PUT", "/request?a=1&b[]=2").body("application/json", r#"{"x":1}"#);
        let request = request.header("Cookie", "c=%C3%A9; d=2").header("X-Two", "1").header("x-two", "2");
        let seen = request.header("X.Two", "3").header("X_Two", "4").send().json();
        let host = server.address;
        for (key, expected) in [
            ("remoteAddr", json!("127.0.0.1")),
            ("protocol", json!("HTTP/1.1")),
            ("method", json!("PUT")),
            ("uri", json!(format!("http://{host}/request?a=1&b[]=2"))),
            ("rawQuery", json!("a=1&b[]=2")),
            ("cookies", json!({"c": "é", "d": "2"})),
            ("parsed", json!(false)),
            ("body", json!(r#"{"x":1}"#)),
        ] {
            assert_eq!(seen[key], expected, "{key}");
        }
        assert_eq!(seen["headers"]["X-Two"], json!(["1", "2"]));
        // What a bridge to `$_SERVER` would take for another header is not there for any kind of script.
        assert!(["Host", "X.Two", "X_Two"].iter().all(|name| seen["headers"].get(name).is_none()), "{seen}");
    }

    fn forms_become_trees(carrier: Carrier) {
        let server = setup(carrier).start();
        let seen = server.post("/request", "application/x-www-form-urlencoded", "b[x]=1&b[y][]=2&b[y][]=3&a=4").send().json();
        assert_eq!((&seen["parsed"], seen["body"].as_str()), (&json!(true), Some(r#"{"a":"4","b":{"x":"1","y":["2","3"]}}"#)));
        let reply = server.post("/request", "application/x-www-form-urlencoded", "a=1&a[b]=2").send();
        assert_eq!(reply.status, 500);
        let raw = setup(carrier).option("http.raw_body=true").start();
        let seen = raw.post("/request", "application/x-www-form-urlencoded", "a=1").send().json();
        assert_eq!((&seen["parsed"], seen["body"].as_str()), (&json!(false), Some("a=1")));
    }

    fn uploads_are_files_that_go_with_the_request(carrier: Carrier) {
        let server = setup(carrier).option("http.uploads.forbid=.php").start();
        let (content_type, body) = multipart(&[("file", "a.txt", b"content"), ("field", "", b"value")]);
        let seen = server.post("/upload", &content_type, body).send().json();
        assert_eq!((&seen["name"], &seen["size"], &seen["error"], &seen["content"]), (&json!("a.txt"), &json!(7), &json!(0), &json!("content")));
        assert!(wait_until(PATIENCE, || !Path::new(seen["tmpName"].as_str().unwrap()).exists()));
        let (content_type, body) = multipart(&[("file", "a.PHP", b"<?php")]);
        let seen = server.post("/upload", &content_type, body).send().json();
        assert_eq!((&seen["error"], &seen["tmpName"]), (&json!(8), &json!("")));
    }

    fn uploads_lie_where_they_are_to_and_have_the_extensions_they_may(carrier: Carrier) {
        let setup = setup(carrier).option("http.uploads.allow=.txt,.png");
        let dir = setup.scratch().join("uploaded");
        std::fs::create_dir(&dir).unwrap();
        let server = setup.option(&format!("http.uploads.dir={}", dir.display())).start();
        let send = |name: &str| {
            let (content_type, body) = multipart(&[("file", name, b"content")]);
            server.post("/upload", &content_type, body).send().json()
        };
        let seen = send("a.TXT");
        assert_eq!((&seen["error"], Path::new(seen["tmpName"].as_str().unwrap()).parent()), (&json!(0), Some(dir.as_path())));
        assert_eq!(send("a.gif")["error"], json!(8));
    }

    fn a_large_body_arrives_whole(carrier: Carrier) {
        let server = setup(carrier).start();
        let body: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
        let reply = server.post("/echo", "application/octet-stream", body.clone()).send();
        assert_eq!((reply.status, reply.body == body), (200, true));
        assert_eq!(server.request("OPTIONS", "/echo").body("text/plain", "ignored").send().text(), "");
    }

    fn a_worker_finds_what_the_command_line_gives(carrier: Carrier) {
        let server = setup(carrier).option("server.env.app_env=testing").env("OWN", "kept").start();
        let seen = worker(&server);
        let script = "root/roadrunner/worker.php";
        for (key, expected) in [
            ("sapi", json!("cli")),
            ("argv", json!([script, "one", "two"])),
            ("argc", json!(3)),
            ("server_argv", json!([script, "one", "two"])),
            ("script", json!(script)),
            ("self", json!(script)),
            ("cwd", json!(server.dir().display().to_string())),
            ("getenv", json!(["http", "testing"])),
            ("method", json!(null)),
            ("get", json!([])),
            ("ini", json!({"html_errors": "0"})),
        ] {
            assert_eq!(seen[key], expected, "{key}");
        }
        for of in ["server", "env"] {
            let variables = &seen[of];
            assert_eq!((&variables["RR_MODE"], &variables["RR_RELAY"]), (&json!("http"), &json!("pipes")), "{of}");
            assert_eq!(variables["APP_ENV"], "testing", "{of}");
            let version = variables["RR_VERSION"].as_str().unwrap();
            assert!(version.starts_with("20") && version.split('.').count() == 3, "{version}");
        }
        assert!(Path::new(seen["binary"].as_str().unwrap()).is_file());
        assert_eq!(seen["main"], json!(server.root().join("roadrunner/worker.php").display().to_string()));
    }

    fn a_fastcgi_client_is_a_client(carrier: Carrier) {
        let server = setup(carrier).with_fcgi().start();
        let script = server.root().join("roadrunner/worker.php").display().to_string();
        let mut client = Fcgi::connect(server.fcgi.unwrap()).unwrap();
        let asked = params(&[
            ("SCRIPT_FILENAME", &script),
            ("REQUEST_METHOD", "POST"),
            ("REQUEST_URI", "/request?a=1"),
            ("QUERY_STRING", "a=1"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REMOTE_ADDR", "192.0.2.1"),
            ("HTTP_HOST", "app.test"),
            ("HTTP_X_OWN", "kept"),
            ("CONTENT_TYPE", "text/plain"),
            ("CONTENT_LENGTH", "4"),
        ]);
        let reply = client.request(false, &asked, b"body").unwrap();
        assert!(reply.head().contains("Content-Type: application/json"), "{}", reply.text());
        let seen: serde_json::Value = serde_json::from_str(&reply.body()).unwrap();
        assert_eq!((&seen["uri"], &seen["remoteAddr"]), (&json!("http://app.test/request?a=1"), &json!("192.0.2.1")));
        assert_eq!((&seen["headers"]["X-Own"], &seen["body"]), (&json!(["kept"]), &json!("body")));
    }

    fn heads_may_be_asked_for_in_protobuf(carrier: Carrier) {
        let server = setup(carrier).option("http.context=proto").start();
        let reply = server.post("/any", "text/plain", "body").send();
        let seen = reply.text();
        assert!(reply.status == 200 && seen.contains("127.0.0.1") && seen.contains("HTTP/1.1") && seen.ends_with("body"), "{seen:?}");
    }

    fn files_below_the_root_need_no_worker(carrier: Carrier) {
        let server = setup(carrier).file("style.css", "body{}").start();
        assert_eq!(server.text("/style.css"), "body{}");
        // No script but the worker is run, and none is shown.
        assert_eq!(server.get("/headers.php").send().text(), "nothing here");
    }

    fn workers_share_the_work(carrier: Carrier) {
        let server = setup(carrier).option("http.pool.num_workers=3").start();
        let boots: HashSet<String> = thread::scope(|scope| {
            let asked: Vec<_> = (0..3).map(|_| scope.spawn(|| server.get("/boot?us=300000").send().text())).collect();
            asked.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(boots.len(), 3);
    }
}
