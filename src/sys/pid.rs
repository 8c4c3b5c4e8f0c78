//! `.pid` in the working directory, as RoadRunner's `-p` writes it and its `stop` reads it.
//!
//! The server keeps a lock on the file: a number alone may by now be that of another process, which must not be stopped.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process,
};

/// The file of this process; removed with this.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// Holds the lock.
    file: File,
}

/// Why no process is known.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// There is no such file.
    #[error("there is no file {0}; a server started with `rr serve -p` writes one into its working directory")]
    Missing(PathBuf),
    /// The server that wrote it is gone.
    #[error("{0} was left behind by a server that has ended")]
    Stale(PathBuf),
    /// It holds something else.
    #[error("{0} holds no process number")]
    Foreign(PathBuf),
    /// It cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

// === impl PidFile ===

impl PidFile {
    /// Writes it into the working directory if it is `wanted`.
    pub fn write_if(wanted: bool) -> io::Result<Option<Self>> {
        wanted.then(|| Self::write(Path::new("."))).transpose()
    }

    /// Writes it into `directory`, in the place of one that is there: of two servers, the later one is meant.
    pub fn write(directory: &Path) -> io::Result<Self> {
        // The working directory may be another by the time it is removed.
        let path = std::path::absolute(directory)?.join(NAME);
        let draft = directory.join(format!("{NAME}.{}", process::id()));
        // Made aside, so that nobody reads half of it, nor finds it without its lock.
        let mut file = File::create(&draft)?;
        let written = file.lock().and_then(|()| file.write_all(process::id().to_string().as_bytes()));
        if let Err(error) = written.and_then(|()| fs::rename(&draft, &path)) {
            drop(fs::remove_file(&draft));
            return Err(error);
        }
        Ok(Self { path, file })
    }

    /// The one that the program before this one has written in this process; `file` has its lock.
    pub fn adopt(path: PathBuf, file: OwnedFd) -> Self {
        Self { path, file: file.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another server may have put its own in this place.
        if fs::read_to_string(&self.path).is_ok_and(|text| text == process::id().to_string()) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// The process of the server that runs in `directory`.
pub fn running(directory: &Path) -> Result<i32, Unknown> {
    let path = directory.join(NAME);
    let unreadable = |error| Unknown::Unreadable { path: path.clone(), error };
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unknown::Missing(path)),
        file => file.map_err(unreadable)?,
    };
    let text = io::read_to_string(&file).map_err(unreadable)?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 0).ok_or_else(|| Unknown::Foreign(path.clone()))?;
    match file.try_lock_shared() {
        Ok(()) => Err(Unknown::Stale(path)),
        // A file system without locks leaves the number to be believed.
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => Ok(pid),
    }
}

const NAME: &str = ".pid";

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("rr-pid-{}-{name}", process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn names_the_process_while_it_holds_the_file() {
        let directory = Directory::new("held");
        let own = i32::try_from(process::id()).unwrap();
        assert!(matches!(running(&directory.0), Err(Unknown::Missing(_))));
        let held = PidFile::write(&directory.0).unwrap();
        assert_eq!(fs::read_to_string(directory.0.join(".pid")).unwrap(), own.to_string());
        assert_eq!(running(&directory.0).unwrap(), own);
        drop(held);
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 0);
    }

    #[test]
    fn a_file_left_behind_names_nobody() {
        let directory = Directory::new("stale");
        fs::write(directory.0.join(".pid"), "1").unwrap();
        assert!(matches!(running(&directory.0), Err(Unknown::Stale(_))));
        for text in ["", "x", "-5", "0"] {
            fs::write(directory.0.join(".pid"), text).unwrap();
            assert!(matches!(running(&directory.0), Err(Unknown::Foreign(_))), "{text:?}");
        }
    }

    #[test]
    fn the_file_of_another_server_is_left_to_it() {
        let directory = Directory::new("other");
        let held = PidFile::write(&directory.0).unwrap();
        fs::write(directory.0.join("new"), "4711").unwrap();
        fs::rename(directory.0.join("new"), directory.0.join(".pid")).unwrap();
        drop(held);
        assert_eq!(fs::read_to_string(directory.0.join(".pid")).unwrap(), "4711");
    }
}
