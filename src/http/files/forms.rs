//! A file in memory together with its compressed forms, which are made once and not for each client.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::Coding;

/// A whole file in memory, as a body.
#[derive(Clone, Debug)]
pub struct Kept {
    pub(in crate::http) bytes: Bytes,
    forms: Arc<Forms>,
}

/// What clients were sent of a file before, by coding.
#[derive(Debug, Default)]
pub(super) struct Forms(Mutex<Vec<(Coding, Bytes)>>);

// === impl Kept ===

impl Kept {
    pub(super) fn new(bytes: Bytes, forms: Arc<Forms>) -> Self {
        Self { bytes, forms }
    }

    /// All of it in `coding`, if that was made before.
    pub(in crate::http) fn form(&self, coding: Coding) -> Option<Bytes> {
        let forms = self.forms.0.lock();
        forms.iter().find(|(made, _)| *made == coding).map(|(_, bytes)| bytes.clone())
    }

    /// Keeps what was made. The forms together take no more memory than the file does, which is what the cache has counted.
    pub(in crate::http) fn keep(&self, coding: Coding, bytes: Vec<u8>) {
        let mut forms = self.forms.0.lock();
        let taken: usize = forms.iter().map(|(_, bytes)| bytes.len()).sum();
        if taken + bytes.len() <= self.bytes.len() && forms.iter().all(|(made, _)| *made != coding) {
            // Without the room that a buffer has grown into.
            forms.push((coding, bytes.into_boxed_slice().into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_take_no_more_memory_than_the_file() {
        let kept = Kept::new(Bytes::from_static(b"0123456789"), Arc::default());
        assert_eq!(kept.form(Coding::Gzip), None);
        kept.keep(Coding::Gzip, b"012345".to_vec());
        kept.keep(Coding::Gzip, b"other".to_vec());
        kept.keep(Coding::Brotli, b"01234".to_vec());
        kept.keep(Coding::Zstd, b"0123".to_vec());
        assert_eq!(kept.form(Coding::Gzip).as_deref(), Some(&b"012345"[..]));
        assert_eq!(kept.form(Coding::Brotli), None, "there is no room");
        assert_eq!(kept.clone().form(Coding::Zstd).as_deref(), Some(&b"0123"[..]));
    }
}
