//! The keys of `tcp`, but for its pool's.

use super::{BOUND, Field, Key, key, section, zero_is_default};
use crate::config::{
    compound::Maybe,
    form::{Count, FilePath, Megabytes, Size},
    tcp::Servers,
};

pub(super) const OWN: &[Key] = &[
    section("tcp", "TCP servers whose protocol is a script's, as RoadRunner has them; off without a server."),
    key(
        "tcp.servers",
        "Each by its name: addr, where it listens, and delimiter, which ends a message: \\r\\n unless given.",
        &Field(|c| &mut c.tcp.servers, Servers),
    ),
    key(
        "tcp.worker",
        "A script that takes tasks by RR\\Worker, in place of server.command.",
        &Field(|c| &mut c.tcp.worker, Maybe(FilePath)),
    ),
    zero_is_default("tcp.read_buf_size", "What is read at once, in megabytes.", &Field(|c| &mut c.tcp.read_buf_size, Megabytes)),
    zero_is_default(
        "tcp.max_message_size",
        "The longest message, in megabytes; a client that sends more before a delimiter is cut off.",
        &Field(|c| &mut c.tcp.max_message_size, Megabytes),
    ),
    key("tcp.idle_timeout", "How long a client may say nothing.", &Field(|c| &mut c.tcp.idle_timeout, BOUND)),
    key("tcp.write_timeout", "How long a client may take nothing of an answer.", &Field(|c| &mut c.tcp.write_timeout, BOUND)),
    key(
        "tcp.max_connections",
        "Connections at once, of all servers.",
        &Field(|c| &mut c.tcp.max_connections, Count(1, 1_000_000)),
    ),
    key(
        "tcp.max_memory",
        "All messages of more than 64 KiB at once; a client whose message has no room is cut off.",
        &Field(|c| &mut c.tcp.max_memory, Size(1024)),
    ),
    section("tcp.pool", "The workers of the TCP servers."),
];
