//! Remote procedure calls: the socket, the built-in services, and the pools that they act on.

use std::sync::Arc;

use super::{control::ThreadPool, fellows::Fellows, settings};
use crate::{
    config::{self, Config},
    error::Error,
    http::listen,
    metrics::Figures,
    php::Threads,
    rpc::{About, Config as Bounds, Informer, Metrics, Resetter, Server, Service, Services, Status},
    worker::{Control, Controls, process::Processes},
};

/// The socket, listening before there is anything to speak of.
#[derive(Debug)]
pub(super) struct Bound {
    listeners: listen::Listeners,
    section: config::Rpc,
}

/// The listener at work.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) server: Server,
    /// Where it listens.
    pub(super) address: String,
    /// Removes a unix socket's path at the end.
    listeners: listen::Listeners,
}

/// Connections that the kernel queues: callers are few, and keep theirs.
const BACKLOG: i32 = 1024;

/// To listen where `section` says.
pub(super) fn listen(section: &config::Rpc) -> Result<listen::Config, Error> {
    let mut address = settings::address("rpc.listen", &section.listen)?;
    if let listen::Address::Unix { permissions, .. } = &mut address {
        // Whoever may connect controls the server.
        permissions.mode = 0o660;
    }
    Ok(listen::Config { addresses: vec![address], backlog: BACKLOG })
}

/// The pools, each under the name of its plugin: of `threads`, or of the processes in their stead.
pub(super) fn controls(threads: &[Arc<Threads>], processes: &[Option<Arc<Processes>>]) -> Controls {
    let control = |(threads, processes): (&Arc<Threads>, &Option<Arc<Processes>>)| match processes {
        Some(processes) => processes.clone() as Arc<dyn Control>,
        None => Arc::new(ThreadPool::new(threads)),
    };
    Controls::new(threads.iter().zip(processes).map(control).collect())
}

/// The figures that applications keep.
pub(super) fn metrics(figures: Figures) -> Arc<dyn Service> {
    Arc::new(Metrics::new(figures))
}

/// The built-in services, and `others`.
pub(super) fn services(config: &Config, pools: Controls, others: Vec<Arc<dyn Service>>) -> Vec<Arc<dyn Service>> {
    let about = About { version: env!("CARGO_PKG_VERSION").into(), config: config.to_json().to_string().into() };
    let own: [Arc<dyn Service>; 4] = [
        Arc::new(about),
        Arc::new(Informer::new(pools.clone())),
        Arc::new(Status::new(pools.clone())),
        Arc::new(Resetter::new(pools)),
    ];
    own.into_iter().chain(others).collect()
}

// === impl Bound ===

impl Bound {
    /// On sockets that listen where `section` says.
    pub(super) fn adopt(section: &config::Rpc, listeners: listen::Listeners) -> Self {
        Self { listeners, section: section.clone() }
    }

    /// Where scripts on this machine call, as `RR_RPC` tells them.
    pub(super) fn dsn(&self) -> String {
        match (&self.section.listen, self.listeners.addresses().first()) {
            (config::Address::Tcp(text), Some(bound)) => {
                let host = text.rsplit_once(':').map_or("", |(host, _)| host);
                let host = if matches!(host, "" | "0.0.0.0" | "[::]") { "127.0.0.1" } else { host };
                format!("tcp://{host}:{}", bound.port())
            }
            (address, _) => address.to_string(),
        }
    }

    /// Puts the services behind the socket; calls that concern `fellows` too are made there as well.
    pub(super) fn build(self, services: Vec<Arc<dyn Service>>, fellows: Option<Arc<Fellows>>) -> Result<Calls, Error> {
        let services = Services::new(services);
        let services = fellows.into_iter().fold(services, |services, fellows| services.with(fellows));
        let section = &self.section;
        let bounds = Bounds {
            max_connections: section.max_connections,
            max_calls: section.max_calls,
            max_message: section.max_message,
            max_memory: section.max_memory,
            timeout: section.timeout,
        };
        let sockets = self.listeners.sockets().map_err(Error::system("rpc.listen"))?;
        let server = bounds.build(sockets, services);
        Ok(Calls { server, address: self.dsn(), listeners: self.listeners })
    }
}

// === impl Calls ===

impl Calls {
    /// Others listen here from now on.
    pub(super) fn leave_accepting(&self) {
        self.server.leave_accepting();
        self.listeners.close();
    }
}
