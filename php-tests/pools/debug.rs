//! `debug`: a fresh worker for each request.

use super::{at_once, boots, pool, served, up};

const DEBUG: &str = "http.pool.debug=true";

#[test]
fn each_request_has_a_worker_of_its_own() {
    let Some(setup) = pool(2) else { return };
    let server = up(setup.option(DEBUG));
    assert_eq!(boots(&server), 0, "nobody has asked yet");
    for reply in at_once(&server, 5, "/") {
        assert_eq!(served(&reply).1, 1);
    }
    assert_eq!(boots(&server), 5);
}

#[test]
fn changed_code_is_seen_at_once() {
    let Some(setup) = pool(1) else { return };
    let server = up(setup.option(DEBUG).file("part.php", "<?php return 0;"));
    let (worker, part) = (server.root().join("worker.php"), server.root().join("part.php"));
    std::fs::write(
        worker,
        "<?php $part = require __DIR__ . '/part.php'; while (rr_handle_request(function () use ($part) { echo $part; }));",
    )
    .unwrap();
    for version in 1..20 {
        std::fs::write(&part, format!("<?php return {version};")).unwrap();
        assert_eq!(server.text("/"), version.to_string());
    }
}

#[test]
fn the_client_is_told_what_went_wrong() {
    let Some(setup) = pool(1) else { return };
    let server = up(setup.option(DEBUG));
    let reply = server.get("/?throw=out+of+cheese").send();
    assert_eq!(reply.status, 500);
    assert!(reply.text().contains("out of cheese"), "{}", reply.text());

    let worker = server.root().join("worker.php");
    std::fs::write(&worker, "<?php\n\nnonsense();").unwrap();
    let reply = server.get("/").send();
    assert_eq!(reply.status, 500);
    assert!(reply.text().contains("nonsense()") && reply.text().contains("worker.php:3"), "{}", reply.text());

    std::fs::write(&worker, "<?php rr_handle_request(fn() => print 'well again');").unwrap();
    assert_eq!(server.text("/"), "well again");
}
