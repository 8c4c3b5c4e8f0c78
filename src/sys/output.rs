//! Writing to what somebody else is to read, without waiting for them for ever.
#![allow(unsafe_code, reason = "a single write without waiting has no safe form")]

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
    ptr,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        socket::{MsgFlags, send},
        stat::{SFlag, fstat},
        time::TimeSpec,
    },
};

/// What a pipe takes at once or not at all, by POSIX.
const PIECE: usize = 4096;

/// How an output is written to that somebody reads. Others who have it are not disturbed: it waits for them as ever.
#[derive(Debug)]
pub enum Impatient {
    /// The same pipe or terminal, opened again for writers that do not wait.
    Own(File),
    /// A socket, where each write can say that it does not wait.
    Socket,
    /// One that cannot be opened again, as another user's cannot.
    Shared,
}

// === impl Impatient ===

impl Impatient {
    /// None if a write to `output` waits for nobody, as it is no pipe, socket or terminal.
    pub fn of(output: BorrowedFd<'_>) -> Option<Self> {
        let kind = fstat(output).map(|status| SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT).ok()?;
        if kind == SFlag::S_IFSOCK {
            return Some(Self::Socket);
        }
        if kind != SFlag::S_IFIFO && !output.is_terminal() {
            return None;
        }
        let own = format!("/proc/self/fd/{}", output.as_raw_fd());
        let own = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(own);
        Some(own.map_or(Self::Shared, Self::Own))
    }

    /// Writes some of `bytes` to `output`, and waits no longer than until `deadline` for room: then `TimedOut` is the error.
    pub fn write(&mut self, output: BorrowedFd<'_>, bytes: &[u8], deadline: impl FnOnce() -> Instant) -> io::Result<usize> {
        match self.write_now(output, bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        let deadline = deadline();
        while has_room(output, deadline.saturating_duration_since(Instant::now()))? {
            match self.write_now(output, bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn write_now(&mut self, output: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Own(own) => own.write(bytes),
            Self::Socket => Ok(send(output.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?),
            Self::Shared => write_shared(output, bytes),
        }
    }
}

/// Whether there is room within that time; a signal is as good.
fn has_room(output: BorrowedFd<'_>, within: Duration) -> io::Result<bool> {
    let mut wanted = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
    // Not poll(2): on PHP's threads that is the one which a limit breaks off, and the descriptor with it.
    match ppoll(&mut wanted, Some(TimeSpec::from(within)), None) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(!within.is_zero()),
        Err(error) => Err(error.into()),
    }
}

fn write_shared(output: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let piece = libc::iovec { iov_base: ptr::from_ref(bytes).cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the piece is of `bytes`, which is only read, and lives through the call.
    let written = unsafe { libc::pwritev2(output.as_raw_fd(), &raw const piece, 1, -1, libc::RWF_NOWAIT) };
    match Errno::result(written) {
        Ok(written) => Ok(usize::try_from(written).unwrap_or_default()),
        // Pipes before Linux 6.4, FIFOs and terminals. If others fill it after the look, the write waits nevertheless.
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL | Errno::EPERM) => {
            if !has_room(output, Duration::ZERO)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let piece = &bytes[..bytes.len().min(PIECE)];
            // Others' lines come between whole ones rather.
            let piece = memchr::memrchr(b'\n', piece).map_or(piece, |end| &piece[..=end]);
            Ok(nix::unistd::write(output, piece)?)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream, thread};

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    fn soon() -> Instant {
        Instant::now() + SOON
    }

    /// Writes until nothing goes any more: how many bytes that were.
    fn fill(output: BorrowedFd<'_>, way: &mut Impatient) -> usize {
        let mut written = 0;
        loop {
            match way.write(output, &[b'x'; 3000], soon) {
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
        let (mut own, mut socket) = (Impatient::of(writer.as_fd()).unwrap(), Impatient::of(near.as_fd()).unwrap());
        assert!(matches!((&own, &socket), (Impatient::Own(_), Impatient::Socket)), "{own:?} {socket:?}");
        assert!(fill(writer.as_fd(), &mut own) > PIECE);
        assert_eq!(fill(writer.as_fd(), &mut Impatient::Shared), 0);
        assert!(fill(near.as_fd(), &mut socket) > PIECE);
        drop((reader, far));
        for way in [own, Impatient::Shared] {
            let error = { way }.write(writer.as_fd(), b"x", soon).expect_err("nobody reads");
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }

    #[test]
    fn who_reads_late_gets_all() {
        for shares in [false, true] {
            let (mut reader, writer) = io::pipe().expect("a pipe");
            let mut way = if shares { Impatient::Shared } else { Impatient::of(writer.as_fd()).unwrap() };
            let filled = fill(writer.as_fd(), &mut way);
            let read = thread::spawn(move || {
                thread::sleep(SOON);
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).map(|_| bytes.len())
            });
            let written = way.write(writer.as_fd(), b"more", || Instant::now() + Duration::from_secs(60));
            assert_eq!(written.expect("room"), 4);
            drop((way, writer));
            assert_eq!(read.join().expect("no panic").expect("it reads"), filled + 4);
        }
    }

    #[test]
    fn others_who_have_the_output_wait_as_ever() {
        let (_reader, writer) = io::pipe().expect("a pipe");
        let _own = Impatient::of(writer.as_fd()).unwrap();
        let flags = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert_eq!(flags & libc::O_NONBLOCK, 0);
    }

    #[test]
    fn files_are_nobody_s_to_wait_for() {
        let file = File::open("/dev/null").expect("a file");
        assert!(Impatient::of(file.as_fd()).is_none());
    }
}
