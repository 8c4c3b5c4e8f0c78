//! Directories that go when their owner does.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

/// A directory of one's own, removed on drop unless `RR_KEEP` is set.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rr-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        // Resolved, since tests compare paths with what PHP reports.
        let path = std::env::temp_dir().canonicalize().unwrap().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and the directories above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if std::env::var_os("RR_KEEP").is_none() {
            // A child that still writes here loses the race; the system's temp cleaner wins it later.
            _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// The PHP files of `php-tests/fixtures`.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("php-tests/fixtures")
}

/// Copies a tree, following links that lead somewhere.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let source = entry.unwrap().path();
        let target = to.join(source.file_name().unwrap());
        if source.is_dir() {
            copy_tree(&source, &target);
        } else if source.exists() {
            fs::copy(&source, &target).unwrap();
            age(&target);
        }
    }
}

/// Makes a file an hour old: OPcache leaves alone what changed within two seconds.
pub(crate) fn age(path: &Path) {
    let then = SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}
