//! The composition root: the only file that names both the engine and the rest.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::{Arc, atomic::AtomicU64},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, StatusCode};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    config::{self, Config},
    error::Error,
    http::{
        Drain, conn, fcgi, listen,
        preset::Preset,
        route,
        service::{Needs, Service},
    },
    php,
    sys::{exit, limits, pid::PidFile},
    telemetry::logs,
    worker::{Pool, Script},
};

mod banner;
mod rpc;
mod settings;
mod status;

/// How long a short work may wait for a worker that is busy while others sleep.
const PATIENCE: Duration = Duration::from_micros(200);

/// How long calls may take that are in progress when everything else has ended.
const LAST_CALLS: Duration = Duration::from_secs(1);

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

/// Serves until a signal asks to stop.
pub fn serve(config: Config, options: Options) -> Result<(), Error> {
    logs::install(&config.logs).map_err(Error::system("log"))?;
    let site = Site::find(&config.http, options.dir.as_deref())?;
    // Before anything listens: whoever can reach us can also stop us.
    let runtime = runtime(None).map_err(Error::system("main runtime"))?;
    let stop = runtime.block_on(async { Stop::new() }).map_err(Error::system("signals"))?;
    let pool = Pool::new(settings::pool(&config.http.pool));
    let listeners = listen::Config { addresses: settings::addresses(&config.http.address)?, ..listen::Config::default() };
    let listeners = listeners.build().map_err(|error| Error::Listen(error.to_string()))?;

    let request_ids = Arc::new(AtomicU64::new(1));
    let fcgi = config.http.fcgi.as_ref().map(|section| settings::fastcgi(section, &config.http, &request_ids)).transpose()?;
    let fcgi = fcgi.map(Bound::new).transpose()?;
    let calls = config.rpc.as_ref().map(rpc::Bound::new).transpose()?;

    // The engine starts before any other thread exists, for OPcache may fork to preload, and ends on this same thread.
    let script = site.worker.clone();
    let pools = vec![settings::php_pool(&config, &pool, script.clone())];
    let engine = php::Engine::start(settings::engine(&config, calls.as_ref().map(rpc::Bound::dsn)), pools)
        .map_err(|error| Error::Engine(error.to_string()))?;
    let threads = engine.pools().first().expect("one pool was given");
    let status = Arc::new(status::Source::new(&pool, threads));
    status.provide();
    let fcgi = fcgi.map(|bound| bound.build(&pool, &status, engine.version()));
    let calls = calls.map(|bound| bound.build(&config, engine.pools())).transpose()?.map(Arc::new);
    let service = Service::new(Needs {
        router: site.serves_files().then(|| site.router(&config.http)).transpose()?,
        worker: script,
        files: settings::files(&config.http.static_files).build().map_err(Error::system("file threads"))?,
        pool: pool.clone(),
        body: settings::body(&config.http),
        internal_error_code: StatusCode::from_u16(config.http.internal_error_code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        access: settings::access(&config).build().map_err(Error::system("access log"))?,
        request_ids,
    });
    let front = Front {
        listeners,
        config: Arc::new(settings::connections(&config.http)),
        service,
        fcgi,
        calls,
        drain: Drain::new(),
        pool: pool.clone(),
    };
    let io_threads = front.start(config.engine.io_threads.unwrap_or_else(|| limits::io_threads(limits::cpus())))?;
    let pid_file =
        options.pid_file.then(|| PidFile::write(Path::new("."))).transpose().map_err(Error::system("pid file .pid"))?;
    if !options.silent {
        let fcgi = config.http.fcgi.as_ref().map_or(&[][..], |section| &section.address);
        let io_threads = io_threads.len();
        banner::print(&banner::Facts { site: &site, front: &front, engine: &engine, pool: &pool, io_threads, fcgi });
    }
    runtime.block_on(run(stop, &front, &config.engine, &pool));
    front.finish(io_threads);

    drop(pid_file);
    let stopped = engine.stop(Duration::from_secs(1));
    drop(site);
    if !stopped {
        tracing::warn!("a script is still running and is abandoned; the process ends without PHP's own shutdown");
        exit::now(0);
    }
    Ok(())
}

/// Looks at everything that can be looked at without serving.
pub fn check(config: &Config) -> Result<(), Error> {
    settings::addresses(&config.http.address)?;
    if config.http.root.is_some() {
        Site::find(&config.http, None)?.router(&config.http)?;
    }
    Ok(())
}

/// Waits for a signal to stop, then for what is running, bounded by `engine.grace_period`.
async fn run(mut stop: Stop, front: &Front, engine: &config::Engine, pool: &Pool) {
    tokio::select! {
        () = stop.asked() => {}
        () = expire(pool) => {}
    }
    tracing::info!("stopping: requests in progress are finished first");
    let finish = async {
        tokio::time::sleep(engine.shutdown_delay).await;
        front.stop(Instant::now() + engine.grace_period).await
    };
    tokio::select! {
        finished = finish => if !finished {
            tracing::warn!("grace period over; connections are cut");
        },
        () = expire(pool) => {}
        () = stop.asked() => {
            tracing::warn!("told again to stop: leaving at once");
            exit::now(1);
        }
    }
}

/// Ends the waits that are over; never returns.
async fn expire(pool: &Pool) {
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        tick.tick().await;
        pool.expire(Instant::now());
        pool.wake_if_waiting(PATIENCE);
    }
}

/// The signals that stop.
struct Stop([Signal; 3]);

// === impl Stop ===

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::quit())?]))
    }

    async fn asked(&mut self) {
        let [term, int, quit] = &mut self.0;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            _ = quit.recv() => {}
        }
    }
}

/// All that listens, shared by the io threads.
#[derive(Clone)]
struct Front {
    listeners: listen::Listeners,
    config: Arc<conn::Config>,
    service: Service,
    fcgi: Option<Arc<fcgi::Server>>,
    calls: Option<Arc<rpc::Calls>>,
    drain: Drain,
    pool: Pool,
}

// === impl Front ===

impl Front {
    fn start(&self, count: usize) -> Result<Vec<JoinHandle<()>>, Error> {
        (0..count)
            .map(|index| {
                let front = self.clone();
                let runtime = runtime(Some(&self.pool)).map_err(Error::system("io runtime"))?;
                let run = move || runtime.block_on(front.serve());
                thread::Builder::new().name(format!("io-{index}")).spawn(run).map_err(Error::system("io thread"))
            })
            .collect()
    }

    async fn serve(self) {
        let http = async {
            let served = conn::serve(&self.listeners, self.config.clone(), self.service.clone(), self.drain.clone()).await;
            if let Err(error) = served {
                tracing::error!(%error, "the HTTP listener ended");
            }
        };
        let fcgi = async {
            if let Some(server) = &self.fcgi
                && let Err(error) = server.serve().await
            {
                tracing::error!(%error, "the FastCGI listener ended");
            }
        };
        let calls = async {
            if let Some(calls) = &self.calls
                && let Err(error) = calls.server.serve().await
            {
                tracing::error!(%error, "the RPC listener ended");
            }
        };
        tokio::join!(http, fcgi, calls);
        // The loops have ended; connections may still be open, and their tasks live on this runtime.
        self.drain.wait(Instant::now() + Duration::from_secs(3600)).await;
    }

    /// Lets connections finish until `deadline`; true if all did.
    async fn stop(&self, deadline: Instant) -> bool {
        self.drain.start();
        self.drain.stop_accepting();
        if let Some(server) = &self.fcgi {
            server.stop();
        }
        let finished = self.drain.wait(deadline).await;
        // Last, for the scripts of those connections may still call.
        if let Some(calls) = &self.calls {
            calls.server.stop();
            return calls.server.wait(deadline.max(Instant::now() + LAST_CALLS)).await && finished;
        }
        finished
    }

    fn finish(&self, io_threads: Vec<JoinHandle<()>>) {
        for thread in io_threads {
            // One that is still busy with a connection past the grace period ends with the process.
            if thread.is_finished() {
                drop(thread.join());
            }
        }
    }
}

fn runtime(pool: Option<&Pool>) -> io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    if let Some(pool) = pool {
        let pool = pool.clone();
        builder.on_thread_park(move || pool.wake_if_waiting(PATIENCE));
    }
    builder.enable_all().build()
}

/// What is served.
struct Site {
    root: PathBuf,
    /// What boots once and answers whatever no file does.
    worker: Option<Script>,
    preset: Preset,
    why: String,
    /// The welcome page's folder, removed at the end.
    welcome: Option<PathBuf>,
}

// === impl Site ===

impl Site {
    fn find(http: &config::Http, dir: Option<&Path>) -> Result<Self, Error> {
        let mut site = Self::find_root(http, dir)?;
        site.worker = http.worker.as_deref().map(|path| site.worker_script(path)).transpose()?;
        Ok(site)
    }

    /// A script below the root is known by its URL there, any other by its name alone.
    fn worker_script(&self, path: &Path) -> Result<Script, Error> {
        let path = path.canonicalize().map_err(Error::system(format!("http.worker {}", path.display())))?;
        if !path.is_file() {
            return Err(Error::Config(format!("http.worker: {} is not a file", path.display())));
        }
        let below = path.strip_prefix(&self.root).ok().filter(|_| self.serves_files());
        let name = below.or_else(|| path.file_name().map(Path::new)).unwrap_or(&path);
        let root = if self.serves_files() { self.root.as_path() } else { path.parent().unwrap_or(Path::new("/")) };
        Ok(Script {
            name: format!("/{}", name.display()),
            path_info: String::new(),
            document_root: root.display().to_string().into(),
            filename: path.display().to_string(),
        })
    }

    fn serves_files(&self) -> bool {
        self.root != Path::new("/")
    }

    fn find_root(http: &config::Http, dir: Option<&Path>) -> Result<Self, Error> {
        let Some(dir) = dir.or(http.root.as_deref()) else {
            // A FastCGI client names its own files.
            let only_fcgi = http.address.is_empty();
            return if only_fcgi || http.worker.is_some() { Ok(Self::nothing()) } else { Self::welcome() };
        };
        let dir = dir.canonicalize().map_err(Error::system(format!("http.root {}", dir.display())))?;
        if !dir.is_dir() {
            return Err(Error::Config(format!("http.root: {} is not a directory", dir.display())));
        }
        let (detected, root, why) = Preset::detect(&dir);
        Ok(match settings::preset(http.preset) {
            Some(preset) if preset == detected => Self { root, preset, why, worker: None, welcome: None },
            Some(preset) => Self { root: dir, preset, why: "configured".into(), worker: None, welcome: None },
            None => Self { root, preset: detected, why, worker: None, welcome: None },
        })
    }

    fn nothing() -> Self {
        Self { root: PathBuf::from("/"), preset: Preset::Files, why: "no files are served".into(), worker: None, welcome: None }
    }

    /// Nothing was given: a page that says what this is.
    fn welcome() -> Result<Self, Error> {
        // A container's process always has the same number, and a killed one leaves its folder behind.
        let moment = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        let directory = std::env::temp_dir().join(format!("rr-welcome-{}-{moment}", process::id()));
        let page = directory.join("index.php");
        fs::create_dir(&directory)
            .and_then(|()| fs::write(&page, include_str!("welcome/index.php")))
            .map_err(Error::system(format!("welcome page in {}", directory.display())))?;
        Ok(Self {
            root: directory.clone(),
            preset: Preset::Files,
            why: "no directory was given".into(),
            worker: None,
            welcome: Some(directory),
        })
    }

    fn router(&self, http: &config::Http) -> Result<route::Router, Error> {
        let config = settings::router(http, &self.root, self.preset);
        config.build().map_err(Error::system(format!("http.root {}", self.root.display())))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(directory) = &self.welcome {
            drop(fs::remove_dir_all(directory));
        }
    }
}

/// FastCGI's sockets, listening before there is an engine to serve them.
struct Bound {
    config: fcgi::Config,
    listeners: Vec<fcgi::Listener>,
}

// === impl Bound ===

impl Bound {
    fn new(config: fcgi::Config) -> Result<Self, Error> {
        let bind = |address: &fcgi::Address| {
            fcgi::Listener::bind(address, &config.permissions, config.backlog)
                .map_err(|error| Error::Listen(format!("cannot listen for FastCGI on {address}: {error}")))
        };
        Ok(Self { listeners: config.addresses.iter().map(bind).collect::<Result<_, _>>()?, config })
    }

    fn build(mut self, pool: &Pool, status: &Arc<status::Source>, php_version: &str) -> Arc<fcgi::Server> {
        self.config.powered_by = HeaderValue::from_str(&format!("PHP/{php_version}")).ok();
        Arc::new(self.config.build_on(self.listeners, pool.clone(), status.clone()))
    }
}
