//! Who listens: this process itself, or a supervisor that hands its sockets to one engine after another.

use std::{os::fd::OwnedFd, path::Path, slice};

use super::{health_checks, rpc, settings, tcp};
use crate::{
    config::{Address, Config},
    error::Error,
    health,
    http::listen::{self, Listeners},
    supervisor::{Needs, Sockets},
};

/// What a supervisor keeps open, and how it reads the configuration again.
pub(super) struct Keeper<L> {
    load: L,
    http: Kept,
    ssl: Kept,
    fcgi: Kept,
    tcp: Kept,
    rpc: Kept,
    status: Kept,
}

/// Sockets by their address.
#[derive(Default)]
struct Kept {
    /// An engine serves on them.
    active: Vec<(Address, Listeners)>,
    /// Those of an engine that has not served yet, which must not cost the active ones.
    next: Vec<(Address, Listeners)>,
}

// === impl Keeper ===

impl<L: FnMut() -> Result<Config, Error>> Keeper<L> {
    pub(super) fn new(load: L) -> Self {
        let kept = Kept::default;
        Self { load, http: kept(), ssl: kept(), fcgi: kept(), tcp: kept(), rpc: kept(), status: kept() }
    }
}

impl<L: FnMut() -> Result<Config, Error>> Needs for Keeper<L> {
    fn load(&mut self) -> Result<Config, Error> {
        (self.load)()
    }

    fn check(&self, config: &Config, dir: Option<&Path>) -> Result<(), Error> {
        super::check(config, dir)
    }

    fn listen(&mut self, config: &Config) -> Result<Sockets, Error> {
        // All are had before any is let go, and HTTP last: whoever finds it listening finds the others too.
        let rpc = match &config.rpc {
            Some(section) => self.rpc.find_or_bind(slice::from_ref(&section.listen), |_| rpc::bind(section))?,
            None => Vec::new(),
        };
        let status = self.status.find_or_bind(config.status.address.as_slice(), |_| health_checks::bind(&config.status))?;
        let fcgi = match &config.http.fcgi {
            Some(section) => self.fcgi.find_or_bind(&section.address, |wanted| {
                bind_for("http.fcgi.address", settings::listen_fastcgi(section, wanted)?)
            })?,
            None => Vec::new(),
        };
        let ssl = match &config.http.ssl {
            Some(section) => self.ssl.find_or_bind(&section.address, |wanted| {
                bind_for("http.ssl.address", settings::listen_tls(&config.http, wanted)?)
            })?,
            None => Vec::new(),
        };
        let tcp = self.tcp.find_or_bind(&tcp::addresses(config), |wanted| tcp::bind(config, wanted))?;
        let http = self.http.find_or_bind(&config.http.address, |wanted| bind(settings::listen(&config.http, wanted)?))?;
        let checks = status.iter().map(|(_, listeners)| listeners.sockets().map_err(Error::system("status.address")));
        let sockets = Sockets {
            http: duplicates(&http)?,
            ssl: duplicates(&ssl)?,
            fcgi: duplicates(&fcgi)?,
            tcp: duplicates(&tcp)?,
            rpc: duplicates(&rpc)?,
            status: checks.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect(),
        };
        self.http.next = http;
        self.ssl.next = ssl;
        self.fcgi.next = fcgi;
        self.tcp.next = tcp;
        self.rpc.next = rpc;
        self.status.next = status;
        Ok(sockets)
    }

    fn settle(&mut self, serves: bool) {
        let Self { http, ssl, fcgi, tcp, rpc, status, .. } = self;
        [http, ssl, fcgi, tcp, rpc, status].into_iter().for_each(|kept| kept.settle(serves));
    }

    fn health(&self, config: &Config) -> health::Config {
        health_checks::settings(&config.status)
    }
}

// === impl Kept ===

impl Kept {
    /// A socket for each address: a known one, or else a new one.
    fn find_or_bind(
        &self,
        wanted: &[Address],
        bind: impl Fn(&[Address]) -> Result<Listeners, Error>,
    ) -> Result<Vec<(Address, Listeners)>, Error> {
        let known = |address: &Address| self.active.iter().chain(&self.next).find(|(known, _)| known == address);
        let socket = |address: &Address| match known(address) {
            Some((_, listeners)) => Ok((address.clone(), listeners.clone())),
            None => Ok((address.clone(), bind(slice::from_ref(address))?)),
        };
        wanted.iter().map(socket).collect()
    }

    /// The next ones become the active ones, or are given up.
    fn settle(&mut self, serves: bool) {
        let next = std::mem::take(&mut self.next);
        if serves {
            self.active = next;
        }
    }
}

fn duplicates(kept: &[(Address, Listeners)]) -> Result<Vec<OwnedFd>, Error> {
    let descriptors = kept.iter().flat_map(|(_, listeners)| listeners.descriptors());
    descriptors.map(|socket| socket.try_clone_to_owned().map_err(Error::system("descriptor of a socket"))).collect()
}

/// What an engine listens on.
pub(super) struct Listening {
    pub(super) http: Listeners,
    pub(super) ssl: Listeners,
    pub(super) fcgi: Listeners,
    /// One for each TCP server.
    pub(super) tcp: Vec<Listeners>,
    pub(super) rpc: Listeners,
    /// For health checks; a supervisor answers them itself.
    pub(super) status: Listeners,
}

/// Sockets of this process's own, without a supervisor.
pub(super) fn own(config: &Config) -> Result<Listening, Error> {
    let none = || Listeners::adopt(Vec::new());
    let fcgi = config
        .http
        .fcgi
        .as_ref()
        .map(|section| bind_for("http.fcgi.address", settings::listen_fastcgi(section, &section.address)?));
    let ssl = config
        .http
        .ssl
        .as_ref()
        .map(|section| bind_for("http.ssl.address", settings::listen_tls(&config.http, &section.address)?));
    Ok(Listening {
        rpc: config.rpc.as_ref().map(rpc::bind).transpose()?.unwrap_or_else(none),
        fcgi: fcgi.transpose()?.unwrap_or_else(none),
        status: config.status.address.as_ref().map(|_| health_checks::bind(&config.status)).transpose()?.unwrap_or_else(none),
        ssl: ssl.transpose()?.unwrap_or_else(none),
        tcp: tcp::addresses(config)
            .iter()
            .map(|address| tcp::bind(config, slice::from_ref(address)))
            .collect::<Result<_, _>>()?,
        // Last, as above.
        http: bind(settings::listen(&config.http, &config.http.address)?)?,
    })
}

/// A supervisor's.
pub(super) fn adopted(sockets: Sockets) -> Listening {
    let Sockets { http, ssl, fcgi, tcp, rpc, .. } = sockets;
    Listening {
        http: Listeners::adopt(http),
        ssl: Listeners::adopt(ssl),
        fcgi: Listeners::adopt(fcgi),
        tcp: tcp.into_iter().map(|socket| Listeners::adopt(vec![socket])).collect(),
        rpc: Listeners::adopt(rpc),
        status: Listeners::adopt(Vec::new()),
    }
}

fn bind(wanted: listen::Config) -> Result<Listeners, Error> {
    wanted.build().map_err(|error| Error::Listen(error.to_string()))
}

/// For `key`, which an error names.
pub(super) fn bind_for(key: &str, wanted: listen::Config) -> Result<Listeners, Error> {
    wanted.build().map_err(|error| Error::Listen(format!("{key}: {error}")))
}
