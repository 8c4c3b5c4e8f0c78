//! Figures that applications keep, over reloads.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
};

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use super::reload_all;
use crate::{
    edge::metrics::{page, value},
    harness::{PATIENCE, Rpc, Server, free_port, reference, wait_until},
    supervisor::{engine, is_gone, site},
};

const COLLECT: &str = "version: '3'\nmetrics:\n  collect:\n    sold: { type: counter, labels: [what] }\n    \
    took: { type: histogram, buckets: [1, 2] }\n    open: { type: gauge }\n    size: { type: summary, objectives: { 1: 0.1 } }\n";

/// A server that keeps them; where it is called, and where they are shown.
fn keeping() -> (Server, SocketAddr, SocketAddr) {
    let (rpc, metrics) = (free_port(), free_port());
    let setup = site().config(".rr.yaml", COLLECT).option(&format!("metrics.address={metrics}"));
    (setup.option(&format!("rpc.listen=tcp://{rpc}")).start(), rpc, metrics)
}

/// One change, by a connection of its own; none if the server closed that.
fn change(rpc: SocketAddr, method: &str, name: &str, value: f64, labels: &[&str]) -> Option<Result<Value, String>> {
    Rpc::tcp(rpc).try_call(&format!("metrics.{method}"), &json!({"name": name, "value": value, "labels": labels}))
}

#[test]
fn figures_of_each_kind_go_on_over_reloads() {
    if reference().is_some() {
        return;
    }
    let (server, rpc, metrics) = keeping();
    let declared = json!({"name": "by_call", "collector": {"type": "counter", "help": "Counts."}});
    assert_eq!(Rpc::tcp(rpc).call("metrics.Declare", &declared), Ok(json!(true)));
    for round in 1..=3 {
        let round = f64::from(round);
        for (method, name, labels) in [
            ("Add", "sold", &["tea"][..]),
            ("Observe", "took", &[]),
            ("Add", "open", &[]),
            ("Observe", "size", &[]),
            ("Add", "by_call", &[]),
        ] {
            assert_eq!(change(rpc, method, name, 1.5, labels), Some(Ok(json!(true))), "{name}: {}", server.log.text());
        }
        reload_all(&server);
        let shown = page(metrics).text();
        for (sample, expected) in [
            ("sold{what=\"tea\"}", 1.5 * round),
            ("took_bucket{le=\"1\"}", 0.0),
            ("took_bucket{le=\"2\"}", round),
            ("took_sum", 1.5 * round),
            ("open", 1.5 * round),
            ("size{quantile=\"1\"}", 1.5),
            ("size_count", round),
            ("by_call", 1.5 * round),
        ] {
            assert_eq!(value(&shown, sample), Some(expected), "{sample} in {shown}");
        }
    }
    // What the configuration declares in another way begins anew, what it has no more is gone.
    std::fs::write(server.dir().join(".rr.yaml"), COLLECT.replace("[1, 2]", "[1, 3]").replace("open:", "shut:")).unwrap();
    reload_all(&server);
    let shown = page(metrics).text();
    let values = ["sold{what=\"tea\"}", "took_count", "open", "shut", "by_call"].map(|sample| value(&shown, sample));
    assert_eq!(values, [Some(4.5), Some(0.0), None, Some(0.0), Some(4.5)], "{shown}");
    assert!(server.logs("metrics: took begins anew"), "{}", server.log.text());

    let old = engine(&server);
    kill(old, Signal::SIGKILL).unwrap();
    assert!(is_gone(old) && wait_until(PATIENCE, || engine(&server) != old), "{}", server.log.text());
    assert!(server.logs("lock, metrics starts empty"), "{}", server.log.text());
    assert_eq!(value(&page(metrics).text(), "took_count"), Some(0.0));
    server.stop();
}

#[test]
fn nothing_is_lost_of_what_is_counted_while_the_server_reloads() {
    if reference().is_some() {
        return;
    }
    let (server, rpc, metrics) = keeping();
    let (done, counted, unsure) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let shown = || ["sold{what=\"tea\"}", "took_count"].map(|sample| value(&page(metrics).text(), sample).unwrap_or_default());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    for (method, name, labels) in [("Add", "sold", &["tea"][..]), ("Observe", "took", &[])] {
                        match change(rpc, method, name, 1.0, labels) {
                            Some(result) => assert_eq!(result, Ok(json!(true)), "{name}"),
                            None => drop(unsure.fetch_add(1, SeqCst)),
                        }
                    }
                    counted.fetch_add(1, SeqCst);
                }
            });
        }
        scope.spawn(|| {
            let mut last = [0.0; 2];
            while !done.load(SeqCst) {
                let now = shown();
                assert!(now[0] >= last[0] && now[1] >= last[1], "{now:?} after {last:?}");
                last = now;
            }
        });
        let reloads = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..5 {
                let before = counted.load(SeqCst);
                assert!(wait_until(PATIENCE, || counted.load(SeqCst) > before + 20), "{}", server.log.text());
                reload_all(&server);
            }
        }));
        done.store(true, SeqCst);
        reloads.unwrap();
    });
    let (counted, unsure) = (counted.load(SeqCst), unsure.load(SeqCst));
    eprintln!("{counted} counted over five reloads, {unsure} connections ended without an answer");
    for shown in shown() {
        assert!((counted - unsure..=counted).contains(&(shown as u64)), "{shown} of {counted}");
    }
    server.stop();
}
