//! The page of figures (`metrics`), in Prometheus' text format.

mod engines;
mod process;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, proto::MetricFamily};
use tokio::runtime::Runtime;

use super::{fellows::Fellows, settings};
use crate::{
    config,
    error::Error,
    http::{
        Body, Drain, Incoming, Metrics, Peer, access,
        conn::{self, Entry, Handler},
        h3, listen,
        spool::Place,
    },
    lock::{self, Locks},
    metrics::{Collectors, Figures as Kept, Shown},
    rpc::Service,
    telemetry::{Seldom, logs},
    worker::{Control, Controls, OutputBudget, Pool, WorkerStatus},
};

pub(super) use engines::DECLARED;

/// Where figures come from.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) controls: Controls,
    /// By their names.
    pub(super) pools: Vec<(String, Pool)>,
    pub(super) drain: Drain,
    pub(super) place: Place,
    pub(super) output: Arc<OutputBudget>,
    pub(super) access: access::Log,
    /// None without HTTP/3.
    pub(super) packets: Option<h3::Dropped>,
    /// What applications keep.
    pub(super) kept: Option<Kept>,
    /// Those of this engine.
    pub(super) locks: Option<Arc<Locks>>,
    /// The other engines, if there are any.
    pub(super) fellows: Option<Arc<Fellows>>,
}

/// Answers with the page, whatever the path.
#[derive(Clone, Debug)]
struct Page(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    registry: Registry,
    sources: Sources,
    started: Instant,
    began: SystemTime,
}

/// The page and the sockets that it is asked for on.
#[derive(Debug)]
pub(super) struct Figures {
    page: Page,
    listeners: listen::Listeners,
    max_connections: usize,
}

/// What [`prepare`] makes of the section; nothing if nobody is to read figures.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Figures of requests.
    pub(super) requests: Option<Arc<Metrics>>,
    /// The page that shows all.
    pub(super) page: Option<Figures>,
}

/// Readers are few, and come back.
const BACKLOG: i32 = 128;

/// How long a reader may do nothing; Prometheus comes by once a minute.
const READER: Duration = Duration::from_secs(120);

/// To listen where `section` says, if it does.
pub(super) fn listen(section: &config::Metrics) -> Result<listen::Config, Error> {
    settings::listen("metrics.address", &section.address, BACKLOG)
}

/// What applications may keep, and what they have declared beforehand; none if nobody is to read it.
pub(super) fn collectors(section: &config::Metrics) -> Result<Option<Collectors>, Error> {
    if section.address.is_none() {
        return Ok(None);
    }
    let collectors = Collectors::with(section.max_series, section.collect.clone());
    collectors.map(Some).map_err(|error| Error::Config(format!("metrics.collect: {error}")))
}

/// Figures of requests, and the page on which `listeners` shows them; neither if nobody is to read them.
pub(super) fn prepare(section: &config::Metrics, listeners: listen::Listeners, sources: Sources) -> Result<Prepared, Error> {
    if section.address.is_none() {
        return Ok(Prepared::default());
    }
    let registry = Registry::new();
    let failed = |error| Error::Engine(format!("metrics: {error}"));
    registry.register(sources.drain.handshakes().collector()).map_err(failed)?;
    let metrics = Metrics::register(&registry).map_err(failed)?;
    let page = Page(Arc::new(Shared { registry, sources, started: Instant::now(), began: SystemTime::now() }));
    let figures = Figures { page, listeners, max_connections: section.max_connections };
    Ok(Prepared { requests: Some(Arc::new(metrics)), page: Some(figures) })
}

// === impl Figures ===

impl Figures {
    /// What other engines ask of the page.
    pub(super) fn service(&self) -> Arc<dyn Service> {
        Arc::new(self.page.clone())
    }

    /// Answers in the background of `runtime`, until told to stop.
    pub(super) fn start(self, runtime: &Runtime) -> Drain {
        let drain = Drain::new();
        let config = conn::Config {
            max_connections: self.max_connections,
            header_timeout: READER,
            keepalive_timeout: READER,
            write_timeout: READER,
            heads_make_room: true,
            ..settings::connections(&config::Http::default())
        };
        let (page, theirs) = (self.page, drain.clone());
        let entry = Entry { listeners: self.listeners, proxies: Vec::new(), tls: None };
        runtime.spawn(async move {
            if let Err(error) = conn::serve(&[entry], Arc::new(config), page, theirs).await {
                tracing::error!(%error, "metrics.address: nobody is answered");
            }
        });
        drain
    }
}

// === impl Page ===

impl Page {
    /// The page, also of other engines if there are any.
    async fn text(&self) -> prometheus::Result<String> {
        match &self.0.sources.fellows {
            Some(fellows) => self.of_all(fellows).await,
            None => encode(&self.with_kept(self.own()?).await?),
        }
    }

    /// The server's own figures, of this engine.
    fn own(&self) -> prometheus::Result<Vec<MetricFamily>> {
        let mut families = self.0.registry.gather();
        families.extend(self.momentary()?);
        Ok(families)
    }

    /// The same with those that applications keep.
    async fn with_kept(&self, mut families: Vec<MetricFamily>) -> prometheus::Result<Vec<MetricFamily>> {
        if let Some(Shown { families: theirs, series }) = self.kept().await {
            let registry = Registry::new();
            put(&registry, "rr_metrics_series", "Figures that applications keep; see metrics.max_series.", series as u64)?;
            families.extend(registry.gather());
            // Two families of one name, and no reader takes any of the page.
            let is_new = |family: &MetricFamily| !families.iter().any(|own| own.name() == family.name());
            let (new, hidden): (Vec<_>, Vec<_>) = theirs.into_iter().partition(is_new);
            if let Some(family) = hidden.first() {
                static SELDOM: Seldom = Seldom::new();
                if let Some(unsaid) = SELDOM.say() {
                    tracing::warn!(unsaid, "metrics: {} is not shown, for the server has a figure of that name", family.name());
                }
            }
            families.extend(new);
        }
        Ok(families)
    }

    /// What applications keep; none if nobody keeps anything, or it cannot be had now.
    async fn kept(&self) -> Option<Shown> {
        match self.0.sources.kept.as_ref()?.gather().await {
            Ok(kept) => Some(kept),
            Err(error) => {
                static SELDOM: Seldom = Seldom::new();
                if let Some(unsaid) = SELDOM.say() {
                    tracing::error!(unsaid, "metrics: what applications keep is not shown: {error}");
                }
                None
            }
        }
    }

    /// What is known without counting.
    fn momentary(&self) -> prometheus::Result<Vec<MetricFamily>> {
        let registry = Registry::new();
        let sources = &self.0.sources;
        let mut plugins: Vec<&str> = Vec::new();
        for name in sources.controls.names() {
            let plugin = name.split([':', '/']).next().unwrap_or(name);
            if !plugins.contains(&plugin) {
                plugins.push(plugin);
                workers(&registry, plugin, &sources.controls.of(plugin))?;
            }
        }
        pools(&registry, &sources.pools)?;
        connections(&registry, &sources.drain)?;
        if let Some(packets) = &sources.packets {
            count(
                &registry,
                "rr_http_quic_packets_dropped_total",
                "Packets of HTTP/3 that the kernel had no room for; see http.http3.socket_buffer.",
                packets.count(),
            )?;
        }
        process::figures(&registry, self.0.began)?;
        if let Some(locks) = &sources.locks {
            lock(&registry, locks.figures())?;
        }
        let gauge = |name: &str, help: &str, value: u64| put(&registry, name, help, value);
        gauge("rr_http_body_memory_bytes", "Shared memory that request bodies take.", sources.place.taken() as u64)?;
        let output = &sources.output;
        gauge("rr_http_output_memory_bytes", "Memory that answers take on their way.", output.memory() as u64)?;
        gauge("rr_http_output_file_bytes", "Room in temporary files that answers take on their way.", output.file())?;
        gauge("rr_http_output_files", "Temporary files of answers on their way.", output.files() as u64)?;
        count(
            &registry,
            "rr_http_output_cut_total",
            "Answers broken off because their clients did not read and there was no room left.",
            output.cut(),
        )?;
        gauge("rr_http_uptime_seconds", "Uptime in seconds.", self.0.started.elapsed().as_secs())?;
        count(
            &registry,
            "rr_http_access_log_dropped_total",
            "Lines of the access log that were lost.",
            sources.access.dropped(),
        )?;
        count(&registry, "rr_log_dropped_total", "Lines of the server's log that were lost.", logs::lost())?;
        Ok(registry.gather())
    }
}

impl Handler for Page {
    async fn handle(&self, request: Request<Incoming>, _peer: Peer) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            return response;
        }
        match self.text().await {
            Ok(text) => {
                let mut response = Response::new(Body::from(Bytes::from(text)));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(prometheus::TEXT_FORMAT));
                response
            }
            Err(error) => {
                tracing::error!(%error, "metrics");
                let mut response = Response::new(Body::Empty);
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        }
    }
}

fn encode(families: &[MetricFamily]) -> prometheus::Result<String> {
    let mut text = String::new();
    TextEncoder::new().encode_utf8(families, &mut text)?;
    Ok(text)
}

fn put(registry: &Registry, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
    let gauge = IntGauge::new(name, help)?;
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(Box::new(gauge))
}

fn count(registry: &Registry, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
    let counter = IntCounter::new(name, help)?;
    counter.inc_by(value);
    registry.register(Box::new(counter))
}

/// RoadRunner's figures of a plugin's workers.
fn workers(registry: &Registry, plugin: &str, pools: &[&dyn Control]) -> prometheus::Result<()> {
    let rows: Vec<_> = pools.iter().flat_map(|pool| pool.workers()).collect();
    let name = |end: &str| format!("rr_{plugin}_{end}");
    let with = |statuses: &[WorkerStatus]| rows.iter().filter(|row| statuses.contains(&row.status)).count() as u64;
    let (ready, working) = (with(&[WorkerStatus::Ready]), with(&[WorkerStatus::Working]));
    put(registry, &name("total_workers"), "Total number of workers.", rows.len() as u64)?;
    put(registry, &name("workers_memory_bytes"), "Memory usage by workers.", rows.iter().map(|row| row.memory).sum())?;
    put(registry, &name("workers_ready"), "Workers currently in ready state.", ready)?;
    put(registry, &name("workers_working"), "Workers currently in working state.", working)?;
    let others = rows.len() as u64 - ready - working;
    put(
        registry,
        &name("workers_invalid"),
        "Workers currently in invalid, killing, destroyed, errored, inactive states.",
        others,
    )?;
    let state = IntGaugeVec::new(Opts::new(name("worker_state"), "Worker current state."), &["state", "pid"])?;
    let memory = GaugeVec::new(Opts::new(name("worker_memory_bytes"), "Worker current memory usage."), &["pid"])?;
    for row in &rows {
        let pid = row.pid.to_string();
        state.with_label_values(&[row.status.name(), &pid]).set(1);
        memory.with_label_values(&[&pid]).set(row.memory as f64);
    }
    registry.register(Box::new(state))?;
    registry.register(Box::new(memory))
}

fn pools(registry: &Registry, pools: &[(String, Pool)]) -> prometheus::Result<()> {
    let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["pool"]);
    let queued = gauge("rr_queue_length", "Works that wait for a worker.")?;
    let workers = IntGaugeVec::new(Opts::new("rr_workers", "Workers by what they do."), &["pool", "state"])?;
    let turned_away =
        Opts::new("rr_queue_turned_away_total", "Works that got no worker: the queue was full, or they waited too long.");
    let turned_away = IntCounterVec::new(turned_away, &["pool", "reason"])?;
    let mut none_free = 0;
    for (name, pool) in pools {
        let now = pool.snapshot();
        queued.with_label_values(&[name]).set(now.queued as i64);
        workers.with_label_values(&[name, "idle"]).set(now.idle as i64);
        workers.with_label_values(&[name, "busy"]).set(now.workers.saturating_sub(now.idle) as i64);
        turned_away.with_label_values(&[name, "queue_full"]).inc_by(now.refused);
        turned_away.with_label_values(&[name, "timeout"]).inc_by(now.expired);
        if name.starts_with("http") {
            none_free += now.refused + now.expired;
        }
    }
    registry.register(Box::new(queued))?;
    registry.register(Box::new(workers))?;
    registry.register(Box::new(turned_away))?;
    count(registry, "rr_http_no_free_workers_total", "Total number of NoFreeWorkers occurrences.", none_free)
}

fn lock(registry: &Registry, now: lock::Figures) -> prometheus::Result<()> {
    put(registry, "rr_lock_resources", "Resources that are locked.", now.resources as u64)?;
    put(registry, "rr_lock_held", "Locks that are held.", now.held as u64)?;
    put(registry, "rr_lock_waiting", "Calls that wait for a lock.", now.waiting as u64)?;
    count(
        registry,
        "rr_lock_refused_total",
        "Calls that were refused: too many locks were held, or too many waited.",
        now.refused,
    )
}

fn connections(registry: &Registry, drain: &Drain) -> prometheus::Result<()> {
    let now = drain.snapshot();
    put(registry, "rr_http_connections", "Connections open.", now.open as u64)?;
    count(registry, "rr_http_connections_accepted_total", "Connections accepted.", now.accepted)?;
    count(
        registry,
        "rr_http_accept_paused_total",
        "Times that accepting paused: all allowed were open, or descriptors ran out.",
        now.paused,
    )?;
    count(registry, "rr_http_refused_total", "Request heads, and connections before one, that were refused.", now.refused)?;
    let timeouts =
        Opts::new("rr_http_connection_timeouts_total", "Connections and requests given up because their peer took too long.");
    let timeouts = IntCounterVec::new(timeouts, &["reason"])?;
    for (reason, times) in [
        ("idle", now.idle_timeouts),
        ("first", now.first_timeouts),
        ("head", now.head_timeouts),
        ("write", now.write_timeouts),
        ("body", now.body_timeouts),
        ("handshake", now.handshake_timeouts),
        ("proxy", now.proxy_timeouts),
    ] {
        timeouts.with_label_values(&[reason]).inc_by(times);
    }
    registry.register(Box::new(timeouts))?;
    let closed = Opts::new("rr_http_connections_closed_total", "Connections that were closed for another reason.");
    let closed = IntCounterVec::new(closed, &["reason"])?;
    for (reason, times) in ["client_limit", "room", "age", "tls", "proxy_header"].into_iter().zip(now.closed) {
        closed.with_label_values(&[reason]).inc_by(times);
    }
    registry.register(Box::new(closed))
}
