//! The keys of `rpc`.

use super::{BOUND, Field, Key, derived, key, rpc, section};
use crate::config::form::{Count, Listen, Size};

/// The rows.
pub(super) const OWN: &[Key] = &[
    section("rpc", "Calls by PHP's RoadRunner packages, and by rr workers, rr reset and rr reload; off without an address."),
    derived(
        "rpc.listen",
        "Where to listen: tcp://127.0.0.1:6001 or unix:///run/rr.sock. Whoever connects controls the server: mind who may.",
        &Field(|c| &mut rpc(c).listen, Listen("")),
    ),
    key("rpc.max_connections", "Connections at once.", &Field(|c| &mut rpc(c).max_connections, Count(1, 1_000_000))),
    key("rpc.max_calls", "Calls in progress on one connection.", &Field(|c| &mut rpc(c).max_calls, Count(1, 100_000))),
    key("rpc.max_message", "The largest request.", &Field(|c| &mut rpc(c).max_message, Size(1024))),
    key("rpc.max_memory", "All large requests at once.", &Field(|c| &mut rpc(c).max_memory, Size(1024))),
    key(
        "rpc.timeout",
        "How long half a request, or an answer that nobody reads, may stand still.",
        &Field(|c| &mut rpc(c).timeout, BOUND),
    ),
];
