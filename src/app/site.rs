//! What is served: files below a root by an application's rules, scripts, or a worker.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{command, settings};
use crate::{
    config::{self, Config},
    error::Error,
    http::{preset::Preset, route},
    php,
    worker::Script,
};

/// One document root, one application, or both.
pub(super) struct Site {
    pub(super) root: PathBuf,
    /// What boots once and answers whatever no file does.
    pub(super) worker: Option<Script>,
    /// What runs it, if that is a command.
    pub(super) workers: Option<command::Workers>,
    pub(super) preset: Preset,
    pub(super) why: String,
    /// The welcome page's folder, removed at the end.
    welcome: Option<PathBuf>,
}

// === impl Site ===

impl Site {
    /// What `config` says is served, `key` being where it says so; `dir` wins over its root.
    pub(super) fn find(config: &Config, key: &str, dir: Option<&Path>) -> Result<Self, Error> {
        let workers = command::workers(config, if key == "tcp" { "tcp" } else { "http" }, php::VERSION)?;
        let mut site = Self::find_root(&config.http, key, dir, workers.is_some())?;
        site.worker = match &workers {
            Some(workers) => Some(workers.script()?),
            None => config.http.worker.as_deref().map(|path| site.worker_script(path, key)).transpose()?,
        };
        site.workers = workers;
        Ok(site)
    }

    /// A script below the root is known by its URL there, any other by its name alone.
    fn worker_script(&self, path: &Path, key: &str) -> Result<Script, Error> {
        let path = path.canonicalize().map_err(Error::named(format!("{key}.worker {}", path.display())))?;
        if !path.is_file() {
            return Err(Error::Config(format!("{key}.worker: {} is not a file", path.display())));
        }
        let below = path.strip_prefix(&self.root).ok().filter(|_| self.serves_files());
        let name = below.or_else(|| path.file_name().map(Path::new)).unwrap_or(&path);
        let root = if self.serves_files() { self.root.as_path() } else { path.parent().unwrap_or(Path::new("/")) };
        Ok(Script {
            name: [b"/", name.as_os_str().as_bytes()].concat().into(),
            path_info: "".into(),
            document_root: root.as_os_str().as_bytes().to_vec().into(),
            filename: path.into_os_string().into_vec().into(),
        })
    }

    /// The directories that scripts are started from; not the welcome page's.
    pub(super) fn code(&self) -> impl Iterator<Item = &Path> {
        let root = Some(self.root.as_path()).filter(|_| self.serves_files() && self.welcome.is_none());
        let worker = self.worker.as_ref().and_then(|script| Path::new(OsStr::from_bytes(&script.filename)).parent());
        worker.into_iter().chain(root)
    }

    pub(super) fn serves_files(&self) -> bool {
        self.root != Path::new("/")
    }

    fn find_root(http: &config::Http, key: &str, dir: Option<&Path>, has_workers: bool) -> Result<Self, Error> {
        let Some(dir) = dir.or(http.root.as_deref()) else {
            // A FastCGI client names its own files.
            let only_fcgi = http.address.is_empty() && http.ssl.is_none();
            let has_others = has_workers || http.worker.is_some() || !http.routes.is_empty();
            return if only_fcgi || has_others { Ok(Self::nothing()) } else { Self::welcome() };
        };
        let dir = dir.canonicalize().map_err(Error::named(format!("{key}.root {}", dir.display())))?;
        if !dir.is_dir() {
            return Err(Error::Config(format!("{key}.root: {} is not a directory", dir.display())));
        }
        let (detected, root, why) = Preset::detect(&dir);
        Ok(match settings::preset(http.preset) {
            Some(preset) if preset == detected => Self::at(root, preset, why),
            Some(preset) => Self::at(dir, preset, "configured".into()),
            None => Self::at(root, detected, why),
        })
    }

    fn nothing() -> Self {
        Self::at(PathBuf::from("/"), Preset::Files, "no files are served".into())
    }

    fn at(root: PathBuf, preset: Preset, why: String) -> Self {
        Self { root, preset, why, worker: None, workers: None, welcome: None }
    }

    /// Nothing was given: a page that says what this is.
    fn welcome() -> Result<Self, Error> {
        // A container's process always has the same number, and a killed one leaves its folder behind.
        let moment = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        let directory = std::env::temp_dir().join(format!("rr-welcome-{}-{moment}", std::process::id()));
        let page = directory.join("index.php");
        fs::create_dir(&directory)
            .and_then(|()| fs::write(&page, include_str!("../welcome/index.php")))
            .map_err(Error::system(format!("welcome page in {}", directory.display())))?;
        let mut site = Self::at(directory.clone(), Preset::Files, "no directory was given".into());
        site.welcome = Some(directory);
        Ok(site)
    }

    pub(super) fn router(&self, http: &config::Http) -> Result<route::Router, Error> {
        let config = settings::router(http, &self.root, self.preset);
        config.build().map_err(Error::system(format!("document root {}", self.root.display())))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(directory) = &self.welcome {
            drop(fs::remove_dir_all(directory));
        }
    }
}
