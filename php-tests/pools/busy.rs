//! Every worker at work and the queue full: what operators and their tools ask is answered all the same.

use serde_json::json;

use super::{let_go, pool, served, up, waits_for};
use crate::harness::{Fcgi, PATIENCE, Request, Rpc, command, finish, free_port, params, wait_until};

#[test]
fn checks_pings_calls_and_files_are_answered_when_nothing_else_is() {
    let Some(setup) = pool(1) else { return };
    let (status, rpc) = (free_port(), free_port());
    let server = up(setup
        .with_fcgi()
        .file("style.css", "a {}")
        .option("http.pool.max_queue_size=1")
        .option("http.fcgi.status_path=/fpm-status")
        .option("http.fcgi.ping_path=/fpm-ping")
        .option(&format!("status.address={status}"))
        .option(&format!("rpc.listen=tcp://{rpc}")));
    let ask = |path: &str| Request::new(status, "GET", path).send();
    assert!(wait_until(PATIENCE, || ask("/readyz").status == 200));
    let mut running = server.get("/?until=go").fire();
    waits_for(&server, "go");
    let mut queued = server.get("/").fire();
    assert!(wait_until(PATIENCE, || server.get("/").send().status == 503));

    for path in ["/livez", "/readyz", "/health?plugin=http", "/ready?plugin=http"] {
        let reply = ask(path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
    let fcgi = |path: &str| {
        let pairs = params(&[("SCRIPT_FILENAME", path), ("SCRIPT_NAME", path), ("REQUEST_METHOD", "GET"), ("REQUEST_URI", path)]);
        Fcgi::connect(server.fcgi.unwrap()).unwrap().request(false, &pairs, &[]).unwrap().body()
    };
    assert_eq!(fcgi("/fpm-ping"), "pong");
    let page = fcgi("/fpm-status");
    let figures: Vec<_> = page.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for figure in ["listen queue: 1", "active processes: 1", "idle processes: 0"] {
        assert!(figures.iter().any(|line| line == figure), "{figure}: {page}");
    }
    let workers = Rpc::tcp(rpc).call("informer.Workers", &json!("http")).unwrap();
    assert_eq!(workers["workers"][0]["statusStr"], "working", "{workers}");
    let drawn = finish(command(&["-o", &format!("rpc.listen=tcp://{rpc}"), "workers"]), &[]);
    assert!(drawn.status.success() && String::from_utf8_lossy(&drawn.stdout).contains("GET /?until=go"), "{drawn:?}");
    assert_eq!(server.text("/style.css"), "a {}");

    assert_eq!(server.get("/").send().status, 503, "nothing has changed meanwhile");
    let_go(&server, "go");
    served(&running.read().unwrap());
    served(&queued.read().unwrap());
}
