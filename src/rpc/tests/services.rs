//! The built-in services.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn rpc_tells_version_and_configuration() {
    let running = start(Config::default());
    let mut caller = Caller::connect(&running).await;
    assert_eq!(caller.json("rpc.Version", json!(true)).await, Ok(json!("2026.1.0")));
    // Bytes are base64 in JSON, and a binary in MessagePack.
    assert_eq!(caller.json("rpc.Config", json!(true)).await, Ok(json!("eyJhIjoxfQ==")));
    assert_eq!(caller.ask("rpc.Config", Flags::RAW, "").await.1, r#"{"a":1}"#);
    assert_eq!(caller.ask("rpc.Config", Flags::MSGPACK, b"\xc3").await.1, &b"\xc4\x07{\"a\":1}"[..]);
    assert_eq!(caller.ask("rpc.Version", Flags::MSGPACK, b"\xc3").await.1, &b"\xa82026.1.0"[..]);
}

#[tokio::test]
async fn informer_shows_workers_as_roadrunner_does() {
    let running = start(Config::default());
    let mut caller = Caller::connect(&running).await;
    assert_eq!(caller.json("informer.List", json!(true)).await, Ok(json!(["http"])));
    let row = json!({
        "pid": 7, "status": 1, "numExecs": 3, "created": 1_700_000_000_000_000_001_i64, "memoryUsage": 1_048_576,
        "CPUPercent": 1.5, "command": "", "statusStr": "ready",
    });
    let mut busy = row.clone();
    for (key, value) in [
        ("pid", json!(8)),
        ("status", json!(2)),
        ("statusStr", json!("working")),
        ("current", json!("GET /slow")),
        ("currentSince", row["created"].clone()),
    ] {
        busy[key] = value;
    }
    for method in ["informer.Workers", "informer.GetWorkers"] {
        assert_eq!(caller.json(method, json!("http")).await, Ok(json!({"workers": [row, busy]})), "{method}");
    }
    assert_eq!(caller.json("informer.Workers", json!("jobs")).await, Ok(json!({"workers": null})));
    assert_eq!(caller.json("informer.Jobs", json!("http")).await, Ok(Value::Null));
}

#[tokio::test]
async fn informer_has_gos_names_in_messagepack() {
    let running = start(Config::default());
    let mut caller = Caller::connect(&running).await;
    let (_, body) = caller.ask("informer.Workers", Flags::MSGPACK, b"\xa4http").await;
    let list: Value = rmp_serde::from_slice(&body).unwrap();
    assert_eq!(list["Workers"][0]["CPUPercent"], 1.5);
    let names: Vec<&str> = list["Workers"][0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["Pid", "Status", "NumExecs", "Created", "MemoryUsage", "CPUPercent", "Command", "StatusStr"]);
    let (_, body) = caller.ask("informer.List", Flags::MSGPACK, b"\xc3").await;
    assert_eq!(&body[..], b"\x91\xa4http");
}

#[tokio::test]
async fn informer_and_resetter_speak_protobuf_too() {
    let running = start(Config::default());
    let mut caller = Caller::connect(&running).await;
    assert_eq!(caller.ask("informer.ListPlugins", Flags::PROTO, "").await.1, &b"\x0a\x04http"[..]);
    let (flags, body) = caller.ask("informer.GetWorkers", Flags::PROTO, b"\x0a\x04http").await;
    // The first worker: pid 7, status 1, three works.
    assert!(flags == Flags::PROTO && body[2..].starts_with(b"\x08\x07\x10\x01\x18\x03"), "{body:?}");
    assert_eq!(caller.ask("resetter.Reset", Flags::PROTO, b"\x0a\x04http").await.1, &b"\x08\x01"[..]);
    assert_eq!(running.pool.0.load(SeqCst), 1);
}

#[tokio::test]
async fn resetter_resets() {
    let running = start(Config::default());
    let mut caller = Caller::connect(&running).await;
    assert_eq!(caller.json("resetter.List", json!(true)).await, Ok(json!(["http"])));
    assert_eq!(caller.json("resetter.Reset", json!("http")).await, Ok(json!(true)));
    assert_eq!(caller.json("resetter.ResetAll", json!(true)).await, Ok(json!(true)));
    assert_eq!(running.pool.0.load(SeqCst), 2);
    let error = caller.json("resetter.Reset", json!("jobs")).await.unwrap_err();
    assert_eq!(error, "resetter_rpc_reset: no such plugin: jobs");
}

#[tokio::test]
async fn what_a_pool_cannot_do_it_says() {
    let running = start(Config::default());
    let mut caller = Caller::connect(&running).await;
    let error = caller.json("informer.AddWorker", json!("http")).await.unwrap_err();
    assert_eq!(error, "adding workers is not supported by pool http");
    let error = caller.json("informer.RemoveWorker", json!("jobs")).await.unwrap_err();
    assert_eq!(error, "plugin jobs does not support workers management");
}

#[tokio::test]
async fn the_command_line_s_end_speaks_the_same() {
    let running = start(Config::default());
    let address = format!(":{}", running.address.port());
    let asked = std::thread::spawn(move || {
        let mut client = Client::tcp(&address, Duration::from_secs(20)).unwrap();
        let version: String = client.call("rpc.Version", &true).unwrap();
        let error = client.call::<bool>("resetter.Reset", &"jobs").unwrap_err().to_string();
        let nonsense = client.call::<bool>("rpc.Version", &true).unwrap_err().to_string();
        (version, error, nonsense)
    });
    while !asked.is_finished() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (version, error, nonsense) = asked.join().unwrap();
    assert_eq!((version.as_str(), error.as_str()), ("2026.1.0", "resetter_rpc_reset: no such plugin: jobs"));
    assert!(nonsense.starts_with("the answer makes no sense: invalid type: string"), "{nonsense}");
}
