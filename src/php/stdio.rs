//! A script that reads frames from STDIN and writes frames to STDOUT: RoadRunner's workers, run in this process.

use std::{collections::VecDeque, ffi::c_int, mem, os::fd::AsRawFd, sync::Arc, time::Instant};

use bytes::{Buf, Bytes, BytesMut};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{
    engine::ScriptKind,
    ffi,
    run::{Left, Run},
    thread::Settings,
};
use crate::worker::{
    Failure,
    goridge::{Decoder, Frame, message},
    roadrunner::{self, Exchange, Step, Terms},
};

/// What the script has been sent and has said.
#[derive(Debug)]
pub(crate) struct Stdio {
    terms: Arc<Terms>,
    /// Frames that it has not read yet, or not wholly, in pieces.
    unread: VecDeque<[Bytes; 3]>,
    decoder: Decoder,
    exchange: Option<Exchange>,
    /// What `stream_select()` waits for, once the script has asked for that.
    watch: Option<Arc<EventFd>>,
    told_to_leave: bool,
    reads_after_that: u32,
    /// What it wrote to STDERR, up to the end of its line.
    line: BytesMut,
}

/// Reads after the script was told to leave; then it is made to.
const PATIENCE: u32 = 16;

/// A line of STDERR that has not ended by then is logged as it is.
const LONGEST_LINE: usize = 8192;

// === impl Stdio ===

impl Stdio {
    /// For a script that starts, if it is one that reads frames.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        let ScriptKind::RoadRunner { terms, .. } = &settings.script else { return None };
        let mut stdio = Self {
            terms: terms.clone(),
            unread: VecDeque::new(),
            decoder: roadrunner::decoder(),
            exchange: None,
            watch: None,
            told_to_leave: false,
            reads_after_that: 0,
            line: BytesMut::new(),
        };
        stdio.tell(&message::pid(std::process::id()));
        Some(stdio)
    }

    /// True between two requests: nothing to answer, nothing to read.
    pub(crate) fn is_between(&self) -> bool {
        self.exchange.is_none() && self.unread.is_empty()
    }

    fn tell(&mut self, frame: &Frame) {
        let bytes = frame.to_bytes().expect("commands are short");
        self.unread.push_back([bytes.into(), Bytes::new(), Bytes::new()]);
        self.ring();
    }

    fn send(&mut self, exchange: Exchange) {
        match exchange.frame() {
            Ok(pieces) => {
                self.unread.push_back(pieces);
                self.exchange = Some(exchange);
            }
            Err(error) => {
                tracing::error!(request = exchange.request().id, "request: {error}");
                let mut exchange = exchange;
                exchange.fail(Failure::WorkerLost);
            }
        }
    }

    /// Reads to the end of a frame at most: the PHP library takes a header with one read, which must find all of it.
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let Some(frame) = self.unread.front_mut() else { return 0 };
        let mut filled = 0;
        for piece in frame.iter_mut() {
            let count = piece.len().min(buffer.len() - filled);
            piece.copy_to_slice(&mut buffer[filled..filled + count]);
            filled += count;
        }
        if frame.iter().all(Bytes::is_empty) {
            self.unread.pop_front();
        }
        filled
    }

    /// The eventfd says whether there is something to read.
    fn ring(&self) {
        if let Some(watch) = &self.watch {
            _ = watch.write(1);
        }
    }

    fn log_lines(&mut self, all: bool) {
        let all = all || self.line.len() > LONGEST_LINE;
        let end = if all { self.line.len() } else { memchr::memrchr(b'\n', &self.line).map_or(0, |at| at + 1) };
        let text = self.line.split_to(end);
        for line in String::from_utf8_lossy(&text).lines().filter(|line| !line.is_empty()) {
            tracing::info!(target: "server", "{line}");
        }
    }
}

/// Whether bytes that come where a frame may begin are one's beginning, and not text that was printed.
fn begin_a_frame(bytes: &[u8]) -> bool {
    // Version 1, which makes a control character that no text begins with.
    bytes.first().is_some_and(|first| first >> 4 == 1)
}

// === impl Run ===

impl Run<'_> {
    /// Fills `buffer` for a read from STDIN, and waits for something to fill it with if `blocking`.
    pub(crate) fn stdin(&mut self, buffer: &mut [u8], blocking: bool) -> (ffi::Stdin, usize) {
        let Some(stdio) = &mut self.stdio else { return (ffi::Stdin::End, 0) };
        if stdio.unread.is_empty() && stdio.exchange.is_some() && !blocking {
            return (ffi::Stdin::Nothing, 0);
        }
        while let Some(stdio) = &mut self.stdio
            && stdio.unread.is_empty()
        {
            if stdio.told_to_leave {
                stdio.reads_after_that += 1;
                let patient = stdio.reads_after_that <= PATIENCE;
                return (if patient { ffi::Stdin::End } else { ffi::Stdin::Leave }, 0);
            }
            stdio.log_lines(true);
            if stdio.exchange.is_some() {
                // It would wait for itself.
                tracing::error!(
                    thread = self.slot.name(),
                    "a worker reads on without having answered its request, which is given up"
                );
                self.end_exchange(Failure::WorkerLost);
            }
            if !self.take_work(blocking) {
                return (ffi::Stdin::Nothing, 0);
            }
        }
        let Some(stdio) = &mut self.stdio else { return (ffi::Stdin::End, 0) };
        (ffi::Stdin::Read, stdio.read(buffer))
    }

    /// Takes what the script wrote to STDOUT.
    pub(crate) fn stdout(&mut self, mut bytes: &[u8]) -> ffi::Verdict {
        let Some(stdio) = &mut self.stdio else { return ffi::Verdict::GoOn };
        if stdio.decoder.pending() == 0 && !begin_a_frame(bytes) {
            let text = String::from_utf8_lossy(bytes);
            tracing::warn!(target: "server", "written to STDOUT, where frames are expected: {}", text.trim_end());
            bytes = &[];
        }
        stdio.decoder.extend(bytes);
        loop {
            let Some(stdio) = &mut self.stdio else { return ffi::Verdict::GoOn };
            let said = match stdio.decoder.next() {
                Ok(Some(frame)) => message::read(&frame).map_err(|error| error.to_string()),
                Ok(None) => return ffi::Verdict::GoOn,
                Err(error) => Err(error.to_string()),
            };
            let verdict = match said {
                Ok(message::FromWorker::Pid(_)) => ffi::Verdict::GoOn,
                Ok(said) => self.hear(said),
                Err(error) => {
                    tracing::error!(thread = self.slot.name(), "a worker is ended: {error}");
                    ffi::Verdict::Fatal
                }
            };
            if verdict != ffi::Verdict::GoOn {
                self.end_exchange(Failure::WorkerLost);
                return verdict;
            }
        }
    }

    /// Whether the script is run as the command line runs one.
    pub(crate) fn is_command(&self) -> bool {
        self.stdio.is_some()
    }

    /// Logs what the script wrote to STDERR.
    pub(crate) fn stderr(&mut self, bytes: &[u8]) {
        let Some(stdio) = &mut self.stdio else { return };
        stdio.line.extend_from_slice(bytes);
        stdio.log_lines(false);
    }

    /// The descriptor that is readable while STDIN is; -1 if there is none.
    pub(crate) fn watch_stdin(&mut self) -> c_int {
        let Some(stdio) = &mut self.stdio else { return -1 };
        if stdio.watch.is_none() {
            let made = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
            match made {
                Ok(watch) => stdio.watch = Some(Arc::new(watch)),
                Err(error) => {
                    tracing::error!(%error, "no descriptor for stream_select()");
                    return -1;
                }
            }
        }
        let Some(watch) = stdio.watch.clone() else { return -1 };
        // What rang before this look says nothing about what comes after it.
        _ = watch.read();
        let idle = stdio.unread.is_empty() && stdio.exchange.is_none() && !stdio.told_to_leave;
        if idle {
            self.take_work(false);
        }
        let Some(stdio) = &self.stdio else { return -1 };
        if !stdio.unread.is_empty() || stdio.told_to_leave {
            stdio.ring();
        }
        watch.as_raw_fd()
    }

    /// Waits for a request, or only looks for one, and has the script read what comes of it. False if there is nothing yet.
    fn take_work(&mut self, wait: bool) -> bool {
        self.active.finish();
        let (Some(stdio), Some(feed)) = (&mut self.stdio, &mut self.feed) else { return false };
        feed.note_ready(self.slot);
        if let Some(first) = feed.first.take() {
            stdio.send(*first);
            return true;
        }
        let watch = stdio.watch.clone();
        let ring = move || {
            if let Some(watch) = &watch {
                _ = watch.write(1);
            }
        };
        let taken = feed.take(self.slot, |seat| if wait { Some(seat.next()) } else { seat.poll(ring) });
        match taken {
            None => return false,
            Some(Ok(work)) => {
                // What was meant for the request before, whose time was over when it was answered.
                // SAFETY: takes nothing.
                unsafe { ffi::rr_php_spare() };
                self.slot.begin(&work);
                if let Some(exchange) = Exchange::begin(work, &stdio.terms) {
                    *self.slot.lifeline.lock() = exchange.lifeline();
                    stdio.send(exchange);
                }
                if stdio.exchange.is_none() {
                    self.end_exchange(Failure::WorkerLost);
                }
            }
            Some(Err(Left::Renew | Left::Closed)) => {
                stdio.told_to_leave = true;
                stdio.tell(&message::stop());
            }
        }
        true
    }

    fn hear(&mut self, said: message::FromWorker) -> ffi::Verdict {
        let Some(stdio) = &mut self.stdio else { return ffi::Verdict::GoOn };
        let Some(exchange) = &mut stdio.exchange else {
            if matches!(said, message::FromWorker::Stop) {
                self.leave();
            } else {
                tracing::warn!(thread = self.slot.name(), "a worker answered without having been asked; nobody gets that");
            }
            return ffi::Verdict::GoOn;
        };
        if exchange.deadline().is_some_and(|deadline| Instant::now() >= deadline) {
            tracing::warn!(thread = self.slot.name(), "a worker goes on with a stream that it was asked to end; it is ended");
            return ffi::Verdict::Fatal;
        }
        match exchange.hear(said) {
            Step::Listen => self.slot.go_on(),
            Step::Tell(frame) => {
                stdio.tell(&frame);
                self.slot.go_on();
            }
            Step::Done => self.end_exchange(Failure::WorkerLost),
            Step::Renew => {
                let work = stdio.exchange.take().and_then(Exchange::into_work);
                self.end_exchange(Failure::WorkerLost);
                self.leave();
                if let (Some(work), Some(feed)) = (work, &self.feed) {
                    feed.seat.give_back(work);
                }
            }
        }
        ffi::Verdict::GoOn
    }

    /// The script wants to be replaced: that is what it hears at its next read.
    fn leave(&mut self) {
        if let Some(feed) = &mut self.feed
            && feed.left.is_none()
        {
            feed.leave(Left::Renew, self.slot);
        }
        if let Some(stdio) = &mut self.stdio
            && !mem::replace(&mut stdio.told_to_leave, true)
        {
            stdio.tell(&message::stop());
        }
    }

    /// The script is free again; if it was not done, whoever waits is told `failure`.
    fn end_exchange(&mut self, failure: Failure) {
        let Some(stdio) = &mut self.stdio else { return };
        let Some(mut exchange) = stdio.exchange.take() else { return self.rest() };
        exchange.fail(failure);
        // A stop for a stream that ended by itself would be taken for the next one's.
        if !stdio.told_to_leave {
            stdio.unread.clear();
        }
        self.rest();
    }

    fn rest(&self) {
        // SAFETY: this thread has a context.
        self.slot.standing.note_memory(unsafe { ffi::rr_php_heap() });
        self.slot.end();
    }

    /// The script has ended; whoever waits for its answer is told why there is none.
    pub(super) fn finish_stdio(&mut self) {
        let Some(stdio) = &mut self.stdio else { return };
        stdio.log_lines(true);
        if let Some(mut exchange) = stdio.exchange.take() {
            let is_late = self.slot.has_run_longer_than(self.settings.request_timeout);
            exchange.fail(if is_late { Failure::RequestTimeout } else { Failure::WorkerLost });
        }
    }
}
