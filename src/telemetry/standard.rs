//! Standard error and standard output for logs: whoever has stopped reading them stops nobody who writes.

use std::{
    io::{self, Stderr, Stdout, Write},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use crate::sys::output::Impatient;

/// One of the two.
#[derive(Debug)]
pub struct Standard {
    stream: Stream,
    /// None if it waits for nobody.
    way: Option<Impatient>,
    patience: Duration,
    /// When what is being written has waited for long enough, since it waits.
    deadline: Option<Instant>,
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
    /// Standard error. From one flush to the next its reader is waited for so long in all, and not again before it has read.
    pub fn error(patience: Duration) -> Self {
        Self::new(Stream::Error(io::stderr()), patience)
    }

    /// The same with standard output.
    pub fn output(patience: Duration) -> Self {
        Self::new(Stream::Output(io::stdout()), patience)
    }

    fn new(stream: Stream, patience: Duration) -> Self {
        Self { way: Impatient::of(stream.as_fd()), stream, patience, deadline: None, is_stuck: false }
    }
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(way) = &mut self.way else {
            return match &mut self.stream {
                Stream::Error(stream) => stream.write(bytes),
                Stream::Output(stream) => stream.write(bytes),
            };
        };
        let patience = if self.is_stuck { Duration::ZERO } else { self.patience };
        let deadline = || *self.deadline.get_or_insert_with(|| Instant::now() + patience);
        let written = way.write(self.stream.as_fd(), bytes, deadline);
        if let Err(error) = &written {
            self.deadline = None;
            self.is_stuck = error.kind() == io::ErrorKind::TimedOut;
        }
        written
    }

    /// All that was to be written is.
    fn flush(&mut self) -> io::Result<()> {
        (self.deadline, self.is_stuck) = (None, false);
        match &mut self.stream {
            Stream::Output(stream) if self.way.is_none() => stream.flush(),
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
