//! RoadRunner's middleware `static`: files that go before the worker.

use serde_json::json;

use super::{Carrier, setup};
use crate::harness::{Setup, command, finish, reference};

/// Two workers behind the files of `assets`, which is not the document root.
fn statics(options: &[&str]) -> Setup {
    let setup = setup(Carrier::Threads);
    let assets = setup.scratch().join("assets");
    std::fs::create_dir_all(assets.join("dir.d")).unwrap();
    for (name, content) in [
        ("style.css", "0123456789"),
        ("echo", "no extension"),
        ("echo.php", "<?php secret"),
        (".env", "secret"),
        ("Ä b.TXT", "text"),
    ] {
        std::fs::write(assets.join(name), content).unwrap();
    }
    let setup = setup.option("http.middleware=static").option(&format!("http.static.dir={}", assets.display()));
    options.iter().fold(setup, |setup, option| setup.option(option))
}

#[test]
fn files_go_before_the_worker() {
    if reference().is_some() {
        return;
    }
    let server = statics(&["http.static.response.X-From=files", "http.static.request.Range=bytes=2-4"]).start();
    let reply = server.get("/style.css?v=1").send();
    assert_eq!((reply.status, reply.text().as_str(), reply.header("x-from")), (206, "234", Some("files")));
    assert_eq!((reply.header("content-type"), reply.header("etag")), (Some("text/css; charset=utf-8"), None));
    assert_eq!(server.get("/%C3%84%20b.TXT").send().text(), "xt", "a name with all it may have");
    let posted = server.post("/style.css", "text/plain", "body").send();
    assert_eq!((posted.status, posted.text().as_str()), (206, "234"), "whatever the method");
    assert_eq!(server.request("HEAD", "/style.css").send().header("content-length"), Some("10"));
    assert!(server.raw("GET /x/../style.css HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 403 "));
    for target in ["/echo", "/request?/echo.php", "/request?.env"] {
        assert_eq!(server.get(target).send().header("x-from"), None, "{target} is the worker's");
    }
    for target in ["/echo.php", "/.env", "/dir.d", "/missing.css"] {
        let reply = server.get(target).send();
        assert!(!reply.text().contains("secret") && reply.header("x-from").is_none(), "{target} is no file");
    }
}

#[test]
fn extensions_and_etags_are_as_configured() {
    if reference().is_some() {
        return;
    }
    let server = statics(&["http.static.forbid=.css", "http.static.calculate_etag=true"]).start();
    assert_ne!(server.get("/style.css").send().text(), "0123456789");
    let text = server.get("/%C3%84%20b.TXT").send();
    let etag = text.header("etag").unwrap().to_owned();
    assert!(etag.starts_with('"'), "{etag}");
    assert_eq!(server.get("/%C3%84%20b.TXT").header("If-None-Match", &etag).send().status, 304);
    drop(server);

    let server = statics(&["http.static.allow=.css,.js", "http.static.calculate_etag=true", "http.static.weak=true"]).start();
    assert_ne!(server.get("/%C3%84%20b.TXT").send().text(), "text");
    let style = server.get("/style.css").send();
    let etag = style.header("etag").unwrap().to_owned();
    assert!(style.text() == "0123456789" && etag.starts_with("W/\""), "{etag}");
    assert_eq!(server.get("/style.css").header("If-None-Match", &etag).send().status, 304);
}

#[test]
fn what_cannot_be_served_is_said() {
    if reference().is_some() {
        return;
    }
    for (options, said) in [
        (&["http.middleware=static"][..], "http.static.dir: missing, while http.middleware has static"),
        (&["http.middleware=statics"], "http.middleware: no middleware is called \"statics\""),
        (&["http.middleware=static", "http.static.dir=/no/such/dir"], "http.static.dir /no/such/dir"),
        (&["http.static.response.a b=c"], "http.static.response.a b: expected the name of a header field"),
    ] {
        let arguments = [&["check"][..], &options.iter().flat_map(|option| ["-o", option]).collect::<Vec<_>>()].concat();
        let output = finish(command(&arguments), b"");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(said), "{options:?}: {text}");
    }
    let server = setup(Carrier::Threads).option("http.static.dir=/").start();
    assert!(server.logs("no file of it is served, for http.middleware does not have static"), "{}", server.log.text());
    assert_eq!(server.get("/worker").send().json()["server"]["RR_MODE"], json!("http"));
}
