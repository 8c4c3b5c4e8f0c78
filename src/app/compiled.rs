//! The scripts that an engine has compiled, told to the one that succeeds it.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    php::{self, Wish},
    sys::memory,
};

/// As it is written.
#[derive(Debug, Deserialize, Serialize)]
struct List {
    /// The folders and scripts that are served.
    places: Vec<PathBuf>,
    /// Those compiled, the most important first.
    scripts: Vec<PathBuf>,
}

/// Writes the list when the supervisor asks for it.
pub(super) struct Writer {
    opcache: Option<php::Opcache>,
    places: Vec<PathBuf>,
    file: Arc<OwnedFd>,
}

/// Bytes of paths that are told; what is beyond is asked for least.
const MOST: usize = 4 << 20;
/// The list is asked for when the new engine is started; it comes while PHP starts, or not at all.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);

// === impl Writer ===

impl Writer {
    /// What is served are the places of `config` and the directory on the command line.
    pub(super) fn new(config: &Config, dir: Option<&Path>, opcache: Option<php::Opcache>, file: OwnedFd) -> Self {
        Self { opcache, places: places(config, dir), file: Arc::new(file) }
    }

    pub(super) fn write(&self) {
        let (places, file) = (self.places.clone(), self.file.clone());
        let Some(opcache) = &self.opcache else { return write(&file, places, Vec::new()) };
        opcache.ask(Wish::Scripts, move |told| match told {
            Ok(report) => write(&file, places, report.scripts),
            Err(error) => {
                tracing::warn!("the next engine starts with nothing compiled: {error}");
                write(&file, places, Vec::new());
            }
        });
    }
}

fn write(file: &OwnedFd, places: Vec<PathBuf>, mut scripts: Vec<PathBuf>) {
    // The list is text.
    scripts.retain(|script| script.to_str().is_some());
    let mut bytes = 0;
    let fits = |script: &PathBuf| {
        bytes += script.as_os_str().len();
        bytes <= MOST
    };
    let scripts = scripts.into_iter().take_while(fits).collect();
    let list = serde_json::to_vec(&List { places, scripts }).map_err(io::Error::other);
    if let Err(error) = list.and_then(|list| memory::put(file, &list)) {
        tracing::warn!("the next engine starts with nothing compiled: its list cannot be written: {error}");
    }
}

/// What the engine that serves until this one does has told, as it is called by this one's configuration.
pub(super) fn read(file: &OwnedFd, config: &Config, dir: Option<&Path>) -> php::Compile {
    let within = config.engine.warm_up;
    let until = Instant::now() + PATIENCE.min(within);
    loop {
        match memory::got(file, 2 * MOST) {
            Ok(None) if Instant::now() < until => thread::sleep(LOOK),
            Ok(None) => return php::Compile::default(),
            Ok(Some(list)) => {
                let list = serde_json::from_slice::<List>(&list).map_err(io::Error::other);
                return list.map_or_else(unread, |list| php::Compile { scripts: list.at(&places(config, dir)), within });
            }
            Err(error) => return unread(error),
        }
    }
}

fn unread(error: io::Error) -> php::Compile {
    tracing::warn!("the list of compiled scripts cannot be read: {error}");
    php::Compile::default()
}

fn places(config: &Config, dir: Option<&Path>) -> Vec<PathBuf> {
    dir.map(Path::to_owned).into_iter().chain(config.served().cloned()).collect()
}

// === impl List ===

impl List {
    /// The scripts, where `places` are now what these were.
    fn at(self, places: &[PathBuf]) -> Vec<PathBuf> {
        if self.places.len() != places.len() {
            return self.scripts;
        }
        let mut moves: Vec<_> = self.places.iter().zip(places).filter_map(|(from, to)| moved(from, to)).collect();
        moves.sort_by_key(|(from, _)| std::cmp::Reverse(from.as_os_str().len()));
        let move_one = |script: PathBuf| {
            let moved = moves.iter().find_map(|(from, to)| Some(to.join(script.strip_prefix(from).ok()?)));
            moved.unwrap_or(script)
        };
        self.scripts.into_iter().map(move_one).collect()
    }
}

/// Which folder has become which, as one release the next, if `from` is `to` now.
fn moved<'a>(mut from: &'a Path, mut to: &'a Path) -> Option<(&'a Path, &'a Path)> {
    if from == to {
        return None;
    }
    while from.file_name() == to.file_name() {
        (from, to) = (from.parent()?, to.parent()?);
    }
    // The root of all folders is not what one release has for itself.
    (from.parent().is_some() && to.parent().is_some()).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_that_took_the_place_of_another_has_its_scripts() {
        let list = |scripts: &[&str]| List {
            places: vec!["/app/releases/41/public".into(), "/srv/shared".into()],
            scripts: scripts.iter().map(Into::into).collect(),
        };
        let scripts = ["/app/releases/41/public/index.php", "/app/releases/41/vendor/a.php", "/srv/shared/b.php", "/usr/c.php"];
        let now = ["/app/releases/42/public", "/srv/shared"].map(PathBuf::from);
        let expected = ["/app/releases/42/public/index.php", "/app/releases/42/vendor/a.php", "/srv/shared/b.php", "/usr/c.php"];
        assert_eq!(list(&scripts).at(&now), expected.map(PathBuf::from));
        assert_eq!(list(&scripts).at(&now[..1]), scripts.map(PathBuf::from));
        let elsewhere = ["/other/public", "/srv/shared"].map(PathBuf::from);
        assert_eq!(list(&scripts[1..2]).at(&elsewhere), [PathBuf::from("/other/vendor/a.php")]);
        let unlike = ["/public", "/srv/shared"].map(PathBuf::from);
        assert_eq!(list(&scripts[..1]).at(&unlike), [PathBuf::from(scripts[0])]);
    }
}
