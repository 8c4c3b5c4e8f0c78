//! What an HTTP/2 peer may send that carries nothing: pings, settings, resets, window updates, empty frames.
//!
//! Each costs the server work and its sender next to none. Some come with every connection and more with every download, so there
//! is a stock of them that grows with time and with what the peer takes.

use super::link::now;

/// Follows the frames of one connection.
#[derive(Debug)]
pub(super) struct Frames {
    header: [u8; HEADER],
    // How much of the header is there, and how much of the payload is still to come.
    have: usize,
    payload: usize,
    left: u64,
    // When the stock grew last.
    at: u64,
}

const HEADER: usize = 9;
const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

/// The most in stock; also what a new connection has.
const STOCK: u64 = 1000;
const PER_SECOND: u64 = 100;
/// Bytes that the peer takes for one more, which is far more than window updates ask for.
const TAKEN_BYTES: usize = 1024;

// === impl Frames ===

impl Frames {
    pub(super) fn new() -> Self {
        // What comes before the first frame is skipped as a payload would be.
        Self { header: [0; HEADER], have: 0, payload: PREFACE, left: STOCK, at: now() }
    }

    /// Looks at what was read; false if it is too much.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skip = self.payload.min(bytes.len());
            self.payload -= skip;
            bytes = &bytes[skip..];
            let take = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + take].copy_from_slice(&bytes[..take]);
            self.have += take;
            bytes = &bytes[take..];
            if self.have == HEADER {
                let [a, b, c, kind, flags, ..] = self.header;
                self.have = 0;
                self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                let is_welcome = match kind {
                    DATA => self.payload > 0 || flags & END_STREAM != 0,
                    kind => kind == HEADERS,
                };
                if !is_welcome && !self.spend() {
                    return false;
                }
            }
        }
        true
    }

    /// The peer has taken so many bytes.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.left = STOCK.min(self.left + (bytes / TAKEN_BYTES) as u64);
    }

    fn spend(&mut self) -> bool {
        let grown = (now() - self.at) * PER_SECOND / 1000;
        if grown > 0 {
            self.left = STOCK.min(self.left + grown);
            self.at = now();
        }
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => return false,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.extend(vec![0; length.into()]);
        frame
    }

    fn started() -> Frames {
        let mut frames = Frames::new();
        assert!(frames.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        frames
    }

    #[test]
    fn requests_cost_nothing_and_the_rest_has_an_end() {
        let requests = [frame(HEADERS, 5, 20), frame(DATA, 0, 200), frame(DATA, END_STREAM, 0)].concat();
        for flood in
            [frame(6, 0, 8), frame(4, 0, 0), frame(3, 0, 4), frame(8, 0, 4), frame(DATA, 0, 0), frame(9, 0, 0), frame(77, 0, 9)]
        {
            let mut frames = started();
            for _ in 0..5000 {
                assert!(frames.read(&requests));
            }
            let borne = (0..100_000).take_while(|_| frames.read(&flood)).count();
            assert!((1000..50_000).contains(&borne), "{flood:?}: {borne}");
        }
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let mixed = [frame(HEADERS, 5, 20), frame(6, 0, 8), frame(DATA, 1, 7)].concat();
        for size in 1..mixed.len() {
            let mut frames = started();
            let stock = frames.left;
            assert!(mixed.chunks(size).all(|chunk| frames.read(chunk)));
            assert_eq!((frames.have, frames.payload, frames.left), (0, 0, stock - 1), "pieces of {size}");
        }
    }

    #[test]
    fn a_download_may_have_its_window_updates() {
        let mut frames = started();
        for _ in 0..100_000 {
            frames.wrote(16 * 1024);
            assert!(frames.read(&frame(8, 0, 4)) && frames.read(&frame(8, 0, 4)));
        }
    }
}
