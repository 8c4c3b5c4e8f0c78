//! Laravel in classic mode.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{Browser, app};
use crate::harness::{PATIENCE, multipart, reference, server, wait_until};

#[test]
fn laravel_works() {
    let Some(source) = app("laravel") else { return };
    let setup = server().bare().threads(2).ini("display_errors", "0").env("SHARE", source.join("root/usr/share").to_str().unwrap());
    let setup = setup
        .tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("php-tests/apps/laravel"))
        .file(".env", "APP_KEY=base64:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\nAPP_ENV=production\nAPP_DEBUG=false\nSESSION_DRIVER=file\nCACHE_STORE=file\nLOG_CHANNEL=stderr\nTESTED=from-dotenv\n")
        .file("resources/views/page.blade.php", "<p>Hello {{ $name }} @if (true) yes @endif</p>");
    let (project, public) = (setup.document_root().to_owned(), setup.document_root().join("public"));
    for dir in ["bootstrap/cache", "storage/framework/views", "storage/framework/sessions", "storage/framework/cache/data", "storage/logs", "config"] {
        std::fs::create_dir_all(project.join(dir)).unwrap();
    }
    let setup = setup.root(&public);
    let server = if reference().is_some() { setup.preset("front-controller") } else { setup.preset("laravel") }.start();

    let hello = server.get("/hello/J%C3%BCrgen?a=1").send().json();
    assert_eq!((&hello["hello"], &hello["env"], &hello["console"]), (&"Jürgen".into(), &"from-dotenv".into(), &false.into()), "{hello}");
    assert_eq!(hello["url"], format!("http://{}/hello/J%C3%BCrgen?a=1", server.address));
    let mut browser = Browser::default();
    for count in 1..5 {
        assert_eq!(browser.send(server.get("/count")).text(), count.to_string());
    }
    let token = browser.send(server.get("/token")).text();
    let (kind, body) = multipart(&[("_token", "", token.as_bytes()), ("name", "", "Zoë".as_bytes()), ("file", "a.bin", &[7; 50_000])]);
    let form = browser.send(server.post("/form", &kind, body.clone()));
    assert_eq!((form.status, form.json()["name"].as_str(), form.json()["file"].as_u64()), (200, Some("Zoë"), Some(50_000)));
    assert_eq!(server.post("/form", &kind, body).send().status, 419, "without its session the token is worth nothing");
    assert_eq!(browser.send(server.get("/view")).text().trim(), "<p>Hello &lt;b&gt;  yes </p>");
    assert_eq!(server.post("/json", "application/json", r#"{"numbers": [1, 2, 39]}"#).send().json()["sum"], 42);
    assert_eq!(server.text("/stream"), "part 1\npart 2\npart 3\n");
    let leave = server.get("/leave").send();
    assert_eq!((leave.status, leave.header("location")), (302, Some(format!("http://{}/hello/again", server.address).as_str())));
    let down = server.get("/down").send();
    assert_eq!((down.status, down.header("retry-after")), (503, Some("7")));
    assert_eq!((server.get("/fail").send().status, server.get("/no/such/route").send().status, server.request("DELETE", "/json").send().status), (500, 404, 405));
    assert!(server.logs("on purpose"), "Monolog writes to php://stderr");
    assert!(!server.get("/../.env").send().text().contains("APP_KEY"));

    let begun = Instant::now();
    assert_eq!(server.text("/late"), "sent");
    assert!(begun.elapsed() < Duration::from_millis(290), "terminating callbacks run after the answer: {:?}", begun.elapsed());
    assert!(wait_until(PATIENCE, || project.join("storage/late").exists()));
    thread::scope(|scope| {
        for client in 0..4 {
            let server = &server;
            scope.spawn(move || {
                let mut browser = Browser::default();
                for round in 1..15 {
                    assert_eq!(browser.send(server.get("/count")).text(), round.to_string(), "client {client}");
                }
            });
        }
    });
}
