//! The part of a body that waits in a temporary file, once memory is full.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Weak},
};

use bytes::Bytes;

use super::{Shared, State};
use crate::worker::budget::{Ticket, Waiting};

#[derive(Debug)]
pub(super) struct Spool {
    pub(super) file: File,
    pub(super) read: u64,
    pub(super) written: u64,
    pub(super) ticket: Ticket,
}

/// Why a chunk is not in a file.
pub(super) enum NoRoom {
    /// All answers together have as much as they may.
    Taken,
    Failed(io::Error),
}

// === impl State ===

impl State {
    pub(super) fn keep_in_file(&mut self, chunk: &Bytes, shared: &Arc<Shared>) -> Result<(), NoRoom> {
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

/// An unlinked file in `directory`.
pub(crate) fn temporary_file(directory: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(directory)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::super::tests::{limits, runtime};
    use super::super::{Limits, OutputWriter};
    use super::*;
    use crate::worker::budget::{Bounds, Budget};

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
}
