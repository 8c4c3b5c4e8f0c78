//! OPcache's own lock file: a lock on it forbids restarts.

use std::{
    ffi::{OsStr, c_int},
    fs::{self, File},
    io,
    os::fd::AsFd,
};

use nix::fcntl::{FcntlArg, fcntl};

/// The lock by which OPcache is told that its memory is in use.
#[derive(Debug)]
pub(super) struct UsageLock(File);

// === impl UsageLock ===

impl UsageLock {
    /// Takes it, and gives OPcache's own descriptor of the file besides; none if OPcache is off.
    pub(super) fn take() -> io::Result<Option<(c_int, Self)>> {
        let Some((theirs, file)) = lock_file()? else { return Ok(None) };
        let lock = Self(file);
        lock.set(libc::F_RDLCK)?;
        Ok(Some((theirs, lock)))
    }

    /// Runs `act` while the lock is not held. The error is that it could not be let go, or not be taken again.
    pub(super) fn without<T>(&self, act: impl FnOnce() -> T) -> io::Result<T> {
        self.set(libc::F_UNLCK)?;
        let result = act();
        self.set(libc::F_RDLCK)?;
        Ok(result)
    }

    /// Locks or unlocks the byte by which OPcache asks whether anybody runs scripts.
    fn set(&self, kind: c_int) -> io::Result<()> {
        let lock = libc::flock {
            l_type: kind.try_into().unwrap_or(0),
            l_whence: libc::SEEK_SET.try_into().unwrap_or(0),
            l_start: 1,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(self.0.as_fd(), FcntlArg::F_OFD_SETLK(&lock))?;
        Ok(())
    }
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
