//! The resolved bounds of locks.

/// Locks that PHP's RoadRunner packages ask for by calls (`lock`); there wherever `rpc` is.
///
/// # Defaults
/// - `lock.max_locks`: `100000`
/// - `lock.max_waiting`: `10000`
/// - `lock.max_name`: `1024`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lock {
    /// Locks held at once.
    pub max_locks: usize,
    /// Calls that wait for a lock at once.
    pub max_waiting: usize,
    /// Bytes of a resource's name, and of an id.
    pub max_name: usize,
}

// === impl Lock ===

impl Default for Lock {
    fn default() -> Self {
        // What moves to the next engine within a tenth of a second, also on a slow machine.
        Self { max_locks: 100_000, max_waiting: 10_000, max_name: 1024 }
    }
}
