//! The files that count, as they are at one moment.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::rules::Root;

/// What a look at the trees has found.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) files: HashMap<PathBuf, Stamp>,
    /// Where changes can happen.
    pub(super) places: HashMap<PathBuf, Place>,
    /// There is more than the bounds allow.
    pub(super) is_cut: bool,
    /// A root is not there.
    pub(super) is_missing: bool,
}

/// A directory, or a file that a symbolic link leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// Of the list given to [`scan`].
    pub(super) root: usize,
    pub(super) id: Id,
    pub(super) is_directory: bool,
}

/// What tells one state of a file from the next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    id: Id,
    length: u64,
    modified: (i64, i64),
}

/// The file system's own name of a file.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Id {
    device: u64,
    inode: u64,
}

/// What one look may find.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) files: usize,
    pub(super) places: usize,
}

// === impl Snapshot ===

impl Snapshot {
    /// The files that are new, gone or different in `next`, in order.
    pub(super) fn changes(&self, next: &Self) -> Vec<PathBuf> {
        let changed = next.files.iter().filter(|(path, stamp)| self.files.get(*path) != Some(stamp)).map(|(path, _)| path);
        let gone = self.files.keys().filter(|path| !next.files.contains_key(*path));
        let mut paths: Vec<_> = changed.chain(gone).cloned().collect();
        paths.sort_unstable();
        paths
    }

    pub(super) fn directories(&self) -> usize {
        self.places.values().filter(|place| place.is_directory).count()
    }
}

// === impl Bounds ===

impl Default for Bounds {
    fn default() -> Self {
        // A framework's project without its vendor directory has some thousands; many kernels allow 8192 watches.
        Self { files: 50_000, places: 8_000 }
    }
}

/// Looks at every file that the roots want. Links are followed, and nothing is looked at twice.
pub(super) fn scan(roots: &[Root], bounds: Bounds) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut seen = HashSet::new();
    for (index, root) in roots.iter().enumerate() {
        let mut open = vec![PathBuf::new()];
        // After all others: what lies in the project is known by its own path.
        let mut linked = Vec::new();
        while let Some(below) = open.pop().or_else(|| linked.pop()) {
            let path = join(&root.path, &below);
            let Ok(metadata) = fs::metadata(&path) else {
                snapshot.is_missing |= below.as_os_str().is_empty();
                continue;
            };
            if !seen.insert((index, Id::of(&metadata))) {
                continue;
            }
            if snapshot.places.len() >= bounds.places {
                snapshot.is_cut = true;
                break;
            }
            snapshot.places.entry(path.clone()).or_insert(Place { root: index, id: Id::of(&metadata), is_directory: true });
            let Ok(entries) = fs::read_dir(&path) else { continue };
            for entry in entries.flatten() {
                let Ok(kind) = entry.file_type() else { continue };
                let below = below.join(entry.file_name());
                if kind.is_symlink() {
                    let Ok(target) = fs::metadata(entry.path()) else { continue };
                    if target.is_dir() && root.enters(&below) {
                        // The link itself counts: it may come to lead to a tree that was there all along.
                        snapshot.files.insert(entry.path(), Stamp { id: Id::of(&target), length: 0, modified: (0, 0) });
                        linked.push(below);
                    } else if target.is_file() && root.wants(&below) {
                        let place = Place { root: index, id: Id::of(&target), is_directory: false };
                        snapshot.places.insert(entry.path(), place);
                        snapshot.file(entry.path(), &target, bounds);
                    }
                } else if kind.is_dir() && root.enters(&below) {
                    open.push(below);
                } else if kind.is_file()
                    && root.wants(&below)
                    && let Ok(metadata) = entry.metadata()
                {
                    snapshot.file(entry.path(), &metadata, bounds);
                }
            }
        }
    }
    snapshot
}

impl Snapshot {
    fn file(&mut self, path: PathBuf, metadata: &Metadata, bounds: Bounds) {
        if self.files.len() >= bounds.files {
            self.is_cut = true;
            return;
        }
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        self.files.insert(path, Stamp { id: Id::of(metadata), length: metadata.len(), modified });
    }
}

// === impl Id ===

impl Id {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// The root itself must not end in a slash: paths are compared.
fn join(root: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { root.to_owned() } else { root.join(below) }
}
