//! The keys of `dev`.

use super::{BOUND, Field, Key, key, section};
use crate::config::{
    compound::{Auto, List},
    form::{Flag, Text},
};

/// The rows.
pub(super) const OWN: &[Key] = &[
    section("dev", "Development. Not for servers that strangers can reach: pages are changed, and faults are shown."),
    key("dev.enabled", "Do the following; rr serve --watch turns it on.", &Field(|c| &mut c.dev.enabled, Flag)),
    key(
        "dev.watch",
        "Files whose changes make workers boot and browsers load anew, from the project's directory as .gitignore has it.",
        &Field(|c| &mut c.dev.watch, List(GLOB)),
    ),
    key(
        "dev.ignore",
        "What is not watched, beside vendor, node_modules, .git, var, storage and the like; !glob watches it all the same.",
        &Field(|c| &mut c.dev.ignore, List(GLOB)),
    ),
    key("dev.debounce", "How long files must be left alone first.", &Field(|c| &mut c.dev.debounce, BOUND)),
    key(
        "dev.poll",
        "Look at the files this often; auto means each second, where inotify does not work.",
        &Field(|c| &mut c.dev.poll, Auto(BOUND)),
    ),
    key("dev.reload", "HTML pages get a script that loads them anew.", &Field(|c| &mut c.dev.reload, Flag)),
    key(
        "dev.leaks",
        "Log which globals and statics of a worker script grow from request to request.",
        &Field(|c| &mut c.dev.leaks, Flag),
    ),
];

const GLOB: Text = Text("a glob such as src/**/*.php", |text| !text.is_empty());
