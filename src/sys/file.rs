//! Files, as far as they are in memory.
#![allow(
    unsafe_code,
    reason = "none of our dependencies reads without waiting for the disk, or into memory that is not filled yet"
)]

use std::{fs::File, io, os::fd::AsRawFd};

/// Appends `count` bytes of `file` from `offset` on to `into`, or those up to its end.
pub fn read(file: &File, into: &mut Vec<u8>, offset: u64, count: usize) -> io::Result<usize> {
    let mut done = 0;
    while done < count {
        match read_with(file, into, offset + done as u64, count - done, 0) {
            Ok(0) => break,
            Ok(length) => done += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The same for those bytes that the disk need not be waited for, which may be none.
pub fn read_at_once(file: &File, into: &mut Vec<u8>, offset: u64, count: usize) -> usize {
    // Errors, and file systems that do not know, are for those who wait.
    read_with(file, into, offset, count, libc::RWF_NOWAIT).unwrap_or(0)
}

/// Whether the bytes of `file` from `offset` on are probably in memory: some of them are, from the first to the last.
pub fn is_in_memory(file: &File, offset: u64, count: usize) -> bool {
    let mut byte = Vec::with_capacity(1);
    let mut is_there = |offset| {
        byte.clear();
        read_at_once(file, &mut byte, offset, 1) == 1
    };
    (0..count as u64).step_by(LOOKED_AT).all(|at| is_there(offset + at)) && (count == 0 || is_there(offset + count as u64 - 1))
}

/// How far apart bytes are of which it is asked whether they are in memory.
const LOOKED_AT: usize = 64 * 1024;

fn read_with(file: &File, into: &mut Vec<u8>, offset: u64, count: usize, flags: libc::c_int) -> io::Result<usize> {
    let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    into.reserve(count);
    let length = into.len();
    let room = &mut into.spare_capacity_mut()[..count];
    let part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    // SAFETY: the descriptor is open while `file` is borrowed, and the one part is `room`, which the call may fill.
    let result = unsafe { libc::preadv2(file.as_raw_fd(), &raw const part, 1, offset, flags) };
    let read = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the call has filled so many bytes, no more than `count`, right after the first `length`.
    unsafe { into.set_len(length + read) };
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_just_written_is_in_memory() {
        let mut file = File::from(nix::sys::memfd::memfd_create(c"test", nix::sys::memfd::MFdFlags::empty()).unwrap());
        file.write_all(b"0123456789").unwrap();
        let mut bytes = b"ab".to_vec();
        assert_eq!(read(&file, &mut bytes, 2, 3).unwrap(), 3);
        assert_eq!(read(&file, &mut bytes, 8, 5).unwrap(), 2, "up to the end");
        assert_eq!(read(&file, &mut bytes, 20, 5).unwrap(), 0);
        assert_eq!(bytes, b"ab23489");
        assert!(!is_in_memory(&file, 8, 3), "there is no such byte");
        // Not every file system can tell; then nothing is.
        let mut at_once = Vec::new();
        let is_known = read_at_once(&file, &mut at_once, 0, 10) == 10;
        assert_eq!(is_in_memory(&file, 0, 10), is_known);
        assert_eq!(at_once, if is_known { &b"0123456789"[..] } else { b"" });
    }
}
