//! The composition root: the only file that names both the engine and the rest.

use std::{
    io::{self, Write},
    net::UdpSocket,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::sys::{prctl, signal::Signal};
use tokio::{runtime::Runtime, sync::mpsc};

use crate::{
    config::{self, Config},
    error::{Error, ExitCode},
    health::{self, Health},
    http::{
        Drain, Metrics, Timing, access,
        dev::Dev,
        fcgi, h3,
        listen::Listeners,
        service::{Needs, Service},
        tls::{
            self, Tls,
            tickets::{Keys, Tickets},
        },
    },
    php,
    state::{Kin, State},
    supervisor::{self, Inherited, Left, Plan, Release},
    sys::{
        crash, exit,
        memory::Shared,
        pid::PidFile,
        priority::{self, Lowered},
        signal,
    },
    telemetry::logs,
    worker::{
        Controls, Pool, Replace,
        process::{self, Processes},
        scoreboard::Scoreboard,
    },
};

mod acme;
mod banner;
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

use development::Development;
use fellows::{Among, Fellows, Seat};
use front::{Front, runtime};
use kept::Kept;
use line::{Asked, Line, Signals, Wished};
use memory::MemoryGuard;
use metrics::Sources;
use served::Served;
use sockets::Listening;

/// How long a short work may wait for a worker that is busy while others sleep.
const PATIENCE: Duration = Duration::from_micros(200);

/// How long connections may idle in an engine that has been succeeded: clients send on them without a second thought.
const HAND_OVER_IDLE: Duration = Duration::from_secs(8);

/// What an engine may need to end beyond its grace period.
const LEAVES_WITHIN: Duration = Duration::from_secs(15);

/// A signal for all processes has the supervisor tell its engines to stop within this time.
const SUPERVISOR_SPEAKS: Duration = Duration::from_millis(200);

/// How often another engine is asked for, while the supervisor may have others to start.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// How often threads are looked for that never came back.
const LOOK_FOR_LOST: Duration = Duration::from_secs(5);

/// What the command line adds to the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The directory to serve; wins over `http.root`.
    pub dir: Option<PathBuf>,
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
    let release = release(config, options.dir)?;
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
pub fn release(config: &Config, dir: Option<PathBuf>) -> Result<Release, Error> {
    check(config, dir.as_deref())?;
    // What is not there is for the engine to complain about.
    let follow = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let rights = rights::of(config)?;
    rights::give_logs(config, &rights)?;
    let mut followed = config.clone();
    followed.served_mut().for_each(|path| *path = follow(path));
    Ok(Release {
        config: followed.to_json(),
        dir: dir.as_deref().map(follow),
        folder: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        places: followed.served().cloned().collect(),
        processes: config.engine.processes,
        sockets: sockets::wanted(config)?,
        shutdown_delay: config.engine.shutdown_delay,
        leaves_within: config.engine.shutdown_delay + config.engine.grace_period + LEAVES_WITHIN,
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
    crash::report().map_err(Error::system("crash handler"))?;
    let config = Config::from_json(&inherited.config).map_err(|error| Error::Config(error.to_string()))?;
    let options = Options { dir: inherited.dir, silent: inherited.silent, pid_file: false };
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
        beside: letter_box.map(|letter_box| (seat, letter_box)),
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
    /// Where it serves among others, and how it hears of them, if it does.
    beside: Option<(Seat, OwnedFd)>,
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
    let tls = edge::tls(&config.http, &means.tickets)?;
    if tls.is_some() {
        tls::gather_randomness();
    }
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
    let (engine, processes) =
        start_workers(&config, (&all, &intake), calls.as_ref().map(rpc::Bound::dsn), (board, means.compile, means.lowered))?;
    let (mut line, wishes) = listen(&runtime, signals, means.line, &means.tickets).map_err(Error::system("signals"))?;
    line.scripts = means.scripts.map(|file| compiled::Writer::new(&config, options.dir.as_deref(), engine.opcache(), file));
    let fcgi = fastcgi(&config, means.sockets.fcgi, &all, &engine, &intake);
    let tcp = tcp::build(&config.tcp, &all, means.sockets.tcp, &intake.request_ids);
    let controls = rpc::controls(engine.pools(), &processes);
    let pools: Arc<[Pool]> = all.iter().map(|one| one.pool.clone()).collect();
    let processes: Arc<[Arc<Processes>]> = processes.into_iter().flatten().collect();
    let mut guard = MemoryGuard::new(&config.engine.memory, &pools, &processes, &controls);
    let kept = Kept::start(&config, &runtime, means.kin)?;
    let development = development.map(|prepared| prepared.start(&config.dev, engine.pools())).transpose()?;
    let dev = development.as_ref().map(|development| development.dev.clone());
    let drain = Drain::new();
    let (fellows, letter_box) = means.beside.map(|(seat, post)| (Arc::new(Fellows::new(seat, wishes.clone())), post)).unzip();
    let ends = (means.sockets.metrics, sockets::read(&means.sockets.quic));
    let (records, figures) = Records::new(&config, &all, ends, (&controls, &drain, &intake, &kept), fellows.clone())?;
    let services = services(&config, &controls, wishes, (&engine, guard.as_ref(), tcp.as_ref(), &kept));
    let among = Among::start(&runtime, fellows.clone().zip(letter_box), &services, (figures.as_ref(), &kept))?;
    let calls = calls.map(|bound| bound.build(services, fellows)).transpose()?.map(Arc::new);
    let service = service(&config, &all, Encryption { tls: tls.as_ref(), at }, (records, &drain), intake, dev.clone())?;
    let connections = Arc::new(settings::connections(&config.http));
    let shared = (connections.clone(), service.clone(), drain.clone());
    let quic = edge::quic(&config.http, means.sockets.quic, (tls.as_ref(), &means.tickets), shared)?;
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
    announce(options, (&all, &front, &engine, &io_threads, &config));
    let pulse = Pulse { pools: front.pools.clone(), board, controls };
    let (health, checks) = runtime.block_on(health_checks::start(&config.status, &means.sockets.status))?;
    let told = Told { health, figures: figures.map(|figures| figures.start(&runtime)), state: kept.state, among };
    let deadline = runtime.block_on(run(line, &front, &engine, &config.engine, &pulse, &mut guard, &told));
    drop(checks);
    front.finish(io_threads, deadline);
    drop(development);
    stop(engine, all);
    Ok(())
}

fn announce(
    options: &Options,
    (all, front, engine, io_threads, config): (&[Served], &Front, &php::Engine, &[JoinHandle<()>], &Config),
) {
    if !options.silent {
        banner::print(&banner::Facts { all, front, engine, io_threads: io_threads.len(), config });
    }
}

/// Without a supervisor an engine replaces the keys of tickets itself, and hears signals from the start, for it has files to remove.
/// With one, a signal ends it at once as long as it serves nothing.
fn begin_alone(runtime: &Runtime, tickets: &Tickets, config: &Config) -> Result<Signals, Error> {
    runtime.spawn(tickets.clone().keep_replacing(edge::ticket_lifetime(&config.http)));
    runtime.block_on(async { Signals::new(false) }).map_err(Error::system("signals"))
}

/// To the supervisor and to signals, if not to those before.
fn listen(
    runtime: &Runtime,
    signals: Option<Signals>,
    line: Option<UnixStream>,
    tickets: &Tickets,
) -> io::Result<(Line, mpsc::Sender<Wished>)> {
    // From here on the line tells of the supervisor's end.
    prctl::set_pdeathsig(None)?;
    runtime.block_on(async { Line::new(signals.map_or_else(|| Signals::new(line.is_some()), Ok)?, line, tickets.clone()) })
}

/// Who answers calls.
fn services(
    config: &Config,
    controls: &Controls,
    wishes: mpsc::Sender<Wished>,
    (engine, guard, tcp, kept): (&php::Engine, Option<&MemoryGuard>, Option<&Arc<crate::tcp::Server>>, &Kept),
) -> Vec<Arc<dyn crate::rpc::Service>> {
    let lock = lock::service(&config.engine, &kept.state);
    let always = [reload::service(wishes), opcache::service(engine.opcache()), lock];
    let at_times = [guard.map(MemoryGuard::service), tcp.map(tcp::service), kept.figures.clone().map(rpc::metrics)];
    rpc::services(config, controls.clone(), always.into_iter().chain(at_times.into_iter().flatten()).collect())
}

/// Ends PHP, or this process with it if that cannot be.
fn stop(engine: php::Engine, all: Vec<Served>) {
    let stopped = engine.stop(Duration::from_secs(1));
    drop(all);
    if !stopped {
        tracing::warn!("a script is still running and is abandoned; the process ends without PHP's own shutdown");
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

/// What is kept of requests.
struct Records {
    access: access::Log,
    metrics: Option<Arc<Metrics>>,
}

impl Records {
    /// Also the page of figures, which `listeners` are asked for, and which tells what is lost at the sockets of HTTP/3.
    fn new(
        config: &Config,
        all: &[Served],
        (listeners, packets): (Listeners, &[UdpSocket]),
        (controls, drain, intake, kept): (&Controls, &Drain, &settings::Intake, &Kept),
        fellows: Option<Arc<Fellows>>,
    ) -> Result<(Self, Option<metrics::Figures>), Error> {
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
        let (metrics, figures) = metrics::prepare(&config.metrics, listeners, sources)?;
        if metrics.is_none() && config.http.middleware.contains(&config::Middleware::HttpMetrics) {
            tracing::warn!("http.middleware: http_metrics counts nothing, for metrics.address is not set");
        }
        Ok((Self { access, metrics }, figures))
    }
}

/// TLS, and where it is spoken.
struct Encryption<'a> {
    tls: Option<&'a Tls>,
    at: edge::At,
}

/// What answers requests, whoever brings them.
fn service(
    config: &Config,
    all: &[Served],
    encryption: Encryption<'_>,
    (records, drain): (Records, &Drain),
    intake: settings::Intake,
    dev: Option<Dev>,
) -> Result<Service, Error> {
    Ok(Service::new(Needs {
        middleware: edge::middleware(&config.http, encryption.at, records.metrics.as_ref())?,
        acme: encryption.tls.and_then(Tls::acme).cloned(),
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

/// In the order of the pools, for those that have one.
type PerPool<T> = Vec<Option<Arc<T>>>;

/// Starts PHP, then the processes that are not threads of it.
fn start_workers(
    config: &Config,
    (all, intake): (&[Served], &settings::Intake),
    rpc: Option<String>,
    (board, compile, lowered): (Option<Scoreboard>, Option<php::Compile>, Option<Lowered>),
) -> Result<(php::Engine, PerPool<Processes>), Error> {
    let pools = all.iter().map(|one| settings::php_pool(one, intake)).collect();
    let processes: Vec<_> = all.iter().map(|one| settings::processes(one, intake, rpc.clone())).collect::<Result<_, _>>()?;
    let settings = settings::engine(config, all, intake, (rpc, compile.unwrap_or_default()));
    let engine = php::Engine::start(settings, pools, board).map_err(|error| Error::Engine(error.to_string()))?;
    if let Some(lowered) = lowered {
        // What is left to do is little, and what boots now has processes of its own, which would stay as they begin.
        if let Err(error) = lowered.end() {
            tracing::error!("this engine stays less important than others: {error}");
        }
    }
    Ok((engine, start_processes(processes)?))
}

/// Starts the processes of each pool that has any; if those of one do not start, none are left.
fn start_processes(configs: Vec<Option<process::Config>>) -> Result<PerPool<Processes>, Error> {
    let mut started: PerPool<Processes> = Vec::new();
    for config in configs {
        match config.map(process::Config::start).transpose() {
            Ok(processes) => started.push(processes.map(Arc::new)),
            Err(error) => {
                started.iter().flatten().for_each(|processes| processes.stop(Instant::now()));
                return Err(Error::Engine(error.to_string()));
            }
        }
    }
    Ok(started)
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

/// Those who ask how the engine does.
struct Told {
    health: Health,
    /// Readers of metrics, if there are any.
    figures: Option<Drain>,
    state: State,
    /// The engines beside this one, if there may be any.
    among: Option<Arc<Among>>,
}

/// Waits until the engine is to end, then for what is running, bounded by `engine.grace_period`, whose end is returned.
async fn run(
    mut line: Line,
    front: &Front,
    php: &php::Engine,
    engine: &config::Engine,
    pulse: &Pulse,
    guard: &mut Option<MemoryGuard>,
    told: &Told,
) -> Instant {
    pulse.beat();
    let taken = tokio::select! {
        taken = told.state.take_over() => taken,
        // It is alive as long as it takes.
        () = pulse.go_on() => Ok(()),
    };
    let asked = match taken {
        Ok(()) => {
            line.ready().await;
            if let Some(among) = &told.among {
                tokio::spawn(among.clone().learn());
            }
            told.health.set(pulse.board.map_or(health::State::Down, |board| health::State::Serving(vec![board])));
            until_asked(&mut line, php, pulse, guard, engine.grace_period).await
        }
        Err(why) => {
            let why = format!("what plugins keep in memory cannot be taken over: {why}");
            tracing::error!("{why}");
            line.failed(&why).await;
            Asked::Stop
        }
    };
    told.health.set(health::State::Stopping);
    let (delay, idle) = match asked {
        Asked::Stop | Asked::Signal => (engine.shutdown_delay, None),
        Asked::Alone => (Duration::ZERO, None),
        Asked::Leave => leave(front),
        Asked::HandOver => (Duration::ZERO, Some(HAND_OVER_IDLE)),
    };
    if matches!(asked, Asked::HandOver | Asked::Alone) {
        give_way(front, told, asked);
    }
    tracing::info!("stopping: requests in progress are finished first");
    let deadline = Instant::now() + delay + engine.grace_period;
    let finish = async {
        tokio::time::sleep(delay).await;
        php.expect_stop();
        front.stop(deadline, idle).await
    };
    tokio::pin!(finish);
    // The service manager, which finds the supervisor dead, tells all that are left.
    let mut may_hear_it_again = asked == Asked::Alone;
    loop {
        tokio::select! {
            finished = &mut finish => {
                if !finished {
                    tracing::warn!("grace period over; connections are cut");
                }
                return deadline;
            }
            () = pulse.go_on() => {}
            again = line.asked() => match (asked, again) {
                // Told to stop while it hands over, it ends as it would have without.
                (Asked::HandOver, Asked::Stop | Asked::Signal | Asked::Alone) => front.drain.start(),
                (_, Asked::HandOver | Asked::Alone) => {
                    may_hear_it_again |= again == Asked::Alone;
                    give_way(front, told, again);
                }
                (_, Asked::Stop) if std::mem::take(&mut may_hear_it_again) => {}
                (_, Asked::Signal) => {}
                (_, Asked::Stop) if line.is_supervised() => {}
                _ => leave(front),
            },
        }
    }
}

/// Another engine speaks for the server from here on, or another server for itself.
fn give_way(front: &Front, told: &Told, why: Asked) {
    if why == Asked::HandOver {
        // Scripts that have not ended may have locks to release.
        told.state.leave();
        if let Some(among) = &told.among {
            among.leave();
        }
    }
    if let Some(calls) = &front.calls {
        calls.leave_accepting();
    }
    if let Some(figures) = &told.figures {
        figures.leave_accepting();
    }
}

/// Somebody who is not the supervisor has told the engine to end by a signal.
struct Notice {
    asks_at: Instant,
    leaves_at: Instant,
}

/// Serves until the engine is to end. Whoever tells it to by a signal of its own waits for another engine, no longer than `grace`.
async fn until_asked(
    line: &mut Line,
    php: &php::Engine,
    pulse: &Pulse,
    guard: &mut Option<MemoryGuard>,
    grace: Duration,
) -> Asked {
    let mut notice: Option<Notice> = None;
    loop {
        tokio::select! {
            asked = line.asked() => {
                if asked != Asked::Signal {
                    return asked;
                }
                let now = Instant::now();
                notice.get_or_insert(Notice { asks_at: now + SUPERVISOR_SPEAKS, leaves_at: now + SUPERVISOR_SPEAKS + grace });
                continue;
            }
            Some(notice) = due(&mut notice) => {
                if Instant::now() >= notice.leaves_at {
                    tracing::warn!("no other engine has taken the place of this one: it ends");
                    line.leaving().await;
                    return Asked::Stop;
                }
                tracing::warn!("a signal has told this engine to end: it asks for another, and serves until then");
                notice.asks_at = notice.leaves_at.min(Instant::now() + ASK_AGAIN);
            }
            () = pulse.go_on() => return Asked::Stop,
            why = worn_out(php) => tracing::error!("{why}"),
            replace = out_of_memory(guard) => {
                if replace == Replace::After && line.is_supervised() {
                    tracing::error!("memory stays short, with no room for two engines: this one ends, and another follows");
                    line.leaving().await;
                    return Asked::Stop;
                }
                tracing::error!("memory stays short");
            }
        }
        if !line.ask_for_successor().await {
            tracing::error!("there is no supervisor to replace this process: restart it");
        }
    }
}

/// Returns when it is time to act on it.
async fn due(notice: &mut Option<Notice>) -> Option<&mut Notice> {
    match notice {
        Some(notice) => {
            tokio::time::sleep_until(notice.asks_at.into()).await;
            Some(notice)
        }
        None => std::future::pending().await,
    }
}

/// Ends with whatever is in progress.
fn leave(front: &Front) -> ! {
    tracing::warn!("told again to stop: leaving at once");
    front.processes.iter().for_each(|processes| processes.kill());
    exit::now(1)
}

/// What an engine does four times a second.
struct Pulse {
    pools: Arc<[Pool]>,
    board: Option<Scoreboard>,
    controls: Controls,
}

// === impl Pulse ===

impl Pulse {
    /// Never returns.
    async fn go_on(&self) {
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tick.tick().await;
            self.beat();
        }
    }

    /// Ends the waits that are over, and says that the engine is alive and which plugins are ready.
    fn beat(&self) {
        for pool in &*self.pools {
            pool.expire(Instant::now());
            pool.wake_if_waiting(PATIENCE);
        }
        if let Some(board) = self.board {
            board.alive();
            board.note_plugins(self.controls.readiness());
        }
    }
}

/// Returns when another process should take over, and again while it should: threads have been stuck for too long, or OPcache has
/// wanted to restart for too long.
async fn worn_out(php: &php::Engine) -> &'static str {
    loop {
        tokio::time::sleep(LOOK_FOR_LOST).await;
        if php.pools().iter().any(|threads| threads.is_worn_out()) {
            return "PHP threads are stuck for good";
        }
        if php.opcache().is_some_and(|opcache| opcache.is_overdue()) {
            return "OPcache has been waiting for its restart for opcache.force_restart_timeout seconds";
        }
    }
}

/// Returns when another engine would need less memory.
async fn out_of_memory(guard: &mut Option<MemoryGuard>) -> Replace {
    match guard {
        Some(guard) => guard.watch().await,
        None => std::future::pending().await,
    }
}
