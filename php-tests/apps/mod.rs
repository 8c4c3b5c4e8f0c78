//! Real applications, unmodified, doing what their users do. `fetch.sh` brings them.

mod adminer;
pub(crate) mod database;
mod dokuwiki;
mod laravel;
mod mediawiki;
mod multisite;
mod psr7;
mod symfony;
pub(crate) mod wordpress;

use std::path::PathBuf;

use crate::harness::{Reply, Request, not_run};

/// Where `fetch.sh` has put an application; none, and said so, where it could not.
fn app(name: &str) -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = var("RR_CACHE")
        .or_else(|| Some(var("XDG_CACHE_HOME")?.join("rr")))
        .unwrap_or_else(|| var("HOME").unwrap_or_default().join(".cache/rr"));
    let dir = cache.join("apps").join(name);
    if dir.join(".complete").exists() {
        return Some(dir);
    }
    let reason = std::fs::read_to_string(dir.with_extension("reason"));
    not_run(name, reason.as_deref().unwrap_or("php-tests/apps/fetch.sh has not been run").trim());
    None
}

/// A browser, as far as cookies go.
#[derive(Debug, Default)]
struct Browser(Vec<(String, String)>);

impl Browser {
    fn send(&mut self, request: Request) -> Reply {
        let reply = request.cookies(&self.0).send();
        for (name, value) in reply.cookies() {
            self.0.retain(|(known, _)| *known != name);
            self.0.push((name, value));
        }
        reply
    }
}

/// The text between two others.
#[track_caller]
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let start = text.find(before).unwrap_or_else(|| panic!("no {before:?} in {text}")) + before.len();
    let length = text[start..].find(after).unwrap_or_else(|| panic!("no {after:?} after {before:?}"));
    &text[start..start + length]
}
