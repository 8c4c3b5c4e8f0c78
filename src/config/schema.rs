//! The one table of keys: what each is called, what it is for, where it is kept and how it is read.
//!
//! Defaults are those of the types' `Default`. Each section has its rows in a part of its own; where a value is kept is said in
//! [`place`], how the values of enums are spelt in [`names`], and forms that several sections use stand in [`values`].

mod access_log;
mod acme;
mod answers;
mod dev;
mod edge;
mod engine;
mod fcgi;
mod files;
mod fileserver;
mod guards;
mod http;
mod limits;
mod lock;
mod names;
mod php;
mod place;
mod pool;
mod rpc;
mod server;
mod tcp;
mod telemetry;
mod values;

pub(super) use place::Setting;

use self::{
    place::{Field, Inside, cors, fcgi, http3, rpc, ssl},
    values::{ACCOUNT, BACKLOG, BOUND, EXTENSION, HEADER, OUTPUT, TIME, WINDOW},
};

/// A row of [`KEYS`].
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// The key with its sections, as messages name it.
    pub(super) path: &'static str,
    /// What it is for, in one line.
    pub(super) doc: &'static str,
    /// Where it is kept and how it is read; none for a section.
    pub(super) setting: Option<&'static dyn Setting>,
    /// Its default follows from other keys, so that `null` alone says "the default".
    pub(super) derived: bool,
    /// 0 means the default, as it does in RoadRunner.
    pub(super) zero_is_default: bool,
}

/// The row of `path`, if there is one.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Every section and key, a section before what it holds.
pub(super) static KEYS: &[Key] = &joined::<{ count(PARTS) }>(PARTS);

/// In the order in which `config.php.dist` and `rr config` show the keys.
const PARTS: &[&[Key]] = &[
    engine::OWN,
    php::OWN,
    server::OWN,
    http::SITE,
    files::STATIC,
    access_log::HTTP,
    http::POOL,
    limits::LIMITS,
    limits::ANSWERS,
    files::FILES,
    http::EDGE,
    fcgi::HTTP,
    http::SITES,
    rpc::OWN,
    telemetry::OWN,
    dev::OWN,
    pool::HTTP,
    edge::HTTP,
    acme::HTTP,
    guards::HTTP,
    answers::HTTP,
    fileserver::OWN,
    tcp::OWN,
    pool::TCP,
    lock::OWN,
];

// === impl Key ===

const fn key(path: &'static str, doc: &'static str, setting: &'static dyn Setting) -> Key {
    Key { path, doc, setting: Some(setting), derived: false, zero_is_default: false }
}

const fn derived(path: &'static str, doc: &'static str, setting: &'static dyn Setting) -> Key {
    Key { derived: true, ..key(path, doc, setting) }
}

const fn zero_is_default(path: &'static str, doc: &'static str, setting: &'static dyn Setting) -> Key {
    Key { zero_is_default: true, ..key(path, doc, setting) }
}

const fn section(path: &'static str, doc: &'static str) -> Key {
    Key { path, doc, setting: None, derived: false, zero_is_default: false }
}

const fn count(parts: &[&[Key]]) -> usize {
    let (mut part, mut rows) = (0, 0);
    while part < parts.len() {
        rows += parts[part].len();
        part += 1;
    }
    rows
}

const fn joined<const COUNT: usize>(parts: &[&[Key]]) -> [Key; COUNT] {
    let mut all = [section("", ""); COUNT];
    let (mut part, mut filled) = (0, 0);
    while part < parts.len() {
        let mut row = 0;
        while row < parts[part].len() {
            all[filled] = parts[part][row];
            filled += 1;
            row += 1;
        }
        part += 1;
    }
    all
}
