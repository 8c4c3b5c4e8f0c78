//! OPcache under threads: its restarts made safe, and what an operator may ask of it.
//!
//! OPcache restarts (after `opcache_reset()`, or when its memory or its table is full) by rewinding shared memory at the start of
//! some request, as soon as no *process* runs scripts. It asks by a kind of lock that does not see threads of its own
//! process, so the memory would be rewound under the others. An open-file-description lock it does see: [`lock`] holds one from
//! the start, and so no restart happens by itself. One that is pending is carried out by [`keeper`], in a moment when no thread
//! runs PHP: either one that comes by itself, or one for which it closes the [`gate`], for some 40 ms at most. Until then requests
//! go on uncached, as under php-fpm.
//!
//! While a script has been running for long, the gate stays open, and workers stay where they are: it would be in vain. A restart
//! that is still pending after `opcache.force_restart_timeout` seconds (180) makes the engine ask for its replacement. OPcache itself
//! would then kill who holds the lock; but such a lock as ours has no process to its name.

mod compiled;
mod gate;
mod keeper;
mod lock;

use std::{
    ffi::{c_char, c_int, c_void},
    fmt,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::AtomicBool, atomic::Ordering::SeqCst},
    thread::Thread,
    time::Duration,
};

pub use compiled::Compile;
pub use gate::Gate;
pub(super) use gate::{pass, pass_to_boot};
pub(super) use keeper::Keeper;

use super::ffi;
use lock::UsageLock;

/// Who may be asked of OPcache. Cheap to clone.
#[derive(Clone)]
pub struct Opcache(Arc<keeper::Shared>);

/// What is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    /// How it is.
    Status,
    /// To forget all it has; answered when it has, but after ten seconds anyway.
    Reset,
    /// What it has compiled.
    Scripts,
}

/// How OPcache is.
#[derive(Clone, Debug)]
pub struct Report {
    /// What `opcache_get_status(false)` returns, as JSON; empty if its scripts were asked for.
    pub status: String,
    /// If they were asked for, those that are files, the one asked for most first.
    pub scripts: Vec<PathBuf>,
    /// How long it has wanted to restart, if it does.
    pub pending: Option<Duration>,
    /// Times that the gate was closed in vain.
    pub vain: u64,
    /// What its restarts have cost others.
    pub gate: Gate,
}

/// Why OPcache does not answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Silent {
    /// Its functions are not there.
    #[error("OPcache cannot be asked: disable_functions names opcache_get_status()")]
    Disabled,
    /// PHP failed.
    #[error("OPcache cannot be asked: PHP failed; see the log")]
    Failed,
    /// Too many ask.
    #[error("too many ask OPcache at once: try again later")]
    Busy,
    /// The engine ends.
    #[error("the server is stopping")]
    Stopping,
}

static PENDING: AtomicBool = AtomicBool::new(false);
static LOCK: OnceLock<UsageLock> = OnceLock::new();
/// Whom a wish to restart wakes.
static KEEPER: OnceLock<Thread> = OnceLock::new();

/// Takes the lock that forbids restarts; nothing to do if OPcache is off. Called once, after module startup.
pub(super) fn guard() {
    match UsageLock::take() {
        Ok(Some((theirs, lock))) => {
            LOCK.get_or_init(|| lock);
            // Its own locks, two system calls for every request, would say no more than ours.
            // SAFETY: has no preconditions.
            unsafe { ffi::rr_libc_spare_locks(theirs) };
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "OPcache's lock file cannot be locked; its restarts are not safe"),
    }
}

// === impl Opcache ===

impl Opcache {
    /// Asks, and lets the answer come to `tell`, on another thread.
    pub fn ask(&self, wish: Wish, tell: impl FnOnce(Result<Report, Silent>) + Send + 'static) {
        self.0.ask(wish, Box::new(tell));
    }

    /// True if a restart has been pending for so long that another process should take over.
    pub fn is_overdue(&self) -> bool {
        self.0.is_overdue()
    }
}

impl fmt::Debug for Opcache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Opcache")
    }
}

/// OPcache is about to want a restart. Its shared-memory lock may be held: nothing may be locked here.
#[unsafe(no_mangle)]
extern "C" fn rr_on_opcache_restart(_reason: c_int) {
    PENDING.store(true, SeqCst);
    // The calling thread holds a pass, so nothing happens before OPcache does want it.
    if let Some(keeper) = KEEPER.get() {
        keeper.unpark();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_opcache_status(context: *mut c_void, json: *const c_char, length: usize) {
    // SAFETY: the engine lends `length` readable bytes until this call returns.
    let json = unsafe { ffi::view(json, length) };
    let take = AssertUnwindSafe(|| {
        // SAFETY: `look` in keeper.rs passes a `Told` of its own, which it touches only after the shim has returned.
        let told = unsafe { &mut *context.cast::<keeper::Told>() };
        told.status = String::from_utf8_lossy(json).into_owned();
    });
    drop(panic::catch_unwind(take));
}
