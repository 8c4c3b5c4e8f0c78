//! Word from the kernel that something may have changed.
//!
//! Events are hints: what has changed is found by looking. So an event lost or misread costs a look, not a change.

use std::{
    collections::HashMap,
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor},
};

use super::{
    rules::Root,
    tree::{Place, Snapshot},
};

/// An inotify instance and what it watches.
#[derive(Debug)]
pub(super) struct Notifier {
    inotify: Inotify,
    places: HashMap<PathBuf, (WatchDescriptor, Place)>,
    paths: HashMap<WatchDescriptor, PathBuf>,
}

/// The kernel does not watch for us.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(
        "the kernel allows {} inotify watches to this user, and {needed} are needed: raise fs.inotify.max_user_watches, or \
         narrow dev.watch or add to dev.ignore",
        limit("max_user_watches")
    )]
    Watches { needed: usize },
    #[error(
        "the kernel allows {} inotify instances to this user: raise fs.inotify.max_user_instances",
        limit("max_user_instances")
    )]
    Instances,
    #[error("inotify: {0}")]
    Other(#[from] io::Error),
}

// === impl Notifier ===

impl Notifier {
    pub(super) fn new() -> Result<Self, Refused> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(|error| match error {
            Errno::EMFILE => Refused::Instances,
            other => Refused::Other(other.into()),
        })?;
        Ok(Self { inotify, places: HashMap::new(), paths: HashMap::new() })
    }

    /// Watches the places of `snapshot` and no others. True if some are new: what happened there before is not known.
    pub(super) fn watch(&mut self, snapshot: &Snapshot) -> Result<bool, Refused> {
        let gone: Vec<_> = self.places.iter().filter(|(path, (_, place))| snapshot.places.get(*path) != Some(place)).collect();
        let gone: Vec<_> = gone.into_iter().map(|(path, (watch, _))| (path.clone(), *watch)).collect();
        for (path, watch) in gone {
            self.places.remove(&path);
            if self.paths.remove(&watch).is_some() {
                // Gone already if what it watched is.
                let _ = self.inotify.rm_watch(watch);
            }
        }
        let mut is_new = false;
        for (path, place) in &snapshot.places {
            if self.places.contains_key(path) {
                continue;
            }
            match self.inotify.add_watch(path, if place.is_directory { DIRECTORY } else { FILE }) {
                Ok(watch) => {
                    self.paths.insert(watch, path.clone());
                    self.places.insert(path.clone(), (watch, *place));
                    is_new = true;
                }
                Err(Errno::ENOSPC) => return Err(Refused::Watches { needed: snapshot.places.len() }),
                // Gone since it was found, or not ours to read.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ELOOP) => {}
                Err(error) => return Err(Refused::Other(error.into())),
            }
        }
        Ok(is_new)
    }

    /// Waits for events until `limit` is over, and says whether one may concern the roots.
    pub(super) fn wait(&mut self, roots: &[Root], limit: Duration) -> bool {
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut ready = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut ready, timeout), Ok(1..)) {
            return false;
        }
        let mut concerns = false;
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                concerns |= self.concerns(roots, &event);
            }
        }
        concerns
    }

    fn concerns(&mut self, roots: &[Root], event: &InotifyEvent) -> bool {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return true;
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            if let Some(path) = self.paths.remove(&event.wd) {
                self.places.remove(&path);
            }
            return true;
        }
        let Some(directory) = self.paths.get(&event.wd) else { return false };
        let (Some((_, place)), Some(name)) = (self.places.get(directory), &event.name) else { return true };
        let Some(root) = roots.get(place.root) else { return true };
        let path = directory.join(name);
        let Ok(below) = path.strip_prefix(&root.path) else { return true };
        if root.wants(below) {
            return true;
        }
        // A directory, or a link to one, may bring files or take them along.
        !event.mask.contains(AddWatchFlags::IN_CLOSE_WRITE)
            && root.enters(below)
            && (event.mask.contains(AddWatchFlags::IN_ISDIR) || self.places.contains_key(&path) || is_directory(&path))
    }
}

fn is_directory(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn limit(name: &str) -> String {
    let limit = fs::read_to_string(Path::new("/proc/sys/fs/inotify").join(name));
    limit.map_or_else(|_| "too few".into(), |text| text.trim().to_owned())
}

const DIRECTORY: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);
/// A file that is replaced loses a link before it is gone.
const FILE: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF);
