//! What the log says of an engine that died.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use nix::sys::signal::Signal;

use super::engine::Engine;
use crate::worker::scoreboard::now_ms;

/// Names what killed the engine and what each of its threads was doing.
pub(super) fn death(engine: &Engine, status: ExitStatus) {
    let uptime = engine.started.elapsed();
    tracing::error!(
        generation = engine.generation,
        pid = engine.pid,
        uptime_ms = u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
        "the engine died: {}",
        describe(status)
    );
    running(engine);
}

/// The same, if a signal ended it; else it has said why it ends.
pub(super) fn crash(engine: &Engine, status: ExitStatus) {
    if status.signal().is_some() {
        death(engine, status);
    }
}

/// One line for each request that runs, or ran when the engine died.
pub(super) fn running(engine: &Engine) {
    let now = now_ms();
    for request in engine.board.running() {
        tracing::error!(
            generation = engine.generation,
            for_ms = now.saturating_sub(request.began_ms),
            "it was running: {}",
            request.what.trim_end()
        );
    }
}

/// `SIGSEGV`, or `signal 64`.
pub(super) fn name_of(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_owned())
}

/// `killed by SIGSEGV`, `exit code 1`.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(number), _) => {
            format!("killed by {}{}", name_of(number), if status.core_dumped() { ", core dumped" } else { "" })
        }
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "for no reason that is known".into(),
    }
}
