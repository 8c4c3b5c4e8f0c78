//! Where we listen: TCP and unix sockets.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{fs::PermissionsExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    str::FromStr,
};

use nix::{
    sys::stat::{self, Mode},
    unistd::{self, Gid, Group, Uid, User},
};
use socket2::{Domain, SockAddr, Socket, Type};

/// An address to listen on.
///
/// `9000` and `:9000` mean port 9000 of the loopback interface: whoever reaches the port runs any code he likes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// `127.0.0.1:9000`, `tcp://127.0.0.1:9000`
    Tcp(SocketAddr),
    /// `/run/rr.sock`, `unix:///run/rr.sock`
    Unix(PathBuf),
}

/// What is no address.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither a TCP address nor a unix socket's absolute path")]
pub struct InvalidAddress(String);

/// Who may connect to a unix socket.
///
/// # Defaults
/// The owner and the group of the process, mode 0660.
#[derive(Clone, Debug)]
pub struct Permissions {
    /// The owner's name or number.
    pub owner: Option<String>,
    /// The group's name or number.
    pub group: Option<String>,
    /// The file's mode.
    pub mode: u32,
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP port.
    Tcp(std::net::TcpListener),
    /// On a path.
    Unix(std::os::unix::net::UnixListener),
}

/// A listener known to one runtime.
#[derive(Debug)]
pub(super) enum Registered {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(tokio::net::TcpStream, IpAddr),
    Unix(tokio::net::UnixStream),
}

// === impl Address ===

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.to_owned());
        if let Some(path) =
            text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")).or(text.starts_with('/').then_some(text))
        {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(invalid()) };
        }
        let address = text.strip_prefix("tcp://").unwrap_or(text);
        if let Ok(port) = address.strip_prefix(':').unwrap_or(address).parse::<u16>() {
            return Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        }
        let mut found = address.to_socket_addrs().map_err(|_| invalid())?;
        found.next().map(Self::Tcp).ok_or_else(invalid)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "tcp://{address}"),
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
        }
    }
}

// === impl Permissions ===

impl Default for Permissions {
    fn default() -> Self {
        Self { owner: None, group: None, mode: 0o660 }
    }
}

impl Permissions {
    fn apply(&self, path: &Path) -> io::Result<()> {
        let owner = self.owner.as_deref().map(uid).transpose()?;
        let group = self.group.as_deref().map(gid).transpose()?;
        if owner.is_some() || group.is_some() {
            unistd::chown(path, owner, group)?;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(self.mode))
    }
}

fn uid(name: &str) -> io::Result<Uid> {
    if let Ok(number) = name.parse() {
        return Ok(Uid::from_raw(number));
    }
    let user = User::from_name(name)?;
    user.map(|user| user.uid).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no user is named {name:?}")))
}

fn gid(name: &str) -> io::Result<Gid> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let group = Group::from_name(name)?;
    group.map(|group| group.gid).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no group is named {name:?}")))
}

// === impl Listener ===

impl Listener {
    /// Listens on `address`; a socket file that nobody listens on is replaced.
    pub fn bind(address: &Address, permissions: &Permissions, backlog: i32) -> io::Result<Self> {
        let listener = match address {
            Address::Tcp(address) => bind_tcp(*address, backlog),
            Address::Unix(path) => bind_unix(path, permissions, backlog),
        };
        listener.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
    }

    /// Takes over a socket that listens already.
    pub fn adopt(descriptor: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(descriptor);
        Ok(if socket.local_addr()?.is_unix() { Self::Unix(socket.into()) } else { Self::Tcp(socket.into()) })
    }

    /// The socket, to be handed to another process.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }

    /// Makes it known to the calling runtime. Each runtime accepts from the one queue of connections.
    pub(super) fn register(&self) -> io::Result<Registered> {
        Ok(match self {
            Self::Tcp(listener) => {
                let listener = listener.try_clone()?;
                listener.set_nonblocking(true)?;
                Registered::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            Self::Unix(listener) => {
                let listener = listener.try_clone()?;
                listener.set_nonblocking(true)?;
                Registered::Unix(tokio::net::UnixListener::from_std(listener)?)
            }
        })
    }

    /// True if others than this host may reach it.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Tcp(listener) => listener.local_addr().is_ok_and(|address| !address.ip().to_canonical().is_loopback()),
            Self::Unix(_) => false,
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(formatter, "tcp://{address}"),
                Err(_) => formatter.write_str("tcp"),
            },
            Self::Unix(listener) => match listener.local_addr().ok().as_ref().and_then(|address| address.as_pathname()) {
                Some(path) => write!(formatter, "unix://{}", path.display()),
                None => formatter.write_str("unix"),
            },
        }
    }
}

fn bind_tcp(address: SocketAddr, backlog: i32) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(Listener::Tcp(socket.into()))
}

fn bind_unix(path: &Path, permissions: &Permissions, backlog: i32) -> io::Result<Listener> {
    match UnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The file takes the socket's mode, so that nobody else can connect before owner and mode are set.
    stat::fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    permissions.apply(path)?;
    socket.listen(backlog)?;
    Ok(Listener::Unix(socket.into()))
}

// === impl Registered ===

impl Registered {
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Fails only on a connection that is gone already, which its reader will find out.
                drop(stream.set_nodelay(true));
                Ok(Accepted::Tcp(stream, peer.ip().to_canonical()))
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_many_spellings() {
        let tcp = |text: &str| Address::Tcp(text.parse().expect("an address"));
        for (text, expected) in [
            ("9000", tcp("127.0.0.1:9000")),
            (":9000", tcp("127.0.0.1:9000")),
            ("tcp://0.0.0.0:7921", tcp("0.0.0.0:7921")),
            ("[::1]:9000", tcp("[::1]:9000")),
            ("/run/rr.sock", Address::Unix("/run/rr.sock".into())),
            ("unix:///run/rr.sock", Address::Unix("/run/rr.sock".into())),
            ("unix:/run/rr.sock", Address::Unix("/run/rr.sock".into())),
        ] {
            assert_eq!(text.parse::<Address>().expect("valid"), expected, "{text}");
        }
        assert!("unix://rr.sock".parse::<Address>().is_err());
        assert!("nowhere".parse::<Address>().is_err());
    }

    #[test]
    fn a_socket_file_gets_its_mode_and_a_dead_one_is_replaced() {
        let path = std::env::temp_dir().join(format!("rr-fcgi-{}.sock", std::process::id()));
        let address = Address::Unix(path.clone());
        let permissions = Permissions { mode: 0o640, ..Permissions::default() };
        let first = Listener::bind(&address, &permissions, 8).expect("free");
        assert_eq!(first.to_string(), address.to_string());
        assert_eq!(std::fs::metadata(&path).expect("bound").permissions().mode() & 0o777, 0o640);
        assert_eq!(Listener::bind(&address, &permissions, 8).expect_err("in use").kind(), io::ErrorKind::AddrInUse);
        drop(first);
        Listener::bind(&address, &permissions, 8).expect("replaced");
        std::fs::remove_file(path).expect("there");
    }
}
