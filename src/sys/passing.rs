//! Descriptors sent to a process that runs already.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv, recvmsg, sendmsg, socketpair,
    },
};

use super::spawn;

/// Descriptors in one message at most, as the kernel has it.
pub const MOST: usize = 253;

/// Bytes of a message at most.
const LONGEST: usize = 64 * 1024;

/// Two ends, each of which can be given to another process; they keep messages apart, and each tells when nobody has the other.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends `what` through one end; whoever has the other gets a descriptor of its own. Does not wait.
pub fn send(through: impl AsFd, what: impl AsFd) -> io::Result<()> {
    send_with(through, &[0], &[what.as_fd()])
}

/// What was sent next. Does not wait; [`io::ErrorKind::UnexpectedEof`] if nobody has the other end.
pub fn receive(from: impl AsFd) -> io::Result<OwnedFd> {
    let (_, descriptors) = receive_with(from)?;
    let first = descriptors.into_iter().next();
    first.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message without a descriptor"))
}

/// Sends a message that is not empty with some descriptors, [`MOST`] of them at most. Does not wait.
pub fn send_with(through: impl AsFd, message: &[u8], what: &[BorrowedFd<'_>]) -> io::Result<()> {
    let descriptors: Vec<RawFd> = what.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let rights = if descriptors.is_empty() { &[][..] } else { &rights };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(through.as_fd().as_raw_fd(), &[IoSlice::new(message)], rights, flags, None)?;
    Ok(())
}

/// The next message, which is not empty, and the descriptors with it. Does not wait; [`io::ErrorKind::UnexpectedEof`] if nobody has
/// the other end.
pub fn receive_with(from: impl AsFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut bytes, mut space) = (vec![0; LONGEST], cmsg_space!([RawFd; MOST]));
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(from.as_fd().as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let length = message.bytes;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let received = message.cmsgs()?.flat_map(|message| match message {
        ControlMessageOwned::ScmRights(descriptors) => descriptors,
        _ => Vec::new(),
    });
    let received = received.map(spawn::adopt).collect::<io::Result<_>>()?;
    bytes.truncate(length);
    Ok((bytes, received))
}

/// Whether nobody has the other end of one through which nothing comes. Does not wait: [`io::ErrorKind::WouldBlock`] if somebody does.
pub fn ended(end: impl AsFd) -> io::Result<()> {
    match recv(end.as_fd().as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK) {
        Ok(0) | Err(Errno::ECONNRESET) => Ok(()),
        Ok(_) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use super::*;

    #[test]
    fn a_descriptor_that_was_sent_works_at_the_other_end() {
        let (ours, theirs) = pair().unwrap();
        assert_eq!(receive(&theirs).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let (mut near, far) = UnixStream::pair().unwrap();
        send(&ours, &far).unwrap();
        drop((far, ours));
        let mut received = UnixStream::from(receive(&theirs).unwrap());
        near.write_all(b"hello").unwrap();
        drop(near);
        let mut text = String::new();
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_message_has_its_bytes_and_as_many_descriptors_as_were_sent() {
        let (ours, theirs) = pair().unwrap();
        let all: Vec<_> = (0..64).map(|_| pair().unwrap().0).collect();
        let lent: Vec<_> = all.iter().map(AsFd::as_fd).collect();
        send_with(&ours, b"many", &lent).unwrap();
        send_with(&ours, b"none", &[]).unwrap();
        let (message, received) = receive_with(&theirs).unwrap();
        assert_eq!((message.as_slice(), received.len()), (&b"many"[..], 64));
        let (message, received) = receive_with(&theirs).unwrap();
        assert_eq!((message.as_slice(), received.len()), (&b"none"[..], 0));
    }

    #[test]
    fn nobody_gets_what_is_sent_to_nobody() {
        let (ours, theirs) = pair().unwrap();
        drop(theirs);
        assert_eq!(send(&ours, &ours).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn an_end_tells_when_nobody_has_the_other() {
        let (ours, theirs) = pair().unwrap();
        assert_eq!(ended(&ours).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        // Also if it was not received.
        send(&ours, &ours).unwrap();
        let copy = theirs.try_clone().unwrap();
        drop(theirs);
        assert_eq!(ended(&ours).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(copy);
        ended(&ours).unwrap();
        let (ours, theirs) = pair().unwrap();
        drop(ours);
        assert_eq!(receive(&theirs).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
