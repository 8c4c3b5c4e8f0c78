//! The PROXY protocol, versions 1 and 2: before anything else, a proxy tells whose connection it carries.
//!
//! A listener has it or has it not; it is never guessed, for then every client could claim any address.

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod parse;

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt, Interest};

use self::parse::{Claim, MAX_V1, MAX_V2, Malformed, SIGNATURE};
use super::{Peer, accept::Stream, subnet::Subnets};

/// Whom to believe, and how long to wait.
#[derive(Clone, Debug)]
pub struct Proxies {
    /// The proxies' addresses; on a unix socket everybody is one.
    pub trusted: Subnets,
    /// How long the header may take.
    pub timeout: Duration,
}

/// Why a connection is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// Not one of ours.
    #[error("{0} is not in http.proxy_protocol.trusted")]
    Stranger(SocketAddr),
    /// It did not come in time.
    #[error("no PROXY header within {0:?}")]
    Timeout(Duration),
    /// It is none.
    #[error("PROXY header: {0}")]
    Malformed(#[from] Malformed),
    /// The proxy left.
    #[error("PROXY header: {0}")]
    Io(#[from] io::Error),
}

// === impl Proxies ===

impl Proxies {
    /// Reads the header, and no byte more, and puts the client it names into `peer`.
    pub(crate) async fn receive(&self, io: &mut Stream, peer: &mut Peer) -> Result<(), Refused> {
        if let Some(proxy) = peer.remote.filter(|proxy| !self.trusted.contains(proxy.ip())) {
            return Err(Refused::Stranger(proxy));
        }
        let deadline = Instant::now() + self.timeout;
        let claim = tokio::time::timeout_at(deadline.into(), read(io)).await.map_err(|_| Refused::Timeout(self.timeout))??;
        if let Claim::Client { remote, local, secure } = claim {
            (peer.remote, peer.local, peer.secure) = (Some(remote), Some(local), secure);
        }
        Ok(())
    }
}

async fn read(io: &mut Stream) -> Result<Claim, Refused> {
    // Neither kind of header is shorter.
    let mut start = [0; SIGNATURE.len()];
    io.read_exact(&mut start).await?;
    if start != SIGNATURE {
        let line = read_line(io, &start).await?;
        return Ok(parse::version1(&line)?);
    }
    let mut fixed = [0; 4];
    io.read_exact(&mut fixed).await?;
    let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if length > MAX_V2 {
        return Err(Malformed("it is too long").into());
    }
    let mut rest = vec![0; length];
    io.read_exact(&mut rest).await?;
    Ok(parse::version2(fixed[0], fixed[1], &rest)?)
}

/// The rest of a line that begins with `start`. What follows it belongs to TLS or HTTP, so it is only looked at.
async fn read_line(io: &mut Stream, start: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut line = start.to_vec();
    if !line.starts_with(b"PROXY ") {
        return Err(Malformed("it is not one").into());
    }
    loop {
        let mut seen = [0; MAX_V1];
        let room = MAX_V1 - line.len();
        let count = io.peek(&mut seen[..room]).await?;
        let end = memchr::memchr(b'\n', &seen[..count]);
        let take = end.map_or(count, |at| at + 1);
        if take == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        io.read_exact(&mut seen[..take]).await?;
        line.extend_from_slice(&seen[..take]);
        if end.is_some() {
            return Ok(line);
        }
        if line.len() >= MAX_V1 {
            return Err(Malformed("its line does not end").into());
        }
    }
}

// === impl Stream ===

impl Stream {
    /// What a read would give, which stays unread.
    async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::fd::AsRawFd;

        use nix::sys::socket::{MsgFlags, recv};
        match self {
            Self::Tcp(stream) => stream.peek(buffer).await,
            Self::Unix(stream) => {
                let peek = || Ok(recv(stream.as_raw_fd(), buffer, MsgFlags::MSG_PEEK)?);
                stream.async_io(Interest::READABLE, peek).await
            }
        }
    }
}
