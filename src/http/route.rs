//! From the path of a request to the script, file or refusal that answers it, as nginx with php-fpm decides.
//!
//! A path is decoded once. Scripts run, or are refused; they are never sent. What is no file goes to the front controller.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;
use quick_cache::sync::Cache;

use self::lookup::{Found, Site};
use super::{files::Target, preset::Preset};
use crate::worker::Script;

mod lookup;
mod names;
mod path;
mod rewrite;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(super) use path::{decode, push_query};
pub use rewrite::{From, Rewrite};
pub(super) use rewrite::{Outcome, Rules, with_host};

/// How one site's paths are answered.
#[derive(Clone, Debug)]
pub struct Config {
    /// The document root. It is resolved when built: a release that is switched by a symbolic link counts from the next reload.
    pub root: PathBuf,
    /// The kind of application.
    pub preset: Preset,
    /// The files that answer a directory, in order of preference.
    pub index: Vec<String>,
    /// The script that answers what is no file, as a URL path; none for the preset's own.
    pub front_controller: Option<String>,
    /// Rules applied before any file is looked up.
    pub rewrite: Vec<Rewrite>,
    /// Whether symbolic links may lead out of the root.
    pub follow_symlinks: bool,
    /// URL paths of the pages that replace bodyless errors, by status.
    pub error_pages: Vec<(u16, String)>,
}

/// Answers where a request goes.
#[derive(Debug)]
pub struct Router {
    site: Site,
    rules: Rules,
    front_controller: Option<String>,
    error_pages: Vec<(u16, String)>,
    cache: Cache<Box<str>, Arc<Plan>>,
}

/// What answers a request.
#[derive(Debug)]
pub enum Route {
    /// Run a script.
    Script {
        /// The script.
        script: Script,
        /// The query string after rewriting.
        query: String,
    },
    /// Send a file.
    File(Target),
    /// Send the client elsewhere.
    Redirect {
        /// One of 3xx.
        status: StatusCode,
        /// The value of `Location`.
        location: String,
    },
    /// Answer with an error: 400, 403, 404, or what a rule asks for.
    Refuse(StatusCode),
}

/// A route as far as it does not depend on the request's host and query string.
#[derive(Debug)]
struct Plan {
    made: Instant,
    answer: Answer,
    query: Query,
    /// Paths that a request is known by besides its own.
    known_as: Vec<String>,
}

#[derive(Debug)]
enum Answer {
    Script(Script),
    File(Target),
    Redirect { status: StatusCode, location: String },
    Refuse(StatusCode),
    FrontController,
}

/// What a rule made of the query string.
#[derive(Debug)]
struct Query {
    added: Option<String>,
    keep: bool,
}

/// A hot path costs no system call, and a script that was removed is missed a second later.
const VALID: Duration = Duration::from_secs(1);

/// Paths remembered; with `CACHED_PATH` at most some 10 MB.
const CACHED_PATHS: usize = 16 * 1024;

/// Longer paths are looked up each time.
const CACHED_PATH: usize = 256;

// === impl Config ===

impl Config {
    /// An ordinary site.
    #[cfg(test)]
    fn new(root: impl Into<PathBuf>, preset: Preset) -> Self {
        Self {
            root: root.into(),
            preset,
            index: ["index.php", "index.html"].map(str::to_owned).into(),
            front_controller: None,
            rewrite: Vec::new(),
            follow_symlinks: false,
            error_pages: Vec::new(),
        }
    }

    fn front_controller(&self) -> Option<&str> {
        self.front_controller.as_deref().or(self.preset.front_controller())
    }

    /// Checks everything and resolves the root.
    pub fn build(self) -> io::Result<Router> {
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let root = fs::canonicalize(&self.root)
            .and_then(|root| if root.is_dir() { Ok(root) } else { Err(io::ErrorKind::NotADirectory.into()) })
            .map_err(|error| io::Error::new(error.kind(), format!("document root {}: {error}", self.root.display())))?;
        let url_path = |path: &str| match path::resolve(path) {
            Some(resolved) if !names::is_hidden(&resolved) => Ok(resolved.into_owned()),
            _ => Err(wrong(format!("{path:?} is not a path below the document root, or is hidden"))),
        };
        let front_controller = self.front_controller().map(url_path).transpose()?;
        if let Some(script) = front_controller.as_deref().filter(|script| !script.ends_with(".php")) {
            return Err(wrong(format!("front controller {script:?} is not a .php file")));
        }
        if let Some(name) = self.index.iter().find(|name| name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']))
        {
            return Err(wrong(format!("index {name:?} is not the name of a file")));
        }
        let error_pages =
            self.error_pages.iter().map(|(status, page)| Ok((*status, url_path(page)?))).collect::<io::Result<_>>()?;
        let site = Site::new(root, &self);
        let rules = Rules::new(self.rewrite)?;
        Ok(Router { site, rules, front_controller, error_pages, cache: Cache::new(CACHED_PATHS) })
    }
}

// === impl Router ===

impl Router {
    /// Where a request goes. `path` is the undecoded path of its target, `query` what follows the `?`.
    pub fn route(&self, path: &str, query: &str, host: &str) -> Route {
        self.route_telling(path, query, host, |_| ())
    }

    /// The same, and `tell` is told the other paths that such a request is known by, decoded: where a rule has sent it, and that of
    /// the script, with what follows it, or of the file.
    pub(super) fn route_telling(&self, path: &str, query: &str, host: &str, mut tell: impl FnMut(&str)) -> Route {
        if let Some(plan) = self.remembered(path) {
            plan.known_as.iter().for_each(|path| tell(path));
            return plan.route(query, host);
        }
        let plan = self.plan(path);
        plan.known_as.iter().for_each(|path| tell(path));
        match plan.answer {
            // Not remembered: there is no end of paths that are no files, and one that becomes a file counts at once.
            Answer::FrontController => {
                let front = self.front_controller.as_deref().unwrap_or_default();
                tell(front);
                match self.internal(front) {
                    Some(front) => front.answer.route(&plan.query, query, host),
                    None => Route::Refuse(StatusCode::NOT_FOUND),
                }
            }
            Answer::Refuse(status) => Route::Refuse(status),
            _ => self.remember(path, plan).route(query, host),
        }
    }

    /// The file at `path`, undecoded, if there is one and `accepts` its extension with the dot, in lower case. Whatever else is there
    /// is nothing.
    pub fn file(&self, path: &str, accepts: impl FnOnce(&str) -> bool) -> Option<Target> {
        let known = self.remembered(path);
        if let Some(Answer::File(target)) = known.as_deref().map(|plan| &plan.answer) {
            return Some(target.clone());
        }
        let decoded = path::decode(path)?;
        let (name, at) = decoded.rsplit('/').next().and_then(|name| Some((name, name.rfind('.')?)))?;
        if !accepts(&name[at..].to_ascii_lowercase()) {
            return None;
        }
        let Found::File { target, .. } = self.site.find(&decoded) else { return None };
        self.remember(path, Plan::new(Answer::File(target.clone()), Query::AS_SENT));
        Some(target)
    }

    /// Whether it has any.
    pub fn has_error_pages(&self) -> bool {
        !self.error_pages.is_empty()
    }

    /// The page that replaces the body of an error, if there is one: a script or a file.
    pub fn error_page(&self, status: u16) -> Option<Route> {
        let (_, page) = self.error_pages.iter().find(|(of, _)| *of == status)?;
        self.internal(page).map(|plan| plan.route("", ""))
    }

    /// The document root, resolved.
    pub fn root(&self) -> &Path {
        self.site.root()
    }

    /// The script or file at a decoded path that the operator named: no rules, no refusals to tell.
    fn internal(&self, path: &str) -> Option<Arc<Plan>> {
        // Without its slash it is no path of a request, so those cannot be confused.
        let key = path.strip_prefix('/')?;
        self.remembered(key).or_else(|| match self.site.find(path) {
            Found::Script(script) => Some(self.remember(key, Plan::new(Answer::Script(script), Query::AS_SENT))),
            Found::File { target, .. } => Some(self.remember(key, Plan::new(Answer::File(target), Query::AS_SENT))),
            Found::Slash | Found::Missing | Found::Refused(_) => None,
        })
    }

    fn remembered(&self, key: &str) -> Option<Arc<Plan>> {
        self.cache.get(key).filter(|plan| plan.made.elapsed() < VALID)
    }

    fn remember(&self, key: &str, plan: Plan) -> Arc<Plan> {
        let plan = Arc::new(plan);
        if key.len() <= CACHED_PATH {
            self.cache.insert(key.into(), plan.clone());
        }
        plan
    }

    fn plan(&self, raw: &str) -> Plan {
        let bad = || Plan::new(Answer::Refuse(StatusCode::BAD_REQUEST), Query::AS_SENT);
        let Some(path) = path::decode(raw) else { return bad() };
        match self.rules.apply(&path) {
            None => self.planned(&path, &path, Query::AS_SENT),
            Some(Outcome::Refuse(status)) => Plan::new(Answer::Refuse(status), Query::AS_SENT),
            Some(Outcome::Redirect { status, location, keep_query }) => {
                Plan::new(Answer::Redirect { status, location }, Query { added: None, keep: keep_query })
            }
            Some(Outcome::Internal { path: to, query, keep_query }) => match path::resolve(&to) {
                Some(to) => self.planned(&path, &to, Query { added: query, keep: keep_query }),
                None => bad(),
            },
        }
    }

    /// The plan for `path`, which is what has become of `asked`.
    fn planned(&self, asked: &str, path: &str, query: Query) -> Plan {
        let found = self.site.find(path);
        let found_at = match &found {
            Found::Script(script) => Some(String::from_utf8_lossy(&[&script.name[..], &script.path_info].concat()).into_owned()),
            Found::File { path, .. } => Some(path.clone()),
            Found::Slash | Found::Missing | Found::Refused(_) => None,
        };
        let others = [Some(path.to_owned()), found_at].into_iter().flatten();
        let mut plan = Plan::new(self.answer(path, found), query);
        plan.known_as = others.filter(|other| other != asked).collect();
        plan
    }

    fn answer(&self, path: &str, found: Found) -> Answer {
        match found {
            Found::Script(script) => Answer::Script(script),
            Found::File { target, .. } => Answer::File(target),
            Found::Slash => Answer::Redirect { status: StatusCode::MOVED_PERMANENTLY, location: path::encode(path) + "/" },
            Found::Refused(status) => Answer::Refuse(status),
            Found::Missing if self.front_controller.is_some() => Answer::FrontController,
            Found::Missing => Answer::Refuse(StatusCode::NOT_FOUND),
        }
    }
}

// === impl Plan ===

impl Plan {
    fn new(answer: Answer, query: Query) -> Self {
        Self { made: Instant::now(), answer, query, known_as: Vec::new() }
    }

    fn route(&self, query: &str, host: &str) -> Route {
        self.answer.route(&self.query, query, host)
    }
}

// === impl Answer ===

impl Answer {
    fn route(&self, rewritten: &Query, query: &str, host: &str) -> Route {
        match self {
            Self::Script(script) => Route::Script { script: script.clone(), query: rewritten.join(query) },
            Self::File(target) => Route::File(target.clone()),
            Self::Redirect { status, location } => {
                let mut location = rewrite::with_host(location, host);
                path::push_query(&mut location, &rewritten.join(query));
                Route::Redirect { status: *status, location }
            }
            Self::Refuse(status) => Route::Refuse(*status),
            Self::FrontController => Route::Refuse(StatusCode::NOT_FOUND),
        }
    }
}

// === impl Query ===

impl Query {
    const AS_SENT: Self = Self { added: None, keep: true };

    fn join(&self, sent: &str) -> String {
        match self.added.as_deref() {
            None | Some("") if self.keep => sent.to_owned(),
            None => String::new(),
            Some(added) if self.keep && !sent.is_empty() => [added, "&", sent].concat(),
            Some(added) => added.to_owned(),
        }
    }
}
