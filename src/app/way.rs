//! What requests meet on their way to what is served, and what is kept of them.

use std::{net::UdpSocket, sync::Arc};

use super::{
    edge,
    fellows::Fellows,
    kept::Kept,
    metrics::{self, Prepared, Sources},
    served::{self, Served},
    settings,
};
use crate::{
    config::{self, Config},
    error::Error,
    http::{
        Drain, Metrics, Timing, access,
        dev::Dev,
        h3,
        listen::Listeners,
        service::{Needs, Service},
        tls::Tls,
    },
    worker::Controls,
};

/// What is kept of requests.
pub(super) struct Records {
    pub(super) access: access::Log,
    pub(super) metrics: Option<Arc<Metrics>>,
    /// Shows all figures.
    pub(super) page: Option<metrics::Figures>,
}

/// Sockets that the page of figures has to do with.
pub(super) struct Ends<'a> {
    /// Where it is asked for.
    pub(super) metrics: Listeners,
    /// HTTP/3's, of which it tells what is lost.
    pub(super) packets: &'a [UdpSocket],
}

/// What that page tells of, beside requests.
pub(super) struct Watched<'a> {
    pub(super) controls: &'a Controls,
    pub(super) drain: &'a Drain,
    pub(super) intake: &'a settings::Intake,
    pub(super) kept: &'a Kept,
    pub(super) fellows: Option<Arc<Fellows>>,
}

/// What requests meet on their way to what is served.
pub(super) struct Way<'a> {
    pub(super) tls: Option<&'a Tls>,
    pub(super) at: edge::At,
    pub(super) records: Records,
    pub(super) drain: &'a Drain,
    pub(super) intake: settings::Intake,
    pub(super) dev: Option<Dev>,
}

// === impl Records ===

impl Records {
    pub(super) fn new(config: &Config, all: &[Served], ends: Ends<'_>, watched: Watched<'_>) -> Result<Self, Error> {
        let Ends { metrics: listeners, packets } = ends;
        let Watched { controls, drain, intake, kept, fellows } = watched;
        let access = settings::access(config)?.build().map_err(Error::system("access log"))?;
        let sources = Sources {
            controls: controls.clone(),
            pools: all.iter().map(|one| (one.name.clone(), one.pool.clone())).collect(),
            drain: drain.clone(),
            place: intake.place.clone(),
            output: intake.output.clone(),
            access: access.clone(),
            packets: packets.first().map(|_| h3::Dropped::by(packets)).transpose().map_err(Error::system("HTTP/3's sockets"))?,
            kept: kept.figures.clone(),
            locks: kept.locks.clone(),
            fellows,
        };
        let Prepared { requests, page } = metrics::prepare(&config.metrics, listeners, sources)?;
        if requests.is_none() && config.http.middleware.contains(&config::Middleware::HttpMetrics) {
            tracing::warn!("http.middleware: http_metrics counts nothing, for metrics.address is not set");
        }
        Ok(Self { access, metrics: requests, page })
    }
}

// === impl Way ===

impl Way<'_> {
    /// What answers requests, whoever brings them.
    pub(super) fn service(self, config: &Config, all: &[Served]) -> Result<Service, Error> {
        let Self { tls, at, records, drain, intake, dev } = self;
        Ok(Service::new(Needs {
            middleware: edge::middleware(&config.http, at, records.metrics.as_ref())?,
            acme: tls.and_then(Tls::acme).cloned(),
            sites: served::sites(all)?,
            statics: settings::statics(config)?,
            files: settings::files(config).build().map_err(Error::system("file threads"))?,
            body: settings::body(&config.http, intake.place, drain.clone()),
            timing: Timing { slow_after: config.http.request_slowlog_timeout, metrics: records.metrics },
            access: records.access,
            request_ids: intake.request_ids,
            dev,
        }))
    }
}
