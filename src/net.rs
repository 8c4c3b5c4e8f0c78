//! Listening sockets that were opened elsewhere, and the connections of a small server.

use std::{
    future::poll_fn,
    io, net,
    os::unix,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::sys::{descriptors, socket};

/// A listening socket.
#[derive(Debug)]
pub enum Socket {
    /// On a TCP port.
    Tcp(net::TcpListener),
    /// On a path.
    Unix(unix::net::UnixListener),
}

/// The same, known to a runtime.
pub(crate) enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// A connection of either kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

/// After this long of silence the kernel asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(120);

// === impl Socket ===

impl Socket {
    /// Makes it known to the calling runtime. Each runtime accepts from the one queue of connections.
    pub(crate) fn register(&self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(listener) => {
                let listener = listener.try_clone()?;
                listener.set_nonblocking(true)?;
                Listener::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            Self::Unix(listener) => {
                let listener = listener.try_clone()?;
                listener.set_nonblocking(true)?;
                Listener::Unix(tokio::net::UnixListener::from_std(listener)?)
            }
        })
    }

    /// Nobody can be accepted here from now on, but where it is registered already.
    pub(crate) fn close(&self) {
        let closed = match self {
            Self::Tcp(listener) => socket::close(listener),
            Self::Unix(listener) => socket::close(listener),
        };
        if let Err(error) = closed {
            tracing::warn!("a socket stays open until the process ends: {error}");
        }
    }

    /// True if others than this host may reach it.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Tcp(listener) => listener.local_addr().is_ok_and(|address| !address.ip().to_canonical().is_loopback()),
            Self::Unix(_) => false,
        }
    }
}

// === impl Listener ===

impl Listener {
    /// The next connection. For those who ask how the process is there are descriptors when all others are taken.
    pub(crate) async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        poll_fn(|context| match self.poll_accept(context) {
            Poll::Ready(Err(error)) if descriptors::is_exhausted(&error) => {
                descriptors::with_reserve(|| self.poll_accept(context)).unwrap_or(Poll::Ready(Err(error)))
            }
            accepted => accepted,
        })
        .await
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Box<dyn Stream>>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = ready!(listener.poll_accept(context))?;
                // These fail only on a connection that is gone already, which its reader will find out.
                drop(stream.set_nodelay(true));
                drop(SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE)));
                Poll::Ready(Ok(Box::new(stream)))
            }
            Self::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(context))?;
                Poll::Ready(Ok(Box::new(stream)))
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
