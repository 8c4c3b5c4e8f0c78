//! What the listener does not take.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn frames_that_are_none_close_the_connection() {
    let running = start(Config::default());
    let version = {
        let mut bytes = vec![0x23, 8, 0, 0, 0, 0];
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    };
    let no_options = Frame::new(Flags::JSON, "rpc.Version").to_bytes().unwrap();
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0; 64], &version, &no_options] {
        let mut caller = Caller::connect(&running).await;
        caller.stream.write_all(bytes).await.unwrap();
        assert_eq!(caller.read().await, None, "{}", bytes.escape_ascii());
    }
    assert!(Caller::connect(&running).await.json("rpc.Version", json!(true)).await.is_ok());
}

#[tokio::test]
async fn a_name_longer_than_its_payload_is_told() {
    let running = start(Config::default());
    let mut caller = Caller::connect(&running).await;
    caller.send(&Frame::new(Flags::JSON, "rpc.Version").with_options(&[3, 12])).await;
    let answer = caller.read().await.unwrap();
    assert_eq!((answer.header.flags, &answer.header.options[..]), (Flags::JSON | Flags::ERROR, &[3, 0][..]));
    assert_eq!(answer.payload, "rpc: a method's name of 12 bytes is claimed in a payload of 11");
    assert!(caller.json("rpc.Version", json!(true)).await.is_ok(), "the frame was whole");
}

#[tokio::test]
async fn a_request_too_large_is_answered_before_the_connection_ends() {
    let running = start(Config { max_message: 100_000, ..Config::default() });
    let mut caller = Caller::connect(&running).await;
    let bytes = call(4, "test.Echo", Flags::RAW, vec![0; 1_000_000]).to_bytes().unwrap();
    let (mut reader, mut writer) = caller.stream.split();
    // The server may be gone before all of it is sent.
    let (_, read) = tokio::join!(writer.write_all(&bytes), async {
        let mut text = Vec::new();
        reader.read_to_end(&mut text).await.map(|_| text)
    });
    caller.decoder.extend(&read.unwrap());
    let answer = caller.decoder.next().unwrap().unwrap();
    assert_eq!((answer.header.flags, &answer.header.options[..]), (Flags::RAW | Flags::ERROR, &[4, 0][..]));
    assert_eq!(answer.payload, "rpc: a request of 1000009 bytes is larger than rpc.max_message, 100000");
}

#[tokio::test]
async fn half_a_request_may_not_stand_still_and_an_idle_connection_may() {
    let running = start(Config { timeout: Duration::from_millis(150), ..Config::default() });
    let (mut half, mut idle) = (Caller::connect(&running).await, Caller::connect(&running).await);
    let bytes = call(1, "test.Echo", Flags::JSON, "1").to_bytes().unwrap();
    half.stream.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
    assert_eq!(half.read().await, None);
    assert!(idle.json("rpc.Version", json!(true)).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_nobody_reads_may_not_stand_still() {
    let running = start(Config { timeout: Duration::from_millis(150), ..Config::default() });
    let mut caller = Caller::connect(&running).await;
    for sequence in 0..10 {
        caller.send(&call(sequence, "test.Big", Flags::RAW, "")).await;
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut whole = 0;
    while caller.read().await.is_some() {
        whole += 1;
    }
    assert!(whole < 10, "the connection was to be cut");
}

#[tokio::test]
async fn large_requests_share_memory_and_small_ones_pass() {
    let size = 1 << 20;
    let config = Config { max_message: size, max_memory: size, timeout: Duration::from_millis(300), ..Config::default() };
    let running = start(config);
    let large = |sequence, method: &str| call(sequence, method, Flags::RAW, vec![0; size - 9]);
    let mut first = Caller::connect(&running).await;
    first.send(&large(1, "test.Wait")).await;
    let mut second = Caller::connect(&running).await;
    // As soon as the first is at work there is no memory for another.
    let bytes = large(2, "test.Echo").to_bytes().unwrap();
    let (mut reader, mut writer) = second.stream.split();
    let refused = tokio::join!(writer.write_all(&bytes), reader.read_u8());
    assert!(refused.1.is_err(), "the second was to wait in vain");
    assert!(Caller::connect(&running).await.json("rpc.Version", json!(true)).await.is_ok());
    running.gate.add_permits(1);
    assert_eq!(first.read().await.unwrap().header.options[0], 1);
    let (_, echoed) = Caller::connect(&running).await.ask("test.Echo", Flags::RAW, vec![1; size - 9]).await;
    assert_eq!(echoed.len(), size - 9);
}

#[tokio::test]
async fn one_connection_too_many_waits_for_a_place() {
    let running = start(Config { max_connections: 2, ..Config::default() });
    let mut first = Caller::connect(&running).await;
    let mut second = Caller::connect(&running).await;
    first.json("rpc.Version", json!(true)).await.unwrap();
    second.json("rpc.Version", json!(true)).await.unwrap();
    let mut third = Caller::connect(&running).await;
    third.send(&call(1, "rpc.Version", Flags::JSON, "true")).await;
    assert!(tokio::time::timeout(Duration::from_millis(100), third.read()).await.is_err());
    drop(first);
    assert!(third.read().await.is_some());
}
