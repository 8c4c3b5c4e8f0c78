//! The callbacks of `shim.h`: view the arguments, enter the guard, return a verdict.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    panic::{self, AssertUnwindSafe},
    slice,
};

use super::{active::Active, ffi, run::Run, thread};

/// Runs `act` on what the thread runs; a panic becomes `failed`, for no unwinding may reach C.
///
/// # Safety
/// `context` is the pointer that `rr_php_run` was given, and that call has not returned.
unsafe fn enter_run<T>(context: *mut c_void, failed: T, act: impl FnOnce(&mut Run<'_>) -> T) -> T {
    panic::catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `Run::execute` made the pointer from itself and touches it only after the shim has returned;
        // callbacks come one at a time, on that thread.
        let run = unsafe { &mut *context.cast::<Run<'_>>() };
        act(run)
    }))
    .unwrap_or(failed)
}

/// Runs `act` on the thread's active request, like [`enter_run`].
///
/// # Safety
/// As for [`enter_run`].
pub(super) unsafe fn enter<T>(context: *mut c_void, failed: T, act: impl FnOnce(&mut Active) -> T) -> T {
    // SAFETY: the caller vouches for `context`.
    unsafe { enter_run(context, failed, |run| act(&mut run.active)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_write(context: *mut c_void, bytes: *const c_char, length: usize) -> ffi::Verdict {
    // SAFETY: the engine lends `length` readable bytes until this call returns.
    let bytes = unsafe { ffi::view(bytes, length) };
    // SAFETY: C passes the context of the running request.
    unsafe { enter(context, ffi::Verdict::Fatal, |active| active.write(bytes)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_flush(context: *mut c_void) -> ffi::Verdict {
    // SAFETY: C passes the context of the running request.
    unsafe { enter(context, ffi::Verdict::Fatal, Active::flush) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_headers(
    context: *mut c_void,
    status: c_int,
    status_line: *const c_char,
    lines: *const ffi::Bytes,
    count: usize,
) -> ffi::Verdict {
    // SAFETY: the line is null or a C string of the engine's that lives until this call returns.
    let status_line = unsafe { optional_text(status_line) };
    // SAFETY: C lends `count` entries on its stack.
    let lines = unsafe { slice::from_raw_parts(lines, count) };
    // SAFETY: each entry views a header line of the engine's that lives until this call returns.
    let lines = lines.iter().map(|line| unsafe { line.view() });
    let act = |active: &mut Active| {
        active.headers(status, status_line, lines);
        ffi::Verdict::GoOn
    };
    // SAFETY: C passes the context of the running request.
    unsafe { enter(context, ffi::Verdict::Fatal, act) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_interim(context: *mut c_void, status: c_int, lines: *const ffi::Bytes, count: usize) -> bool {
    // SAFETY: C lends `count` entries on its stack.
    let lines = unsafe { slice::from_raw_parts(lines, count) };
    // SAFETY: each entry views a header line of the engine's that lives until this call returns.
    let lines = lines.iter().map(|line| unsafe { line.view() });
    // SAFETY: C passes the context of the running request.
    unsafe { enter(context, false, |active| active.interim(status, lines)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_read(context: *mut c_void, buffer: *mut c_char, length: usize) -> usize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the engine lends `length` writable bytes, and only this call touches them until it returns.
    let buffer = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    // SAFETY: C passes the context of the running request.
    unsafe { enter(context, 0, |active| active.read(buffer)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_read_at(context: *mut c_void, offset: u64, buffer: *mut c_char, length: usize) -> usize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the engine lends `length` writable bytes, and only this call touches them until it returns.
    let buffer = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    // SAFETY: C passes the context of the running request.
    unsafe { enter(context, 0, |active| active.read_at(offset, buffer)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_variables(context: *mut c_void, which: ffi::Variables, out: *mut *const ffi::Pair) -> usize {
    let act = |active: &mut Active| {
        let pairs = active.variables(which);
        (pairs.as_ptr(), pairs.len())
    };
    // SAFETY: C passes the context of the running request.
    let (pairs, count) = unsafe { enter(context, (std::ptr::null(), 0), act) };
    // SAFETY: `out` points to a local of the C caller.
    unsafe { *out = pairs };
    count
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_finish(context: *mut c_void) -> bool {
    // SAFETY: C passes the context of the running request.
    unsafe { enter(context, false, Active::finish_early) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_next(context: *mut c_void, pulled: bool) -> *mut ffi::Request {
    // SAFETY: C passes the context of the running request.
    unsafe { enter_run(context, std::ptr::null_mut(), |run| run.next(pulled)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_done(context: *mut c_void) {
    // SAFETY: C passes the context of the running request.
    unsafe { enter_run(context, (), |run| run.done()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_stdin(
    context: *mut c_void,
    buffer: *mut c_char,
    length: usize,
    blocking: bool,
    read: *mut usize,
) -> ffi::Stdin {
    // SAFETY: the stream lends `length` writable bytes, more than none, and only this call touches them until it returns.
    let buffer = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    // SAFETY: C passes the context of the running request.
    let (outcome, count) = unsafe { enter_run(context, (ffi::Stdin::Leave, 0), |run| run.stdin(buffer, blocking)) };
    // SAFETY: `read` points to a local of the C caller.
    unsafe { *read = count };
    outcome
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_stdin_watch(context: *mut c_void) -> c_int {
    // SAFETY: C passes the context of the running request.
    unsafe { enter_run(context, -1, |run| run.watch_stdin()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_stdout(context: *mut c_void, bytes: *const c_char, length: usize) -> ffi::Verdict {
    // SAFETY: the engine lends `length` readable bytes until this call returns.
    let bytes = unsafe { ffi::view(bytes, length) };
    // SAFETY: C passes the context of the running request.
    unsafe { enter_run(context, ffi::Verdict::Fatal, |run| run.stdout(bytes)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_stderr(context: *mut c_void, bytes: *const c_char, length: usize) {
    // SAFETY: the engine lends `length` readable bytes until this call returns.
    let bytes = unsafe { ffi::view(bytes, length) };
    // SAFETY: C passes the context of the running request.
    unsafe { enter_run(context, (), |run| run.stderr(bytes)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_measures(context: *mut c_void, measures: *const ffi::Measure, count: usize) {
    if count == 0 {
        return;
    }
    // SAFETY: C lends `count` of them until this call returns.
    let measures = unsafe { slice::from_raw_parts(measures, count) };
    // SAFETY: C passes the context of the running script.
    unsafe { enter_run(context, (), |run| run.measured(measures)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_rest(context: *mut c_void) -> bool {
    // SAFETY: C passes the context of the running script.
    unsafe { enter_run(context, false, |run| run.rests()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_log(context: *mut c_void, level: c_int, message: *const c_char, length: usize) {
    // SAFETY: C lends `length` readable bytes until this call returns.
    let message = unsafe { ffi::view(message, length) };
    let message = String::from_utf8_lossy(message);
    let message = message.trim_end();
    let note = |run: &mut Run<'_>| {
        run.active.note(message);
        (run.active.request().id, run.is_command())
    };
    let (request, is_command) = if context.is_null() {
        (0, false)
    } else {
        // SAFETY: not null, so it is the context of the running request.
        unsafe { enter_run(context, (0, false), note) }
    };
    // A log that panics must not unwind into C.
    drop(panic::catch_unwind(AssertUnwindSafe(|| {
        if is_command { log_command(level, message) } else { log(level, request, message) }
    })));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_trace(context: *mut c_void, text: *const c_char, length: usize) {
    // SAFETY: C lends `length` readable bytes until this call returns.
    let text = unsafe { ffi::view(text, length) };
    // SAFETY: C passes the context of the running request.
    unsafe { enter_run(context, (), |run| run.slot.tell_trace(text)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rr_on_status(buffer: *mut c_char, length: usize) -> usize {
    let Ok(text) = panic::catch_unwind(thread::status_json) else { return 0 };
    if text.len() <= length {
        // SAFETY: C lends `length` writable bytes, and the text fits.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), text.len()) };
    }
    text.len()
}

/// Levels are syslog's; -1 is a line that a script wrote to `php://stderr`.
fn log(level: c_int, request: u64, message: &str) {
    match level {
        -1 => tracing::info!(target: "php::stderr", request, "{message}"),
        libc::LOG_EMERG..=libc::LOG_ERR => tracing::error!(target: "php", request, "{message}"),
        libc::LOG_WARNING => tracing::warn!(target: "php", request, "{message}"),
        libc::LOG_NOTICE | libc::LOG_INFO => tracing::info!(target: "php", request, "{message}"),
        _ => tracing::debug!(target: "php", request, "{message}"),
    }
}

/// What a script that is run as a command logs: RoadRunner has it from the standard error, under the server's name, which is the one
/// that Laravel Octane shows.
fn log_command(level: c_int, message: &str) {
    match level {
        libc::LOG_EMERG..=libc::LOG_ERR => tracing::error!("{message}"),
        libc::LOG_WARNING => tracing::warn!("{message}"),
        -1 | libc::LOG_NOTICE | libc::LOG_INFO => tracing::info!("{message}"),
        _ => tracing::debug!("{message}"),
    }
}

/// # Safety
/// `text` is null or a C string that outlives `'a`.
unsafe fn optional_text<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: checked for null; the caller vouches for the rest.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}
