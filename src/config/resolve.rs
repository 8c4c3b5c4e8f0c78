//! Raw values to resolved types, and back. Every fault is found, not only the first.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    absent::{self, ABSENT, ALIASES},
    compound::entries,
    edge::{Http3, Ssl},
    error::Error,
    form::{Found, whole},
    http::Fcgi,
    lock::Lock,
    metrics::Metrics,
    middleware::{Cors, Middleware},
    schema::{self, KEYS, Key},
    suggest::closest,
    types::{Config, Encoding, Level, Rpc},
};

/// The configuration that `raw` means; its keys are in lower case.
pub(super) fn resolve(raw: &Value) -> Result<Config, Error> {
    let mut walk = Walk::default();
    walk.section("", raw);
    walk.finish();
    let Walk { config, problems, .. } = walk;
    let problems: Vec<_> = problems.into_iter().map(|(path, message)| format!("{path}: {message}")).collect();
    if problems.is_empty() { Ok(config) } else { Err(Error::Invalid { problems }) }
}

/// What a site says of the sections `http` and `php`, and whether it gives `php.reset`; or its faults, each with its place in the site.
pub(super) fn part(http: &Value, php: &Value) -> Result<(Config, bool), Vec<(String, String)>> {
    let mut walk = Walk::default();
    walk.section("http", http);
    walk.section("php", php);
    let strange = walk.given.keys().find(|key| key.starts_with("php.") && !matches!(**key, "php.ini" | "php.reset"));
    if let Some(key) = strange.copied() {
        walk.problem(key, "all share it: set it for the server");
    }
    if walk.problems.is_empty() {
        let gave_reset = walk.given.contains_key("php.reset");
        return Ok((walk.config, gave_reset));
    }
    let place = |path: String| path.strip_prefix("http").map(str::to_owned).unwrap_or(format!(".{path}"));
    Err(walk.problems.into_iter().map(|(path, message)| (place(path), message)).collect())
}

#[derive(Default)]
struct Walk {
    config: Config,
    /// The keys read so far, each with the spelling that the file has.
    given: BTreeMap<&'static str, String>,
    /// Each with its path.
    problems: Vec<(String, String)>,
}

// === impl Config ===

impl Config {
    /// Reads back what [`Self::to_json`] shows.
    pub fn from_json(shown: &Value) -> Result<Self, Error> {
        resolve(shown)
    }

    /// The resolved values under their keys: what `rr config` prints. Read back, they mean the same.
    pub fn to_json(&self) -> Value {
        let mut config = self.clone();
        let mut shown = Value::Object(Map::new());
        for key in KEYS {
            let is_off = self.http.fcgi.is_none() && key.path.starts_with("http.fcgi.")
                || self.http.headers.cors.is_none() && key.path.starts_with("http.headers.cors.")
                || self.http.ssl.is_none() && key.path.starts_with("http.ssl.")
                || self.http.http3.is_none() && key.path.starts_with("http.http3.")
                || self.rpc.is_none() && key.path.starts_with("rpc.");
            if let (false, Some(setting)) = (is_off, key.setting) {
                let (sections, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
                put(&mut shown, sections.split('.'), name, setting.show(&mut config));
            }
        }
        shown
    }
}

// === impl Walk ===

impl Walk {
    fn section(&mut self, path: &str, raw: &Value) {
        let entries = match raw {
            Value::Null => return,
            _ => match entries(raw) {
                Ok(entries) => entries,
                Err(_) => return self.problem(path, format_args!("expected a section, got {}", Found(raw))),
            },
        };
        for (name, raw) in entries {
            let path = if path.is_empty() { name } else { format!("{path}.{name}") };
            if !DIRECTIVES.contains(&path.as_str()) {
                self.entry(&path, raw);
            }
        }
    }

    fn entry(&mut self, path: &str, raw: &Value) {
        let meant = ALIASES.iter().find(|(alias, _)| *alias == path).map_or(path, |(_, meant)| meant);
        match schema::find(meant) {
            Some(key) if key.setting.is_some() => self.setting(path, key, raw),
            Some(_) => {
                // An empty section is enough to have RPC, as in RoadRunner.
                if path == "rpc" && entries(raw).is_ok_and(|entries| entries.is_empty()) {
                    self.config.rpc = Some(Rpc::default());
                    self.given.insert("rpc.listen", path.to_owned());
                }
                // So it is for metrics.
                if path == "metrics" && entries(raw).is_ok_and(|entries| entries.is_empty()) && !raw.is_array() {
                    self.config.metrics.address = Some(Metrics::usual_address());
                }
                self.section(path, raw);
            }
            None => match absent::find(path) {
                Some(absent) if absent.is_harmless(raw) => {}
                Some(absent) => self.problem(path, absent.why),
                None if is_section(path) => self.section(path, raw),
                None => self.unknown(path),
            },
        }
    }

    fn setting(&mut self, path: &str, key: &'static Key, raw: &Value) {
        let (false, Some(setting)) = (raw.is_null(), key.setting) else { return };
        if let Some(other) = self.given.insert(key.path, path.to_owned()) {
            return self.problem(path, format_args!("means the same as {other}: give one of them"));
        }
        if key.zero_is_default && (whole(raw) == Some(0) || raw == "0s") {
            return setting.ask(&mut self.config);
        }
        if let Err(wrong) = setting.read(&mut self.config, raw) {
            for (place, message) in wrong.0 {
                self.problem(&format!("{path}{place}"), message);
            }
        }
    }

    /// Settles what follows from several keys.
    fn finish(&mut self) {
        let Config { engine, http, tcp, logs, rpc, lock, metrics, fileserver, .. } = &mut self.config;
        if !self.given.contains_key("logs.level") {
            logs.level = Level::of(logs.mode);
        }
        if !self.given.contains_key("logs.encoding") {
            logs.encoding = Encoding::of(logs.mode);
        }
        // A copy of config.php.dist has the keys, and asks for nothing.
        if !self.given.contains_key("rpc.listen") {
            rpc.take_if(|rpc| *rpc == Rpc::default());
        }
        // In RoadRunner the section is enough.
        if !metrics.collect.is_empty() && !self.given.contains_key("metrics.address") {
            metrics.address = Some(Metrics::usual_address());
        }
        let is_homeless = fileserver.address.is_none() && !fileserver.serve.is_empty();
        let is_nowhere = http.middleware.contains(&Middleware::Static) && http.statics.dir.is_none();
        http.output.first_chunk = http.output.first_chunk.min(http.output.memory);
        let addressless = http.fcgi.take_if(|fcgi| fcgi.address.is_empty());
        http.headers.cors.take_if(|cors| *cors == Cors::default());
        http.http3.take_if(|http3| *http3 == Http3::default());
        let wants_tls = http.ssl.take_if(|ssl| *ssl == Ssl::default()).is_none() && http.ssl.is_some();
        let serves_tcp = !tcp.servers.is_empty();
        // Who asks for TCP alone gets no web server beside it.
        let only_tcp = serves_tcp && !self.given.keys().any(|key| *key == "sites" || key.starts_with("http."));
        if (http.fcgi.is_some() || wants_tls || only_tcp) && !self.given.contains_key("http.address") {
            http.address.clear();
        }
        let listening: Vec<_> = http.address.iter().chain(http.ssl.iter().flat_map(|ssl| &ssl.address)).collect();
        let faults = http.ssl.as_ref().and_then(Ssl::fault).into_iter().chain(http.proxy_protocol.fault(&listening));
        let faults = faults.chain(http.http3.as_ref().and_then(|http3| http3.fault(http.ssl.as_ref())));
        let blind = http.middleware.contains(&Middleware::ProxyIp) && http.trusted_subnets.is_empty();
        let blind =
            blind.then(|| ("http.trusted_subnets", "expected the proxies that proxy_ip_parser is to believe, got none".into()));
        let needs_one = match () {
            () if *lock != Lock::default() => Some("locks are in the memory of one of them only: set 1, or go without lock"),
            () if http.middleware.contains(&Middleware::RateLimit) => {
                Some("each would count clients for itself: set 1, or go without rate_limit")
            }
            () => None,
        };
        let faults: Vec<_> = faults.chain(blind).chain(engine.fault(needs_one)).collect();
        let twice = self
            .config
            .host_of_two_sites()
            .map(|(first, second, host)| (format!("sites[{second}].hosts"), format!("{host} is a host of sites[{first}] too")));
        let http = &self.config.http;
        let deaf = http.address.is_empty() && http.fcgi.is_none() && !wants_tls && !serves_tcp;
        let unheard = !self.config.sites.is_empty() && http.address.is_empty() && !wants_tls && !deaf;
        if is_nowhere {
            self.problem("http.static.dir", "missing, while http.middleware has static");
        }
        if is_homeless {
            self.problem("fileserver.address", "missing, while fileserver.serve has directories");
        }
        self.problems.extend(twice);
        if unheard {
            self.problem("sites", "nothing listens for them: set http.address");
        }
        if addressless.is_some_and(|fcgi| fcgi != Fcgi::default()) {
            self.problem("http.fcgi.address", "missing, while other keys of http.fcgi are set");
        } else if deaf && self.problems.is_empty() {
            self.problem("http.address", "expected an address here or in http.fcgi.address, got none");
        }
        if self.problems.is_empty() {
            faults.into_iter().for_each(|(key, message)| self.problem(key, message));
        }
    }

    fn unknown(&mut self, path: &str) {
        let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
        let siblings = known().filter_map(|known| {
            let rest = if section.is_empty() { known } else { known.strip_prefix(section)?.strip_prefix('.')? };
            rest.split('.').next()
        });
        // A key in the wrong section is named in full.
        let moved = || KEYS.iter().map(|key| key.path).find(|known| known.rsplit('.').next() == Some(name));
        match closest(name, siblings).or_else(moved) {
            Some(meant) => self.problem(path, format_args!("unknown key, did you mean {meant}?")),
            None => self.problem(path, "unknown key"),
        }
    }

    fn problem(&mut self, path: &str, message: impl std::fmt::Display) {
        let path = if path.is_empty() { "the configuration" } else { path };
        self.problems.push((path.to_owned(), message.to_string()));
    }
}

/// Puts `value` under `name` below the sections named, which are made where there are none.
pub(super) fn put<'a>(into: &mut Value, sections: impl Iterator<Item = &'a str>, name: &str, value: Value) {
    let mut at = into;
    for section in sections.filter(|section| !section.is_empty()) {
        at = object(at).entry(section).or_insert(Value::Null);
    }
    object(at).insert(name.to_owned(), value);
}

/// The map that `value` is, or now becomes.
pub(super) fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("just made an object")
}

fn known() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.path).chain(ABSENT.iter().map(|absent| absent.path)).chain(ALIASES.iter().map(|(alias, _)| *alias))
}

/// Whether `path` is a section of which only aliases and absent keys are known.
fn is_section(path: &str) -> bool {
    known().any(|known| known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Keys about the files themselves, dealt with while they were read.
const DIRECTIVES: &[&str] = &["version", "include"];
