//! Health checks, as the configuration wants them.

use super::settings;
use crate::{
    config,
    error::Error,
    health::{self, Health},
    http::listen,
    supervisor::Checks,
};

/// Checks that the kernel queues: there are few.
const BACKLOG: i32 = 128;

/// The checks that are answered.
pub(super) struct Answering {
    /// What they say.
    pub(super) health: Health,
    /// Answers until it is dropped.
    pub(super) server: health::Server,
}

/// To listen where `section` says, if it does.
pub(super) fn listen(section: &config::Status) -> Result<listen::Config, Error> {
    settings::listen("status.address", &section.address, BACKLOG)
}

/// Answers on `listeners`, in the background of the runtime that polls this.
pub(super) async fn start(section: &config::Status, listeners: &listen::Listeners) -> Result<Answering, Error> {
    let health = Health::default();
    let sockets = listeners.sockets();
    let server = sockets.and_then(|sockets| health::Server::start(sockets, checks(section).into(), health.clone()));
    Ok(Answering { health, server: server.map_err(Error::system("status.address"))? })
}

/// For a supervisor, which answers them itself.
pub(super) fn checks(section: &config::Status) -> Checks {
    let config::Status { unavailable_status_code: unavailable, check_timeout: timeout, max_connections, .. } = *section;
    Checks { unavailable, timeout, max_connections }
}
