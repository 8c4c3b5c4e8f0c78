//! What a child process says, kept and waited upon.

use std::{
    io::Read,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

/// The output of a process so far. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<(Mutex<Vec<u8>>, Condvar)>);

impl Log {
    /// Collects `from` until its end, on a thread of its own.
    pub(crate) fn follow(&self, mut from: impl Read + Send + 'static) {
        let log = self.clone();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut chunk) {
                log.0.0.lock().unwrap().extend_from_slice(&chunk[..read]);
                log.0.1.notify_all();
            }
        });
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().unwrap()).into_owned()
    }

    /// Whether the log comes to contain `needle` within `limit`.
    pub(crate) fn contains(&self, needle: &str, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut bytes = self.0.0.lock().unwrap();
        loop {
            if String::from_utf8_lossy(&bytes).contains(needle) {
                return true;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            bytes = self.0.1.wait_timeout(bytes, left).unwrap().0;
        }
    }
}
