//! Writing to what somebody else is to read, without waiting for them for ever.
#![allow(unsafe_code, reason = "a single write without waiting has no safe form")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    ptr,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::{SFlag, fstat},
};

/// What a pipe takes at once or not at all, by POSIX.
const PIECE: usize = 4096;

/// Whether a write to it waits for a reader: it is a pipe or a socket.
pub fn has_reader(output: BorrowedFd<'_>) -> bool {
    let kind = fstat(output).map(|status| SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT);
    kind.is_ok_and(|kind| kind == SFlag::S_IFIFO || kind == SFlag::S_IFSOCK)
}

/// Writes some of `bytes` to what [`has_reader`], and waits no longer than `patience` for room: then `TimedOut` is the error. Others who
/// have the same output are not disturbed: it stays as it is.
pub fn write_within(output: BorrowedFd<'_>, bytes: &[u8], patience: Duration) -> io::Result<usize> {
    let deadline = Instant::now() + patience;
    loop {
        match write_now(output, bytes) {
            Ok(written) => return Ok(written),
            Err(Errno::EAGAIN) => {}
            // Linux before 6.4. If others fill the same output after the look, the write waits nevertheless.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => {
                if has_room(output, Duration::ZERO)? {
                    return Ok(nix::unistd::write(output, &bytes[..bytes.len().min(PIECE)])?);
                }
            }
            Err(error) => return Err(error.into()),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if !has_room(output, left)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

fn has_room(output: BorrowedFd<'_>, within: Duration) -> io::Result<bool> {
    let mut wanted = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
    let within = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    match poll(&mut wanted, within) {
        Ok(count) => Ok(count > 0),
        // Whoever waits looks again.
        Err(Errno::EINTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn write_now(output: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let piece = libc::iovec { iov_base: ptr::from_ref(bytes).cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the piece is of `bytes`, which is only read, and lives through the call.
    let written = unsafe { libc::pwritev2(output.as_raw_fd(), &raw const piece, 1, -1, libc::RWF_NOWAIT) };
    Errno::result(written).map(|written| usize::try_from(written).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream, thread};

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    /// Writes until nothing goes any more: how many bytes that were.
    fn fill(output: BorrowedFd<'_>) -> usize {
        let mut written = 0;
        loop {
            match write_within(output, &[b'x'; 3000], SOON) {
                Ok(count) => written += count,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    return written;
                }
            }
        }
    }

    #[test]
    fn who_does_not_read_is_not_waited_for() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let (near, far) = UnixStream::pair().expect("a pair");
        assert!(fill(writer.as_fd()) > PIECE);
        assert!(fill(near.as_fd()) > PIECE);
        drop((reader, far));
        assert_eq!(write_within(writer.as_fd(), b"x", SOON).expect_err("nobody reads").kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn who_reads_late_gets_all() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let filled = fill(writer.as_fd());
        let read = thread::spawn(move || {
            thread::sleep(SOON);
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes.len())
        });
        assert_eq!(write_within(writer.as_fd(), b"more", Duration::from_secs(60)).expect("room"), 4);
        drop(writer);
        assert_eq!(read.join().expect("no panic").expect("it reads"), filled + 4);
    }

    #[test]
    fn files_have_no_reader() {
        let file = std::fs::File::open("/dev/null").expect("a file");
        assert!(!has_reader(file.as_fd()));
        let (reader, _writer) = io::pipe().expect("a pipe");
        assert!(has_reader(reader.as_fd()));
    }
}
