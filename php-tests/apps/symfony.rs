//! Symfony's FrameworkBundle, once per request and as a worker.

use std::{collections::HashSet, path::Path, thread};

use super::{Browser, app};
use crate::harness::{PATIENCE, Server, Setup, multipart, reference, server, wait_until};

/// The application, with the front controller that symfony/runtime writes.
fn project(source: &Path) -> Setup {
    let share = source.join("root/usr/share");
    let setup = server().bare().threads(2).ini("display_errors", "0").env("SHARE", share.to_str().unwrap());
    let setup = setup.env("APP_ENV", "prod").env("APP_DEBUG", "0");
    let setup = setup.tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("php-tests/apps/symfony"));
    let project = setup.document_root().to_owned();
    std::fs::create_dir_all(project.join("var")).unwrap();
    let template = share.join("php/Symfony/Component/Runtime/Internal/autoload_runtime.template");
    let runtime = std::fs::read_to_string(template).unwrap();
    let runtime = runtime.replace("%runtime_class%", "'Symfony\\\\Component\\\\Runtime\\\\SymfonyRuntime'");
    let runtime = runtime.replace("%runtime_options%", "['project_dir' => dirname(__DIR__), 'disable_dotenv' => true]");
    std::fs::write(project.join("vendor/autoload_runtime.php"), runtime).unwrap();
    setup.root(&project.join("public"))
}

#[test]
fn symfony_works() {
    let Some(source) = app("symfony") else { return };
    let setup = project(&source);
    // Named, since a lone front controller says nothing of the framework.
    let server = if reference().is_some() { setup.preset("front-controller") } else { setup.preset("symfony") }.start();
    use_it(&server);
}

#[test]
fn symfony_boots_once_by_its_own_runner_for_workers() {
    let Some(source) = app("symfony") else { return };
    if reference().is_some() {
        return;
    }
    let setup = project(&source).env("FRANKENPHP_LOOP_MAX", "40");
    let index = setup.document_root().join("index.php");
    let server = setup.option(&format!("http.worker={}", index.display())).start();
    let boots: HashSet<_> = (0..30).map(|_| server.text("/boot")).collect();
    assert!(boots.len() <= 2, "one for each thread: {boots:?}");
    use_it(&server);
    let boots: HashSet<_> = (0..200).map(|_| server.text("/boot")).collect();
    assert!(boots.len() > 3, "FRANKENPHP_LOOP_MAX is heeded: {boots:?}");
}

fn use_it(server: &Server) {
    let project = server.root().parent().unwrap();
    let hello = server.get("/hello/J%C3%BCrgen?a[]=1").header("Authorization", "Basic dTpw").send().json();
    assert_eq!(hello["hello"], "Jürgen");
    assert_eq!(hello["uri"], format!("http://{}/hello/J%C3%BCrgen?a%5B0%5D=1", server.address));
    assert_eq!(hello["url"], format!("http://{}/hello/x%20y", server.address));
    assert_eq!((&hello["base"], &hello["path"], &hello["user"]), (&"".into(), &"/hello/J%C3%BCrgen".into(), &"u".into()));
    let explicit = server.get("/index.php/hello/x").send().json();
    assert_eq!((&explicit["base"], &explicit["path"]), (&"/index.php".into(), &"/hello/x".into()));

    let mut browser = Browser::default();
    for count in 1..5 {
        assert_eq!(browser.send(server.get("/count")).text(), count.to_string());
    }
    let echo = server.post("/echo", "application/x-www-form-urlencoded", "a=b").send();
    assert_eq!(
        (echo.status, echo.header("x-test"), echo.text().as_str()),
        (201, Some("yes"), "POST 7acaac15494e6820b1ed6d8b539af089 {\"a\":\"b\"}")
    );
    let put = server.request("PUT", "/echo").body("application/json", "{}").send();
    assert!(put.text().starts_with("PUT 99914b932bd37a50b983c5e7c90ae93b"), "{}", put.text());
    let (kind, body) = multipart(&[("file", "a.bin", &[7; 100_000])]);
    let upload = server.post("/upload", &kind, body).send().json();
    assert_eq!((&upload[0], &upload[1], &upload[3]), (&"a.bin".into(), &100_000.into(), &true.into()));
    assert_eq!(server.text("/stream"), "part 1\npart 2\npart 3\n");
    let file = server.get("/file").send();
    assert!(file.status == 200 && file.body.starts_with(b"<?php") && file.header("accept-ranges") == Some("bytes"));
    let part = server.get("/file").header("Range", "bytes=0-4").send();
    assert_eq!((part.status, part.text().as_str()), (206, "<?php"));
    let leave = server.get("/leave").send();
    assert_eq!((leave.status, leave.header("location")), (303, Some("/hello/again")));
    assert_eq!((server.get("/fail").send().status, server.get("/no/such/route").send().status), (500, 404));

    assert_eq!(server.text("/late"), "sent");
    let late = project.join("var/late");
    assert!(!late.exists(), "kernel.terminate comes after the answer");
    std::fs::write(project.join("var/answered"), "").unwrap();
    assert!(wait_until(PATIENCE, || late.exists()));
    thread::scope(|scope| {
        for client in 0..4 {
            scope.spawn(move || {
                for round in 0..20 {
                    assert_eq!(
                        server.get(&format!("/hello/{client}-{round}")).send().json()["hello"],
                        format!("{client}-{round}")
                    );
                }
            });
        }
    });
}
