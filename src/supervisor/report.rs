//! What the log says of an engine that died.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use nix::sys::signal::Signal;

use super::engine::Engine;
use crate::{sys::cgroup::MemoryGroups, worker::scoreboard::now_ms};

/// Names what killed the engine and what each of its threads was doing.
pub(super) fn death(engine: &Engine, status: ExitStatus) {
    let uptime = engine.started.elapsed();
    tracing::error!(
        generation = engine.generation,
        pid = engine.pid,
        uptime_ms = u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
        "the engine died: {}",
        of_engine(engine, status)
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

/// The same as [`describe`], and of a SIGKILL from elsewhere what it is known by.
pub(super) fn of_engine(engine: &Engine, status: ExitStatus) -> String {
    let told = describe(status);
    if status.signal() != Some(Signal::SIGKILL as i32) || engine.is_killed.get() {
        return told;
    }
    format!("{told}: {}", why_killed(engine.oom_kills, MemoryGroups::of_this_process().killed()))
}

/// By the processes that the control group had lost for want of memory when the engine began, and those that it has lost now.
fn why_killed(before: Option<u64>, now: Option<u64>) -> String {
    match (before, now) {
        (Some(before), Some(now)) if now > before => {
            format!("out of memory (the control group's oom_kill went from {before} to {now})")
        }
        _ => "nobody here did that: perhaps out of memory; see the kernel's log".into(),
    }
}

/// `killed by SIGSEGV`, `exit code 1`.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(number), _) => {
            let name = Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned());
            format!("killed by {name}{}", if status.core_dumped() { ", core dumped" } else { "" })
        }
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "for no reason that is known".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_for_want_of_memory_is_known_by_the_count_of_the_control_group() {
        let known = "out of memory (the control group's oom_kill went from 0 to 1)";
        assert_eq!(why_killed(Some(0), Some(1)), known);
        for (before, now) in [(Some(1), Some(1)), (None, Some(1)), (Some(1), None), (None, None)] {
            assert!(why_killed(before, now).starts_with("nobody here did that"), "{before:?} {now:?}");
        }
    }
}
