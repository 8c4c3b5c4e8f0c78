//! `dynamic_allocator`: more workers while requests wait, fewer when they idle.

use std::{thread, time::Duration};

use serde_json::json;

use super::{at_once, boots, let_go, pool, pool_of, served, up, waits_for};
use crate::harness::{PATIENCE, Rpc, free_port, wait_until};

#[test]
fn workers_come_while_requests_wait_and_go_when_they_idle() {
    let Some(setup) = pool(1) else { return };
    let address = free_port();
    let server = up(setup
        .option(&format!("rpc.listen=tcp://{address}"))
        .option("http.pool.dynamic_allocator.max_workers=3")
        .option("http.pool.dynamic_allocator.spawn_rate=2")
        .option("http.pool.dynamic_allocator.idle_timeout=200ms"));
    assert_eq!(boots(&server), 1);
    // Each waits for the others: they are answered only if there are four workers.
    for reply in at_once(&server, 4, "/?meet=4") {
        served(&reply);
    }
    assert_eq!(boots(&server), 4);
    let workers = || Rpc::tcp(address).call("informer.Workers", &json!("http")).unwrap()["workers"].as_array().unwrap().len();
    assert!(wait_until(PATIENCE, || workers() == 1), "{} workers", workers());
    assert!(server.logs("a worker was idle for long"));
    served(&server.get("/").send());
}

#[test]
fn never_more_than_there_may_be() {
    let Some(setup) = pool(1) else { return };
    let server = up(setup.option("http.pool.dynamic_allocator.max_workers=2"));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| served(&server.get("/?until=go").send()))).collect();
        waits_for(&server, "go");
        assert!(wait_until(PATIENCE, || boots(&server) == 3), "{} boots", boots(&server));
        // Five still wait, and nothing comes of it.
        thread::sleep(Duration::from_millis(500));
        assert_eq!(boots(&server), 3);
        let_go(&server, "go");
        clients.into_iter().for_each(|client| drop(client.join().unwrap()));
    });
}

#[test]
fn classic_pools_grow_too() {
    let code = "touch(tempnam(dirname(__DIR__), 'met-')); for ($i = 0; $i < 20_000 && count(glob(dirname(__DIR__) . '/met-*')) < 3; $i++) usleep(1_000); echo 'met';";
    let Some(setup) = pool_of(1, "") else { return };
    let server = up(setup.option("http.worker=").php("meet.php", code).option("http.pool.dynamic_allocator.max_workers=5"));
    for reply in at_once(&server, 3, "/meet.php") {
        assert_eq!(reply.text(), "met");
    }
}
