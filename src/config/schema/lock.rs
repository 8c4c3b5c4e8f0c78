//! The keys of `lock`.

use super::{Field, Key, key, section};
use crate::config::form::Count;

pub(super) const OWN: &[Key] = &[
    section(
        "lock",
        "Locks in memory for PHP's RoadRunner packages; there wherever rpc is. They outlive a reload, but not a crash.",
    ),
    key("lock.max_locks", "Locks held at once.", &Field(|c| &mut c.lock.max_locks, Count(1, 10_000_000))),
    key(
        "lock.max_waiting",
        "Calls that wait for a lock at once; further ones are refused.",
        &Field(|c| &mut c.lock.max_waiting, Count(1, 1_000_000)),
    ),
    key("lock.max_name", "Bytes of a resource's name, and of an id.", &Field(|c| &mut c.lock.max_name, Count(16, 65_536))),
];
