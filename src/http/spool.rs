//! A request body on its way in: memory, then a temporary file.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use bytes::{Bytes, BytesMut};

use crate::worker::{self, Body};

/// Gathers a body.
#[derive(Debug)]
pub(crate) struct Spool<'c> {
    memory_limit: usize,
    directory: &'c Path,
    // Most bodies are one record, and then are not copied.
    only: Bytes,
    memory: BytesMut,
    file: Option<File>,
    length: u64,
}

// === impl Spool ===

impl<'c> Spool<'c> {
    /// An empty one, which keeps `memory_limit` bytes and puts more in a file in `directory`.
    pub(crate) fn new(memory_limit: usize, directory: &'c Path) -> Self {
        Self { memory_limit, directory, only: Bytes::new(), memory: BytesMut::new(), file: None, length: 0 }
    }

    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    pub(crate) fn push(&mut self, chunk: Bytes) -> io::Result<()> {
        let start = self.length;
        self.length += chunk.len() as u64;
        if let Some(file) = &self.file {
            return file.write_all_at(&chunk, start);
        }
        if self.length > self.memory_limit as u64 {
            let file = worker::temporary_file(self.directory)?;
            file.write_all_at(&self.only, 0)?;
            file.write_all_at(&self.memory, self.only.len() as u64)?;
            file.write_all_at(&chunk, start)?;
            (self.only, self.memory, self.file) = (Bytes::new(), BytesMut::new(), Some(file));
            return Ok(());
        }
        if start == 0 {
            self.only = chunk;
            return Ok(());
        }
        self.memory.extend_from_slice(&std::mem::take(&mut self.only));
        self.memory.extend_from_slice(&chunk);
        Ok(())
    }

    pub(crate) fn finish(self) -> Body {
        match self.file {
            Some(file) => Body::File { file, length: self.length },
            None if self.length == 0 => Body::Empty,
            None if self.memory.is_empty() => Body::Memory(self.only),
            None => Body::Memory(self.memory.freeze()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn chunks_come_back_in_order_from_memory_and_file() {
        for (limit, in_file) in [(1_000_000, false), (1_000, true), (0, true)] {
            let directory = std::env::temp_dir();
            let mut spool = Spool::new(limit, &directory);
            let mut expected = Vec::new();
            for number in 0..1_000 {
                let chunk = format!("{number},");
                expected.extend_from_slice(chunk.as_bytes());
                spool.push(chunk.into()).expect("space");
            }
            let body = spool.finish();
            assert_eq!(matches!(body, Body::File { .. }), in_file);
            assert_eq!(body.len(), expected.len() as u64);
            let mut read = Vec::new();
            body.into_reader().read_to_end(&mut read).expect("readable");
            assert_eq!(read, expected);
        }
    }
}
