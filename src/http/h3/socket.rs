//! UDP ports that one process after another reads from, with two of them at once during a reload.
//!
//! A port has two sockets, one for each [`Slot`], and a program in the kernel that chooses between them: packets of connections go to
//! the slot that their connection id names, those of new ones to the slot that was made the active one. So each process reads only
//! what is its own, and connections of an older one go on while the next already takes new ones.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::{
    http::listen::Scope,
    sys::socket::{self, Instruction, steer},
};

/// One of the two processes that may share a port.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Slot {
    /// The one that the first process has.
    #[default]
    First,
    /// The one of its successor, if it is still there.
    Second,
}

/// A UDP port, for as long as it is kept.
#[derive(Debug)]
pub struct Port([Socket; 2]);

/// What the kernel throws away of what comes to some sockets.
#[derive(Debug)]
pub struct Dropped(Vec<UdpSocket>);

/// Bytes of a connection id. Clients choose eight, or sixteen and more, for the first packets of a connection, before they know ours:
/// whatever has this length is taken for one of ours.
pub(super) const CONNECTION_ID: usize = 11;

// === impl Slot ===

impl Slot {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    pub(super) fn number(self) -> u8 {
        self as u8
    }
}

// === impl Port ===

impl Port {
    /// Binds a port whose buffers have `buffer` bytes, as far as the system allows; all it gets is for `slot`.
    pub fn bind(address: SocketAddr, scope: Scope, buffer: usize, slot: Slot) -> io::Result<Self> {
        // Sockets that share a port do not find out that another server has it.
        let open = |address, is_shared| open((address, scope), buffer, is_shared);
        drop(open(address, false)?);
        let first = open(address, true)?;
        let address = first.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        let port = Self([first, open(address, true)?]);
        port.settle(slot)?;
        Ok(port)
    }

    /// Whether a port that is in use is one of a server like this, and of the same user: nobody else lets it be shared.
    pub fn is_of_our_kind(address: SocketAddr, scope: Scope) -> bool {
        // For this moment packets may come here and be lost, which those who sent them expect.
        open((address, scope), 0, true).is_ok()
    }

    /// The address, whose port is known even if any free one was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0[0].local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Takes over both sockets of a port, in their order.
    pub fn adopt(sockets: [OwnedFd; 2]) -> Self {
        Self(sockets.map(Socket::from))
    }

    /// Both sockets, in their order.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        self.0.each_ref().map(AsFd::as_fd)
    }

    /// The socket of `slot`, to be handed to its process.
    pub fn socket(&self, slot: Slot) -> BorrowedFd<'_> {
        self.0[usize::from(slot.number())].as_fd()
    }

    /// New connections are for `slot`, and each slot keeps those that it has.
    pub fn share(&self, slot: Slot) -> io::Result<()> {
        use Instruction::{And, IfBits, IfEqual, Jump, LoadByte, Return, ReturnByte};
        steer(
            &self.0[0],
            &[
                // The first bit says whether the header is long.
                LoadByte(0),
                IfBits { bits: 0x80, jump: 0, otherwise: 5 },
                // A long one has the length of the id, and then the id.
                LoadByte(5),
                IfEqual { value: CONNECTION_ID as u32, jump: 1, otherwise: 0 },
                Return(slot.number().into()),
                LoadByte(6),
                Jump(1),
                // A short one has the id at once.
                LoadByte(1),
                And(1),
                ReturnByte,
            ],
        )
    }

    /// All is for `slot`, whose process is the only one.
    pub fn settle(&self, slot: Slot) -> io::Result<()> {
        steer(&self.0[0], &[Instruction::Return(slot.number().into())])
    }
}

// === impl Dropped ===

impl Dropped {
    /// To be asked while another reads from `sockets`.
    pub fn by(sockets: &[UdpSocket]) -> io::Result<Self> {
        sockets.iter().map(UdpSocket::try_clone).collect::<io::Result<_>>().map(Self)
    }

    /// Packets that there was no room for (`http.http3.socket_buffer`), since the sockets were bound.
    pub fn count(&self) -> u64 {
        self.0.iter().map(socket::dropped).sum()
    }
}

fn open((address, scope): (SocketAddr, Scope), buffer: usize, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(scope == Scope::Ipv6 || !address.ip().is_unspecified())?;
    }
    socket.set_reuse_port(is_shared)?;
    // The system has its own idea of how much is too much, and takes that.
    socket.set_recv_buffer_size(buffer)?;
    socket.set_send_buffer_size(buffer)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Which slot gets `packet`.
    fn reader(port: &Port, packet: &[u8]) -> Slot {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(packet, port.address().unwrap()).unwrap();
        let mut sockets =
            [Slot::First, Slot::Second].map(|slot| (slot, UdpSocket::from(port.socket(slot).try_clone_to_owned().unwrap())));
        for (_, socket) in &mut sockets {
            socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        }
        loop {
            for (slot, socket) in &sockets {
                if socket.recv(&mut [0; 64]).is_ok() {
                    return *slot;
                }
            }
        }
    }

    fn short(first: u8) -> Vec<u8> {
        vec![0x40, first, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    }

    fn long(length: u8, first: u8) -> Vec<u8> {
        [&[0xc0, 0, 0, 0, 1, length, first][..], &[0; 32]].concat()
    }

    #[test]
    fn packets_find_the_process_of_their_connection() {
        let port = Port::bind("127.0.0.1:0".parse().unwrap(), Scope::Any, 65536, Slot::First).unwrap();
        let all = [short(0xfe), short(0xff), long(11, 2), long(11, 3), long(8, 1), long(20, 0), vec![0x40], vec![0xc0]];
        for slot in [Slot::First, Slot::Second] {
            port.settle(slot).unwrap();
            for packet in &all {
                assert_eq!(reader(&port, packet), slot, "alone: {packet:?}");
            }
            port.share(slot).unwrap();
            for (packet, expected) in all.iter().zip([Slot::First, Slot::Second, Slot::First, Slot::Second, slot, slot]) {
                assert_eq!(reader(&port, packet), expected, "shared: {packet:?}");
            }
        }
    }

    #[test]
    fn a_port_that_is_taken_is_not_shared_with_others() {
        let port = Port::bind("127.0.0.1:0".parse().unwrap(), Scope::Any, 65536, Slot::First).unwrap();
        let error = Port::bind(port.address().unwrap(), Scope::Any, 65536, Slot::First).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(Port::is_of_our_kind(port.address().unwrap(), Scope::Any));
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!Port::is_of_our_kind(stranger.local_addr().unwrap(), Scope::Any));
    }
}
