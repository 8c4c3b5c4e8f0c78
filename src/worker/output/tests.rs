//! What the tests of all parts need, and what all parts do together.

use std::time::Duration;

use http_body_util::BodyExt;

use super::*;
use crate::worker::budget::{Bounds, Budget};

pub(super) fn limits(memory: usize, file: u64) -> Arc<Limits> {
    let (write_timeout, directory) = (Duration::from_millis(20), std::env::temp_dir());
    Arc::new(Limits { memory, file, write_timeout, directory, budget: Budget::unlimited() })
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

/// Writes so much to an answer that has no file, in a thread.
pub(super) fn written(budget: &Arc<Budget>, bytes: usize) -> (OutputReader, std::thread::JoinHandle<io::Result<()>>) {
    let (write_timeout, directory) = (Duration::from_secs(5), std::env::temp_dir());
    let limits = Limits { memory: 1 << 20, file: 0, write_timeout, directory, budget: budget.clone() };
    let (writer, reader) = OutputWriter::new(Arc::new(limits));
    let writes = std::thread::spawn(move || {
        let written = writer.write(Bytes::from(vec![b'x'; bytes]));
        writer.finish(Ok(()));
        written
    });
    // It waits by now, or finds what it waits for: either has to do.
    std::thread::sleep(Duration::from_millis(50));
    (reader, writes)
}

/// What goes to an answer's reader, who has not asked for it yet.
fn held(budget: &Arc<Budget>, bytes: usize) -> OutputReader {
    let (write_timeout, directory) = (Duration::from_secs(10), std::env::temp_dir());
    let limits = Limits { memory: 1 << 20, file: 1 << 20, write_timeout, directory, budget: budget.clone() };
    let (writer, reader) = OutputWriter::new(Arc::new(limits));
    writer.write(Bytes::from(vec![b'x'; bytes])).expect("room");
    writer.finish(Ok(()));
    reader
}

#[test]
fn keeps_order_through_memory_and_file() {
    let (writer, reader) = OutputWriter::new(limits(10, 1 << 20));
    let expected: Vec<u8> = (0..200u32).flat_map(|n| format!("{n},").into_bytes()).collect();
    for n in 0..200u32 {
        writer.write(Bytes::from(format!("{n},"))).expect("room");
    }
    writer.finish(Ok(()));
    let body = runtime().block_on(reader.collect()).expect("whole").to_bytes();
    assert_eq!(body, expected);
}

#[test]
fn trailers_follow_the_body() {
    let (writer, reader) = OutputWriter::new(limits(10, 1 << 20));
    writer.write(Bytes::from_static(b"all")).expect("room");
    let trailers: HeaderMap = [(http::header::ETAG, http::HeaderValue::from_static("\"1\""))].into_iter().collect();
    writer.finish_with(trailers.clone());
    let collected = runtime().block_on(reader.collect()).expect("whole");
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), "all");
}

#[derive(Debug, Default)]
struct Closed(std::sync::atomic::AtomicBool);

impl Connection for Closed {
    fn close(&self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_connection_is_closed_for_the_answer_that_it_waits_for_and_no_earlier_one() {
    for is_read in [false, true] {
        let (writer, reader) = OutputWriter::new(limits(4, 4));
        let connection = Arc::new(Closed::default());
        reader.close_with(connection.clone());
        let reader = (!is_read).then_some(reader);
        writer.0.cut();
        assert_eq!(connection.0.load(std::sync::atomic::Ordering::Relaxed), !is_read);
        assert_eq!(Arc::strong_count(&connection), 1);
        drop(reader);
    }
}

#[test]
fn memory_is_counted_until_the_last_byte_is_let_go_and_then_files_are_taken() {
    let budget = Budget::new(Bounds { memory: 1000, file: 10_000, files: 10 });
    let (first, second) = (held(&budget, 900), held(&budget, 900));
    assert_eq!((budget.memory(), budget.file(), budget.files()), (900, 900, 1));
    let mut body = runtime().block_on(first.collect()).expect("whole").to_bytes();
    let last = body.split_off(899);
    drop(body);
    assert_eq!(budget.memory(), 900, "somebody holds a byte of it");
    drop(last);
    assert_eq!(runtime().block_on(second.collect()).expect("whole").to_bytes(), vec![b'x'; 900]);
    assert_eq!((budget.memory(), budget.file(), budget.files()), (0, 0, 0));
}

#[test]
fn who_has_waited_longest_is_cut_when_there_is_no_room_and_whoever_reads_is_not() {
    let budget = Budget::new(Bounds { memory: 0, file: 2000, files: 10 });
    let (slow, read) = (held(&budget, 900), held(&budget, 900));
    budget.age();
    read.0.state.lock().spool.as_ref().expect("a file").ticket.touch();
    let third = held(&budget, 900);
    assert_eq!(budget.cut(), 1);
    let collect = |reader: OutputReader| runtime().block_on(reader.collect()).map(|whole| whole.to_bytes().len());
    assert_eq!(collect(slow).expect_err("cut").kind(), io::ErrorKind::TimedOut);
    assert_eq!((collect(read).expect("whole"), collect(third).expect("whole")), (900, 900));
    assert_eq!((budget.file(), budget.files()), (0, 0));
}
