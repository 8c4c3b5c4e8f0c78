//! Descriptors sent to a process that runs already.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

use nix::{
    cmsg_space,
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
    },
};

use super::spawn;

/// Two ends, each of which can be given to another process; they keep messages apart.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends `what` through one end; whoever has the other gets a descriptor of its own. Does not wait.
pub fn send(through: impl AsFd, what: impl AsFd) -> io::Result<()> {
    let descriptors = [what.as_fd().as_raw_fd()];
    let messages = [ControlMessage::ScmRights(&descriptors)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(through.as_fd().as_raw_fd(), &[IoSlice::new(&[0])], &messages, flags, None)?;
    Ok(())
}

/// What was sent next. Does not wait, nor tell that nobody has the other end.
pub fn receive(from: impl AsFd) -> io::Result<OwnedFd> {
    let (mut byte, mut space) = ([0], cmsg_space!([RawFd; 1]));
    let mut parts = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(from.as_fd().as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let received = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    spawn::adopt(received.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message without a descriptor"))?)
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
    fn nobody_gets_what_is_sent_to_nobody() {
        let (ours, theirs) = pair().unwrap();
        drop(theirs);
        assert_eq!(send(&ours, &ours).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
