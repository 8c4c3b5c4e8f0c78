//! All that has a pool of its own: the server's site, further sites by host, routes by path, and the TCP servers.

use std::{mem, path::Path, sync::Arc};

use http::StatusCode;

use super::{
    command::{PhpCommand, Workers},
    settings,
    site::Site,
};
use crate::{
    config::{self, Config},
    error::Error,
    http::{
        Nudge,
        site::{Site as Answers, Sites},
    },
    worker::Pool,
};

/// One of them.
pub(super) struct Served {
    /// Its pool's name: the plugin's, with its host or its path.
    pub(super) name: String,
    pub(super) at: At,
    /// What holds for it.
    pub(super) config: Config,
    /// Ini values that win over the server's.
    pub(super) ini: Vec<(String, String)>,
    pub(super) site: Site,
    pub(super) pool: Pool,
}

/// What leads to it.
pub(super) enum At {
    /// Its hosts; all that are nobody's lead to the first.
    Hosts(Vec<String>),
    /// A path of the site with this number.
    Path {
        /// That site.
        of: usize,
        /// The path.
        pattern: String,
        /// It answers as that site does.
        same: bool,
    },
    /// The TCP servers, whose works are tasks.
    Tcp,
}

/// Whether `config` names anything to serve.
pub(super) fn has_something(config: &Config) -> bool {
    has_main(config) || !config.sites.is_empty()
}

/// All that `config` says is served, each site before its routes; `dir` is the main site's root.
pub(super) fn find(config: &Config, dir: Option<&Path>) -> Result<Vec<Served>, Error> {
    let mut found = Finder { all: Vec::new(), pools: count(config) * config.engine.processes };
    // The first site is what other hosts get if there is nothing else.
    if let (Some(dir), false) = (dir, config.serves_http()) {
        let reason = format!("http.address: {} is to be served, and nothing listens for requests", dir.display());
        return Err(Error::Config(reason));
    }
    if config.serves_http() && (dir.is_some() || has_main(config) || config.sites.is_empty()) {
        let main = Config { sites: Vec::new(), ..config.clone() };
        found.site("http".into(), Vec::new(), main, Vec::new(), dir)?;
    }
    for site in &config.sites {
        let name = format!("http:{}", site.hosts.first().map_or("", String::as_str));
        found.site(name, site.hosts.clone(), config.of_site(site), site.own.ini.clone(), None)?;
    }
    if !config.tcp.servers.is_empty() {
        found.tcp(config)?;
    }
    let mut all = found.all;
    one_personality(&all)?;
    one_ini_file(&all)?;
    one_relay(&all)?;
    if all.len() > 1 {
        all.iter_mut().for_each(Served::take_ini_of_command);
    }
    Ok(all)
}

/// The same as the service is to know it.
pub(super) fn sites(all: &[Served]) -> Result<Sites, Error> {
    let mut routes: Vec<Vec<(String, Arc<Answers>)>> = all.iter().map(|_| Vec::new()).collect();
    let mut by_host = Vec::new();
    let mut default = None;
    // Backwards: a site comes after its routes, which are kept in their order.
    for (number, one) in all.iter().enumerate().rev() {
        let mut routes_of_this = mem::take(&mut routes[number]);
        routes_of_this.reverse();
        let answers = Arc::new(one.answers(routes_of_this)?);
        match &one.at {
            At::Path { of, pattern, .. } => routes[*of].push((pattern.clone(), answers)),
            At::Hosts(hosts) => {
                by_host.extend(hosts.iter().map(|host| (host.clone(), answers.clone())));
                default = Some(answers);
            }
            // Without HTTP nobody asks.
            At::Tcp => default = Some(answers),
        }
    }
    Ok(Sites::new(default.expect("something is served"), by_host))
}

fn has_main(config: &Config) -> bool {
    let Config { http, server, .. } = config;
    let only_fcgi = http.address.is_empty() && http.ssl.is_none();
    http.root.is_some()
        || http.worker.is_some()
        || !server.command.is_empty()
        || !http.pool.command.is_empty()
        || !http.routes.is_empty()
        || only_fcgi
}

fn count(config: &Config) -> usize {
    let of_sites = config.sites.iter().map(|site| 1 + site.own.http.routes.len());
    let of_tcp = usize::from(!config.tcp.servers.is_empty());
    usize::from(config.serves_http()) + of_tcp + config.http.routes.len() + of_sites.sum::<usize>()
}

/// RoadRunner workers on threads see another `PHP_SAPI` than all other scripts, and a process has one.
fn one_personality(all: &[Served]) -> Result<(), Error> {
    let roadrunner = all.iter().find(|one| matches!(one.site.workers, Some(Workers::Threads(_))));
    let other = all.iter().find(|one| one.site.workers.is_none());
    match (roadrunner, other) {
        (Some(roadrunner), Some(other)) => Err(Error::Config(format!(
            "{} and {}: RoadRunner workers on threads see PHP_SAPI cli and the scripts of the other fpm-fcgi, and one process has \
             one of them; run the former in processes (carrier: process in its pool), or in an rr of their own with a listener of \
             its own",
            roadrunner.name, other.name
        ))),
        _ => Ok(()),
    }
}

/// What `-c` and `-n` of `php` say holds for all of PHP in a process.
fn one_ini_file(all: &[Served]) -> Result<(), Error> {
    let mut commands = all.iter().filter_map(|one| Some((&one.name, &one.php_command()?.ini_file)));
    let Some((first, ini_file)) = commands.next() else { return Ok(()) };
    match commands.find(|(_, other)| *other != ini_file) {
        Some((other, _)) => Err(Error::Config(format!(
            "{first} and {other}: their commands name another php.ini each (-c, -n), and one process reads one; name the same, or \
             run one of them in processes (carrier: process in its pool)"
        ))),
        None => Ok(()),
    }
}

/// A socket that workers connect to says not for which pool they come.
fn one_relay(all: &[Served]) -> Result<(), Error> {
    let mut in_processes = all.iter().filter(|one| matches!(one.site.workers, Some(Workers::Processes(_))));
    match (in_processes.next(), in_processes.next()) {
        (Some(first), Some(other)) if first.config.server.relay != config::Relay::Pipes => Err(Error::Config(format!(
            "server.relay: one socket cannot serve two pools, {} and {}; use pipes",
            first.name, other.name
        ))),
        _ => Ok(()),
    }
}

struct Finder {
    all: Vec<Served>,
    /// How many share the memory.
    pools: usize,
}

// === impl Finder ===

impl Finder {
    fn site(
        &mut self,
        name: String,
        hosts: Vec<String>,
        config: Config,
        ini: Vec<(String, String)>,
        dir: Option<&Path>,
    ) -> Result<(), Error> {
        let number = self.all.len();
        let site = Site::find(&config, &name, dir)?;
        let root = site.serves_files().then(|| site.root.clone());
        let pool = self.pool(&config.http.pool);
        let routes: Vec<_> = config.http.routes.iter().map(|route| (route.clone(), config.of_route(route))).collect();
        self.all.push(Served { name, at: At::Hosts(hosts), config, ini, site, pool });
        for (route, config) in routes {
            let name = format!("{}{}", self.all[number].name, route.path);
            let ini = self.all[number].ini.iter().chain(&route.own.ini).cloned().collect();
            let mut site = Site::find(&config, &name, root.as_deref())?;
            let same = !route.has_worker();
            if same {
                // Looked at by itself, a public folder would not tell whose it is.
                site.preset = self.all[number].site.preset;
            }
            let pool = self.pool(&config.http.pool);
            self.all.push(Served { name, at: At::Path { of: number, pattern: route.path, same }, config, ini, site, pool });
        }
        Ok(())
    }

    fn tcp(&mut self, config: &Config) -> Result<(), Error> {
        let config = config.of_tcp();
        let site = Site::find(&config, "tcp", None)?;
        if site.worker.is_none() {
            return Err(Error::Config("tcp: no workers: set server.command, tcp.pool.command or tcp.worker".into()));
        }
        let pool = self.pool(&config.http.pool);
        self.all.push(Served { name: "tcp".into(), at: At::Tcp, config, ini: Vec::new(), site, pool });
        Ok(())
    }

    fn pool(&self, pool: &config::Pool) -> Pool {
        Pool::new(settings::pool(pool, self.pools))
    }
}

// === impl Served ===

impl Served {
    /// The plugin whose works are done.
    pub(super) fn plugin(&self) -> &'static str {
        if self.does_tasks() { "tcp" } else { "http" }
    }

    /// Whether its works are tasks, not requests.
    pub(super) fn does_tasks(&self) -> bool {
        matches!(self.at, At::Tcp)
    }

    /// Its command, if PHP threads run that.
    pub(super) fn php_command(&self) -> Option<&PhpCommand> {
        match &self.site.workers {
            Some(Workers::Threads(command)) => Some(command),
            Some(Workers::Processes(_)) | None => None,
        }
    }

    /// What `-d` sets is for this pool alone, where PHP lets it.
    fn take_ini_of_command(&mut self) {
        let own = self.php_command().into_iter().flat_map(|command| &command.ini);
        let own: Vec<_> = own.filter(|(name, _)| !config::is_read_once(name)).cloned().collect();
        self.ini.extend(own);
    }

    fn answers(&self, routes: Vec<(String, Arc<Answers>)>) -> Result<Answers, Error> {
        let http = &self.config.http;
        if matches!(self.at, At::Hosts(_)) && !self.site.serves_files() && !http.error_pages.is_empty() {
            let reason = format!("{}: error_pages are files below its root, and it has none: set root", self.name);
            return Err(Error::Config(reason));
        }
        let has_files = self.site.serves_files() && matches!(self.at, At::Hosts(_) | At::Path { same: true, .. });
        Ok(Answers {
            name: self.name.clone(),
            router: has_files.then(|| self.site.router(http)).transpose()?,
            worker: self.site.worker.clone(),
            intercept_errors: http.intercept_errors,
            pool: self.pool.clone(),
            internal_error_code: StatusCode::from_u16(http.internal_error_code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            routes,
            nudge: Nudge::default(),
        })
    }
}
