//! Standard error and standard output for logs: whoever has stopped reading them stops nobody who writes.

use std::{
    io::{self, Stderr, Stdout, Write},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use crate::sys::output;

/// One of the two.
#[derive(Debug)]
pub struct Standard {
    stream: Stream,
    has_reader: bool,
    patience: Duration,
    /// Its reader was waited for in vain, and has not read since.
    is_stuck: bool,
}

#[derive(Debug)]
enum Stream {
    Error(Stderr),
    Output(Stdout),
}

// === impl Standard ===

impl Standard {
    /// Standard error, whose reader is waited for so long, and not again before it has read.
    pub fn error(patience: Duration) -> Self {
        Self::new(Stream::Error(io::stderr()), patience)
    }

    /// The same with standard output.
    pub fn output(patience: Duration) -> Self {
        Self::new(Stream::Output(io::stdout()), patience)
    }

    fn new(stream: Stream, patience: Duration) -> Self {
        Self { has_reader: output::has_reader(stream.as_fd()), stream, patience, is_stuck: false }
    }
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.has_reader {
            return match &mut self.stream {
                Stream::Error(stream) => stream.write(bytes),
                Stream::Output(stream) => stream.write(bytes),
            };
        }
        let patience = if self.is_stuck { Duration::ZERO } else { self.patience };
        let written = output::write_within(self.stream.as_fd(), bytes, patience);
        self.is_stuck = written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Output(stream) if !self.has_reader => stream.flush(),
            Stream::Output(_) | Stream::Error(_) => Ok(()),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Error(stream) => stream.as_fd(),
            Self::Output(stream) => stream.as_fd(),
        }
    }
}
