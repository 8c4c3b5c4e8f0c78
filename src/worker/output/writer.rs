//! The worker's end. Here alone anybody waits for a client, and only up to a deadline.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{Limits, OutputReader, Shared, spool::NoRoom, wake};
use crate::telemetry::Seldom;

/// The worker's end.
#[derive(Debug)]
pub struct OutputWriter(pub(super) Arc<Shared>);

/// Ends a body in the writer's stead.
#[derive(Debug)]
pub struct OutputCutter(Arc<Shared>);

/// How often it is looked for room that others give back, which wakes nobody.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

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
            state.finish(Err(error.kind().into()));
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
        state.finish(end);
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

impl Drop for OutputWriter {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if state.end.is_none() {
            state.finish(Err(io::Error::other("the worker ended in the middle of its output")));
            wake(state);
        }
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
        state.finish(Err(error));
        wake(state);
        // The writer may be the one that waits.
        self.0.drained.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::super::tests::{limits, runtime};
    use super::*;

    #[test]
    fn waits_only_past_both_bounds_and_then_gives_up() {
        let (writer, _reader) = OutputWriter::new(limits(4, 4));
        writer.write(Bytes::from_static(b"1234")).expect("memory");
        writer.write(Bytes::from_static(b"5678")).expect("file");
        let error = writer.write(Bytes::from_static(b"9")).expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_reader_that_leaves_is_an_error_to_the_writer() {
        let (writer, reader) = OutputWriter::new(limits(4, 4));
        drop(reader);
        assert!(writer.is_abandoned());
        assert_eq!(writer.write(Bytes::from_static(b"1")).expect_err("gone").kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_writer_that_is_lost_breaks_the_body() {
        let (writer, reader) = OutputWriter::new(limits(4, 4));
        writer.write(Bytes::from_static(b"1")).expect("room");
        drop(writer);
        assert!(runtime().block_on(reader.collect()).is_err());
    }
}
