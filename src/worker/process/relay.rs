//! Workers that connect: a socket, and which connection is whose.

use std::{
    collections::HashMap,
    fs, io,
    net::TcpListener,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::FileTypeExt, net::UnixListener},
    },
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{read, write},
};
use parking_lot::Mutex;

use super::Relay;
use crate::worker::goridge::{
    Decoder,
    message::{self, FromWorker},
};

/// A listening socket, and the connections that have said whose they are.
#[derive(Debug)]
pub(super) struct Sockets {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    address: String,
    path: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Shared {
    ready: Mutex<HashMap<i64, Ready>>,
    stopping: AtomicBool,
}

#[derive(Debug)]
struct Ready {
    connection: OwnedFd,
    since: Instant,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that has not said whose it is.
struct Stranger {
    connection: OwnedFd,
    decoder: Decoder,
    since: Instant,
}

/// More connections than this wait in the kernel.
const MAX_STRANGERS: usize = 1024;
/// A worker's first frame: its pid.
const MAX_FIRST: usize = 1024;
/// How soon the end is noticed.
const LOOK: Duration = Duration::from_millis(100);

// === impl Sockets ===

impl Sockets {
    /// Listens, if the relay is a socket; whoever has not said its pid after `patience` is disconnected.
    ///
    /// An engine that is about to be succeeded by this one has the address still. Then it is one like it: workers are told.
    pub(super) fn listen(relay: &Relay, patience: Duration) -> io::Result<Option<Self>> {
        let (listener, address, path) = match relay {
            Relay::Pipes => return Ok(None),
            Relay::Tcp(address) => {
                let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                let listener = match TcpListener::bind(address) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind(format!("{host}:0"))?,
                    bound => bound?,
                };
                let address = format!("tcp://{host}:{}", listener.local_addr()?.port());
                (Listener::Tcp(listener), address, None)
            }
            Relay::Unix(path) => {
                remove_stale(path)?;
                let mut path = path.clone();
                let listener = match UnixListener::bind(&path) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                        path.as_mut_os_string().push(format!(".{}", std::process::id()));
                        UnixListener::bind(&path)?
                    }
                    bound => bound?,
                };
                (Listener::Unix(listener), format!("unix://{}", path.display()), Some(path))
            }
        };
        listener.do_not_block()?;
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        let thread = thread::Builder::new().name("worker-relay".into());
        let thread = thread.spawn(move || accepting.accept(&listener, patience))?;
        Ok(Some(Self { shared, thread: Some(thread), address, path }))
    }

    /// Where workers connect to, as `RR_RELAY` tells them.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The connection of the process `pid`, for writing and for reading.
    pub(super) fn take(&self, pid: i32) -> Option<(OwnedFd, OwnedFd)> {
        let connection = self.shared.ready.lock().remove(&pid.into())?.connection;
        Some((connection.try_clone().ok()?, connection))
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        if let Some(path) = &self.path {
            drop(fs::remove_file(path));
        }
    }
}

// === impl Shared ===

impl Shared {
    fn accept(&self, listener: &Listener, patience: Duration) {
        let mut strangers: Vec<Stranger> = Vec::new();
        while !self.stopping.load(Relaxed) {
            let ready = {
                let mut fds: Vec<_> =
                    strangers.iter().map(|one| PollFd::new(one.connection.as_fd(), PollFlags::POLLIN)).collect();
                if strangers.len() < MAX_STRANGERS {
                    fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
                }
                let timeout = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::MAX);
                if poll(&mut fds, timeout).is_err() {
                    thread::sleep(LOOK);
                }
                fds.iter().map(|fd| fd.any().unwrap_or(false)).collect::<Vec<_>>()
            };
            if ready.get(strangers.len()) == Some(&true) {
                match listener.accept() {
                    Ok(connection) => match Stranger::greet(connection) {
                        Ok(stranger) => strangers.push(stranger),
                        Err(error) => tracing::warn!("a connection to server.relay is closed: it takes no greeting: {error}"),
                    },
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => {
                        tracing::error!(%error, "a worker's connection cannot be accepted");
                        thread::sleep(LOOK);
                    }
                }
            }
            let mut number = 0;
            strangers.retain_mut(|stranger| {
                let spoke = ready.get(number) == Some(&true);
                number += 1;
                let stays = stranger.since.elapsed() < patience;
                if !spoke {
                    return stays;
                }
                match stranger.introduce() {
                    Ok(None) => stays,
                    Ok(Some(pid)) => {
                        if let Ok(connection) = stranger.connection.try_clone() {
                            self.ready.lock().insert(pid, Ready { connection, since: Instant::now() });
                        }
                        false
                    }
                    Err(reason) => {
                        tracing::warn!("a connection to server.relay is closed: {reason}");
                        false
                    }
                }
            });
            // Nobody's: of a process that was given up, or none of ours.
            self.ready.lock().retain(|_, ready| ready.since.elapsed() < patience);
        }
    }
}

// === impl Stranger ===

impl Stranger {
    /// Asks for its pid: the server speaks first, as over pipes. The frame is far smaller than what a new socket takes at once.
    fn greet(connection: OwnedFd) -> io::Result<Self> {
        let greeting = message::pid(std::process::id()).to_bytes().map_err(io::Error::other)?;
        match write(&connection, &greeting)? {
            written if written == greeting.len() => {}
            _ => return Err(io::ErrorKind::WriteZero.into()),
        }
        Ok(Self { connection, decoder: Decoder::new(MAX_FIRST), since: Instant::now() })
    }

    /// The pid that it says it has, once it has said so. Nothing is read past that.
    fn introduce(&mut self) -> Result<Option<i64>, String> {
        // A byte at a time: what follows is not for us. It is some thirty bytes, once for each process.
        let mut byte = [0];
        loop {
            match read(&self.connection, &mut byte) {
                Ok(0) => return Err("it said nothing".into()),
                Ok(_) => self.decoder.extend(&byte),
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
                Err(error) => return Err(error.to_string()),
            }
            let Some(frame) = self.decoder.next().map_err(|error| error.to_string())? else { continue };
            return match message::read(&frame) {
                Ok(FromWorker::Pid(pid)) => Ok(Some(pid)),
                Ok(_) => Err("it began with something else than its pid".into()),
                Err(error) => Err(error.to_string()),
            };
        }
    }
}

// === impl Listener ===

impl Listener {
    fn do_not_block(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            Self::Unix(listener) => listener.set_nonblocking(true),
        }
    }

    fn accept(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A socket that nobody listens on any more is in the way; anything else is somebody's.
fn remove_stale(path: &PathBuf) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() && std::os::unix::net::UnixStream::connect(path).is_err() => {
            fs::remove_file(path)
        }
        _ => Ok(()),
    }
}
