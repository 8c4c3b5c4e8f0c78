//! Health checks, as the configuration wants them.

use http::StatusCode;

use super::{settings, sockets::bind_for};
use crate::{
    config,
    error::Error,
    health::{self, Health},
    http::listen,
};

/// Checks that the kernel queues: there are few.
const BACKLOG: i32 = 128;

/// Listens where `section` says.
pub(super) fn bind(section: &config::Status) -> Result<listen::Listeners, Error> {
    let address = section.address.iter().map(|given| settings::address("status.address", given));
    bind_for("status.address", listen::Config { addresses: address.collect::<Result<_, _>>()?, backlog: BACKLOG })
}

/// Answers on `listeners`, in the background of the runtime that polls this.
pub(super) async fn start(section: &config::Status, listeners: &listen::Listeners) -> Result<(Health, health::Server), Error> {
    let health = Health::default();
    let sockets = listeners.sockets();
    let server = sockets.and_then(|sockets| health::Server::start(sockets, settings(section), health.clone()));
    Ok((health, server.map_err(Error::system("status.address"))?))
}

pub(super) fn settings(section: &config::Status) -> health::Config {
    health::Config {
        unavailable: StatusCode::from_u16(section.unavailable_status_code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        timeout: section.check_timeout,
        max_connections: section.max_connections,
    }
}
