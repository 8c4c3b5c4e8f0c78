//! The keys of `php`.

use super::{Field, Key, key, section};
use crate::config::{
    compound::Pairs,
    form::{Choice, Flag},
};

/// The rows.
pub(super) const OWN: &[Key] = &[
    section("php", "The interpreter."),
    key("php.ini", "Ini values, such as memory_limit => 256M.", &Field(|c| &mut c.php.ini, Pairs { nested: true })),
    key("php.reset", "What is undone between two requests of a worker: strict or basic.", &Field(|c| &mut c.php.reset, Choice)),
    key("php.clear_env", "Hide the server's environment from scripts.", &Field(|c| &mut c.php.clear_env, Flag)),
    key("php.env", "Environment variables that scripts see.", &Field(|c| &mut c.php.env, Pairs { nested: false })),
];
