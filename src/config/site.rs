//! Further sites and routes, each with a pool of its own: what they may say, and how that is read.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{
    compound::{List, entries},
    form::{Form, Text, Wrong, text},
    http::Http,
    resolve, schema,
    source::fold,
    suggest::closest,
    types::{Config, Php, Reset},
};

/// One of `sites`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Site {
    /// Its hosts in lower case: names, or `*.` and a name for all below that.
    pub hosts: Vec<String>,
    /// What it has of its own.
    pub own: Own,
}

/// One of `http.routes`, or of a site's: what answers a path, with workers and a queue of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// The path that it answers; with `*` at the end all that begin so.
    pub path: String,
    /// What it has of its own: a worker, or else a pool in which its site's scripts, or another of its worker, answer.
    pub own: Own,
}

/// What a site or a route has of its own. What it does not say has its default, whatever `http` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Own {
    /// The keys of `http`.
    pub http: Http,
    /// Ini values that win over the server's.
    pub ini: Vec<(String, String)>,
    /// What is undone between requests, unless the server's `php.reset` will do.
    pub reset: Option<Reset>,
}

/// A site.
pub(super) struct SiteForm;
/// A route.
pub(super) struct RouteForm;
/// A host's name.
struct HostName;

/// What a site has of `http`.
const OF_SITE: &[&str] = &[
    "root",
    "worker",
    "preset",
    "index",
    "front_controller",
    "rewrite",
    "error_pages",
    "intercept_errors",
    "follow_symlinks",
    "routes",
    "request_timeout",
    "internal_error_code",
    "pool",
];

/// What a route has of `http`.
const OF_ROUTE: &[&str] = &["worker", "request_timeout", "internal_error_code", "pool"];

/// What PHP reads when it starts and never again.
const READ_ONCE: &[&str] = &["extension", "zend_extension", "extension_dir", "disable_functions", "disable_classes"];
const NOT_READ_ONCE: &[&str] = &["opcache.enable", "opcache.validate_timestamps", "opcache.revalidate_freq"];

// === impl Config ===

impl Config {
    /// The folders and scripts that are served.
    pub fn served_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let of_main = [&mut self.http];
        let of_sites = self.sites.iter_mut().map(|site| &mut site.own.http);
        of_main.into_iter().chain(of_sites).flat_map(|http| {
            let of_routes = http.routes.iter_mut().filter_map(|route| route.own.http.worker.as_mut());
            [&mut http.root, &mut http.worker, &mut http.statics.dir].into_iter().flatten().chain(of_routes)
        })
    }

    /// The same, only to be read.
    pub fn served(&self) -> impl Iterator<Item = &PathBuf> {
        let of_sites = self.sites.iter().map(|site| &site.own.http);
        [&self.http].into_iter().chain(of_sites).flat_map(|http| {
            let of_routes = http.routes.iter().filter_map(|route| route.own.http.worker.as_ref());
            [&http.root, &http.worker, &http.statics.dir].into_iter().flatten().chain(of_routes)
        })
    }

    /// What holds for `site`, one of these sites: its own keys, and the server's for all others.
    pub fn of_site(&self, site: &Site) -> Self {
        let own = site.own.http.clone();
        let http = Http {
            root: own.root,
            worker: own.worker,
            preset: own.preset,
            index: own.index,
            front_controller: own.front_controller,
            rewrite: own.rewrite,
            error_pages: own.error_pages,
            intercept_errors: own.intercept_errors,
            follow_symlinks: own.follow_symlinks,
            routes: own.routes,
            request_timeout: own.request_timeout,
            internal_error_code: own.internal_error_code,
            pool: own.pool,
            ..self.http.clone()
        };
        self.with(http, &site.own)
    }

    /// What holds for `route`, one of these routes: its own keys, and those of its site for all others.
    pub fn of_route(&self, route: &Route) -> Self {
        let own = route.own.http.clone();
        let mut http = Http {
            worker: own.worker,
            routes: Vec::new(),
            request_timeout: own.request_timeout,
            internal_error_code: own.internal_error_code,
            pool: own.pool,
            ..self.http.clone()
        };
        if route.has_worker() {
            return self.with(http, &route.own);
        }
        http.worker.clone_from(&self.http.worker);
        http.pool.command.clone_from(&self.http.pool.command);
        Self { server: self.server.clone(), ..self.with(http, &route.own) }
    }

    fn with(&self, http: Http, own: &Own) -> Self {
        let mut config = Self { http, sites: Vec::new(), ..self.clone() };
        config.php.reset = own.reset.unwrap_or(self.php.reset);
        // That is the main pool's.
        config.server.command.clear();
        config
    }

    /// The first host that two of the sites have, by their numbers.
    pub(super) fn host_of_two_sites(&self) -> Option<(usize, usize, &str)> {
        let hosts: Vec<_> =
            self.sites.iter().enumerate().flat_map(|(at, site)| site.hosts.iter().map(move |host| (at, host.as_str()))).collect();
        hosts.iter().enumerate().find_map(|(number, (second, host))| {
            let (first, _) = hosts[..number].iter().find(|(_, other)| other == host)?;
            Some((*first, *second, *host))
        })
    }
}

// === impl Route ===

impl Route {
    /// Whether something else answers than at the site's other paths.
    pub fn has_worker(&self) -> bool {
        self.own.http.worker.is_some() || !self.own.http.pool.command.is_empty()
    }
}

// === impl Own ===

impl Own {
    /// Reads `entries`, which may have these keys of `http`.
    fn read(entries: Vec<(String, &Value)>, keys: &[&str]) -> Result<Self, Wrong> {
        let mut wrong = Vec::new();
        let (mut http, mut php) = (Map::new(), Value::Null);
        for (name, raw) in entries {
            match name.to_lowercase().as_str() {
                "php" => php = raw.clone(),
                key if keys.contains(&key) => drop(http.insert(key.to_owned(), raw.clone())),
                other => wrong.push((format!(".{name}"), unknown(other, keys))),
            }
        }
        let mut own = Self::default();
        match resolve::part(&fold("http", http.into()), &fold("php", php)) {
            Ok((config, gave_reset)) => {
                own.http = config.http;
                own.ini = config.php.ini;
                own.reset = gave_reset.then_some(config.php.reset);
            }
            Err(problems) => wrong.extend(problems),
        }
        wrong.extend(own.ini.iter().filter(|(name, _)| is_read_once(name)).map(|(name, _)| {
            (format!(".php.ini.{name}"), "PHP reads it once, for all sites: set it in php.ini of the server".to_owned())
        }));
        if wrong.is_empty() { Ok(own) } else { Err(Wrong(wrong)) }
    }

    fn show(&self, keys: &[&str], shown: &mut Value) {
        let php = Php { ini: self.ini.clone(), reset: self.reset.unwrap_or_default(), ..Php::default() };
        let mut config = Config { http: self.http.clone(), php, ..Config::default() };
        for key in schema::KEYS {
            let path = match key.path {
                "php.ini" => key.path,
                "php.reset" if self.reset.is_some() => key.path,
                path => match path.strip_prefix("http.") {
                    Some(path) if keys.contains(&path.split('.').next().unwrap_or(path)) => path,
                    _ => continue,
                },
            };
            if let Some(setting) = key.setting {
                let (sections, name) = path.rsplit_once('.').unwrap_or(("", path));
                resolve::put(shown, sections.split('.'), name, setting.show(&mut config));
            }
        }
    }
}

// === impl Form ===

impl Form<Site> for SiteForm {
    fn read(&self, raw: &Value) -> Result<Site, Wrong> {
        let (hosts, rest) = split(raw, "hosts", "a map of hosts, root and other keys")?;
        let hosts = match hosts.map(|raw| List(HostName).read(raw)) {
            Some(Ok(hosts)) if hosts.is_empty() => Err(missing("hosts")),
            Some(hosts) => hosts.map_err(|wrong| Wrong(wrong.inside(".hosts"))),
            None => Err(missing("hosts")),
        };
        let own = Own::read(rest, OF_SITE).and_then(|own| {
            let Http { root, worker, routes, pool, .. } = &own.http;
            let has_nothing = root.is_none() && worker.is_none() && routes.is_empty() && pool.command.is_empty();
            let wrong = || Wrong(vec![(".root".into(), "missing, as are worker, pool.command and routes".into())]);
            if has_nothing { Err(wrong()) } else { Ok(own) }
        });
        both(hosts, own).map(|(hosts, own)| Site { hosts, own })
    }

    fn show(&self, site: &Site) -> Value {
        let mut shown = Value::Object(Map::new());
        resolve::put(&mut shown, [].into_iter(), "hosts", List(HostName).show(&site.hosts));
        site.own.show(OF_SITE, &mut shown);
        shown
    }
}

impl Form<Route> for RouteForm {
    fn read(&self, raw: &Value) -> Result<Route, Wrong> {
        let (path, rest) = split(raw, "path", "a map of path, worker and pool")?;
        let path = match path.map(|raw| PATTERN.read(raw)) {
            Some(path) => path.map_err(|wrong| Wrong(wrong.inside(".path"))),
            None => Err(missing("path")),
        };
        // One with nothing of its own would only take threads.
        let own = Own::read(rest, OF_ROUTE).and_then(|own| if own == Own::default() { Err(missing("worker")) } else { Ok(own) });
        both(path, own).map(|(path, own)| Route { path, own })
    }

    fn show(&self, route: &Route) -> Value {
        let mut shown = Value::Object(Map::new());
        resolve::put(&mut shown, [].into_iter(), "path", route.path.as_str().into());
        route.own.show(OF_ROUTE, &mut shown);
        shown
    }
}

impl Form<String> for HostName {
    fn read(&self, raw: &Value) -> Result<String, Wrong> {
        let given = text(raw).unwrap_or_default().to_lowercase();
        // As in requests, a dot at the end means nothing.
        let given = given.strip_suffix('.').map(str::to_owned).unwrap_or(given);
        let name = given.strip_prefix("*.").unwrap_or(&given);
        let is_ipv6 = name.starts_with('[') && name.ends_with(']');
        let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        if !name.is_empty() && !name.starts_with('.') && (is_ipv6 || is_name(name)) {
            return Ok(given);
        }
        Err(Wrong::expected("a host without its port, such as shop.example, or *.shop.example for all below it", raw))
    }

    fn show(&self, value: &String) -> Value {
        Text("a host", |_| true).show(value)
    }
}

type Entries<'a> = Vec<(String, &'a Value)>;

/// The entry `first` of a map, and all others.
fn split<'a>(raw: &'a Value, first: &str, what: &str) -> Result<(Option<&'a Value>, Entries<'a>), Wrong> {
    if !raw.is_object() {
        return Err(Wrong::expected(what, raw));
    }
    let (found, rest): (Vec<_>, Vec<_>) = entries(raw)?.into_iter().partition(|(name, _)| name.eq_ignore_ascii_case(first));
    Ok((found.first().map(|(_, raw)| *raw).filter(|raw| !raw.is_null()), rest))
}

/// Both, or the faults of both.
fn both<A, B>(a: Result<A, Wrong>, b: Result<B, Wrong>) -> Result<(A, B), Wrong> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(Wrong(mut a)), Err(Wrong(b))) => {
            a.extend(b);
            Err(Wrong(a))
        }
        (Err(wrong), _) | (_, Err(wrong)) => Err(wrong),
    }
}

fn missing(key: &str) -> Wrong {
    Wrong(vec![(format!(".{key}"), "missing".into())])
}

fn unknown(name: &str, keys: &[&str]) -> String {
    if schema::find(&format!("http.{name}")).is_some() {
        return format!("all share it: set http.{name}");
    }
    if matches!(name, "server" | "command") {
        return "a command of its own is pool.command".into();
    }
    let known = keys.iter().copied().chain(["hosts", "path", "php"]);
    closest(name, known).map_or("unknown key".into(), |meant| format!("unknown key, did you mean {meant}?"))
}

/// Whether PHP reads the ini value `name` when it starts and never again, so that one pool cannot have its own.
pub fn is_read_once(name: &str) -> bool {
    READ_ONCE.contains(&name) || (name.starts_with("opcache.") && !NOT_READ_ONCE.contains(&name))
}

pub(super) const PATTERN: Text = Text("a path such as /ping, or /api/* for all below /api/", |text| {
    let path = text.strip_suffix('*').unwrap_or(text);
    path.starts_with('/') && !path.contains('*') && !path.contains(char::is_control)
});
