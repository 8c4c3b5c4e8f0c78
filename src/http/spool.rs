//! A request body on its way in: memory, then a temporary file.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use crate::worker::{self, Body};

/// What a body can take of one request's memory is this part of what all can take together.
const SHARE: usize = 16;

/// Where bodies are kept (`http.limits`); clones share the memory.
#[derive(Clone, Debug)]
pub struct Place {
    /// Bytes that any body may keep in memory.
    memory: usize,
    shared: Arc<Shared>,
    /// Where temporary files are made.
    directory: PathBuf,
}

/// Memory for bodies that are longer than what any of them has.
#[derive(Debug)]
struct Shared {
    room: usize,
    taken: AtomicUsize,
}

/// A part of the shared memory.
#[derive(Debug)]
struct Share {
    of: Arc<Shared>,
    bytes: usize,
}

/// Gathers a body.
#[derive(Debug)]
pub(crate) struct Spool<'p> {
    place: &'p Place,
    /// The length that the client has announced.
    announced: Option<u64>,
    limit: usize,
    share: Option<Share>,
    // Most bodies are one record, and then are not copied.
    only: Bytes,
    memory: BytesMut,
    file: Option<File>,
    length: u64,
}

/// A body that holds its share until PHP is done with it.
struct Shareholder {
    bytes: Bytes,
    _share: Share,
}

// === impl Place ===

impl Place {
    /// Memory for `memory` bytes of each body, and for `shared` bytes of longer ones together; the rest in files in `directory`.
    pub fn new(memory: usize, shared: usize, directory: PathBuf) -> Self {
        let shared = Shared { room: shared, taken: AtomicUsize::new(0) };
        Self { memory, shared: Arc::new(shared), directory }
    }

    /// Where temporary files are made.
    pub fn directory(&self) -> &PathBuf {
        &self.directory
    }

    /// Bytes of the shared memory that bodies take now.
    pub fn taken(&self) -> usize {
        self.shared.taken.load(Relaxed)
    }

    /// Memory for a whole body, if there is that much.
    fn share(&self, length: u64) -> Option<Share> {
        let bytes = usize::try_from(length).ok().filter(|bytes| *bytes <= self.shared.room / SHARE)?;
        let take = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= self.shared.room);
        self.shared.taken.fetch_update(Relaxed, Relaxed, take).ok()?;
        Some(Share { of: self.shared.clone(), bytes })
    }
}

// === impl Share ===

impl Drop for Share {
    fn drop(&mut self) {
        self.of.taken.fetch_sub(self.bytes, Relaxed);
    }
}

// === impl Spool ===

impl<'p> Spool<'p> {
    /// An empty one, for a body of the `announced` length or one that has announced none.
    pub(crate) fn new(place: &'p Place, announced: Option<u64>) -> Self {
        let (only, memory) = (Bytes::new(), BytesMut::new());
        Self { place, announced, limit: place.memory, share: None, only, memory, file: None, length: 0 }
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
        if self.length > self.limit as u64 && !self.takes_share() {
            return self.move_to_file(&chunk, start);
        }
        if start == 0 {
            self.only = chunk;
            return Ok(());
        }
        self.memory.extend_from_slice(&std::mem::take(&mut self.only));
        self.memory.extend_from_slice(&chunk);
        Ok(())
    }

    /// Asked once, when a body has outgrown what every one may keep: until then its announcement has cost nobody anything.
    fn takes_share(&mut self) -> bool {
        let Some(announced) = self.announced.take().filter(|announced| *announced >= self.length) else { return false };
        let Some(share) = self.place.share(announced) else { return false };
        self.limit = share.bytes;
        self.memory.reserve(share.bytes - self.memory.len());
        self.share = Some(share);
        true
    }

    fn move_to_file(&mut self, chunk: &[u8], start: u64) -> io::Result<()> {
        let file = worker::temporary_file(&self.place.directory)?;
        file.write_all_at(&self.only, 0)?;
        file.write_all_at(&self.memory, self.only.len() as u64)?;
        file.write_all_at(chunk, start)?;
        (self.only, self.memory, self.share) = (Bytes::new(), BytesMut::new(), None);
        self.file = Some(file);
        Ok(())
    }

    pub(crate) fn finish(self) -> Body {
        if let Some(file) = self.file {
            return Body::File { file, length: self.length };
        }
        if self.length == 0 {
            return Body::Empty;
        }
        let bytes = if self.memory.is_empty() { self.only } else { self.memory.freeze() };
        Body::Memory(match self.share {
            Some(share) => Bytes::from_owner(Shareholder { bytes, _share: share }),
            None => bytes,
        })
    }
}

// === impl Shareholder ===

impl AsRef<[u8]> for Shareholder {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The status for a temporary file that could not be made or written because of `error`.
///
/// A full disk is 507, which unlike 500 says that the request was good and the state of things may pass (RFC 4918, 11.5); no client
/// or proxy takes it for a fault of the script. Descriptors come back within moments: 503.
pub(crate) fn status_without(error: &io::Error) -> StatusCode {
    match error.raw_os_error() {
        // Past RLIMIT_FSIZE a file is as good as a full disk.
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => StatusCode::INSUFFICIENT_STORAGE,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Numbers from 0 on, `bytes` of them at least, as one client sends them.
    fn send(place: &Place, bytes: usize, announces: bool) -> (Body, Vec<u8>) {
        let expected: Vec<u8> = (0..).flat_map(|number: u32| format!("{number},").into_bytes()).take(bytes).collect();
        let mut spool = Spool::new(place, announces.then_some(bytes as u64));
        for chunk in expected.chunks(7) {
            spool.push(Bytes::copy_from_slice(chunk)).expect("space");
        }
        (spool.finish(), expected)
    }

    fn is_in_file(body: &Body) -> bool {
        matches!(body, Body::File { .. })
    }

    #[test]
    fn chunks_come_back_in_order_from_memory_and_file() {
        for (memory, shared, in_file) in [(10_000, 0, false), (1_000, 0, true), (0, 0, true), (0, 4_000 * SHARE, false)] {
            let place = Place::new(memory, shared, std::env::temp_dir());
            let (body, expected) = send(&place, 4_000, true);
            assert_eq!(is_in_file(&body), in_file);
            assert_eq!(body.len(), expected.len() as u64);
            let mut read = Vec::new();
            body.into_reader().read_to_end(&mut read).expect("readable");
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn a_body_is_read_from_any_place_in_it() {
        for memory in [10_000, 0] {
            let (body, expected) = send(&Place::new(memory, 0, std::env::temp_dir()), 4_000, true);
            let reader = body.into_reader();
            for offset in [0, 1, 3_990, 3_999, 4_000, 9_999_999] {
                let mut buffer = [0; 20];
                let count = reader.read_at(offset, &mut buffer).expect("readable");
                let from = expected.len().min(usize::try_from(offset).expect("small"));
                assert_eq!(buffer[..count], expected[from..expected.len().min(from + 20)]);
            }
        }
    }

    #[test]
    fn shared_memory_is_bounded_and_comes_back() {
        let place = Place::new(100, 4_000 * SHARE, std::env::temp_dir());
        let mut kept: Vec<_> = (0..SHARE).map(|_| send(&place, 4_000, true).0).collect();
        assert!(!kept.iter().any(is_in_file));
        assert!(is_in_file(&send(&place, 101, true).0));
        assert!(!is_in_file(&send(&place, 100, true).0), "its own memory");
        kept.pop();
        assert!(!is_in_file(&send(&place, 4_000, true).0));
        drop(kept);
        assert_eq!(place.taken(), 0);
        let mut spool = Spool::new(&place, Some(200));
        spool.push(Bytes::from_static(&[b'x'; 200])).expect("space");
        let body = spool.finish();
        assert_eq!(place.taken(), 200, "it came in one piece, and is kept all the same");
        drop(body);
        assert_eq!(place.taken(), 0);
    }

    #[test]
    fn who_announces_nothing_or_too_little_goes_to_a_file() {
        let place = Place::new(100, 4_000 * SHARE, std::env::temp_dir());
        assert!(is_in_file(&send(&place, 200, false).0));
        assert!(is_in_file(&send(&place, 4_001, true).0), "more than a share");
        let mut spool = Spool::new(&place, Some(150));
        for _ in 0..4 {
            spool.push(Bytes::from_static(&[b'x'; 60])).expect("space");
        }
        assert!(is_in_file(&spool.finish()));
        assert_eq!(place.taken(), 0);
    }

    #[test]
    fn what_may_pass_is_not_a_500() {
        for (code, status) in
            [(libc::ENOSPC, 507), (libc::EDQUOT, 507), (libc::EFBIG, 507), (libc::EMFILE, 503), (libc::EACCES, 500)]
        {
            assert_eq!(status_without(&io::Error::from_raw_os_error(code)), status, "{code}");
        }
    }
}
