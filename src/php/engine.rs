//! The engine's life: module startup and shutdown on one thread, PHP threads in between.

use std::{
    env,
    ffi::{CStr, CString, NulError, c_char},
    io,
    marker::PhantomData,
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    ptr,
    sync::Arc,
    time::Duration,
};

use super::{
    active::Limits,
    ffi, opcache,
    thread::{self, Threads},
};
use crate::worker::{OutputLimits, Pool};

/// How the engine is started.
///
/// # Defaults
/// The SAPI name `fpm-fcgi`, the `php` beside libphp, no ini values of our own, the environment as it is.
#[derive(Clone, Debug)]
pub struct Config {
    /// What `php_sapi_name()` says; OPcache starts only under names it knows.
    pub sapi: String,
    /// Ini values that win over php.ini.
    pub ini: Vec<(String, String)>,
    /// Environment variables for scripts, on top of the process's own.
    pub env: Vec<(String, String)>,
    /// Hides the process's own environment from scripts, as php-fpm's `clear_env` does.
    pub clear_env: bool,
    /// Bytes of an answer after which it starts on its way while the script runs.
    pub first_chunk: usize,
    /// Bounds of an answer's buffer.
    pub output: OutputLimits,
    /// Wall-clock limit of one request; zero is none.
    pub request_timeout: Duration,
    /// Requests after which a thread's context is made anew; zero is never.
    pub max_jobs: u64,
}

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `php_module_startup` failed; PHP has said why on standard error.
    #[error("PHP did not start; see the messages above, and check php.ini and the php.ini values of the configuration")]
    Startup,
    /// A value cannot be handed to C.
    #[error("php configuration: {0}")]
    Nul(#[from] NulError),
    /// No thread.
    #[error("cannot start a PHP thread: {0}")]
    Thread(#[from] io::Error),
}

/// The running engine. It stays on the thread that started it, which must also stop it.
#[derive(Debug)]
pub struct Engine {
    threads: Arc<Threads>,
    on_this_thread: PhantomData<*const ()>,
}

// === impl Engine ===

impl Engine {
    /// Starts the engine and a thread for each worker of `pool`.
    pub fn start(config: Config, pool: &Pool) -> Result<Self, Error> {
        let workers = pool.config().num_workers;
        // All of these live as long as the engine, which is as long as the process.
        let sapi = leak(config.sapi)?;
        let ini = leak(config.ini.iter().map(|(name, value)| format!("{name}={}\n", quoted(value))).collect::<String>())?;
        let binary = php_binary().map(|path| leak(path.into_os_string().into_vec())).transpose()?;
        let environment = leak_environment(config.clear_env, &config.env)?;
        let engine = ffi::Engine {
            sapi_name: sapi,
            ini_entries: ini,
            php_binary: binary.unwrap_or(ptr::null()),
            environment,
            threads: i32::try_from(workers).unwrap_or(i32::MAX - 1),
        };
        // SAFETY: called once per process, before any PHP thread exists; every pointer in `engine` is leaked or null.
        if unsafe { ffi::rr_php_startup(&raw const engine) } != 0 {
            return Err(Error::Startup);
        }
        opcache::guard();
        let limits = Arc::new(Limits { first_chunk: config.first_chunk, stream: Arc::new(config.output) });
        let settings = thread::Settings { limits, request_timeout: config.request_timeout, max_jobs: config.max_jobs };
        let threads = Threads::start(pool.clone(), settings)?;
        Ok(Self { threads, on_this_thread: PhantomData })
    }

    /// The threads, for status and metrics.
    pub fn threads(&self) -> &Arc<Threads> {
        &self.threads
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

    /// The php.ini that was read.
    pub fn ini_path(&self) -> Option<String> {
        // SAFETY: takes nothing; gives null or a string that lives as long as the engine.
        let path = unsafe { ffi::rr_php_ini_path() };
        // SAFETY: not null, hence the string.
        (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned())
    }

    /// Joins the PHP threads, waiting at most `patience`, and shuts the engine down. False if a thread is stuck: then the engine
    /// is left as it is, for it must not be torn down under a running script.
    pub fn stop(self, patience: Duration) -> bool {
        if !self.threads.join(patience) {
            return false;
        }
        // SAFETY: this is the thread that started the engine, and every PHP thread has ended.
        unsafe { ffi::rr_php_shutdown() };
        true
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
            if extra.iter().any(|(key, _)| name == key.as_str()) {
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
