//! Directories on a listener of their own.

use std::net::SocketAddr;

use crate::harness::{Reply, Request, command, finish, free_port, reference, server};

#[test]
fn directories_are_served_beside_the_application() {
    if reference().is_some() {
        return;
    }
    let address: SocketAddr = free_port();
    let setup = server();
    let files = setup.scratch().join("files");
    std::fs::create_dir_all(files.join("sub")).unwrap();
    for (name, content) in [
        ("a.txt", "0123456789"),
        ("index.html", "<p>index"),
        ("sub/index.html", "<p>sub"),
        ("x.php", "<?php secret"),
        (".env", "secret"),
    ] {
        std::fs::write(files.join(name), content).unwrap();
    }
    std::fs::write(files.join("long.css"), "a{color:red}".repeat(1000)).unwrap();
    std::fs::write(setup.scratch().join("outside"), "secret").unwrap();
    std::os::unix::fs::symlink(setup.scratch().join("outside"), files.join("link")).unwrap();
    let config = format!(
        "version: '3'\nfileserver:\n  address: {address}\n  calculate_etag: true\n  weak: true\n  serve:\n    \
         - {{ prefix: /plain, root: '{0}' }}\n    \
         - {{ prefix: /more/, root: '{0}', compress: true, bytes_range: true, max_age: 60, cache_duration: 1 }}\n",
        files.display()
    );
    let server = setup.config(".rr.yaml", &config).start();
    let get = |target: &str| Request::new(address, "GET", target);
    let facts = |reply: &Reply| (reply.status, reply.text());
    assert_eq!(facts(&get("/plain/a.txt").send()), (200, "0123456789".into()));
    assert_eq!(facts(&get("/more/").send()), (200, "<p>index".into()));
    for (target, location) in [("/plain", "/plain/"), ("/more/sub", "/more/sub/")] {
        let reply = get(target).send();
        assert_eq!((reply.status, reply.header("location")), (301, Some(location)));
    }
    let whole = get("/plain/a.txt").header("Range", "bytes=0-1").send();
    assert_eq!((whole.status, whole.header("accept-ranges"), whole.header("cache-control")), (200, None, None));
    let part = get("/more/a.txt").header("Range", "bytes=0-1").send();
    assert_eq!((part.status, part.text().as_str()), (206, "01"));
    assert_eq!(part.header("cache-control"), Some("public, max-age=60"));
    let tag = part.header("etag").unwrap().to_owned();
    assert!(tag.starts_with("W/"), "{tag}");
    assert_eq!(get("/more/a.txt").header("If-None-Match", &tag).send().status, 304);
    let small = get("/more/long.css").header("Accept-Encoding", "gzip").send();
    assert_eq!(small.header("content-encoding"), Some("gzip"));
    assert_eq!(get("/plain/long.css").header("Accept-Encoding", "gzip").send().header("content-encoding"), None);
    for target in ["/", "/plainer/a.txt", "/plain/x.php", "/plain/.env", "/plain/link", "/plain/none", "/server.php"] {
        let reply = get(target).send();
        assert!(reply.status == 404 && !reply.text().contains("secret"), "{target}: {} {}", reply.status, reply.text());
    }
    assert!(matches!(get("/plain/../outside").send().status, 400 | 404));
    assert_eq!(Request::new(address, "POST", "/plain/a.txt").body("text/plain", "x").send().status, 405);
    assert_eq!(server.get("/plain/a.txt").send().status, 404, "not on the application's listener");
    assert_eq!(server.get("/server.php").send().status, 200);
}

#[test]
fn a_reload_loses_no_request_for_a_file() {
    if reference().is_some() {
        return;
    }
    let address: SocketAddr = free_port();
    let setup = server();
    std::fs::write(setup.scratch().join("a.txt"), "a").unwrap();
    let root = setup.scratch().display().to_string();
    let config = format!("version: '3'\nfileserver: {{ address: '{address}', serve: [{{ prefix: /, root: '{root}' }}] }}\n");
    let server = setup.config(".rr.yaml", &config).start();
    let get = || Request::new(address, "GET", "/a.txt").send().status;
    assert_eq!(get(), 200);
    server.signal(nix::sys::signal::Signal::SIGUSR2);
    let mut rounds = 0;
    while !server.log.contains("reloaded: a new engine serves", std::time::Duration::from_millis(1)) || rounds < 20 {
        assert_eq!(get(), 200);
        rounds += 1;
    }
}

#[test]
fn what_is_missing_is_told() {
    if reference().is_some() {
        return;
    }
    for (config, expected) in [
        ("serve: [{ prefix: /x }]", "fileserver.address: missing"),
        ("address: 127.0.0.1:0\n  serve: [{ root: . }]", "fileserver.serve[0].prefix: missing"),
        ("address: 127.0.0.1:0\n  serve: [{ prefix: x }]", "fileserver.serve[0].prefix: expected a path that starts with /"),
        ("address: 127.0.0.1:0\n  serve: [{ prefix: /, rot: . }]", "fileserver.serve[0].rot: unknown key, did you mean root?"),
    ] {
        let dir = crate::harness::TempDir::new();
        let file = dir.write(".rr.yaml", format!("version: '3'\nfileserver:\n  {config}\n"));
        let output = finish(command(&["config", "-c", file.to_str().unwrap()]), b"");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(78) && text.contains(expected), "{config}: {text}");
    }
}
