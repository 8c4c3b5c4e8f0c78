//! The way of a streamed body from a worker to the client: memory, then a temporary file, then the worker waits.
//!
//! A slow client therefore holds no worker until both bounds are reached, and then only up to a deadline.

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::budget::{Budget, Ticket, Waiting};
use crate::telemetry::Seldom;

/// Bounds of one response's buffer (`http.output`).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes kept in memory.
    pub memory: usize,
    /// Bytes kept in a temporary file after that.
    pub file: u64,
    /// How long a worker waits for a client that takes nothing, once both are full.
    pub write_timeout: Duration,
    /// Where temporary files are made.
    pub directory: PathBuf,
    /// What all answers may take together.
    pub budget: Arc<Budget>,
}

/// A connection that goes when its answer is given up.
pub trait Connection: fmt::Debug + Send + Sync {
    /// Closes it.
    fn close(&self);
}

/// The worker's end.
#[derive(Debug)]
pub struct OutputWriter(Arc<Shared>);

/// Ends a body in the writer's stead.
#[derive(Debug)]
pub struct OutputCutter(Arc<Shared>);

/// The client's end: an HTTP body.
#[derive(Debug)]
pub struct OutputReader(Arc<Shared>, Option<Kept>);

/// Something that lives as long as a reader.
type Kept = Box<dyn fmt::Debug + Send + Sync>;

/// Bytes read from a temporary file at once.
const FILE_READ: usize = 256 * 1024;

/// What passes through memory at once when there is none left for all.
const LITTLE: usize = 32 * 1024;

/// How often it is looked for room that others give back, which wakes nobody.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Shared {
    limits: Arc<Limits>,
    state: Mutex<State>,
    drained: Condvar,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    in_memory: usize,
    spool: Option<Spool>,
    end: Option<io::Result<()>>,
    trailers: Option<HeaderMap>,
    reader_gone: bool,
    flushed: bool,
    taken: u64,
    waker: Option<Waker>,
    connection: Option<Arc<dyn Connection>>,
}

#[derive(Debug)]
struct Spool {
    file: File,
    read: u64,
    written: u64,
    ticket: Ticket,
}

/// Why a chunk is not in a file.
enum NoRoom {
    /// All answers together have as much as they may.
    Taken,
    Failed(io::Error),
}

// === impl Limits ===

impl Limits {
    /// All of an answer, for a reply; as it was if there is no memory for it, and it had better be streamed.
    pub fn whole(&self, bytes: Bytes) -> Result<Bytes, Bytes> {
        self.budget.whole(bytes)
    }
}

// === impl OutputWriter ===

impl OutputWriter {
    /// A writer and the reader of what it writes.
    pub fn new(limits: Arc<Limits>) -> (Self, OutputReader) {
        let shared = Arc::new(Shared { limits, state: Mutex::default(), drained: Condvar::new() });
        (Self(shared.clone()), OutputReader(shared, None))
    }

    /// Passes `chunk` on; waits only if memory and file are full. An error means that the client is gone or takes nothing; the body
    /// is then broken off, for its end would say that nothing is missing.
    pub fn write(&self, chunk: Bytes) -> io::Result<()> {
        self.pass_on(chunk).inspect_err(|error| {
            let mut state = self.0.state.lock();
            state.end.get_or_insert_with(|| Err(error.kind().into()));
            wake(state);
        })
    }

    fn pass_on(&self, mut chunk: Bytes) -> io::Result<()> {
        if chunk.is_empty() {
            return Ok(());
        }
        let limits = &self.0.limits;
        let mut state = self.0.state.lock();
        let mut deadline = Instant::now() + limits.write_timeout;
        let mut taken = state.taken;
        let mut has_room = true;
        loop {
            if state.reader_gone || state.end.is_some() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let mut look_again = deadline;
            if state.has_room(chunk.len(), limits) {
                chunk = match state.keep_in_memory(chunk, limits) {
                    None => break,
                    Some(rest) => rest,
                };
                look_again = deadline.min(Instant::now() + LOOK_AGAIN);
            }
            let written = state.spool.as_ref().map_or(0, |spool| spool.written);
            if has_room && written + chunk.len() as u64 <= limits.file {
                match state.keep_in_file(&chunk, &self.0) {
                    Ok(()) => break,
                    Err(NoRoom::Taken) => {
                        if MutexGuard::unlocked(&mut state, || limits.budget.cut_slowest()) {
                            continue;
                        }
                        look_again = deadline.min(Instant::now() + LOOK_AGAIN);
                    }
                    // As if the file were as large as it may be: nothing is lost, but the client is waited for.
                    Err(NoRoom::Failed(error)) => {
                        static SELDOM: Seldom = Seldom::new();
                        if let Some(unsaid) = SELDOM.say() {
                            let directory = limits.directory.display();
                            tracing::error!(%error, unsaid, %directory, "no room for output; scripts wait for their clients");
                        }
                        has_room = false;
                    }
                }
            }
            let late = self.0.drained.wait_until(&mut state, look_again).timed_out() && look_again == deadline;
            // A client that takes something, however slowly, is waited for anew.
            if state.taken != taken {
                taken = state.taken;
                deadline = Instant::now() + limits.write_timeout;
            } else if late {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        wake(state);
        Ok(())
    }

    /// Ends the body; an error breaks it off, so that the client can tell.
    pub fn finish(self, end: io::Result<()>) {
        let mut state = self.0.state.lock();
        // One that was cut off stays so.
        state.end.get_or_insert(end);
        wake(state);
    }

    /// Ends the body with `trailers` after it, for a protocol and a client that take some.
    pub fn finish_with(self, trailers: HeaderMap) {
        self.0.state.lock().trailers = (!trailers.is_empty()).then_some(trailers);
        self.finish(Ok(()));
    }

    /// Breaks the body off from another thread; the writer then sees a client that is gone.
    pub fn cutter(&self) -> OutputCutter {
        OutputCutter(self.0.clone())
    }

    /// True once the client is gone.
    pub fn is_abandoned(&self) -> bool {
        self.0.state.lock().reader_gone
    }
}

// === impl OutputCutter ===

impl OutputCutter {
    /// True once the client is gone.
    pub fn is_abandoned(&self) -> bool {
        self.0.state.lock().reader_gone
    }

    /// Breaks the body off because of `error`.
    pub fn cut(self, error: io::Error) {
        let mut state = self.0.state.lock();
        state.end.get_or_insert(Err(error));
        wake(state);
        // The writer may be the one that waits.
        self.0.drained.notify_all();
    }
}

impl Drop for OutputWriter {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if state.end.is_none() {
            state.end = Some(Err(io::Error::other("the worker ended in the middle of its output")));
            wake(state);
        }
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

// === impl State ===

impl State {
    /// True if the answer itself may have `count` bytes more in memory.
    fn has_room(&mut self, count: usize, limits: &Limits) -> bool {
        let spooled = self.spool.as_ref().is_some_and(|spool| spool.read < spool.written);
        !spooled && (self.in_memory == 0 || self.in_memory + count <= limits.memory)
    }

    /// Keeps `chunk` in memory, or as much of it as it must; the rest is returned.
    fn keep_in_memory(&mut self, chunk: Bytes, limits: &Limits) -> Option<Bytes> {
        let (kept, rest) = match limits.budget.take(chunk) {
            Ok(kept) => (kept, None),
            // Its client has taken all and waits for more, which has to get there by some way.
            Err(mut chunk) if self.waker.is_some() => {
                if chunk.len() <= LITTLE {
                    (limits.budget.force(chunk), None)
                } else {
                    // Copied, for as a slice it would keep the whole.
                    let little = Bytes::copy_from_slice(&chunk.split_to(LITTLE));
                    (limits.budget.force(little), Some(chunk))
                }
            }
            Err(chunk) => return Some(chunk),
        };
        self.spool = None;
        self.in_memory += kept.len();
        self.chunks.push_back(kept);
        if rest.is_some()
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
        rest
    }

    fn keep_in_file(&mut self, chunk: &Bytes, shared: &Arc<Shared>) -> Result<(), NoRoom> {
        let limits = &shared.limits;
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => {
                let who = Arc::downgrade(shared) as Weak<dyn Waiting>;
                let ticket = limits.budget.open(who).ok_or(NoRoom::Taken)?;
                let file = temporary_file(&limits.directory).map_err(NoRoom::Failed)?;
                none.insert(Spool { file, read: 0, written: 0, ticket })
            }
        };
        let added = spool.add(chunk);
        if added.is_err() {
            // An empty one would hold a file for nothing, and be one of those that may be cut.
            self.spool.take_if(|spool| spool.written == 0);
        }
        added
    }
}

// === impl Spool ===

impl Spool {
    fn add(&mut self, chunk: &[u8]) -> Result<(), NoRoom> {
        let count = chunk.len() as u64;
        if !self.ticket.grow(count) {
            return Err(NoRoom::Taken);
        }
        // What came of a write that failed is written over.
        if let Err(error) = self.file.write_all_at(chunk, self.written) {
            self.ticket.shrink(count);
            return Err(NoRoom::Failed(error));
        }
        self.written += count;
        Ok(())
    }
}

// === impl Shared ===

impl Waiting for Shared {
    fn cut(&self) {
        let mut state = self.state.lock();
        // Its connection may be at its next answer.
        if state.reader_gone {
            return;
        }
        state.chunks.clear();
        (state.in_memory, state.spool, state.trailers) = (0, None, None);
        state.end = Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not read, and others needed the room")));
        let connection = state.connection.take();
        wake(state);
        self.drained.notify_all();
        if let Some(connection) = connection {
            connection.close();
        }
    }
}

/// An unlinked file in `directory`.
pub(crate) fn temporary_file(directory: &std::path::Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(directory)
}

// === impl OutputReader ===

impl OutputReader {
    /// Drops `guard` when the body has been read, or nobody reads it any more.
    pub fn keep(&mut self, guard: Kept) {
        self.1 = Some(guard);
    }

    /// Closes `connection` when the body is given up because nobody reads it. A connection that waits to send would not ask.
    pub fn close_with(&self, connection: Arc<dyn Connection>) {
        self.0.state.lock().connection = Some(connection);
    }
}

impl http_body::Body for OutputReader {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut state = self.0.state.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            state.in_memory -= chunk.len();
            state.taken += chunk.len() as u64;
            if let Some(spool) = &state.spool {
                spool.ticket.touch();
            }
            self.0.drained.notify_one();
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if let Some(spool) = &mut state.spool
            && spool.read < spool.written
        {
            let budget = &self.0.limits.budget;
            let most = if budget.has_memory(FILE_READ) { FILE_READ } else { LITTLE };
            let count = most.min((spool.written - spool.read) as usize);
            let mut buffer = vec![0; count];
            if let Err(error) = spool.file.read_exact_at(&mut buffer, spool.read) {
                return Poll::Ready(Some(Err(error)));
            }
            spool.read += count as u64;
            spool.ticket.touch();
            if spool.read == spool.written {
                // Emptied: give the space back, and let the next chunk go through memory again.
                state.spool = None;
            }
            state.taken += count as u64;
            self.0.drained.notify_one();
            return Poll::Ready(Some(Ok(Frame::data(budget.force(buffer.into())))));
        }
        // hyper drops what it has not yet written when a body fails; it writes while a body has nothing more for it.
        if matches!(state.end, Some(Err(_))) && !state.flushed {
            state.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if matches!(state.end, Some(Ok(())))
            && let Some(trailers) = state.trailers.take()
        {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        match &mut state.end {
            Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).err().map(Err)),
            None => {
                state.waker = Some(context.waker().clone());
                // A chunk that there is no memory for is let through to a client that waits.
                self.0.drained.notify_one();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.state.lock();
        matches!(state.end, Some(Ok(()))) && state.chunks.is_empty() && state.spool.is_none() && state.trailers.is_none()
    }
}

impl Drop for OutputReader {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.reader_gone = true;
        state.chunks.clear();
        state.in_memory = 0;
        state.spool = None;
        let connection = state.connection.take();
        drop(state);
        drop(connection);
        self.0.drained.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::worker::budget::Bounds;

    fn limits(memory: usize, file: u64) -> Arc<Limits> {
        let (write_timeout, directory) = (Duration::from_millis(20), std::env::temp_dir());
        Arc::new(Limits { memory, file, write_timeout, directory, budget: Budget::unlimited() })
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
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

    #[test]
    fn waits_only_past_both_bounds_and_then_gives_up() {
        let (writer, _reader) = OutputWriter::new(limits(4, 4));
        writer.write(Bytes::from_static(b"1234")).expect("memory");
        writer.write(Bytes::from_static(b"5678")).expect("file");
        let error = writer.write(Bytes::from_static(b"9")).expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn without_room_for_a_file_the_reader_is_waited_for() {
        let directory = std::path::PathBuf::from("/nonexistent");
        let (write_timeout, budget) = (Duration::from_secs(60), Budget::unlimited());
        let limits = Limits { memory: 4, file: 1 << 20, write_timeout, directory, budget };
        let (writer, reader) = OutputWriter::new(Arc::new(limits));
        writer.write(Bytes::from_static(b"1234")).expect("memory");
        let writes = std::thread::spawn(move || {
            let written = writer.write(Bytes::from_static(b"5678"));
            writer.finish(Ok(()));
            written
        });
        let body = runtime().block_on(reader.collect()).expect("whole").to_bytes();
        assert_eq!(body, "12345678");
        writes.join().expect("no panic").expect("taken");
    }

    #[test]
    fn a_file_that_takes_nothing_is_given_back() {
        let budget = Budget::new(Bounds { memory: 0, file: 1000, files: 1 });
        let limits = Limits { budget: budget.clone(), ..(*limits(0, 1000)).clone() };
        let (writer, _reader) = OutputWriter::new(Arc::new(limits));
        let who = Arc::downgrade(&writer.0) as Weak<dyn Waiting>;
        let ticket = budget.open(who).expect("room");
        let mut state = writer.0.state.lock();
        let file = File::open("/dev/null").expect("readable only");
        state.spool = Some(Spool { file, read: 0, written: 0, ticket });
        let kept = state.keep_in_file(&Bytes::from_static(b"1"), &writer.0);
        assert!(matches!(kept, Err(NoRoom::Failed(_))));
        assert_eq!((state.spool.is_none(), budget.file(), budget.files()), (true, 0, 0));
    }

    /// Writes so much to an answer that has no file, in a thread.
    fn written(budget: &Arc<Budget>, bytes: usize) -> (OutputReader, std::thread::JoinHandle<io::Result<()>>) {
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

    #[test]
    fn without_memory_and_file_a_reader_that_asks_later_gets_it() {
        let budget = Budget::new(Bounds { memory: 0, file: 0, files: 0 });
        for bytes in [100, 3 * LITTLE + 1] {
            let (reader, writes) = written(&budget, bytes);
            assert_eq!(runtime().block_on(reader.collect()).expect("whole").to_bytes().len(), bytes);
            writes.join().expect("no panic").expect("taken");
        }
    }

    #[test]
    fn memory_that_others_give_back_is_found() {
        let budget = Budget::new(Bounds { memory: 100, file: 0, files: 0 });
        let other = budget.take(vec![0; 100].into()).expect("room");
        let (_reader, writes) = written(&budget, 50);
        drop(other);
        writes.join().expect("no panic").expect("room, though nobody reads");
    }

    #[test]
    fn a_reader_that_leaves_is_an_error_to_the_writer() {
        let (writer, reader) = OutputWriter::new(limits(4, 4));
        drop(reader);
        assert!(writer.is_abandoned());
        assert_eq!(writer.write(Bytes::from_static(b"1")).expect_err("gone").kind(), io::ErrorKind::BrokenPipe);
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
    fn a_writer_that_is_lost_breaks_the_body() {
        let (writer, reader) = OutputWriter::new(limits(4, 4));
        writer.write(Bytes::from_static(b"1")).expect("room");
        drop(writer);
        assert!(runtime().block_on(reader.collect()).is_err());
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
}
