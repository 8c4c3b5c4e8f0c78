//! What a socket holds, without waiting for it, and what it had no room for; and which of several sockets gets a packet.
#![allow(unsafe_code, reason = "none of our dependencies asks how much there is to read or was lost, or steers packets")]

use std::{
    fs::OpenOptions,
    io,
    os::fd::{AsFd, AsRawFd},
};

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

/// Packets that the kernel threw away because there was no room for them here; 0 if that cannot be known (Linux before 4.12).
pub fn dropped(socket: &impl AsFd) -> u64 {
    let mut figures = [0_u32; libc::SK_MEMINFO_DROPS as usize + 1];
    let mut length = size_of_val(&figures) as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed, and the call writes no more than `length` bytes, which `figures` has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            figures.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 { figures[libc::SK_MEMINFO_DROPS as usize].into() } else { 0 }
}

/// Closes a socket that others go on to borrow: from now on they have a descriptor that leads nowhere. Whoever has duplicates keeps
/// those.
pub fn close(socket: &impl AsFd) -> io::Result<()> {
    let nowhere = OpenOptions::new().read(true).open("/dev/null")?;
    // SAFETY: both are open. The number stays its owner's, and is open as before.
    let result = unsafe { libc::dup3(nowhere.as_raw_fd(), socket.as_fd().as_raw_fd(), libc::O_CLOEXEC) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A step of a program that looks at a packet.
#[derive(Clone, Copy, Debug)]
pub enum Instruction {
    /// Takes the byte at this offset; a packet that is shorter is for the first socket.
    LoadByte(u32),
    /// Keeps these bits of it.
    And(u32),
    /// Goes on so many steps further.
    Jump(u32),
    /// Goes on so many steps further: one number if any of the bits is set, the other if none is.
    IfBits {
        /// Which.
        bits: u32,
        /// Steps if so.
        jump: u8,
        /// Steps if not.
        otherwise: u8,
    },
    /// The same for a value.
    IfEqual {
        /// Which.
        value: u32,
        /// Steps if so.
        jump: u8,
        /// Steps if not.
        otherwise: u8,
    },
    /// The packet is for the socket with this number, in the order in which they were bound.
    Return(u32),
    /// The packet is for the socket whose number was taken.
    ReturnByte,
}

/// Lets `program` choose the socket for each packet that comes to a port, of those that share it. It is in force at once, in the
/// place of an older one.
pub fn steer(socket: &impl AsFd, program: &[Instruction]) -> io::Result<()> {
    let mut filter: Vec<_> = program.iter().map(|instruction| instruction.encode()).collect();
    let length = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the descriptor is open while it is borrowed; `program` has the size that is told and points to `len` instructions in
    // `filter`, which outlives the call; the kernel copies and checks them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

// === impl Instruction ===

impl Instruction {
    fn encode(self) -> libc::sock_filter {
        let (code, jt, jf, k) = match self {
            Self::LoadByte(offset) => (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, offset),
            Self::And(bits) => (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, bits),
            Self::Jump(steps) => (libc::BPF_JMP | libc::BPF_JA, 0, 0, steps),
            Self::IfBits { bits, jump, otherwise } => (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, jump, otherwise, bits),
            Self::IfEqual { value, jump, otherwise } => (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jump, otherwise, value),
            Self::Return(number) => (libc::BPF_RET | libc::BPF_K, 0, 0, number),
            Self::ReturnByte => (libc::BPF_RET | BPF_A, 0, 0, 0),
        };
        // All codes have eight bits.
        libc::sock_filter { code: code as u16, jt, jf, k }
    }
}

/// The accumulator, which libc does not have for this system.
const BPF_A: u32 = 0x10;

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::UdpSocket,
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

    #[test]
    fn counts_what_it_had_no_room_for() {
        let [here, there] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let send = || there.send_to(&[0; 1000], here.local_addr().unwrap()).unwrap();
        send();
        assert_eq!(dropped(&here), 0);
        for _ in 0..10_000 {
            send();
        }
        here.set_nonblocking(true).unwrap();
        let kept = std::iter::from_fn(|| here.recv(&mut [0; 1000]).ok()).count() as u64;
        assert_eq!((dropped(&here) + kept, kept < 10_000), (10_001, true));
    }
}
