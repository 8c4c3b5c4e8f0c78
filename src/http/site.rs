//! Which site a request is for, by its host, and which pool, by its path.

use std::{collections::HashMap, sync::Arc};

use http::{StatusCode, request::Parts};

use super::{
    Peer,
    known::Known,
    nudge::Nudge,
    route::{Route, Router},
    service::host_of,
};
use crate::worker::{Pool, Script};

/// Something that answers requests, with a pool of its own: a site, or one route of a site.
#[derive(Debug)]
pub struct Site {
    /// Its pool's, for the log.
    pub name: String,
    /// Decides what answers a URL; with none, the worker script does.
    pub router: Option<Router>,
    /// The worker script, which answers whatever no file does.
    pub worker: Option<Script>,
    /// Its error pages also take the place of what scripts answer.
    pub intercept_errors: bool,
    /// Runs scripts.
    pub pool: Pool,
    /// Status when a worker ends without an answer.
    pub internal_error_code: StatusCode,
    /// Paths that another pool answers, the first that matches; `/api/*` is all below `/api/`.
    pub routes: Vec<(String, Arc<Site>)>,
    /// Sees to works that no worker was woken for.
    pub nudge: Nudge,
}

/// All sites of a server.
#[derive(Debug)]
pub struct Sites {
    /// What answers hosts that are nobody's.
    default: Arc<Site>,
    names: HashMap<String, Arc<Site>>,
    /// Each with its dot, the longest first.
    domains: Vec<(String, Arc<Site>)>,
    /// Whether any of them has error pages.
    has_pages: bool,
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) struct Way<'a> {
    pub(super) site: &'a Arc<Site>,
    pub(super) route: Route,
    /// The host asked for, in lower case and without its port.
    pub(super) host: String,
    /// By what it is known, if somebody has asked.
    pub(super) known: Known,
}

// === impl Sites ===

impl Sites {
    /// `default`, and others by host: a name in lower case, or `*.` and a name for all below that.
    pub fn new(default: Arc<Site>, others: impl IntoIterator<Item = (String, Arc<Site>)>) -> Self {
        let has_pages = |site: &Site| site.router.as_ref().is_some_and(Router::has_error_pages);
        let mut sites = Self { has_pages: has_pages(&default), default, names: HashMap::new(), domains: Vec::new() };
        for (host, site) in others {
            sites.has_pages |= has_pages(&site);
            match host.strip_prefix('*') {
                Some(domain) => sites.domains.push((domain.to_owned(), site)),
                None => drop(sites.names.insert(host, site)),
            }
        }
        sites.domains.sort_by_key(|(domain, _)| usize::MAX - domain.len());
        sites
    }

    /// Where a request goes.
    pub(super) fn way(&self, parts: &Parts, peer: &Peer) -> Way<'_> {
        let host = host_of(parts, peer);
        let site = self.of_host(&host);
        if site.routes.is_empty() {
            return site.own_way(parts, host, Known::default());
        }
        let known = Known::of(target(parts).0);
        match known.own(&site.routes) {
            Some(of_route) => of_route.own_way(parts, host, Known::default()),
            None => site.known_way(parts, host, known),
        }
    }

    /// The same, and by which paths it is known.
    pub(super) fn known_way(&self, parts: &Parts, peer: &Peer) -> Way<'_> {
        let host = host_of(parts, peer);
        self.of_host(&host).known_way(parts, host, Known::of(target(parts).0))
    }

    /// The site of `host`, if one of all has error pages.
    pub fn with_pages(&self, host: impl FnOnce() -> String) -> Option<&Site> {
        self.has_pages.then(|| &**self.of_host(&host()))
    }

    fn of_host(&self, host: &str) -> &Arc<Site> {
        if self.names.is_empty() && self.domains.is_empty() {
            return &self.default;
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        let below = |domain: &str| host.len() > domain.len() && host.ends_with(domain);
        let of_domain = || self.domains.iter().find(|(domain, _)| below(domain)).map(|(_, site)| site);
        self.names.get(host).or_else(of_domain).unwrap_or(&self.default)
    }
}

// === impl Site ===

impl Site {
    fn known_way(self: &Arc<Self>, parts: &Parts, host: String, mut known: Known) -> Way<'_> {
        let (path, query) = target(parts);
        let route = self.route(path, query, &host, |other| known.add(other));
        match known.first(&self.routes) {
            Some(of_route) => of_route.own_way(parts, host, known),
            None => Way { site: self, route, host, known },
        }
    }

    /// The way that leads to no other pool.
    fn own_way(self: &Arc<Self>, parts: &Parts, host: String, known: Known) -> Way<'_> {
        let (path, query) = target(parts);
        Way { site: self, route: self.route(path, query, &host, |_| ()), host, known }
    }

    fn route(&self, path: &str, query: &str, host: &str, tell: impl FnMut(&str)) -> Route {
        let routed = self.router.as_ref().map(|router| router.route_telling(path, query, host, tell));
        match (&self.worker, routed) {
            // Malformed paths are nobody's.
            (_, Some(route @ (Route::File(_) | Route::Refuse(StatusCode::BAD_REQUEST)))) => route,
            (Some(script), _) => Route::Script { script: script.clone(), query: query.into() },
            (None, Some(route)) => route,
            (None, None) => Route::Refuse(StatusCode::NOT_FOUND),
        }
    }
}

/// What is asked for, undecoded: path and query.
pub(super) fn target(parts: &Parts) -> (&str, &str) {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    target.split_once('?').unwrap_or((target, ""))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::worker::Config;

    fn site(name: &str, routes: Vec<(String, Arc<Site>)>) -> Arc<Site> {
        let worker = Script {
            filename: name.as_bytes().to_vec().into(),
            name: "/".into(),
            path_info: "".into(),
            document_root: "/".into(),
        };
        let pool = Pool::new(Config { num_workers: 1, max_queue_size: 1, allocate_timeout: Duration::from_secs(1) });
        Arc::new(Site {
            name: name.into(),
            router: None,
            worker: Some(worker),
            intercept_errors: false,
            pool,
            internal_error_code: StatusCode::INTERNAL_SERVER_ERROR,
            routes,
            nudge: Nudge::default(),
        })
    }

    fn name(site: &Site) -> String {
        site.worker.as_ref().expect("each has one").shown().into_owned()
    }

    #[test]
    fn a_name_goes_before_a_domain_and_a_longer_domain_before_a_shorter() {
        let hosts = ["shop.example", "*.example", "*.shop.example", "[::1]"];
        let sites = Sites::new(site("default", Vec::new()), hosts.map(|host| (host.to_owned(), site(host, Vec::new()))));
        for (host, expected) in [
            ("shop.example", "shop.example"),
            ("shop.example.", "shop.example"),
            ("a.shop.example", "*.shop.example"),
            ("a.b.shop.example", "*.shop.example"),
            ("xshop.example", "*.example"),
            ("example", "default"),
            (".example", "default"),
            ("[::1]", "[::1]"),
            ("", "default"),
        ] {
            assert_eq!(name(sites.of_host(host)), expected, "{host}");
        }
    }

    #[test]
    fn a_path_goes_to_the_first_route_that_matches_whatever_its_disguise() {
        let route = |pattern: &str| (pattern.to_owned(), site(pattern, Vec::new()));
        let sites = Sites::new(site("default", vec![route("/api/v2/*"), route("/api/*"), route("/ping")]), []);
        for (path, expected) in [
            ("/api/v2/x", "/api/v2/*"),
            ("/api/v1/x", "/api/*"),
            ("/api/", "/api/*"),
            ("/api", "/api/*"),
            ("/apis", "default"),
            ("/ping", "/ping"),
            ("/ping/", "default"),
            ("/%61pi/x", "/api/*"),
            ("//api//x", "/api/*"),
            ("/x/../api/y", "/api/*"),
            ("/api/../x", "default"),
            ("/%zz", "default"),
            ("/index.php/api/v1/x", "/api/*"),
            ("/api/v1/x.php/api/v2/x", "/api/*"),
        ] {
            let parts = http::Request::get(path).body(()).unwrap().into_parts().0;
            assert_eq!(name(sites.way(&parts, &Peer::default()).site), expected, "{path}");
        }
    }
}
