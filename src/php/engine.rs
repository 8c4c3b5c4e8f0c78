//! The engine's life: module startup and shutdown on one thread, PHP threads in between.

use std::{
    env,
    ffi::{CStr, CString, NulError, c_char},
    io,
    marker::PhantomData,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    ptr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    active::Limits,
    debug, ffi,
    ini::{Search, Unreadable},
    opcache::{self, Compile, Keeper, Opcache},
    thread::{self, Threads},
    worker,
};
use crate::{
    sys::spawn,
    worker::{Growth, IniValue, OutputLimits, Pool, Rules, Script, roadrunner::Terms, scoreboard::Scoreboard},
};

/// How the engine is started.
#[derive(Clone, Debug)]
pub struct Config {
    /// What `php_sapi_name()` says; OPcache starts only under names it knows.
    pub sapi: String,
    /// Ini values that win over php.ini.
    pub ini: Vec<(String, String)>,
    /// Which php.ini is read.
    pub ini_file: IniFile,
    /// Environment variables for scripts, on top of the process's own.
    pub env: Vec<(String, String)>,
    /// Hides the process's own environment from scripts, as php-fpm's `clear_env` does.
    pub clear_env: bool,
    /// Bytes of an answer after which it starts on its way while the script runs.
    pub first_chunk: usize,
    /// Bounds of an answer's buffer.
    pub output: OutputLimits,
    /// Start although a worker script does not boot: in development it is about to be mended.
    pub tolerant: bool,
    /// Say what grows from request to request of a worker script.
    pub leaks: bool,
    /// What OPcache begins with.
    pub compile: Compile,
}

/// Which php.ini is read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum IniFile {
    /// The one that PHP finds.
    #[default]
    Usual,
    /// This one, or the one in this folder (`php -c`).
    At(PathBuf),
    /// None (`php -n`).
    None,
}

/// One pool of PHP threads.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Its name: `http`, or a plugin's.
    pub name: String,
    /// Where its works come from; its `num_workers` is the number of threads.
    pub pool: Pool,
    /// What its threads run.
    pub script: ScriptKind,
    /// More of `$_SERVER`, `$_ENV` and `getenv()`, for this pool alone.
    pub variables: Vec<(String, String)>,
    /// Ini values of this pool, which win over the engine's.
    pub ini: Vec<(String, String)>,
    /// Each request has a worker of its own, which sees changed code at once; errors are told to the client.
    pub debug: bool,
    /// How long a worker script may take to boot.
    pub boot_timeout: Duration,
    /// How long a reset waits until all workers have started afresh.
    pub reset_timeout: Duration,
    /// How long a stop lets scripts go on.
    pub destroy_timeout: Duration,
    /// Wall-clock limit of one request; zero is none.
    pub request_timeout: Duration,
    /// That is the pool's `exec_ttl`.
    pub is_exec_ttl: bool,
    /// A request that takes longer is logged, with its backtrace; zero is none.
    pub slow_after: Duration,
    /// How long a worker script may go on with an answer on its way whose client has left.
    pub stream_timeout: Duration,
    /// Requests after which a thread's context is made anew, with its worker script; zero is never.
    pub max_jobs: u64,
    /// When else that is done.
    pub rules: Rules,
    /// How the number of threads follows the works that wait; none is not at all.
    pub growth: Option<Growth>,
}

/// What a pool's threads run.
#[derive(Clone, Debug)]
pub enum ScriptKind {
    /// The script that each request names.
    Classic,
    /// One script that boots once and then asks for requests.
    Worker {
        /// The script.
        script: Script,
        /// What is undone between its requests.
        reset: Reset,
        /// It asks for tasks, not for requests.
        tasks: bool,
    },
    /// A script that boots once and then reads its requests from STDIN, as RoadRunner's workers do.
    RoadRunner {
        /// The script; its name is what the command calls it.
        script: Script,
        /// The script and what follows it in the command (`$argv`).
        arguments: Vec<String>,
        /// How requests are given to it.
        terms: Arc<Terms>,
    },
}

/// How much of what a request changed is undone before the next one of the same worker (`php.reset`).
///
/// | | basic | strict |
/// |---|---|---|
/// | output buffers, headers, status, uploads, input, `$_GET` … `$_SERVER` | reset | reset |
/// | session: written, closed, id and `$_SESSION` gone; a request's own save handler | reset | reset |
/// | `error_get_last()`, time limit's count, memory peak, stat cache, `output_add_rewrite_var()` | reset | reset |
/// | ini values changed since boot (also `error_reporting()`, `set_time_limit()`, `ignore_user_abort()`) | kept | reset |
/// | error and exception handlers set since boot | kept | reset |
/// | shutdown functions registered since boot | run when the worker ends | run when the request ends |
/// | working directory, umask, locale, default timezone, `putenv()` | kept | reset |
/// | globals, statics, constants, classes, included files, autoloaders, stream wrappers, `$_ENV`, random seeds, connections | kept | kept |
/// | what extensions keep beside ini values: `mb_internal_encoding()`, `libxml_use_internal_errors()` … | kept | kept |
///
/// The boot is over when the script first asks for a request; where it does so by `frankenphp_handle_request()`, when that first
/// request is over: applications written for FrankenPHP (Laravel Octane is one) set their handlers and their time zone there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reset {
    /// What belongs to the client, as FrankenPHP resets it.
    Basic,
    /// Also what a request changed for its own use.
    #[default]
    Strict,
}

/// The version of PHP that this program was built with.
pub const VERSION: &str = env!("RR_PHP_VERSION");

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `php_module_startup` failed; PHP has said why on standard error.
    #[error("PHP did not start; see the messages above, and check php.ini and the php.ini values of the configuration")]
    Startup,
    /// It failed by an error of PHP's, as a rule in the file that `opcache.preload` names.
    #[error("PHP did not start: {0}")]
    Fatal(String),
    /// A file that PHP is to read cannot be read.
    #[error(transparent)]
    Ini(#[from] Unreadable),
    /// A value cannot be handed to C.
    #[error("php configuration: {0}")]
    Nul(#[from] NulError),
    /// A worker script ended, or failed, before it asked for its first request.
    #[error("pool {pool}: {reason}")]
    Boot {
        /// The pool.
        pool: String,
        /// PHP's message, with file and line.
        reason: String,
    },
    /// No thread.
    #[error("cannot start a PHP thread: {0}")]
    Thread(#[from] io::Error),
}

/// The running engine. It stays on the thread that started it, which must also stop it.
#[derive(Debug)]
pub struct Engine {
    pools: Vec<Arc<Threads>>,
    opcache: Option<Keeper>,
    on_this_thread: PhantomData<*const ()>,
}

// === impl Engine ===

impl Engine {
    /// Starts the engine and a thread for each worker of `pools`; waits until worker scripts have booted.
    /// What they run is also written to `board`.
    pub fn start(config: Config, pools: Vec<PoolConfig>, board: Option<Scoreboard>) -> Result<Self, Error> {
        let workers: usize = pools.iter().map(PoolConfig::most_threads).sum();
        let binary = php_binary();
        Search::of(&config.ini_file, &config.sapi, binary.as_deref()).map_or(Ok(()), |search| search.check())?;
        // All of these live as long as the engine, which is as long as the process.
        let sapi = leak(config.sapi)?;
        let ini = leak(config.ini.iter().map(|(name, value)| format!("{name}={}\n", quoted(value))).collect::<String>())?;
        let binary = binary.map(|path| leak(path.into_os_string().into_vec())).transpose()?;
        let ini_path = match &config.ini_file {
            IniFile::At(path) => leak(path.as_os_str().as_bytes())?,
            IniFile::Usual | IniFile::None => ptr::null(),
        };
        let environment = leak_environment(config.clear_env, &config.env)?;
        let engine = ffi::Engine {
            sapi_name: sapi,
            ini_entries: ini,
            php_binary: binary.unwrap_or(ptr::null()),
            ini_path,
            no_ini: config.ini_file == IniFile::None,
            environment,
            threads: i32::try_from(workers).unwrap_or(i32::MAX - 1),
            leaks: config.leaks,
        };
        // SAFETY: called once per process, before any PHP thread exists; every pointer in `engine` is leaked or null.
        if unsafe { ffi::rr_php_startup(&raw const engine) } != 0 {
            return Err(Error::of_startup());
        }
        opcache::guard();
        config.compile.run()?;
        let limits = Arc::new(Limits { first_chunk: config.first_chunk, stream: Arc::new(config.output) });
        let start = |pool: PoolConfig| Threads::start(pool.pool.clone(), pool.settings(&limits, config.tolerant), board);
        let pools: Vec<_> = pools.into_iter().map(start).collect::<Result<_, _>>()?;
        let opcache = Keeper::start(pools.clone())?;
        let engine = Self { pools, opcache, on_this_thread: PhantomData };
        for threads in &engine.pools {
            if let Err(reason) = threads.wait_booted()
                && !config.tolerant
            {
                let pool = threads.name().to_owned();
                engine.stop(Duration::from_secs(1));
                return Err(Error::Boot { pool, reason });
            }
        }
        Ok(engine)
    }

    /// The threads of each pool, in the order given to `start`.
    pub fn pools(&self) -> &[Arc<Threads>] {
        &self.pools
    }

    /// The server is about to stop: bounds what scripts still have of time, by each pool's `destroy_timeout`.
    pub fn expect_stop(&self) {
        self.pools.iter().for_each(|threads| threads.expect_stop());
    }

    /// PHP's version.
    pub fn version(&self) -> &'static str {
        // SAFETY: a string literal of libphp's.
        let version = unsafe { ffi::rr_php_version() };
        // SAFETY: as above, NUL-terminated and static.
        unsafe { CStr::from_ptr(version) }.to_str().unwrap_or("unknown")
    }

    /// True if OPcache has started and is on.
    pub fn has_opcache(&self) -> bool {
        // SAFETY: this is the thread that started the engine, which therefore has a context.
        unsafe { ffi::rr_php_opcache_enabled() }
    }

    /// Whom to ask about OPcache; none if it is off.
    pub fn opcache(&self) -> Option<Opcache> {
        self.opcache.as_ref().map(Keeper::opcache)
    }

    /// The php.ini that was read.
    pub fn ini_path(&self) -> Option<String> {
        // SAFETY: takes nothing; gives null or a string that lives as long as the engine.
        let path = unsafe { ffi::rr_php_ini_path() };
        // SAFETY: not null, hence the string.
        (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned())
    }

    /// Closes the pools and joins the PHP threads, waiting at most `patience`, and shuts the engine down. False if a thread is
    /// stuck: then the engine is left as it is, for it must not be torn down under a running script.
    pub fn stop(self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        self.pools.iter().for_each(|threads| threads.close());
        let joined = self.pools.iter().all(|threads| threads.join(deadline));
        if !joined {
            self.pools.iter().for_each(|threads| threads.name_abandoned());
        }
        if !self.opcache.is_none_or(|keeper| keeper.stop(deadline)) || !joined {
            return false;
        }
        // SAFETY: this is the thread that started the engine, and every PHP thread has ended.
        unsafe { ffi::rr_php_shutdown() };
        true
    }
}

// === impl Error ===

impl Error {
    fn of_startup() -> Self {
        // SAFETY: takes nothing.
        let error = unsafe { ffi::rr_php_last_error() };
        // SAFETY: a C string of this thread's, which lives as long as the thread.
        let error = unsafe { CStr::from_ptr(error) }.to_string_lossy();
        if error.is_empty() { Self::Startup } else { Self::Fatal(worker::in_one_line(&error)) }
    }
}

// === impl PoolConfig ===

impl PoolConfig {
    fn most_threads(&self) -> usize {
        self.pool.config().num_workers + self.growth.map_or(0, |growth| growth.max_workers)
    }

    fn settings(self, limits: &Arc<Limits>, tolerant: bool) -> thread::Settings {
        let extra = if self.debug { debug::ini(&self.ini) } else { Vec::new() };
        let own = self.ini.into_iter().map(|(name, value)| IniValue { name, value, locked: false });
        let mut variables = self.variables;
        if matches!(self.script, ScriptKind::Worker { tasks: false, .. }) {
            // By this applications written for FrankenPHP know that they may boot once and loop.
            variables.push(("FRANKENPHP_WORKER".into(), "1".into()));
        }
        thread::Settings {
            name: self.name,
            script: self.script,
            variables: variables.into(),
            limits: limits.clone(),
            ini: own.chain(extra).collect(),
            debug: self.debug,
            boot_timeout: self.boot_timeout,
            reset_timeout: self.reset_timeout,
            destroy_timeout: self.destroy_timeout,
            request_timeout: self.request_timeout,
            is_exec_ttl: self.is_exec_ttl,
            slow_after: self.slow_after,
            stream_timeout: self.stream_timeout,
            max_jobs: self.max_jobs,
            tolerant,
            rules: self.rules,
            growth: self.growth,
        }
    }
}

/// The `php` that was built with the libphp inside this program, or else the one beside this program. Scripts run it as
/// `PHP_BINARY`, operators as `rr php`.
pub(crate) fn php_binary() -> Option<PathBuf> {
    let built_with = PathBuf::from(env!("RR_PHP_BINARY"));
    let beside = || Some(env::current_exe().ok()?.parent()?.join("php"));
    // A link named `php` that leads back here is not one.
    let this = env::current_exe().and_then(|path| path.canonicalize()).ok();
    [Some(built_with), beside()].into_iter().flatten().find(|path| path.is_file() && path.canonicalize().ok() != this)
}

fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:,+&|~^ ".contains(&byte);
    if value.bytes().all(plain) || value.starts_with('"') {
        value.to_owned()
    } else {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

fn leak(text: impl Into<Vec<u8>>) -> Result<*const c_char, NulError> {
    Ok(CString::new(text)?.into_raw())
}

fn leak_environment(clear: bool, extra: &[(String, String)]) -> Result<*mut *mut c_char, NulError> {
    let mut entries = Vec::new();
    if !clear {
        for (name, value) in env::vars_os() {
            // What the supervisor tells us is no business of scripts.
            if spawn::OURS.iter().any(|own| name == *own) || extra.iter().any(|(key, _)| name == key.as_str()) {
                continue;
            }
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend(value.into_vec());
            entries.push(CString::new(entry)?.into_raw());
        }
    }
    for (name, value) in extra {
        entries.push(CString::new(format!("{name}={value}"))?.into_raw());
    }
    entries.push(ptr::null_mut());
    Ok(entries.leak().as_mut_ptr())
}
