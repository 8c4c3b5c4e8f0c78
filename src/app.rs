//! The composition root: the only file that names both the engine and the rest.

use std::{
    io::{self, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::sys::{prctl, signal::Signal};
use tokio::{runtime::Runtime, sync::mpsc};

use crate::{
    config::Config,
    error::{Error, ExitCode},
    http::{
        Drain, fcgi,
        listen::Listeners,
        tls::tickets::{Keys, Tickets},
    },
    php,
    rpc::Service,
    state::Kin,
    supervisor::{self, Inherited, Left, Plan, Release},
    sys::{
        crash, exit,
        memory::Shared,
        pid::PidFile,
        priority::{self, Lowered},
        signal,
    },
    telemetry::logs,
    worker::{Controls, Pool, process::Processes, scoreboard::Scoreboard},
};

mod acme;
mod banner;
mod boot;
mod command;
mod compiled;
mod control;
mod development;
mod edge;
mod fellows;
mod fileserver;
mod front;
mod guards;
mod health_checks;
mod kept;
mod life;
mod line;
mod lock;
mod memory;
mod metrics;
mod opcache;
mod reload;
mod rights;
mod rpc;
mod served;
mod settings;
mod site;
mod sockets;
mod status;
mod tcp;
mod way;

use banner::Facts;
use boot::{Boot, Workers};
use development::Development;
use edge::{Behind, Secrets};
use fellows::{Among, Beside, Neighbours, Seat, Shown};
use front::{Front, runtime};
use health_checks::Answering;
use kept::Kept;
use life::{Others, Pulse};
use line::{Line, Opened, Signals, Wished};
use memory::MemoryGuard;
use served::Served;
use sockets::Listening;
use way::{Ends, Records, Watched, Way};

/// How long a short work may wait for a worker that is busy while others sleep.
const PATIENCE: Duration = Duration::from_micros(200);

/// What an engine may need to end beyond its grace period.
const LEAVES_WITHIN: Duration = Duration::from_secs(15);

/// What the command line adds to the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The directory to serve; wins over `http.root`.
    pub dir: Option<PathBuf>,
    /// The configuration's file, if it has one.
    pub file: Option<PathBuf>,
    /// No banner.
    pub silent: bool,
    /// Write `.pid` into the working directory.
    pub pid_file: bool,
}

/// Keeps engines running until a signal asks to stop; `start` is where this process was started, by the name that it had.
pub fn supervise(config: &Config, options: Options, start: PathBuf) -> Result<ExitCode, Error> {
    logs::install(&config.logs).map_err(Error::system("log"))?;
    // Refused here rather than by an engine: the message comes at once, and nothing listens yet.
    drop(served::find(config, options.dir.as_deref())?);
    rights::raise_descriptors(config);
    let release = release(config, options.dir, options.file)?;
    supervisor::run(Plan { release, start, silent: options.silent, pid_file: options.pid_file })
}

/// Goes on in the place of the program that kept engines running in this process.
pub fn resume(left: Left) -> Result<ExitCode, Error> {
    let release = left.release();
    // None of this may end the process: it has the sockets, and engines that serve.
    _ = std::env::set_current_dir(&release.folder);
    if let Ok(config) = Config::from_json(&release.config) {
        _ = logs::install(&config.logs);
    }
    supervisor::resume(left)
}

/// What a supervisor has to know of `config`, once all of it was looked at that can be looked at without serving. Symbolic links
/// are followed as they are now, from the working directory as it is now.
pub fn release(config: &Config, dir: Option<PathBuf>, file: Option<PathBuf>) -> Result<Release, Error> {
    check(config, dir.as_deref())?;
    // What is not there is for the engine to complain about.
    let follow = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let rights = rights::of(config)?;
    rights::give_logs(config, &rights)?;
    let mut followed = config.clone();
    followed.served_mut().for_each(|path| *path = follow(path));
    Ok(Release {
        config: followed.to_json(),
        file,
        dir: dir.as_deref().map(follow),
        folder: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        places: followed.served().cloned().collect(),
        processes: config.engine.processes,
        sockets: sockets::wanted(config)?,
        shutdown_delay: config.engine.shutdown_delay,
        leaves_within: config.engine.shutdown_delay + config.engine.grace_period + LEAVES_WITHIN,
        probation: config.engine.probation,
        checks: health_checks::checks(&config.status),
        ticket_lifetime: edge::ticket_lifetime(&config.http),
        rights,
    })
}

/// Serves as the engine that a supervisor has started.
pub fn serve_inherited(inherited: Inherited) -> Result<(), Error> {
    signal::pass_over_reloads().map_err(Error::system("signals"))?;
    // While it boots nobody reads the line.
    _ = prctl::set_pdeathsig(Signal::SIGTERM);
    // Started by its descriptor, a program is known by the number of that.
    _ = prctl::set_name(supervisor::NAME);
    crash::report(inherited.crash).map_err(Error::system("crash handler"))?;
    let config = Config::from_json(&inherited.config).map_err(|error| Error::Config(error.to_string()))?;
    let options = Options { dir: inherited.dir, file: None, silent: inherited.silent, pid_file: false };
    let sockets = sockets::adopted(inherited.sockets, inherited.terms);
    let page = Shared::open(&inherited.scoreboard).map_err(Error::system("scoreboard"))?;
    let board = Scoreboard::new(page.words());
    let line = inherited.line.try_clone().map_err(Error::system("line to the supervisor"))?;
    // Where that cannot be, it boots as others run.
    let lowered = if inherited.succeeds { priority::of_parent().and_then(Lowered::begin).ok().flatten() } else { None };
    // With one engine there is nobody to hear of.
    let letter_box = (config.engine.processes > 1).then_some(inherited.letter_box);
    let seat = Seat { place: inherited.place, engines: config.engine.processes };
    let means = Means {
        sockets,
        line: Some(inherited.line),
        board,
        tickets: Tickets::new(inherited.ticket_keys),
        kin: inherited.kin,
        beside: letter_box.map(|letter_box| Beside { seat, letter_box }),
        compile: inherited.succeeds.then(|| compiled::read(&inherited.scripts, &config, options.dir.as_deref())),
        scripts: Some(inherited.scripts),
        lowered,
    };
    let served = run_engine(config, &options, means);
    if let Err(error) = &served {
        // For whoever asked for a reload. If the supervisor is gone, nobody did.
        drop((&line).write_all(&supervisor::encode(&supervisor::Report::failed(&error.to_string()))));
    }
    served
}

/// Serves without a supervisor until a signal asks to stop.
pub fn serve(config: Config, options: &Options) -> Result<(), Error> {
    // Until it can answer them.
    signal::pass_over_reloads().map_err(Error::system("signals"))?;
    logs::install(&config.logs).map_err(Error::system("log"))?;
    let rights = rights::of(&config)?;
    let sockets = sockets::own(&config)?;
    let pid_file = PidFile::write_if(options.pid_file).map_err(Error::system("pid file .pid"))?;
    rights::give_logs(&config, &rights)?;
    rights::raise_descriptors(&config);
    rights.assume().map_err(Error::system("server.user"))?;
    let tickets = Tickets::new(Keys::new());
    let kin = Kin::default();
    let means =
        Means { sockets, line: None, board: None, tickets, kin, beside: None, scripts: None, compile: None, lowered: None };
    let served = run_engine(config, options, means);
    drop(pid_file);
    served
}

/// What an engine serves on.
struct Means {
    sockets: Listening,
    line: Option<UnixStream>,
    board: Option<Scoreboard>,
    tickets: Tickets,
    kin: Kin,
    /// If it serves among others.
    beside: Option<Beside>,
    /// Where to write what OPcache has, for the next engine.
    scripts: Option<OwnedFd>,
    /// What the engine before had in its OPcache.
    compile: Option<php::Compile>,
    /// It boots beside an engine that serves.
    lowered: Option<Lowered>,
}

fn run_engine(mut config: Config, options: &Options, means: Means) -> Result<(), Error> {
    logs::install(&config.logs).map_err(Error::system("log"))?;
    rights::fit(&mut config);
    let all = served::find(&config, options.dir.as_deref())?;
    let tls = edge::tls_with_randomness(&config.http, &means.tickets)?;
    let at = edge::At::of(&means.sockets);
    let doors = means.sockets.doors();
    // Before anything boots: what changes meanwhile is not missed.
    let development = config.dev.enabled.then(|| Development::prepare(&config.dev, &all)).transpose()?;
    let runtime = runtime(&[]).map_err(Error::system("main runtime"))?;
    let signals = means.line.is_none().then(|| begin_alone(&runtime, &means.tickets, &config)).transpose()?;
    let calls = config.rpc.as_ref().map(|section| rpc::Bound::adopt(section, means.sockets.rpc));

    // Health checks are answered from it.
    let board = means.board.or_else(|| config.status.address.as_ref().map(|_| Scoreboard::local()));
    let intake = settings::Intake::new(&config.http);
    // The engine starts before any other thread exists, for OPcache may fork to preload, and ends on this same thread.
    let boot = Boot { all: &all, intake: &intake, calls: calls.as_ref(), board, compile: means.compile, lowered: means.lowered };
    let Workers { engine, processes } = boot.start(&config)?;
    let Opened { mut line, wishes } = listen(&runtime, signals, means.line, &means.tickets).map_err(Error::system("signals"))?;
    line.scripts = means.scripts.map(|file| compiled::Writer::new(&config, options.dir.as_deref(), engine.opcache(), file));
    let fcgi = fastcgi(&config, means.sockets.fcgi, &all, &engine, &intake);
    let tcp = tcp::build(&config.tcp, &all, means.sockets.tcp, &intake.request_ids);
    let controls = rpc::controls(engine.pools(), &processes);
    let pools: Arc<[Pool]> = all.iter().map(|one| one.pool.clone()).collect();
    let processes: Arc<[Arc<Processes>]> = processes.into_iter().flatten().collect();
    let mut guard = MemoryGuard::new(&config.engine, &pools, &processes, &controls);
    let kept = Kept::start(&config, &runtime, means.kin)?;
    let development = development.map(|prepared| prepared.start(&config.dev, engine.pools())).transpose()?;
    let dev = development.as_ref().map(|development| development.dev.clone());
    let drain = Drain::new();
    let neighbours = means.beside.map(|beside| Neighbours::new(beside, wishes.clone()));
    let fellows = neighbours.as_ref().map(|neighbours| neighbours.fellows.clone());
    let ends = Ends { metrics: means.sockets.metrics, packets: means.sockets.quic.read() };
    let watched = Watched { controls: &controls, drain: &drain, intake: &intake, kept: &kept, fellows: fellows.clone() };
    let mut records = Records::new(&config, &all, ends, watched)?;
    let figures = records.page.take();
    let callees = Callees { engine: &engine, guard: guard.as_ref(), tcp: tcp.as_ref(), kept: &kept };
    let services = callees.services(&config, &controls, wishes);
    let shown = Shown { services: &services, figures: figures.as_ref(), kept: &kept };
    let among = neighbours.map(|neighbours| Among::start(&runtime, neighbours, shown)).transpose()?;
    let calls = calls.map(|bound| bound.build(services, fellows)).transpose()?.map(Arc::new);
    let service = Way { tls: tls.as_ref(), at, records, drain: &drain, intake, dev: dev.clone() }.service(&config, &all)?;
    let connections = Arc::new(settings::connections(&config.http));
    let behind = Behind { config: connections.clone(), service: service.clone(), drain: drain.clone() };
    let quic = edge::quic(&config.http, means.sockets.quic, Secrets { tls: tls.as_ref(), tickets: &means.tickets }, behind)?;
    let certificates = runtime.spawn(edge::keep(tls.clone(), quic.as_ref().map(|quic| quic.tls().clone()))).abort_handle();
    let front = Front {
        files: fileserver::Serving::new(&config, means.sockets.fileserver)?,
        quic: quic.map(Arc::new),
        doors,
        entries: edge::entries(&config.http, means.sockets.http, means.sockets.ssl, tls),
        config: connections,
        service,
        fcgi,
        tcp,
        calls,
        drain,
        pools,
        processes,
        dev,
        certificates,
    };
    let io_threads = front.start(&config.engine, board)?;
    let facts = Facts { all: &all, front: &front, engine: &engine, io_threads: io_threads.len(), config: &config };
    announce(options, &facts);
    let pulse = Pulse { pools: front.pools.clone(), board, controls };
    let Answering { health, server: checks } = runtime.block_on(health_checks::start(&config.status, &means.sockets.status))?;
    let others = Others { health, figures: figures.map(|figures| figures.start(&runtime)), state: kept.state, among };
    let deadline = runtime.block_on(life::run(line, &front, &engine, &config.engine, &pulse, &mut guard, &others));
    drop(checks);
    front.finish(io_threads, deadline);
    drop(development);
    stop(engine, all);
    Ok(())
}

fn announce(options: &Options, facts: &Facts<'_>) {
    if !options.silent {
        banner::print(facts);
    }
}

/// Without a supervisor an engine replaces the keys of tickets itself, and hears signals from the start, for it has files to remove.
/// With one, a signal ends it at once as long as it serves nothing.
fn begin_alone(runtime: &Runtime, tickets: &Tickets, config: &Config) -> Result<Signals, Error> {
    runtime.spawn(tickets.clone().keep_replacing(edge::ticket_lifetime(&config.http)));
    runtime.block_on(async { Signals::new(false) }).map_err(Error::system("signals"))
}

/// To the supervisor and to signals, if not to those before.
fn listen(runtime: &Runtime, signals: Option<Signals>, line: Option<UnixStream>, tickets: &Tickets) -> io::Result<Opened> {
    // From here on the line tells of the supervisor's end.
    prctl::set_pdeathsig(None)?;
    runtime.block_on(async { Line::open(signals.map_or_else(|| Signals::new(line.is_some()), Ok)?, line, tickets.clone()) })
}

/// What calls act on, beside the pools' workers.
struct Callees<'a> {
    engine: &'a php::Engine,
    guard: Option<&'a MemoryGuard>,
    tcp: Option<&'a Arc<crate::tcp::Server>>,
    kept: &'a Kept,
}

impl Callees<'_> {
    /// Who answers calls.
    fn services(self, config: &Config, controls: &Controls, wishes: mpsc::Sender<Wished>) -> Vec<Arc<dyn Service>> {
        let Self { engine, guard, tcp, kept } = self;
        let lock = lock::service(&config.engine, &kept.state);
        let always = [reload::service(wishes), opcache::service(engine.opcache()), lock];
        let at_times = [guard.map(MemoryGuard::service), tcp.map(tcp::service), kept.figures.clone().map(rpc::metrics)];
        rpc::services(config, controls.clone(), always.into_iter().chain(at_times.into_iter().flatten()).collect())
    }
}

/// Ends PHP, or this process with it if that cannot be.
fn stop(engine: php::Engine, all: Vec<Served>) {
    let stopped = engine.stop(Duration::from_secs(1));
    drop(all);
    if !stopped {
        tracing::warn!("PHP is still at work and is abandoned; the process ends without PHP's own shutdown");
        exit::now(0);
    }
}

/// The FastCGI listener, whose requests are the first site's.
fn fastcgi(
    config: &Config,
    listeners: Listeners,
    all: &[Served],
    engine: &php::Engine,
    intake: &settings::Intake,
) -> Option<Arc<fcgi::Server>> {
    let statuses: Vec<_> =
        all.iter().zip(engine.pools()).map(|(one, threads)| status::Source::provide(&one.pool, threads)).collect();
    let section = config.http.fcgi.as_ref()?;
    let (first, status) = (all.first().expect("something is served"), statuses.into_iter().next().expect("each has one"));
    let settings = settings::fastcgi(section, &config.http, intake.clone(), engine.version());
    Some(Arc::new(settings.build(listeners, first.pool.clone(), status)))
}

/// Looks at everything that can be looked at without serving; `dir` is the directory named on the command line.
pub fn check(config: &Config, dir: Option<&Path>) -> Result<(), Error> {
    sockets::wanted(config)?;
    edge::check(&config.http)?;
    settings::statics(config)?;
    fileserver::build(config)?;
    metrics::collectors(&config.metrics)?;
    // With nothing to serve a directory on the command line is expected.
    if dir.is_some() || served::has_something(config) {
        drop(served::sites(&served::find(config, dir)?)?);
    }
    Ok(())
}
