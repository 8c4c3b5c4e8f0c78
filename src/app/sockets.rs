//! Who listens: this process itself, or a supervisor that hands its sockets to one engine after another.

use std::os::fd::{AsFd, OwnedFd};

use super::{rpc, settings};
use crate::{
    config::{self, Config},
    error::Error,
    http::{fcgi, listen},
    supervisor::{Needs, Sockets},
};

/// What a supervisor keeps open, and how it reads the configuration again.
pub(super) struct Keeper<L> {
    load: L,
    http: Vec<(config::Address, listen::Listeners)>,
    fcgi: Vec<(fcgi::Address, fcgi::Listener)>,
    rpc: Option<(config::Address, listen::Listeners)>,
    /// Of the configuration before: an engine that does not start must not have cost them.
    retired: Vec<(config::Address, listen::Listeners)>,
}

// === impl Keeper ===

impl<L: FnMut() -> Result<Config, Error>> Keeper<L> {
    pub(super) fn new(load: L) -> Self {
        Self { load, http: Vec::new(), fcgi: Vec::new(), rpc: None, retired: Vec::new() }
    }
}

impl<L: FnMut() -> Result<Config, Error>> Needs for Keeper<L> {
    fn load(&mut self) -> Result<Config, Error> {
        (self.load)()
    }

    fn listen(&mut self, config: &Config) -> Result<Sockets, Error> {
        // HTTP last: whoever finds it listening finds the others too.
        let rpc = match &config.rpc {
            Some(section) => {
                let known = self.rpc.as_ref().filter(|(known, _)| *known == section.listen);
                let listeners = known.map_or_else(|| rpc::bind(section), |(_, known)| Ok(known.clone()))?;
                Some((section.listen.clone(), listeners))
            }
            None => None,
        };
        let mut fcgi = Vec::new();
        if let Some(wanted) = fcgi_config(config)? {
            for address in &wanted.addresses {
                let known = self.fcgi.iter().position(|(known, _)| known == address);
                let listener = match known {
                    Some(at) => {
                        fcgi::Listener::adopt(duplicate(self.fcgi[at].1.descriptor())?).map_err(Error::system("FastCGI"))?
                    }
                    None => fcgi_listener(address, &wanted)?,
                };
                fcgi.push((address.clone(), listener));
            }
        }
        let mut http = Vec::new();
        for address in &config.http.address {
            let known = self.http.iter().chain(&self.retired).find(|(known, _)| known == address);
            let listeners =
                known.map_or_else(|| http_listeners(std::slice::from_ref(address)), |(_, known)| Ok(known.clone()))?;
            http.push((address.clone(), listeners));
        }
        let sockets = Sockets {
            rpc: rpc.iter().flat_map(|(_, listeners)| listeners.descriptors()).map(duplicate).collect::<Result<_, _>>()?,
            http: http.iter().flat_map(|(_, listeners)| listeners.descriptors()).map(duplicate).collect::<Result<_, _>>()?,
            fcgi: fcgi.iter().map(|(_, listener)| duplicate(listener.descriptor())).collect::<Result<_, _>>()?,
        };
        self.retired = std::mem::replace(&mut self.http, http);
        self.fcgi = fcgi;
        self.rpc = rpc;
        Ok(sockets)
    }
}

/// What an engine listens on.
pub(super) struct Listening {
    pub(super) http: listen::Listeners,
    pub(super) fcgi: Vec<fcgi::Listener>,
    pub(super) rpc: listen::Listeners,
}

/// Sockets of this process's own, without a supervisor.
pub(super) fn own(config: &Config) -> Result<Listening, Error> {
    let fcgi = match fcgi_config(config)? {
        Some(wanted) => wanted.addresses.iter().map(|address| fcgi_listener(address, &wanted)).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    let rpc = config.rpc.as_ref().map(rpc::bind).transpose()?.unwrap_or_else(|| listen::Listeners::adopt(Vec::new()));
    Ok(Listening { http: http_listeners(&config.http.address)?, fcgi, rpc })
}

/// A supervisor's.
pub(super) fn adopted(http: Vec<OwnedFd>, fcgi: Vec<OwnedFd>, rpc: Vec<OwnedFd>) -> Result<Listening, Error> {
    let fcgi = fcgi.into_iter().map(fcgi::Listener::adopt).collect::<Result<_, _>>().map_err(Error::system("FastCGI socket"))?;
    Ok(Listening { http: listen::Listeners::adopt(http), fcgi, rpc: listen::Listeners::adopt(rpc) })
}

fn http_listeners(addresses: &[config::Address]) -> Result<listen::Listeners, Error> {
    let wanted = listen::Config { addresses: settings::addresses(addresses)?, ..listen::Config::default() };
    wanted.build().map_err(|error| Error::Listen(error.to_string()))
}

fn fcgi_config(config: &Config) -> Result<Option<fcgi::Config>, Error> {
    config.http.fcgi.as_ref().map(|section| settings::fastcgi(section, &config.http, &std::sync::Arc::default())).transpose()
}

fn fcgi_listener(address: &fcgi::Address, wanted: &fcgi::Config) -> Result<fcgi::Listener, Error> {
    fcgi::Listener::bind(address, &wanted.permissions, wanted.backlog)
        .map_err(|error| Error::Listen(format!("cannot listen for FastCGI on {address}: {error}")))
}

fn duplicate(descriptor: impl AsFd) -> Result<OwnedFd, Error> {
    descriptor.as_fd().try_clone_to_owned().map_err(Error::system("descriptor of a socket"))
}
