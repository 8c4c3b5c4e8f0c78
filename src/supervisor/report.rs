//! What the log says of an engine that died.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use nix::sys::signal::Signal;

use super::{crash::BlackBox, engine::Engine};
use crate::{sys::cgroup::MemoryGroups, worker::scoreboard::now_ms};

/// Bytes of a thread's name that the kernel keeps.
const KERNEL_NAME: usize = 15;

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
    let crashed = engine.black_box.as_ref().and_then(BlackBox::thread);
    requests(engine, crashed.as_deref());
}

/// The same, if a signal ended it; else it has said why it ends.
pub(super) fn crash(engine: &Engine, status: ExitStatus) {
    if status.signal().is_some() {
        death(engine, status);
    }
}

/// One line for each request that runs.
pub(super) fn running(engine: &Engine) {
    requests(engine, None);
}

/// One line for each request that runs, or ran when the engine died, which `crashed` says of its thread, by the name that it had.
fn requests(engine: &Engine, crashed: Option<&str>) {
    let now = now_ms();
    for request in engine.board.running() {
        let has_crashed = crashed.is_some_and(|thread| is_of(&request.what, thread));
        tracing::error!(
            generation = engine.generation,
            for_ms = now.saturating_sub(request.began_ms),
            "it {} running: {}",
            if has_crashed { "crashed while" } else { "was" },
            request.what.trim_end()
        );
    }
}

/// Whether what ran was on `thread`, a name that the kernel may have cut.
fn is_of(what: &str, thread: &str) -> bool {
    let runner = what.split(' ').next().unwrap_or_default();
    !thread.is_empty() && runner.get(..KERNEL_NAME.min(runner.len())) == Some(thread)
}

/// `SIGSEGV`, or `signal 64`.
pub(super) fn name_of(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_owned())
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
            format!("killed by {}{}", name_of(number), if status.core_dumped() { ", core dumped" } else { "" })
        }
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "for no reason that is known".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_of_a_thread_is_known_by_its_name() {
        assert!(is_of("php-http-2 GET /a /srv/a.php", "php-http-2") && is_of("php-a-long-pool-name-12 GET /", "php-a-long-pool"));
        assert!(!is_of("php-http-21 GET /", "php-http-2") && !is_of("", "") && !is_of("php-http-2 GET /", ""));
    }

    #[test]
    fn a_kill_for_want_of_memory_is_known_by_the_count_of_the_control_group() {
        let known = "out of memory (the control group's oom_kill went from 0 to 1)";
        assert_eq!(why_killed(Some(0), Some(1)), known);
        for (before, now) in [(Some(1), Some(1)), (None, Some(1)), (Some(1), None), (None, None)] {
            assert!(why_killed(before, now).starts_with("nobody here did that"), "{before:?} {now:?}");
        }
    }
}
