//! Locks as callers see them, in one engine.

use rr::worker::goridge::{Flags, Frame};
use serde_json::json;

use super::{Locker, locking, wait_until_waiting};
use crate::harness::{Request, Rpc, free_port, reference, server};

#[test]
fn a_lock_excludes_others_until_it_is_released() {
    if reference().is_some() {
        return;
    }
    let metrics = free_port();
    let (_server, address) = locking(server().option(&format!("metrics.address={metrics}")));
    let [a, b] = ["a", "b"].map(|id| Locker { address, id });
    assert!(a.lock("r") && !b.lock("r") && a.has("r") && !b.has("r"));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| b.call("Lock", "r", super::MINUTE));
        wait_until_waiting(metrics, 1);
        let figures = Request::new(metrics, "GET", "/").send().text();
        assert!(figures.contains("rr_lock_resources 1\n") && figures.contains("rr_lock_held 1\n"), "{figures}");
        assert!(!b.release("r") && a.release("r"));
        assert!(waits.join().unwrap());
    });
    assert!(!a.has("r") && b.has("r") && Locker { address, id: "*" }.has("r"));
    assert!(b.call("UpdateTTL", "r", 0) && !a.call("UpdateTTL", "r", 0));
    assert!(b.call("ForceRelease", "r", 0) && !b.has("r"));
    assert!(a.call("LockRead", "r", 0) && b.call("LockRead", "r", 0) && !a.lock("r"));
    assert!(b.release("r") && a.lock("r") && a.release("r"));
}

#[test]
fn calls_are_protobuf_messages_and_mistakes_are_told() {
    if reference().is_some() {
        return;
    }
    let (_server, address) = locking(server().option("lock.max_locks=1"));
    let mut rpc = Rpc::tcp(address);
    let mut ask = |method: &str, message: &[u8]| {
        let frame = Frame::new(Flags::PROTO, [method.as_bytes(), message].concat());
        rpc.write(&frame.with_options(&[1, u32::try_from(method.len()).unwrap()]).to_bytes().unwrap()).unwrap();
        rpc.read().unwrap().payload[method.len()..].to_vec()
    };
    // resource, id, two seconds, and no time to wait.
    assert_eq!(ask("lock.Lock", b"\x0a\x03res\x12\x02id\x18\x80\x89\x7a\x20\x00"), b"\x08\x01");
    assert_eq!(ask("lock.Exists", b"\x0a\x03res\x12\x01*"), b"\x08\x01");
    assert_eq!(
        ask("lock.Lock", b"\x0a\x03res\x12\x02ie"),
        b"1 locks are held, which lock.max_locks lets there be: try again later"
    );
    assert_eq!(ask("lock.Release", b"\x0a\x03res\x12\x02id"), b"\x08\x01");
    assert_eq!(ask("lock.Release", b"\x0a\x03res\x12\x02id"), b"");
    assert_eq!(ask("lock.Lock", b"\x0a\x03res"), b"empty ID is not allowed");
    assert_eq!(Rpc::tcp(address).call("lock.Steal", &json!({})), Err("rpc: can't find method lock.Steal".into()));
}
