//! How many files and sockets a process may have open, and some that are kept for those who ask how it is.

use std::io;

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, setrlimit},
};
use parking_lot::Mutex;

/// Of the files that a process may have open so many are for [`with_reserve`] alone.
const RESERVE: u64 = 32;

/// Raises the limit as far as this process may, but for the reserve; processes that it starts have the same. The limit is returned
/// with the reserve.
pub fn raise_limit() -> io::Result<u64> {
    let most = limit()?;
    setrlimit(Resource::RLIMIT_NOFILE, without_reserve(most), most)?;
    Ok(most)
}

/// The highest limit that this process may have.
pub fn limit() -> io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.1)
}

/// Tries again what has failed for want of descriptors, with the reserve.
pub fn with_reserve<T>(attempt: impl FnOnce() -> T) -> io::Result<T> {
    // One at a time: the first to end would take it away from the others.
    static TAKEN: Mutex<()> = Mutex::new(());
    let _taken = TAKEN.lock();
    let (before, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let done = attempt();
    setrlimit(Resource::RLIMIT_NOFILE, before, most)?;
    Ok(done)
}

/// True if `error` says that this process has as many open as it may.
pub fn is_exhausted(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EMFILE as i32)
}

fn without_reserve(limit: u64) -> u64 {
    limit - RESERVE.min(limit / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_as_high_as_it_may_be_but_for_a_reserve() {
        let limit = raise_limit().unwrap();
        let now = || getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(now(), (without_reserve(limit), limit));
        assert_eq!(with_reserve(now).unwrap(), (limit, limit));
        assert_eq!(now(), (without_reserve(limit), limit));
        assert_eq!([40, 1000].map(without_reserve), [30, 968]);
    }
}
