//! The listening sockets, kept over engines and over programs.

mod late;

use std::{
    env, fmt, io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use socket2::{SockRef, Type};

use crate::{
    error::Error,
    http::{
        h3::{Port, Slot, Terms},
        listen::{self, Address, Listeners, Scope},
    },
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
    /// HTTP/3, by UDP.
    Quic,
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
    /// What the kernel queues: connections, or bytes of a UDP port.
    pub backlog: i32,
    /// What it takes, if it is `[::]`.
    pub scope: Scope,
}

/// A place that is listened on.
#[derive(Clone, Debug)]
pub enum Held {
    /// For connections.
    Listeners(Listeners),
    /// For packets.
    Port(Arc<Port>),
    /// For packets, as soon as an engine is gone whose supervisor has died: it reads them for the requests that it finishes.
    Late,
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
    /// Of the engine that reads from UDP ports: the one in place [`READER`].
    terms: Terms,
    /// Until when those that are [`Held::Late`] are waited for.
    late_until: Instant,
}

#[derive(Clone, Debug)]
struct Kept {
    wanted: Wanted,
    held: Held,
}

/// What an engine is lent.
#[derive(Debug)]
pub(super) struct Lent<'a> {
    pub(super) sockets: Vec<(Kind, BorrowedFd<'a>)>,
    pub(super) terms: Terms,
}

/// The sockets in force as they are written for the next program.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Left {
    kept: Vec<LeftKept>,
    terms: Terms,
}

#[derive(Debug, Deserialize, Serialize)]
struct LeftKept {
    wanted: Wanted,
    /// Both of a UDP port, in their order; none while that is another server's.
    descriptors: Vec<RawFd>,
    /// What is removed when it is closed.
    path: Option<PathBuf>,
}

// === impl Wanted ===

impl Wanted {
    /// Listens there; all packets of a UDP port are for `slot`.
    fn listen(&self, slot: Slot) -> Result<Held, Error> {
        if self.kind == Kind::Quic {
            let buffer = usize::try_from(self.backlog).unwrap_or_default();
            let port = self.address.udp().and_then(|address| Port::bind(address, self.scope, buffer, slot));
            return Ok(Held::Port(Arc::new(port.map_err(|error| {
                let explained = listen::explain(&error, &self.address);
                let told = if self.is_held_by_our_kind(&error) { Error::InUse } else { Error::Listen };
                told(self.refusal(format!("cannot listen on {}, UDP: {explained}", self.address)))
            })?)));
        }
        let listening = self.address.clone().listen(self.backlog, self.scope);
        Ok(Held::Listeners(listening.map_err(|error| {
            let told = if error.is_in_use { Error::InUse } else { Error::Listen };
            told(self.refusal(error))
        })?))
    }

    /// The same, but an engine whose supervisor has died may still have the socket, which it lets go at once.
    fn listen_soon(&self) -> Result<Held, Error> {
        let began = Instant::now();
        let mut again = false;
        loop {
            match self.listen(Slot::First) {
                // Complained of once it is certain.
                Err(Error::InUse(_)) if began.elapsed() < LETS_GO_WITHIN => again = true,
                listening => {
                    if again && listening.is_ok() {
                        let after_ms = began.elapsed().as_millis();
                        tracing::warn!(after_ms, "{}: another server has let go of {}", self.key, self.address);
                    }
                    return listening;
                }
            }
            thread::sleep(LISTEN_AGAIN);
        }
    }

    /// Whether both are the same place: TCP and UDP have ports of their own.
    fn is_at(&self, other: &Self) -> bool {
        (self.kind == Kind::Quic) == (other.kind == Kind::Quic) && self.address.is_at(&other.address)
    }

    fn refusal(&self, error: impl fmt::Display) -> String {
        match self.kind {
            Kind::Http => error.to_string(),
            _ => format!("{}: {error}", self.key),
        }
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
        let is_named = || wanted.key == self.name || wanted.key.rsplit_once('.').is_some_and(|(section, _)| section == self.name);
        // A UDP port has two sockets, which this process has to open itself.
        wanted.kind != Kind::Quic && (is_named() || self.is_at(wanted))
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
pub fn open(wanted: &[Wanted]) -> Result<Vec<(Wanted, Held)>, Error> {
    open_with(wanted, Wanted::listen_soon)
}

fn open_with(wanted: &[Wanted], listen: impl Fn(&Wanted) -> Result<Held, Error>) -> Result<Vec<(Wanted, Held)>, Error> {
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
    let open = |(wanted, given): (&Wanted, Option<Listeners>)| {
        let held = given.map(Held::Listeners).map_or_else(|| listen(wanted), Ok)?;
        Ok((wanted.clone(), held))
    };
    // UDP ports last: those who connect meanwhile wait, and are not refused.
    let (packets, connections): (Vec<_>, Vec<_>) = wanted.iter().zip(of_given).partition(|(wanted, _)| wanted.kind == Kind::Quic);
    connections.into_iter().chain(packets).map(open).collect()
}

/// How long an engine may take to hear that its supervisor has died. A stranger's socket is found by then.
const LETS_GO_WITHIN: Duration = Duration::from_secs(2);
const LISTEN_AGAIN: Duration = Duration::from_millis(50);

/// The first descriptor that systemd passes.
const FIRST: RawFd = 3;

// === impl Table ===

impl Table {
    /// With the sockets to begin with; for an engine whose supervisor has died it takes `within` to end.
    pub(super) fn open(wanted: &[Wanted], within: Duration) -> Result<Self, Error> {
        let opened = open_with(wanted, |wanted| wanted.listen_some_time(within))?.into_iter();
        let kept = opened.map(|(wanted, held)| Kept { wanted, held });
        Ok(Self { active: kept.collect(), next: Vec::new(), terms: Terms::new(), late_until: Instant::now() + within })
    }

    /// Has all sockets that are wanted, those among them that are there already. Nothing changes if one cannot be had.
    pub(super) fn listen(&mut self, wanted: &[Wanted]) -> Result<(), Error> {
        let socket = |wanted: &Wanted| Ok(Kept { wanted: wanted.clone(), held: self.have(wanted, &self.active)? });
        // All are had before any is let go.
        self.next = wanted.iter().map(socket).collect::<Result<_, Error>>()?;
        let applied = change_permissions(&self.active, &self.next);
        if applied.is_err() {
            self.settle(false);
        }
        applied
    }

    /// Whether [`Self::listen`] would do: what is not listened on yet is, for a moment.
    pub(super) fn could_listen(&self, wanted: &[Wanted]) -> Result<(), Error> {
        let kept = || self.active.iter().chain(&self.next);
        // Kept until all are had: two may be the same place.
        wanted.iter().map(|wanted| self.have(wanted, kept())).collect::<Result<Vec<_>, _>>().map(drop)
    }

    /// The socket of `kept` that is at the same place, or one that is not listened on yet.
    fn have<'a>(&self, wanted: &Wanted, kept: impl IntoIterator<Item = &'a Kept>) -> Result<Held, Error> {
        let slot = self.terms.slot.other();
        match kept.into_iter().find(|kept| kept.wanted.is_at(wanted)) {
            Some(Kept { held: Held::Late, .. }) => match wanted.listen(slot) {
                Err(Error::InUse(_)) => Ok(Held::Late),
                listening => listening,
            },
            Some(kept) => kept.hold(wanted),
            None => wanted.listen(slot),
        }
    }

    /// The engine that got what [`Self::listen`] gave last serves, and no other sockets are kept; or it never will.
    pub(super) fn settle(&mut self, serves: bool) {
        let next = std::mem::take(&mut self.next);
        if serves {
            self.active = next;
        } else if let Err(error) = change_permissions(&next, &self.active) {
            tracing::error!("the socket has others' permissions: {error}");
        }
    }

    /// Whether packets are received, which two engines at most can share.
    pub(super) fn has_ports(&self) -> bool {
        self.active.iter().any(|kept| matches!(kept.held, Held::Port(_)))
    }

    /// For the engine in this place of the release in force.
    pub(super) fn of_active(&self, place: usize) -> Lent<'_> {
        lent(&self.active, self.terms.clone(), place)
    }

    /// For one that is to succeed another of the same release.
    pub(super) fn of_successor(&self, place: usize) -> Lent<'_> {
        lent(&self.active, self.terms.of_next(), place)
    }

    /// For an engine of the release that is to come.
    pub(super) fn of_next(&self, place: usize) -> Lent<'_> {
        lent(&self.next, self.terms.of_next(), place)
    }

    /// The engine that reads from UDP ports is one on the terms of the next one.
    pub(super) fn change_terms(&mut self) {
        self.terms = self.terms.of_next();
    }

    /// Has the kernel send packets to the engine that serves, and those of an older one's connections to that, unless there is none.
    pub(super) fn steer(&self, is_alone: bool) {
        let slot = self.terms.slot;
        for kept in &self.active {
            let Held::Port(port) = &kept.held else { continue };
            if let Err(error) = if is_alone { port.settle(slot) } else { port.share(slot) } {
                tracing::error!("{}: {}: packets do not find their engine: {error}", kept.wanted.key, kept.wanted.address);
            }
        }
    }

    /// Connections are refused as soon as no engine takes any, unless the service manager has a socket too. Packets go on, and so do
    /// those who ask how it goes and the calls of scripts that have not ended.
    pub(super) fn close(&mut self) {
        self.next.clear();
        self.active.retain(|kept| matches!(kept.wanted.kind, Kind::Quic | Kind::Rpc | Kind::Status | Kind::Metrics));
    }

    /// Where health checks are answered.
    pub(super) fn of_checks(&self) -> io::Result<Vec<Socket>> {
        let checks = self.active.iter().filter(|kept| kept.wanted.kind == Kind::Status);
        let listeners = checks.filter_map(|kept| kept.held.listeners());
        Ok(listeners.map(Listeners::sockets).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The sockets in force, as the next program will find them.
    pub(super) fn left(&self) -> (Left, Vec<BorrowedFd<'_>>) {
        let kept = self.active.iter().map(|kept| LeftKept {
            wanted: kept.wanted.clone(),
            descriptors: kept.held.descriptors().iter().map(AsRawFd::as_raw_fd).collect(),
            path: kept.held.path().map(Path::to_owned),
        });
        let left = Left { kept: kept.collect(), terms: self.terms.clone() };
        (left, self.active.iter().flat_map(|kept| kept.held.descriptors()).collect())
    }

    /// What another program has left; `within` as for [`Self::open`].
    pub(super) fn adopt(left: Left, within: Duration) -> io::Result<Self> {
        let kept = left.kept.into_iter().map(|LeftKept { wanted, descriptors, path }| {
            let sockets = descriptors.into_iter().map(spawn::adopt).collect::<io::Result<Vec<_>>>()?;
            let held = match (wanted.kind, <[_; 2]>::try_from(sockets)) {
                (Kind::Quic, Ok(sockets)) => Held::Port(Arc::new(Port::adopt(sockets))),
                (Kind::Quic, Err(none)) if none.is_empty() => Held::Late,
                (_, Err(mut sockets)) if sockets.len() == 1 => Held::Listeners(Listeners::adopt_with(sockets.remove(0), path)),
                _ => return Err(io::Error::other(format!("{}: not as many sockets as it has", wanted.key))),
            };
            Ok(Kept { wanted, held })
        });
        let late_until = Instant::now() + within;
        Ok(Self { active: kept.collect::<io::Result<_>>()?, next: Vec::new(), terms: left.terms, late_until })
    }
}

/// Has who may connect to unix sockets as `to` says, where `from` said otherwise. Those of the service manager are its own affair.
fn change_permissions(from: &[Kept], to: &[Kept]) -> Result<(), Error> {
    for kept in to {
        let Some(before) = from.iter().find(|before| before.wanted.is_at(&kept.wanted)) else { continue };
        let (Address::Unix { permissions: old, .. }, Address::Unix { permissions, .. }) =
            (&before.wanted.address, &kept.wanted.address)
        else {
            continue;
        };
        let Some(path) = kept.held.path().filter(|_| permissions != old) else { continue };
        permissions.succeed(old, path).map_err(|error| {
            let Wanted { address, key, .. } = &kept.wanted;
            Error::Listen(format!("{key}: cannot change who may connect to {address}: {error}"))
        })?;
    }
    Ok(())
}

/// The place of the engine that reads from UDP ports, of which there is one. The others get the sockets too, for their addresses.
pub(super) const READER: usize = 0;

fn lent(kept: &[Kept], terms: Terms, place: usize) -> Lent<'_> {
    let terms = Terms { reads: place == READER, ..terms };
    let theirs = kept.iter().filter(|kept| kept.wanted.kind != Kind::Status);
    let sockets = theirs.flat_map(|kept| kept.held.for_engine(terms.slot).into_iter().map(|socket| (kept.wanted.kind, socket)));
    Lent { sockets: sockets.collect(), terms }
}

// === impl Kept ===

impl Kept {
    /// The same socket for what is wanted at its place.
    fn hold(&self, wanted: &Wanted) -> Result<Held, Error> {
        if self.wanted.scope == wanted.scope {
            return Ok(self.held.clone());
        }
        let (address, key) = (&wanted.address, &wanted.key);
        let (has, asks) = match wanted.scope {
            Scope::Any => ("IPv6 only", "IPv4 too"),
            Scope::Ipv6 => ("IPv4 too", "IPv6 only"),
        };
        Err(Error::Listen(format!("{key}: {address} takes {has}, and is asked to take {asks}: that needs a restart")))
    }
}

// === impl Held ===

impl Held {
    /// The sockets that an engine in `slot` gets.
    pub fn for_engine(&self, slot: Slot) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Listeners(listeners) => listeners.descriptors().collect(),
            Self::Port(port) => vec![port.socket(slot)],
            Self::Late => Vec::new(),
        }
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Listeners(listeners) => listeners.descriptors().collect(),
            Self::Port(port) => port.descriptors().to_vec(),
            Self::Late => Vec::new(),
        }
    }

    fn listeners(&self) -> Option<&Listeners> {
        match self {
            Self::Listeners(listeners) => Some(listeners),
            Self::Port(_) | Self::Late => None,
        }
    }

    fn path(&self) -> Option<&Path> {
        self.listeners()?.bound().find_map(|(_, path)| path)
    }
}

#[cfg(test)]
mod tests;
