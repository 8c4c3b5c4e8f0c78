//! Accept loops: one per listening socket on every io thread.

use std::{
    fs::File,
    future::poll_fn,
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::sendfile::sendfile64,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};
use tokio_rustls::server::TlsStream;

use super::{Drain, Peer, crowd::Room, drain::OpenConnection, listen::Listeners};
use crate::telemetry::Seldom;

/// An accepted connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that may be told to send from a file by itself.
pub(crate) trait SendFile {
    /// Whether it can.
    fn sends_files(&self) -> bool {
        false
    }

    /// Sends up to `count` bytes of `file` from `offset` on; none means that there are none.
    fn poll_send_file(&mut self, _: &mut Context<'_>, _file: &File, _offset: u64, _count: usize) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// A listening socket, registered with the current runtime.
#[derive(Debug)]
pub(crate) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// How long to wait when descriptors or memory ran out: nothing wakes us when there are some again.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Connections taken from the queue after the loop was told to stop; more than a usual backlog.
const MAX_LAST: usize = 4096;

/// Accepts connections until [`Drain::stop_accepting`], as far as there is `room`.
pub(crate) async fn accept(acceptor: Acceptor, drain: &Drain, room: Room, serve: impl Fn(Stream, Peer, OpenConnection)) {
    let _accepting = drain.accepting();
    let mut stopped = pin!(drain.stopped());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = async {
                drain.room(&room, || acceptor.has_waiting()).await;
                poll_fn(|context| acceptor.poll_accept(context)).await
            } => accepted,
        };
        match accepted {
            Ok((stream, peer)) => serve(stream, peer, drain.open(&room.listened)),
            // The client left before we came.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => (),
            Err(error) => {
                static SELDOM: Seldom = Seldom::new();
                drain.count_pause();
                if let Some(unsaid) = SELDOM.say() {
                    tracing::warn!(%error, unsaid, "cannot accept connections; they wait");
                }
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
    if drain.is_succeeded() {
        return;
    }
    // What the kernel has already greeted must be served: a closing listener would reset it.
    // Readiness is known only after a turn of the driver, which this waits for.
    tokio::task::yield_now().await;
    for _ in 0..MAX_LAST {
        match poll_fn(|context| Poll::Ready(acceptor.poll_accept(context))).await {
            Poll::Ready(Ok((stream, peer))) => serve(stream, peer, drain.open(&room.listened)),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => (),
            _ => break,
        }
    }
}

// === impl Acceptor ===

impl Acceptor {
    /// Registers all of `listeners` with the current runtime.
    pub(crate) fn register(listeners: &Listeners) -> io::Result<Vec<Self>> {
        let register = |(descriptor, is_unix)| {
            if is_unix {
                UnixListener::from_std(std::os::unix::net::UnixListener::from(descriptor)).map(Self::Unix)
            } else {
                TcpListener::from_std(std::net::TcpListener::from(descriptor)).map(Self::Tcp)
            }
        };
        listeners.duplicates()?.into_iter().map(register).collect()
    }

    /// Whether somebody waits to be accepted.
    fn has_waiting(&self) -> bool {
        let socket = match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        };
        poll(&mut [PollFd::new(socket, PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(context).map_ok(|(stream, remote)| {
                let peer =
                    Peer { remote: Some(canonical(remote)), local: stream.local_addr().ok().map(canonical), ..Peer::default() };
                (Stream::Tcp(stream), peer)
            }),
            Self::Unix(listener) => listener.poll_accept(context).map_ok(|(stream, _)| (Stream::Unix(stream), Peer::default())),
        }
    }
}

/// On a socket for both families IPv4 addresses come mapped into IPv6; nobody downstream wants those.
pub(super) fn canonical(mut address: std::net::SocketAddr) -> std::net::SocketAddr {
    address.set_ip(address.ip().to_canonical());
    address
}

// === impl Stream ===

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets have nothing to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl SendFile for Stream {
    fn sends_files(&self) -> bool {
        true
    }

    fn poll_send_file(&mut self, context: &mut Context<'_>, file: &File, offset: u64, count: usize) -> Poll<io::Result<usize>> {
        loop {
            let mut offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
            let mut send = |to: BorrowedFd<'_>| Ok(sendfile64(to, file, Some(&mut offset), count)?);
            let sent = match self {
                Self::Tcp(stream) => {
                    ready!(stream.poll_write_ready(context))?;
                    stream.try_io(Interest::WRITABLE, || send(stream.as_fd()))
                }
                Self::Unix(stream) => {
                    ready!(stream.poll_write_ready(context))?;
                    stream.try_io(Interest::WRITABLE, || send(stream.as_fd()))
                }
            };
            match sent {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

/// What is encrypted has to be looked at.
impl<I> SendFile for TlsStream<I> {}

#[cfg(any(test, feature = "fuzz"))]
impl SendFile for tokio::io::DuplexStream {}
