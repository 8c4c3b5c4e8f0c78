//! The keys of `server`.

use super::{ACCOUNT, Field, Key, key, section};
use crate::config::{
    compound::Maybe,
    form::Mode,
    server::{CommandLine, RelayAddress, Variables},
};

/// The rows.
pub(super) const OWN: &[Key] = &[
    section("server", "Workers of RoadRunner's kind, which speak Goridge: shared by all that have a pool."),
    key(
        "server.command",
        "What starts a worker, such as php public/index.php: a PHP script is run on threads, anything else as processes.",
        &Field(|c| &mut c.server.command, CommandLine),
    ),
    key(
        "server.env",
        "Environment variables that workers see, their names put into capitals.",
        &Field(|c| &mut c.server.env, Variables),
    ),
    key(
        "server.relay",
        "How a worker's process is spoken to: pipes, tcp://host:port or unix://path.",
        &Field(|c| &mut c.server.relay, RelayAddress),
    ),
    key(
        "server.user",
        "The user that scripts run as, by name or number; needs root, who still opens the ports. USER and HOME are set to its own.",
        &Field(|c| &mut c.server.user, Maybe(ACCOUNT)),
    ),
    key("server.group", "Its group; null means the user's own.", &Field(|c| &mut c.server.group, Maybe(ACCOUNT))),
    key(
        "server.umask",
        "The rights that files made by scripts do not get, such as 0027.",
        &Field(|c| &mut c.server.umask, Maybe(Mode)),
    ),
];
