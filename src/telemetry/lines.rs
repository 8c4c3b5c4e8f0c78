//! Whole lines to an output that may be full for a while.

use std::io::{self, Write};

/// An output of lines.
#[derive(Debug)]
pub struct Lines<W> {
    output: W,
    /// The last line lacks its end: there was no room for it.
    is_torn: bool,
}

// === impl Lines ===

impl<W: Write> Lines<W> {
    /// Lines for `output`, which is at the start of one.
    pub fn new(output: W) -> Self {
        Self { output, is_torn: false }
    }

    /// Writes whole lines. Of those that there is no room for a part of one may be written; the next ones do not continue it.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.output.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match self.output.write(rest) {
                Ok(0) => return self.torn(lines, rest, io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.torn(lines, rest, error),
            }
        }
        self.output.flush()
    }

    fn torn(&mut self, lines: &[u8], rest: &[u8], error: io::Error) -> io::Result<()> {
        let written = &lines[..lines.len() - rest.len()];
        self.is_torn = !written.is_empty() && !written.ends_with(b"\n");
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has room for so many bytes.
    struct Disk(usize, Vec<u8>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.0.min(bytes.len());
            if count == 0 {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            self.0 -= count;
            self.1.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_without_room_is_not_continued_by_the_next() {
        let mut lines = Lines::new(Disk(8, Vec::new()));
        lines.write(b"one\n").expect("room");
        lines.write(b"second\n").expect_err("no room");
        lines.write(b"third\n").expect_err("still none");
        lines.output.0 = 100;
        lines.write(b"fourth\n").expect("room again");
        assert_eq!(String::from_utf8_lossy(&lines.output.1), "one\nseco\nfourth\n");
    }
}
