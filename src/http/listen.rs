//! Listening sockets: bound once, shared by every io thread.

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use nix::unistd::{self, Gid, Group, Uid, User};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use super::crowd::Listened;
use crate::{net, sys::socket};

/// What to listen on.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses, each of which gets a socket.
    pub addresses: Vec<Address>,
    /// Connections that the kernel queues for each socket.
    pub backlog: i32,
}

/// Where a socket listens: `127.0.0.1:80`, `[::1]:80`, `:80`, `localhost:80`, `tcp://…`, `unix:/run/rr.sock`, `unix://…`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Address {
    /// TCP.
    Tcp {
        /// A name or an address; empty for every interface, IPv6 and IPv4.
        host: String,
        /// The port; 0 for any free one.
        port: u16,
    },
    /// A unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Who may connect.
        permissions: Permissions,
    },
}

/// Who may connect to a unix socket: those who may write to its file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Permissions {
    /// The owner's name or number; none for the process's user.
    pub owner: Option<String>,
    /// The group's name or number; none for the process's group.
    pub group: Option<String>,
    /// The file's mode.
    pub mode: u32,
}

/// What `[::]` takes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Scope {
    /// Connections of IPv6 and of IPv4.
    #[default]
    Any,
    /// Those of IPv6, since those of IPv4 have a socket of their own.
    Ipv6,
}

/// Bound sockets. Clones share them; the paths of unix sockets are removed with the last clone.
#[derive(Clone, Debug)]
pub struct Listeners(Vec<Arc<Bound>>);

/// A socket could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct Error {
    /// The address as configured.
    pub address: Address,
    reason: String,
    /// Another server listens there.
    pub is_in_use: bool,
}

/// An address could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected host:port, :port, [ipv6]:port or unix:/path")]
pub struct InvalidAddress;

#[derive(Debug)]
struct Bound {
    socket: Socket,
    /// Removed with the socket.
    path: Option<PathBuf>,
    /// Connections that came from it.
    listened: Listened,
}

// === impl Listeners ===

impl Listeners {
    /// Takes over sockets that already listen, such as those of a supervisor, which also removes their paths.
    pub fn adopt(descriptors: Vec<OwnedFd>) -> Self {
        Self(descriptors.into_iter().map(|socket| Arc::new(Bound::new(socket.into(), None))).collect())
    }

    /// Takes over a socket that listens, and the path that is removed with it.
    pub fn adopt_with(descriptor: OwnedFd, path: Option<PathBuf>) -> Self {
        Self(vec![Arc::new(Bound::new(descriptor.into(), path))])
    }

    /// All sockets of `parts`.
    pub fn together(parts: impl Iterator<Item = Self>) -> Self {
        Self(parts.flat_map(|part| part.0).collect())
    }

    /// Each socket, to be handed to another process, and the path that is removed with it.
    pub fn bound(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Option<&Path>)> {
        self.0.iter().map(|bound| (bound.socket.as_fd(), bound.path.as_deref()))
    }

    /// The sockets, to be handed to another process.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|bound| bound.socket.as_fd())
    }

    /// Has the kernel take no more than so many bytes of TCP connections accepted from now on before the network does, which is what a
    /// client that reads nothing costs; 0 for its own bound.
    pub fn keep_unsent(&self, bytes: u32) -> io::Result<()> {
        let is_tcp = |bound: &&Arc<Bound>| bound.socket.local_addr().is_ok_and(|address| address.is_ipv4() || address.is_ipv6());
        self.0.iter().filter(is_tcp).try_for_each(|bound| bound.socket.set_tcp_notsent_lowat(bytes))
    }

    /// The TCP addresses that are listened on; a port given as 0 is known here.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|bound| bound.socket.local_addr().ok()?.as_socket()).collect()
    }

    /// Where unix sockets are.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.0.iter().filter_map(|bound| Some(bound.socket.local_addr().ok()?.as_pathname()?.to_owned())).collect()
    }

    /// Nobody can be accepted here from now on, but by those who have duplicates. Addresses are not known any more.
    pub(crate) fn close(&self) {
        for bound in &self.0 {
            if let Err(error) = socket::close(&bound.socket) {
                tracing::warn!("a socket stays open until the process ends: {error}");
            }
        }
    }

    /// Duplicates for a small server.
    pub(crate) fn sockets(&self) -> io::Result<Vec<net::Socket>> {
        let sockets = self.duplicates()?.into_iter();
        Ok(sockets
            .map(
                |(descriptor, is_unix)| {
                    if is_unix { net::Socket::Unix(descriptor.into()) } else { net::Socket::Tcp(descriptor.into()) }
                },
            )
            .collect())
    }

    /// The connections of each socket.
    pub(super) fn listened(&self) -> impl Iterator<Item = Listened> {
        self.0.iter().map(|bound| bound.listened.clone())
    }

    /// Duplicates for one runtime, and whether each is a unix socket.
    pub(crate) fn duplicates(&self) -> io::Result<Vec<(OwnedFd, bool)>> {
        let duplicate = |bound: &Arc<Bound>| {
            // O_NONBLOCK is a property of the open file, so this holds for every duplicate.
            bound.socket.set_nonblocking(true)?;
            Ok((bound.socket.try_clone()?.into(), bound.socket.local_addr()?.is_unix()))
        };
        self.0.iter().map(duplicate).collect()
    }
}

// === impl Bound ===

impl Bound {
    fn at(address: &Address, backlog: i32, scope: Scope) -> io::Result<Self> {
        let (socket, path) = match address {
            Address::Tcp { host, port } if host.is_empty() => (every_interface(*port, backlog)?, None),
            Address::Tcp { host, port } => (tcp(resolve(host, *port)?, backlog, scope)?, None),
            Address::Unix { path, permissions } => (unix(path, permissions, backlog)?, Some(path.clone())),
        };
        Ok(Self::new(socket, path))
    }

    fn new(socket: Socket, path: Option<PathBuf>) -> Self {
        Self { socket, path, listened: Listened::default() }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            drop(fs::remove_file(path));
        }
    }
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let mut found = (host.trim_start_matches('[').trim_end_matches(']'), port).to_socket_addrs()?.collect::<Vec<_>>();
    // As Go does: a name with both kinds of address is listened on by IPv4.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.into_iter().next().ok_or_else(|| io::Error::other("the name has no address"))
}

fn every_interface(port: u16, backlog: i32) -> io::Result<Socket> {
    match tcp((Ipv6Addr::UNSPECIFIED, port).into(), backlog, Scope::Any) {
        // A kernel without IPv6.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
            tcp((Ipv4Addr::UNSPECIFIED, port).into(), backlog, Scope::Any)
        }
        result => result,
    }
}

fn tcp(address: SocketAddr, backlog: i32, scope: Scope) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(scope == Scope::Ipv6 || !address.ip().is_unspecified())?;
    }
    // Inherited by accepted sockets, which saves a system call on each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket)
}

fn unix(path: &Path, permissions: &Permissions, backlog: i32) -> io::Result<Socket> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens: until then nobody can connect, whatever the umask left open.
    permissions.apply(path)?;
    socket.listen(backlog)?;
    Ok(socket)
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is not a socket is in the way"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

pub(crate) fn explain(error: &io::Error, address: &Address) -> String {
    match (error.kind(), address) {
        (io::ErrorKind::PermissionDenied, Address::Tcp { port, .. }) => {
            format!("permission denied; port {port} needs root or the capability CAP_NET_BIND_SERVICE")
        }
        (io::ErrorKind::PermissionDenied, Address::Unix { path, .. }) => {
            let directory = path.parent().unwrap_or(path).display();
            format!("permission denied; this user may not make files in {directory}")
        }
        (io::ErrorKind::NotFound, Address::Unix { path, .. }) => {
            format!("there is no directory {}", path.parent().unwrap_or(path).display())
        }
        (io::ErrorKind::AddrInUse, _) => "address in use; another server listens there".into(),
        (io::ErrorKind::AddrNotAvailable, _) => "no interface of this machine has that address".into(),
        _ => error.to_string(),
    }
}

// === impl Address ===

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(InvalidAddress) } else { Ok(Self::unix(path)) };
        }
        let (host, port) = text.strip_prefix("tcp://").unwrap_or(text).rsplit_once(':').ok_or(InvalidAddress)?;
        let port = port.parse().map_err(|_| InvalidAddress)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.contains([' ', '/']) || host.contains(':') && !bracketed {
            return Err(InvalidAddress);
        }
        Ok(Self::Tcp { host: host.into(), port })
    }
}

impl Address {
    /// Binds it and starts to listen; the kernel queues `backlog` connections.
    pub fn listen(self, backlog: i32, scope: Scope) -> Result<Listeners, Error> {
        match Bound::at(&self, backlog, scope) {
            Ok(bound) => Ok(Listeners(vec![Arc::new(bound)])),
            Err(error) => {
                let is_in_use = error.kind() == io::ErrorKind::AddrInUse;
                Err(Error { reason: explain(&error, &self), address: self, is_in_use })
            }
        }
    }

    /// What it takes beside `others`, which are spoken the same way: `0.0.0.0` has the port's connections of IPv4.
    pub fn scope<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Scope {
        let wildcard = |address: &Self, every: IpAddr| match address {
            Self::Tcp { host, port } => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                host.parse::<IpAddr>().is_ok_and(|host| host == every).then_some(*port).filter(|port| *port != 0)
            }
            Self::Unix { .. } => None,
        };
        let own = wildcard(self, Ipv6Addr::UNSPECIFIED.into());
        let is_shared = own.is_some() && others.into_iter().any(|other| wildcard(other, Ipv4Addr::UNSPECIFIED.into()) == own);
        if is_shared { Scope::Ipv6 } else { Scope::Any }
    }

    /// Where UDP is spoken at it.
    pub fn udp(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp { host, port } if host.is_empty() => {
                // A kernel without IPv6 has no such socket.
                let has_ipv6 = Socket::new(Domain::IPV6, Type::DGRAM, None).is_ok();
                let every: IpAddr = if has_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
                Ok((every, *port).into())
            }
            Self::Tcp { host, port } => resolve(host, *port),
            Self::Unix { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// A unix socket that everybody may connect to who gets to it: then its directory is where access is decided.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Unix { path: path.into(), permissions: Permissions { owner: None, group: None, mode: 0o666 } }
    }

    /// The same, with others who may connect if it is a unix socket.
    pub fn with_permissions(self, permissions: &Permissions) -> Self {
        match self {
            Self::Unix { path, .. } => Self::Unix { path, permissions: permissions.clone() },
            Self::Tcp { .. } => self,
        }
    }

    /// Where a name leads; only for TCP.
    pub(crate) fn resolve(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp { host, port } => resolve(host, *port),
            Self::Unix { .. } => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Whether both are the same place, whoever may connect to it.
    pub fn is_at(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix { path: own, .. }, Self::Unix { path: other, .. }) => own == other,
            _ => self == other,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(formatter, "{host}:{port}"),
            Self::Unix { path, .. } => write!(formatter, "unix:{}", path.display()),
        }
    }
}

// === impl Permissions ===

impl Permissions {
    fn apply(&self, path: &Path) -> io::Result<()> {
        let owner = self.owner.as_deref().map(uid).transpose()?;
        let group = self.group.as_deref().map(gid).transpose()?;
        if owner.is_some() || group.is_some() {
            unistd::chown(path, owner, group)?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(self.mode))
    }

    /// Applies them to a socket that has `old` ones: an owner who is no longer named gives way to the process's.
    pub(crate) fn succeed(&self, old: &Self, path: &Path) -> io::Result<()> {
        let own = |number: u32| Some(number.to_string());
        let owner = self.owner.clone().or_else(|| old.owner.as_ref().and_then(|_| own(unistd::geteuid().as_raw())));
        let group = self.group.clone().or_else(|| old.group.as_ref().and_then(|_| own(unistd::getegid().as_raw())));
        Self { owner, group, mode: self.mode }.apply(path)
    }
}

fn uid(name: &str) -> io::Result<Uid> {
    if let Ok(number) = name.parse() {
        return Ok(Uid::from_raw(number));
    }
    let unknown = || io::Error::new(io::ErrorKind::InvalidInput, format!("no user is named {name:?}"));
    User::from_name(name)?.map(|user| user.uid).ok_or_else(unknown)
}

fn gid(name: &str) -> io::Result<Gid> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let unknown = || io::Error::new(io::ErrorKind::InvalidInput, format!("no group is named {name:?}"));
    Group::from_name(name)?.map(|group| group.gid).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("rr-listen-{}-{name}.sock", std::process::id()))
    }

    fn listen(address: Address) -> Result<Listeners, Error> {
        address.listen(16, Scope::Any)
    }

    #[test]
    fn reads_addresses() {
        let tcp = |host: &str, port| Ok(Address::Tcp { host: host.into(), port });
        assert_eq!(":8080".parse(), tcp("", 8080));
        assert_eq!("127.0.0.1:80".parse(), tcp("127.0.0.1", 80));
        assert_eq!("tcp://localhost:80".parse(), tcp("localhost", 80));
        assert_eq!("[::1]:80".parse(), tcp("[::1]", 80));
        assert_eq!("unix:///run/a.sock".parse(), Ok(Address::unix("/run/a.sock")));
        assert_eq!("unix:a.sock".parse(), Ok(Address::unix("a.sock")));
        for wrong in ["", "8080", "host", "a:b", "::1:80", "a:99999", "unix:", "http://a:80"] {
            assert_eq!(wrong.parse::<Address>(), Err(InvalidAddress), "{wrong}");
        }
    }

    #[test]
    fn tells_the_port_it_got_and_refuses_it_twice() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = first.addresses()[0].port();
        let error = listen(format!("127.0.0.1:{port}").parse().unwrap()).unwrap_err().to_string();
        assert_eq!(error, format!("cannot listen on 127.0.0.1:{port}: address in use; another server listens there"));
        assert_eq!(first.duplicates().unwrap().len(), 1);
    }

    #[test]
    fn listens_on_every_interface() {
        let listeners = listen(":0".parse().unwrap()).unwrap();
        let port = listeners.addresses()[0].port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn replaces_a_stale_socket_but_no_living_one() {
        let path = path("stale");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let permissions = Permissions { owner: None, group: None, mode: 0o600 };
        let first = listen(Address::Unix { path: path.clone(), permissions }).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = listen(Address::unix(&path)).unwrap_err().to_string();
        assert!(error.ends_with("address in use; another server listens there"), "{error}");
        assert!(path.exists(), "the second must not remove what it did not bind");
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn gives_a_socket_to_whom_it_was_told() {
        let path = path("owner");
        let (user, group) = (unistd::getuid(), unistd::getgid());
        let permissions = |owner: &str| Permissions { owner: Some(owner.into()), group: Some(group.to_string()), mode: 0o660 };
        let address = |owner: &str| Address::Unix { path: path.clone(), permissions: permissions(owner) };
        let listeners = listen(address(&user.to_string())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(listeners);
        let error = listen(address("no-such-user")).unwrap_err().to_string();
        assert!(error.ends_with("no user is named \"no-such-user\""), "{error}");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn leaves_a_file_that_is_no_socket() {
        let path = path("file");
        fs::write(&path, "precious").unwrap();
        let error = listen(Address::unix(&path)).unwrap_err().to_string();
        assert!(error.ends_with("a file that is not a socket is in the way"), "{error}");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn accepted_connections_have_the_bound_of_what_is_unsent() {
        let listeners = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        listeners.keep_unsent(70_000).unwrap();
        let _client = std::net::TcpStream::connect(listeners.addresses()[0]).unwrap();
        let (accepted, _) = listeners.0[0].socket.accept().unwrap();
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), 70_000);
    }

    #[test]
    fn a_closed_socket_is_open_to_who_has_a_duplicate() {
        let listeners = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listeners.addresses()[0];
        let duplicates = listeners.duplicates().unwrap();
        listeners.close();
        std::net::TcpStream::connect(address).unwrap();
        drop(duplicates);
        let error = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(listen(address.to_string().parse().unwrap()).unwrap().addresses(), [address]);
    }

    #[test]
    fn adopts_inherited_sockets() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let descriptors = first.descriptors().map(|descriptor| descriptor.try_clone_to_owned().unwrap()).collect();
        assert_eq!(Listeners::adopt(descriptors).addresses(), first.addresses());
    }
}
