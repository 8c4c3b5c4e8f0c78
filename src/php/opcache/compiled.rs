//! What OPcache has compiled, for the next engine to begin with.

use std::{
    ffi::{OsString, c_char, c_void},
    io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    ptr, thread,
    time::{Duration, Instant},
};

use super::{LOCK, keeper::Told};
use crate::{
    php::{context::Context, ffi},
    sys::crash,
};

/// What an engine begins with.
#[derive(Clone, Debug, Default)]
pub struct Compile {
    /// Scripts, the most important first.
    pub scripts: Vec<PathBuf>,
    /// How long that may take; what is left then is compiled when it is asked for.
    pub within: Duration,
}

/// The scripts that OPcache has, as it names them.
#[derive(Debug, Default)]
pub(super) struct Scripts(Vec<(i64, PathBuf)>);

/// The default of PHP's threads.
const STACK: usize = 8 << 20;
/// Scripts that are compiled in one request, at whose end the memory is free that they took beside OPcache's.
const AT_ONCE: usize = 200;

/// Those that are to be compiled.
struct Left {
    scripts: Vec<PathBuf>,
    until: Instant,
    current: PathBuf,
    of_this_request: usize,
    compiled: usize,
}

// === impl Compile ===

impl Compile {
    /// Compiles them, before any other thread runs scripts; nothing to do if OPcache is off.
    pub(crate) fn run(self) -> io::Result<()> {
        if LOCK.get().is_none() || self.scripts.is_empty() || self.within.is_zero() {
            return Ok(());
        }
        let (began, count) = (Instant::now(), self.scripts.len());
        let scripts = self.scripts.into_iter().rev().collect();
        let mut left = Left::new(scripts, began + self.within);
        let compile = move || {
            crash::use_own_stack();
            let _context = Context::unwatched();
            while !left.is_over() {
                left.of_this_request = 0;
                // One that cannot be compiled may end the request, and the others are compiled in the next.
                // SAFETY: this thread has a context and runs no request; `left` outlives the call.
                unsafe { ffi::rr_php_opcache(ffi::OpcacheWish::Compile, (&raw mut left).cast()) };
                // Nor would the next.
                if left.of_this_request == 0 {
                    break;
                }
            }
            (left.compiled, left.scripts.len())
        };
        // What PHP allocates for it goes with its thread.
        let thread = thread::Builder::new().name("php-compile".into()).stack_size(STACK).spawn(compile)?;
        let (compiled, left) = thread.join().map_err(|_| io::Error::other("compiling scripts ended in a panic"))?;
        let (failed, took_ms) = (count - left - compiled, u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        tracing::info!(compiled, failed, left, took_ms, "scripts of the engine before were compiled");
        Ok(())
    }
}

// === impl Left ===

impl Left {
    fn new(scripts: Vec<PathBuf>, until: Instant) -> Self {
        Self { scripts, until, current: PathBuf::new(), of_this_request: 0, compiled: 0 }
    }

    fn is_over(&self) -> bool {
        self.scripts.is_empty() || Instant::now() >= self.until
    }

    fn next(&mut self) -> Option<&PathBuf> {
        if self.is_over() || self.of_this_request == AT_ONCE {
            return None;
        }
        self.of_this_request += 1;
        self.current = self.scripts.pop()?;
        Some(&self.current)
    }
}

// === impl Scripts ===

impl Scripts {
    /// Those that are asked for most come first.
    pub(super) fn into_paths(mut self) -> Vec<PathBuf> {
        self.0.sort_by_key(|(hits, _)| std::cmp::Reverse(*hits));
        self.0.into_iter().map(|(_, path)| path).collect()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_opcache_script(context: *mut c_void, path: *const c_char, length: usize, hits: i64) {
    // SAFETY: the engine lends `length` readable bytes until this call returns.
    let path = unsafe { ffi::view(path, length) };
    let take = AssertUnwindSafe(|| {
        // SAFETY: `look` in keeper.rs passes a `Told` of its own, which it touches only after the shim has returned.
        let told = unsafe { &mut *context.cast::<Told>() };
        // Others are no files, such as those inside an archive.
        if path.starts_with(b"/") {
            told.scripts.0.push((hits, OsString::from_vec(path.to_vec()).into()));
        }
    });
    drop(panic::catch_unwind(take));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_opcache_next(context: *mut c_void, path: *mut ffi::Bytes) -> bool {
    let take = AssertUnwindSafe(|| {
        // SAFETY: `run` passes a `Left` of its own, which it touches only after the shim has returned.
        let left = unsafe { &mut *context.cast::<Left>() };
        left.next().map(|next| ffi::Bytes::of(next.as_os_str().as_bytes()))
    });
    let Ok(Some(next)) = panic::catch_unwind(take) else { return false };
    // SAFETY: the shim lends room for it.
    unsafe { ptr::write(path, next) };
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_opcache_compiled(context: *mut c_void) {
    // SAFETY: `run` passes a `Left` of its own, which it touches only after the shim has returned.
    let left = unsafe { &mut *context.cast::<Left>() };
    left.compiled += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_most_comes_first() {
        let scripts = Scripts(vec![(1, "/b".into()), (7, "/a".into()), (1, "/c".into())]);
        assert_eq!(scripts.into_paths(), ["/a", "/b", "/c"].map(PathBuf::from));
    }

    #[test]
    fn a_request_compiles_so_many_and_none_when_time_is_up() {
        let scripts: Vec<PathBuf> = (0..AT_ONCE + 1).map(|number| format!("/{number}").into()).collect();
        let mut left = Left::new(scripts, Instant::now() + Duration::from_secs(3600));
        while left.next().is_some() {}
        assert_eq!((left.of_this_request, left.scripts.len(), left.is_over()), (AT_ONCE, 1, false));
        left.of_this_request = 0;
        assert_eq!(left.next(), Some(&PathBuf::from("/0")));
        assert!(left.is_over());
        left.scripts.push("/again".into());
        left.until = Instant::now();
        assert!(left.next().is_none());
    }
}
