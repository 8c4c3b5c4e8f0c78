//! Messages out of a stream of bytes: each ends in a delimiter.

use bytes::{BufMut, Bytes, BytesMut, buf::Limit};
use memchr::memmem;

/// What has been read and not been taken yet.
#[derive(Debug)]
pub(super) struct Messages {
    buffer: BytesMut,
    /// Bytes in which no delimiter begins and ends.
    searched: usize,
    /// Bytes read at once: more as a client sends more.
    chunk: usize,
    most: usize,
}

/// What a client that says little is given room for.
const SMALLEST_READ: usize = 4096;

// === impl Messages ===

impl Messages {
    /// None yet; at most `most` bytes are to be read at once.
    pub(super) fn new(most: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, chunk: SMALLEST_READ.min(most.max(1)), most: most.max(1) }
    }

    /// The next message, with its delimiter.
    pub(super) fn next(&mut self, delimiter: &[u8]) -> Option<Bytes> {
        let from = self.searched.saturating_sub(delimiter.len().saturating_sub(1));
        let Some(at) = memmem::find(&self.buffer[from..], delimiter) else {
            self.searched = self.buffer.len();
            return None;
        };
        self.searched = 0;
        Some(self.buffer.split_to(from + at + delimiter.len()).freeze())
    }

    /// What is left when no more is to come.
    pub(super) fn rest(&mut self) -> Bytes {
        self.searched = 0;
        self.buffer.split().freeze()
    }

    /// Bytes that wait for their delimiter.
    pub(super) fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Where to read `most` bytes into, or fewer.
    pub(super) fn room(&mut self, most: usize) -> Limit<&mut BytesMut> {
        let size = self.chunk.min(most);
        self.buffer.reserve(size);
        (&mut self.buffer).limit(size)
    }

    /// So many bytes were read.
    pub(super) fn note_read(&mut self, count: usize) {
        if count == self.chunk {
            self.chunk = (self.chunk * 2).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(messages: &mut Messages, delimiter: &str) -> Vec<String> {
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        std::iter::from_fn(|| messages.next(delimiter.as_bytes()).map(text)).collect()
    }

    #[test]
    fn a_delimiter_is_found_wherever_the_network_cuts() {
        let stream = "one\r\ntwo\r\r\nthree\r\n\r\nrest";
        for size in 1..=stream.len() {
            let mut messages = Messages::new(1 << 20);
            let mut found = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                messages.room(usize::MAX).put_slice(piece);
                found.extend(all(&mut messages, "\r\n"));
            }
            assert_eq!(found, ["one\r\n", "two\r\r\n", "three\r\n", "\r\n"], "in pieces of {size}");
            assert_eq!((messages.pending(), &messages.rest()[..]), (4, &b"rest"[..]));
        }
    }

    #[test]
    fn a_delimiter_may_repeat_itself() {
        let mut messages = Messages::new(64);
        messages.room(usize::MAX).put_slice(b"a--");
        assert_eq!(all(&mut messages, "---"), [""; 0]);
        messages.room(usize::MAX).put_slice(b"-b----");
        assert_eq!(all(&mut messages, "---"), ["a---", "b---"]);
        assert_eq!(messages.rest(), "-");
        messages.room(usize::MAX).put_slice(b"x;y;");
        assert_eq!(all(&mut messages, ";"), ["x;", "y;"]);
    }

    #[test]
    fn room_grows_with_what_comes_and_has_a_bound() {
        let mut messages = Messages::new(10_000);
        for expected in [4096, 8192, 10_000, 10_000] {
            assert_eq!(messages.room(usize::MAX).remaining_mut(), expected);
            messages.note_read(expected);
        }
        messages.note_read(1);
        assert_eq!(messages.room(usize::MAX).remaining_mut(), 10_000);
        assert_eq!(messages.room(9).remaining_mut(), 9);
        assert_eq!(Messages::new(100).room(usize::MAX).remaining_mut(), 100);
    }
}
