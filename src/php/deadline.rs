//! The limits by the wall clock that end a script, and what is said then: by PHP to the script, and in the log.

use std::{
    ffi::{CStr, CString},
    time::Duration,
};

use super::thread::Settings;

/// What a script has taken too long for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Over {
    /// `request_timeout`, or `exec_ttl`.
    Request,
    /// `stream_timeout`.
    Stream,
    /// `destroy_timeout`.
    Stop,
    /// `allocate_timeout`.
    Boot,
    /// `destroy_timeout`, of a worker script after its loop.
    Leave,
}

/// The message of the fatal error that ends a script, for each limit; it outlives the threads.
#[derive(Debug)]
pub(super) struct Texts {
    request: CString,
    stream: CString,
    stop: CString,
    boot: CString,
    leave: CString,
}

// === impl Over ===

impl Over {
    /// What the log says.
    pub(super) fn reason(self, settings: &Settings) -> &'static str {
        match self {
            Self::Request if settings.is_exec_ttl => "exec_ttl reached",
            Self::Request => "request timeout reached",
            Self::Stream => "its client has left and the stream timeout is reached",
            Self::Stop => "the server stops and the destroy timeout is reached",
            Self::Boot => "a worker script takes too long to boot",
            Self::Leave => "a worker script was told to leave, and the destroy timeout is reached",
        }
    }
}

// === impl Texts ===

impl Texts {
    pub(super) fn new(settings: &Settings) -> Self {
        let option = if settings.is_exec_ttl { "supervisor.exec_ttl" } else { "request_timeout" };
        let text = |text: String| CString::new(text).unwrap_or_default();
        Self {
            request: text(format!("Maximum request time of {} exceeded ({option})", seconds(settings.request_timeout))),
            stream: text(format!(
                "The client has left, and the script went on for {} (pool.stream_timeout)",
                seconds(settings.stream_timeout)
            )),
            stop: text(format!(
                "The server stops, and the script went on for {} (pool.destroy_timeout)",
                seconds(settings.destroy_timeout)
            )),
            boot: text(format!("Maximum boot time of {} exceeded (pool.allocate_timeout)", seconds(settings.boot_timeout))),
            leave: text(format!(
                "The worker script was told to leave, and went on for {} (pool.destroy_timeout)",
                seconds(settings.destroy_timeout)
            )),
        }
    }

    pub(super) fn of(&self, over: Over) -> &CStr {
        match over {
            Over::Request => &self.request,
            Over::Stream => &self.stream,
            Over::Stop => &self.stop,
            Over::Boot => &self.boot,
            Over::Leave => &self.leave,
        }
    }
}

fn seconds(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    format!("{seconds} second{}", if span == Duration::from_secs(1) { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_in_seconds() {
        let told = [500, 1000, 1500, 2000, 60_000].map(|millis| seconds(Duration::from_millis(millis)));
        assert_eq!(told, ["0.5 seconds", "1 second", "1.5 seconds", "2 seconds", "60 seconds"]);
    }
}
