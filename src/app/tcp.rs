//! The TCP servers: their sockets, and the calls that close connections.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use super::{served::Served, settings};
use crate::{
    config::{Tcp, TcpServer},
    error::Error,
    http::listen::{self, Listeners},
    rpc::{Answer, Concerns, Payload, Service, agreed},
    tcp::{self, Endpoint, Server},
    worker::Tasks,
};

/// The service `tcp`.
#[derive(Debug)]
struct Remote(Arc<Server>);

/// Connections that the kernel queues for each socket until they are accepted.
const BACKLOG: i32 = 1024;

const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// To listen where `server` does; `key` is that of its address.
pub(super) fn listen(key: &str, server: &TcpServer) -> Result<listen::Config, Error> {
    settings::listen(key, [&server.address], BACKLOG)
}

/// Puts the servers behind their sockets, in their order; none if there are none.
pub(super) fn build(config: &Tcp, all: &[Served], listeners: Vec<Listeners>, ids: &Arc<AtomicU64>) -> Option<Arc<Server>> {
    let served = all.iter().find(|one| one.does_tasks())?;
    let endpoint = |(server, listeners): (&TcpServer, _)| Endpoint {
        name: server.name.clone(),
        delimiter: server.delimiter.clone().into(),
        listeners,
    };
    let bounds = tcp::Config {
        read_size: settings::size(config.read_buf_size),
        max_message: settings::size(config.max_message_size),
        idle_timeout: config.idle_timeout,
        write_timeout: config.write_timeout,
        max_connections: config.max_connections,
        max_memory: config.max_memory,
    };
    let tasks = Tasks::new(served.pool.clone(), served.site.worker.clone()?, ids.clone());
    Some(Arc::new(bounds.build(config.servers.iter().zip(listeners).map(endpoint).collect(), tasks)))
}

/// What may be called of the servers.
pub(super) fn service(server: &Arc<Server>) -> Arc<dyn Service> {
    Arc::new(Remote(server.clone()))
}

/// Where a server listens, as it is shown.
pub(super) fn shown(endpoint: &Endpoint) -> String {
    let addresses: Vec<_> = endpoint.listeners.addresses().iter().map(ToString::to_string).collect();
    format!("{} ({})", if addresses.is_empty() { "a unix socket".into() } else { addresses.join(", ") }, endpoint.name)
}

// === impl Service ===

impl Service for Remote {
    fn name(&self) -> &str {
        "tcp"
    }

    /// A connection is in one of the engines, and closing one that is nowhere does nothing.
    fn concerns(&self, method: &str) -> Concerns {
        match method {
            "Close" => Concerns::All { within: CLOSES_WITHIN, join: agreed },
            _ => Concerns::Any,
        }
    }

    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
        Box::pin(async move {
            match method {
                "Close" => {
                    // As in RoadRunner: one that has gone is closed.
                    self.0.close(&argument.read::<String>()?);
                    argument.reply(&true)
                }
                _ => Err(crate::rpc::Error::UnknownMethod),
            }
        })
    }
}
