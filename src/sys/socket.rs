//! What a socket holds, without waiting for it.
#![allow(unsafe_code, reason = "none of our dependencies asks how much there is to read")]

use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{MsgFlags, recv};

/// Bytes that have arrived and were not read yet; 0 if that cannot be known.
pub fn arrived(socket: &impl AsFd) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed, and the call writes an int.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if result == 0 { usize::try_from(count).unwrap_or(0) } else { 0 }
}

/// Whether all has been read, and the peer says nothing more.
pub fn has_ended(socket: &impl AsFd) -> bool {
    let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    recv(socket.as_fd().as_raw_fd(), &mut [0], look) == Ok(0)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use super::*;

    #[test]
    fn tells_what_can_be_read_and_when_nothing_more_comes() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        assert_eq!((arrived(&here), has_ended(&here)), (0, false));
        there.write_all(b"one").unwrap();
        there.write_all(b"four").unwrap();
        drop(there);
        assert_eq!((arrived(&here), has_ended(&here)), (7, false));
        here.read_exact(&mut [0; 7]).unwrap();
        assert_eq!((arrived(&here), has_ended(&here)), (0, true));
    }
}
