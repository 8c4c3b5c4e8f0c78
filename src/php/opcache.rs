//! OPcache restarts, made safe for threads.
//!
//! OPcache restarts (after `opcache_reset()`, or when its memory or its table is full) by rewinding shared memory at the start of
//! some request, as soon as no *process* runs scripts. It asks by a kind of lock that does not see threads of its own
//! process, so the memory would be rewound under the others. An open-file-description lock it does see: we hold one from the
//! start, and so no restart happens by itself. One that is pending is carried out here, in a moment when no thread runs PHP;
//! until such a moment comes, requests go on uncached, as under php-fpm.

use std::{
    ffi::{OsStr, c_int},
    fs::{self, File},
    io,
    os::fd::AsFd,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use nix::fcntl::{FcntlArg, fcntl};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::ffi;

/// How long requests may be held up to wait for those that run.
const CLOSED: Duration = Duration::from_millis(20);
/// Vain tries after which the operator hears of it; the pause doubles with each of them, to 25 s.
const WARN_AFTER: u32 = 7;
/// From one try to the next, at first.
const PAUSE: Duration = Duration::from_millis(200);

/// Read for the length of a request, written for a restart.
static GATE: RwLock<()> = RwLock::new(());
static PENDING: AtomicBool = AtomicBool::new(false);
static FAILED: AtomicU32 = AtomicU32::new(0);
static LAST_TRY: Mutex<Option<Instant>> = Mutex::new(None);
static LOCK_FILE: OnceLock<File> = OnceLock::new();

/// Takes the lock that forbids restarts; nothing to do if OPcache is off. Called once, after module startup.
pub(super) fn guard() {
    match lock_file() {
        Ok(Some((theirs, file))) => {
            let file = LOCK_FILE.get_or_init(|| file);
            if let Err(error) = set(file, libc::F_RDLCK) {
                tracing::warn!(%error, "OPcache's lock file cannot be locked; its restarts are not safe");
                return;
            }
            // Its own locks, two system calls for every request, would say no more than ours.
            // SAFETY: has no preconditions.
            unsafe { ffi::rr_libc_spare_locks(theirs) };
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "OPcache's lock file cannot be found; its restarts are not safe"),
    }
}

/// A request's pass; while one is held, OPcache does not restart.
pub(super) fn pass() -> RwLockReadGuard<'static, ()> {
    GATE.read()
}

/// Who makes waiting worker scripts leave; they hold passes.
static RECALL: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Sets what makes worker scripts that wait for a request leave their loops; the first call counts.
pub(super) fn on_restart(recall: impl Fn() + Send + Sync + 'static) {
    drop(RECALL.set(Box::new(recall)));
}

/// True when OPcache wants to restart and a try is due: a worker script should leave its loop, for it holds a pass.
pub(super) fn wants_to_restart() -> bool {
    PENDING.load(SeqCst) && !tried_lately(*LAST_TRY.lock())
}

/// Each vain try holds requests up; the tries become rare.
fn tried_lately(last: Option<Instant>) -> bool {
    last.is_some_and(|last| last.elapsed() < PAUSE * (1 << FAILED.load(SeqCst).min(WARN_AFTER)))
}

/// Restarts OPcache if it wants that and no thread runs PHP. Called by a thread between two requests, without a pass.
pub(super) fn restart_if_pending() {
    if !PENDING.load(SeqCst) {
        return;
    }
    {
        let mut last = LAST_TRY.lock();
        if tried_lately(*last) {
            return;
        }
        *last = Some(Instant::now());
    }
    if let Some(recall) = RECALL.get() {
        recall();
    }
    let Some(_alone) = GATE.try_write_for(CLOSED) else {
        if FAILED.fetch_add(1, SeqCst) == WARN_AFTER {
            tracing::warn!("OPcache cannot restart while a script has been running for long; until then scripts run uncached");
        }
        return;
    };
    FAILED.store(0, SeqCst);
    // Another thread may have done it while this one waited.
    if !PENDING.swap(false, SeqCst) {
        return;
    }
    let Some(file) = LOCK_FILE.get() else { return };
    if let Err(error) = set(file, libc::F_UNLCK) {
        tracing::warn!(%error, "OPcache's lock file cannot be unlocked; it does not restart");
        PENDING.store(true, SeqCst);
        return;
    }
    // SAFETY: this thread has a context and runs no request.
    let done = unsafe { ffi::rr_php_empty_request() };
    if let Err(error) = set(file, libc::F_RDLCK) {
        tracing::error!(%error, "OPcache's lock file cannot be locked again; its restarts are not safe");
    }
    if done {
        tracing::info!("OPcache restarted");
    } else {
        // OPcache does not ask twice.
        PENDING.store(true, SeqCst);
    }
}

/// OPcache is about to want a restart. Its shared-memory lock may be held: nothing may be locked here.
#[unsafe(no_mangle)]
extern "C" fn rr_on_opcache_restart(_reason: c_int) {
    PENDING.store(true, SeqCst);
}

/// OPcache's descriptor of its lock file, and that file opened anew: a lock taken through OPcache's own would be its own.
fn lock_file() -> io::Result<Option<(c_int, File)>> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        let Some(descriptor) = path.file_name().and_then(OsStr::to_str).and_then(|name| name.parse().ok()) else { continue };
        let Ok(target) = fs::read_link(&path) else { continue };
        let target = target.to_string_lossy();
        if target.contains("memfd:opcache_lock") || target.contains(".ZendSem.") {
            return File::options().read(true).write(true).open(path).map(|file| Some((descriptor, file)));
        }
    }
    Ok(None)
}

/// Locks or unlocks the byte by which OPcache asks whether anybody runs scripts.
fn set(file: &File, kind: c_int) -> io::Result<()> {
    let lock = libc::flock {
        l_type: kind.try_into().unwrap_or(0),
        l_whence: libc::SEEK_SET.try_into().unwrap_or(0),
        l_start: 1,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock))?;
    Ok(())
}
