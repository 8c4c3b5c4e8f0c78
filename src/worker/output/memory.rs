//! The part of a body that waits in memory: what one answer may have there, and what all may.

use bytes::Bytes;

use super::{Limits, State};

/// What passes through memory at once when there is none left for all.
pub(super) const LITTLE: usize = 32 * 1024;

// === impl State ===

impl State {
    /// True if the answer itself may have `count` bytes more in memory.
    #[inline]
    pub(super) fn has_room(&mut self, count: usize, limits: &Limits) -> bool {
        let spooled = self.spool.as_ref().is_some_and(|spool| spool.read < spool.written);
        !spooled && (self.in_memory == 0 || self.in_memory + count <= limits.memory)
    }

    /// Keeps `chunk` in memory, or as much of it as it must; the rest is returned.
    #[inline]
    pub(super) fn keep_in_memory(&mut self, chunk: Bytes, limits: &Limits) -> Option<Bytes> {
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
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::super::tests::{runtime, written};
    use super::*;
    use crate::worker::budget::{Bounds, Budget};

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
}
