//! The listening sockets, kept over engines and over programs.

use std::{
    env, fmt, io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use socket2::{SockRef, Type};

use crate::{
    error::Error,
    http::listen::{self, Address, Listeners},
    net::Socket,
    sys::spawn,
};

/// What is spoken on a socket.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Kind {
    /// Remote procedure calls.
    Rpc,
    /// Health checks, which the supervisor answers itself.
    Status,
    /// Figures for Prometheus.
    Metrics,
    /// The file server.
    Fileserver,
    /// FastCGI.
    Fcgi,
    /// HTTP over TLS.
    Ssl,
    /// What a TCP server's workers speak.
    Tcp,
    /// HTTP.
    Http,
}

/// A socket that a configuration asks for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Wanted {
    /// What it is for.
    pub kind: Kind,
    /// The key that asks for it.
    pub key: String,
    /// Where it listens.
    pub address: Address,
    /// Connections that the kernel queues.
    pub backlog: i32,
}

/// A socket that the service manager has opened.
#[derive(Debug)]
struct Given {
    /// As `FileDescriptorName=` says.
    name: String,
    listeners: Listeners,
}

/// The sockets of the release in force, and those of one that has not served yet, which must not cost the former.
#[derive(Debug)]
pub(super) struct Table {
    active: Vec<Kept>,
    next: Vec<Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    wanted: Wanted,
    listeners: Listeners,
}

/// A socket as it is written for the next program.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Left {
    wanted: Wanted,
    descriptor: RawFd,
    /// What is removed when it is closed.
    path: Option<PathBuf>,
}

// === impl Wanted ===

impl Wanted {
    /// Listens there.
    fn listen(&self) -> Result<Listeners, Error> {
        let wanted = listen::Config { addresses: vec![self.address.clone()], backlog: self.backlog };
        wanted.build().map_err(|error| self.refused(error))
    }

    fn refused(&self, error: impl fmt::Display) -> Error {
        Error::Listen(match self.kind {
            Kind::Http => error.to_string(),
            _ => format!("{}: {error}", self.key),
        })
    }
}

// === impl Given ===

impl Given {
    /// What systemd has passed to this process (`sd_listen_fds(3)`).
    fn all() -> Result<Vec<Self>, Error> {
        let number = |name: &str| env::var(name).ok()?.parse::<i32>().ok();
        // Others are for a process that this one was started by.
        if number("LISTEN_PID") != i32::try_from(std::process::id()).ok() {
            return Ok(Vec::new());
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let numbers = FIRST..FIRST + number("LISTEN_FDS").unwrap_or(0).max(0);
        let given = numbers.map(|number| {
            let name = names.next().unwrap_or_default().to_owned();
            let refused = |why: &str| Error::Listen(format!("LISTEN_FDS: descriptor {number} ({name}) {why}"));
            let socket = spawn::adopt(number).map_err(|error| refused(&format!("was not passed: {error}")))?;
            let socket_is = SockRef::from(&socket);
            if !(socket_is.is_listener().unwrap_or(false) && socket_is.r#type().is_ok_and(|kind| kind == Type::STREAM)) {
                return Err(refused("is no socket that listens for connections"));
            }
            Ok(Self { name, listeners: Listeners::adopt(vec![socket]) })
        });
        given.collect()
    }

    /// Whether it is named after the key, or listens where that says.
    fn is_for(&self, wanted: &Wanted) -> bool {
        wanted.key == self.name
            || wanted.key.rsplit_once('.').is_some_and(|(section, _)| section == self.name)
            || self.is_at(wanted)
    }

    fn is_at(&self, wanted: &Wanted) -> bool {
        let Some((socket, _)) = self.listeners.bound().next() else { return false };
        let Ok(address) = SockRef::from(&socket).local_addr() else { return false };
        match &wanted.address {
            Address::Unix { path, .. } => address.as_pathname() == Some(path.as_path()),
            Address::Tcp { host, port } if host.is_empty() => {
                address.as_socket().is_some_and(|address| address.ip().is_unspecified() && address.port() == *port)
            }
            Address::Tcp { .. } => {
                address.as_socket().is_some_and(|address| wanted.address.resolve().is_ok_and(|own| own == address))
            }
        }
    }

    fn place(&self) -> String {
        let bound = self.listeners.bound().next().and_then(|(socket, _)| SockRef::from(&socket).local_addr().ok());
        let path = |address: &socket2::SockAddr| Some(format!("unix:{}", address.as_pathname()?.display()));
        let place = bound.and_then(|address| address.as_socket().map(|tcp| tcp.to_string()).or_else(|| path(&address)));
        place.unwrap_or_else(|| "an unknown address".into())
    }
}

/// A socket for each that is wanted, and for what: one that the service manager has opened, or else a new one.
pub fn open(wanted: &[Wanted]) -> Result<Vec<(Wanted, Listeners)>, Error> {
    let mut given = Given::all()?;
    let of_given = wanted.iter().map(|wanted| {
        let at = given.iter().position(|given| given.is_for(wanted))?;
        Some(given.swap_remove(at).listeners)
    });
    let of_given: Vec<_> = of_given.collect();
    if let Some(left) = given.first() {
        let wanted: Vec<_> = wanted.iter().map(|wanted| format!("{} ({})", wanted.address, wanted.key)).collect();
        return Err(Error::Listen(format!(
            "LISTEN_FDS: the service manager has passed a socket on {} named {:?}, and the configuration asks for {}: change one of \
             them, or name the socket after the key (FileDescriptorName=http)",
            left.place(),
            left.name,
            wanted.join(", ")
        )));
    }
    let open = |(wanted, given): (&Wanted, Option<Listeners>)| Ok((wanted.clone(), given.map_or_else(|| wanted.listen(), Ok)?));
    wanted.iter().zip(of_given).map(open).collect()
}

/// The first descriptor that systemd passes.
const FIRST: RawFd = 3;

// === impl Table ===

impl Table {
    /// With the sockets to begin with.
    pub(super) fn open(wanted: &[Wanted]) -> Result<Self, Error> {
        let kept = open(wanted)?.into_iter().map(|(wanted, listeners)| Kept { wanted, listeners });
        Ok(Self { active: kept.collect(), next: Vec::new() })
    }

    /// Has all sockets that are wanted, those among them that are there already. Nothing changes if one cannot be had.
    pub(super) fn listen(&mut self, wanted: &[Wanted]) -> Result<(), Error> {
        let known = |wanted: &Wanted| self.active.iter().find(|kept| kept.wanted.address.is_at(&wanted.address));
        let socket = |wanted: &Wanted| {
            let listeners = match known(wanted) {
                Some(kept) => kept.listeners.clone(),
                None => wanted.listen()?,
            };
            Ok(Kept { wanted: wanted.clone(), listeners })
        };
        // All are had before any is let go.
        self.next = wanted.iter().map(socket).collect::<Result<_, Error>>()?;
        Ok(())
    }

    /// The engine that got what [`Self::listen`] gave last serves, and no other sockets are kept; or it never will.
    pub(super) fn settle(&mut self, serves: bool) {
        let next = std::mem::take(&mut self.next);
        if serves {
            self.active = next;
        }
    }

    /// For an engine of the release in force.
    pub(super) fn of_active(&self) -> Vec<(Kind, BorrowedFd<'_>)> {
        for_engines(&self.active)
    }

    /// For an engine of the one that is to come.
    pub(super) fn of_next(&self) -> Vec<(Kind, BorrowedFd<'_>)> {
        for_engines(&self.next)
    }

    /// Where health checks are answered.
    pub(super) fn of_checks(&self) -> io::Result<Vec<Socket>> {
        let checks = self.active.iter().filter(|kept| kept.wanted.kind == Kind::Status);
        Ok(checks.map(|kept| kept.listeners.sockets()).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The sockets in force, as the next program will find them.
    pub(super) fn left(&self) -> impl Iterator<Item = (Left, BorrowedFd<'_>)> {
        self.active.iter().flat_map(|kept| {
            kept.listeners.bound().map(|(socket, path)| {
                let (wanted, path) = (kept.wanted.clone(), path.map(Path::to_owned));
                (Left { wanted, descriptor: socket.as_raw_fd(), path }, socket)
            })
        })
    }

    /// What another program has left.
    pub(super) fn adopt(left: Vec<Left>) -> io::Result<Self> {
        let kept = left.into_iter().map(|left| {
            let listeners = Listeners::adopt_with(spawn::adopt(left.descriptor)?, left.path);
            Ok(Kept { wanted: left.wanted, listeners })
        });
        Ok(Self { active: kept.collect::<io::Result<_>>()?, next: Vec::new() })
    }
}

fn for_engines(kept: &[Kept]) -> Vec<(Kind, BorrowedFd<'_>)> {
    let theirs = kept.iter().filter(|kept| kept.wanted.kind != Kind::Status);
    theirs.flat_map(|kept| kept.listeners.descriptors().map(|socket| (kept.wanted.kind, socket))).collect()
}
