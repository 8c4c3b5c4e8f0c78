//! Watches a project's files for development, and says when some have changed.
//!
//! ```text
//! inotify (or a clock) → something may have changed → quiet for a moment → look at every file → say what differs
//! ```
//!
//! What has changed is always found by looking, so editors that write anew, rename over or swap links, directories that come
//! and go, and lost events need no care of their own. inotify itself rather than a crate on top of it: the one there is asks
//! for an event whenever a file is opened, which a busy PHP does all the time, and cannot leave directories out.

mod glob;
mod inotify;
mod rules;
mod tree;

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::statfs::statfs;

use inotify::{Notifier, Refused};
use rules::Root;
use tree::{Bounds, Snapshot, scan};

/// What is watched, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where patterns start from; see [`project_of`].
    pub projects: Vec<PathBuf>,
    /// Patterns of the files that count.
    pub watch: Vec<String>,
    /// Patterns of what does not, beside what no project wants watched; with `!` in front, of what does all the same.
    pub ignore: Vec<String>,
    /// How long files must be left alone before a change is told of.
    pub debounce: Duration,
    /// Look at the files this often rather than wait for the kernel's word; none means only where that word cannot be had.
    pub poll: Option<Duration>,
}

/// The files as they are now; changes from here on are told of once it is [started](Self::start).
#[derive(Debug)]
pub struct Prepared {
    config: Config,
    roots: Vec<Root>,
    bounds: Bounds,
    source: Source,
    snapshot: Snapshot,
}

/// Watches until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Watcher {
    stop: Arc<AtomicBool>,
}

/// Files that have changed together.
#[derive(Clone, Debug)]
pub struct Change {
    /// The files, in order.
    pub files: Vec<PathBuf>,
    projects: Vec<PathBuf>,
}

#[derive(Debug)]
enum Source {
    Kernel(Notifier),
    Clock(Duration),
}

/// How often files are looked at where inotify does not work.
const POLL: Duration = Duration::from_secs(1);
/// How long a stop, or a root that comes back, may go unseen.
const TICK: Duration = Duration::from_millis(500);
/// In multiples of `debounce`: whoever writes all the time does not keep a change from being told of.
const LONGEST_QUIET: u32 = 10;

/// The project that `directory` belongs to: the nearest directory with a `composer.json`, at most three levels up, else itself.
pub fn project_of(directory: &Path) -> PathBuf {
    directory.ancestors().take(4).find(|path| path.join("composer.json").is_file()).unwrap_or(directory).to_owned()
}

// === impl Config ===

impl Config {
    /// Looks at the files for the first time, and logs what is watched.
    pub fn build(self) -> Prepared {
        let roots = Root::all(&self.projects, &self.watch, &self.ignore);
        let source = match self.poll {
            Some(interval) => Source::Clock(interval),
            None => Source::best(&roots),
        };
        let mut prepared = Prepared { config: self, roots, bounds: Bounds::default(), source, snapshot: Snapshot::default() };
        prepared.snapshot = prepared.look(Duration::ZERO);
        prepared.report();
        prepared
    }
}

// === impl Prepared ===

impl Prepared {
    /// Tells `on_change` of every change, on a thread of its own.
    pub fn start(mut self, on_change: impl Fn(&Change) + Send + 'static) -> io::Result<Watcher> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        thread::Builder::new().name("watch".into()).spawn(move || {
            while self.wait(&stopped) {
                let next = self.look_until_quiet();
                let files = self.snapshot.changes(&next);
                self.snapshot = next;
                if !files.is_empty() {
                    on_change(&Change { files, projects: self.config.projects.clone() });
                }
            }
        })?;
        Ok(Watcher { stop })
    }

    /// Waits until there is reason to look again; false when it is to stop.
    fn wait(&mut self, stop: &AtomicBool) -> bool {
        match &mut self.source {
            Source::Clock(interval) => {
                let began = Instant::now();
                while began.elapsed() < *interval && !stop.load(Relaxed) {
                    thread::sleep(TICK.min(*interval));
                }
            }
            Source::Kernel(notifier) => {
                while !stop.load(Relaxed) && !notifier.wait(&self.roots, TICK) {
                    if self.snapshot.is_missing {
                        break;
                    }
                }
                quiet(notifier, &self.roots, self.config.debounce);
            }
        }
        !stop.load(Relaxed)
    }

    /// Without the kernel's word, files that go on changing are known by looking again.
    fn look_until_quiet(&mut self) -> Snapshot {
        let mut next = self.look(self.config.debounce);
        for _ in 0..LONGEST_QUIET {
            if matches!(self.source, Source::Kernel(_)) || self.snapshot.changes(&next).is_empty() {
                break;
            }
            thread::sleep(self.config.debounce);
            let again = self.look(self.config.debounce);
            let quiet = next.changes(&again).is_empty();
            next = again;
            if quiet {
                break;
            }
        }
        next
    }

    /// Looks at the files, and watches wherever they are, after `debounce` once more if that is somewhere new. Falls back on the
    /// clock if the kernel refuses.
    fn look(&mut self, debounce: Duration) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for _ in 0..LONGEST_QUIET {
            let began = Instant::now();
            snapshot = scan(&self.roots, self.bounds);
            let Source::Kernel(notifier) = &mut self.source else {
                // At most a tenth of a core.
                self.source = Source::Clock(self.config.poll.unwrap_or(POLL).max(began.elapsed() * 10));
                break;
            };
            match notifier.watch(&snapshot) {
                // Of what came there before it was watched there was no word.
                Ok(true) => quiet(notifier, &self.roots, debounce),
                Ok(false) => break,
                Err(refused) => {
                    self.source = Source::fall_back(&refused);
                    break;
                }
            }
        }
        snapshot
    }

    fn report(&self) {
        let how = match &self.source {
            Source::Kernel(_) => "by inotify".to_owned(),
            Source::Clock(interval) => format!("every {} ms", interval.as_millis()),
        };
        let (files, directories) = (self.snapshot.files.len(), self.snapshot.directories());
        let roots: Vec<_> = self.roots.iter().map(|root| root.path.display().to_string()).collect();
        tracing::info!("watching {files} files in {directories} directories below {}, {how}", roots.join(", "));
        if self.snapshot.is_cut {
            tracing::warn!(
                "there are more than {} files or {} directories: the rest is not watched; narrow dev.watch or add to dev.ignore",
                self.bounds.files,
                self.bounds.places
            );
        }
        if files == 0 {
            tracing::warn!("nothing that dev.watch asks for is there yet");
        }
    }
}

// === impl Source ===

impl Source {
    fn best(roots: &[Root]) -> Self {
        if let Some((root, name)) = roots.iter().find_map(|root| Some((root, is_remote(&root.path)?))) {
            tracing::info!("{} is on {name}, of whose changes inotify knows nothing", root.path.display());
            return Self::Clock(POLL);
        }
        Notifier::new().map_or_else(|refused| Self::fall_back(&refused), Self::Kernel)
    }

    fn fall_back(refused: &Refused) -> Self {
        tracing::warn!("{refused}; until then the files are looked at every {} s", POLL.as_secs());
        Self::Clock(POLL)
    }
}

/// Waits until nothing has happened for `debounce`.
fn quiet(notifier: &mut Notifier, roots: &[Root], debounce: Duration) {
    let began = Instant::now();
    while notifier.wait(roots, debounce) && began.elapsed() < debounce * LONGEST_QUIET {}
}

/// The name of a file system that others write to without this kernel's knowledge.
fn is_remote(path: &Path) -> Option<&'static str> {
    let kind = u32::try_from(statfs(path).ok()?.filesystem_type().0 & 0xFFFF_FFFF).ok()?;
    REMOTE.iter().find(|(remote, _)| *remote == kind).map(|(_, name)| *name)
}

/// By the numbers that `statfs(2)` gives them.
const REMOTE: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFE53_4D42, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0x0102_1997, "9P"),
    (0x6573_5546, "FUSE"),
    (0x786F_4256, "a VirtualBox share"),
    (0xBACB_ACBC, "a VMware share"),
    (0x7C7C_6673, "a Parallels share"),
];

// === impl Change ===

impl Change {
    /// True if pages alone use what has changed: styles, scripts, images.
    pub fn is_for_browsers(&self) -> bool {
        let for_browsers = |path: &PathBuf| {
            path.extension().is_some_and(|extension| FOR_BROWSERS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
        };
        self.files.iter().all(for_browsers)
    }
}

const FOR_BROWSERS: &[&str] = &["css", "js", "mjs", "svg", "png", "jpg", "jpeg", "gif", "webp", "avif", "ico", "woff", "woff2"];

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.files.first() else { return Ok(()) };
        let below = self.projects.iter().find_map(|project| first.strip_prefix(project).ok());
        write!(f, "{}", below.unwrap_or(first).display())?;
        match self.files.len() - 1 {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

// === impl Watcher ===

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}
