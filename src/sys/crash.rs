//! A process that crashes says where.
#![allow(unsafe_code, reason = "signal handlers have no safe form")]

use std::{ffi::c_int, io, mem, ptr};

const FATAL: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];
const DEPTH: usize = 64;

unsafe extern "C" {
    fn backtrace(buffer: *mut *mut libc::c_void, size: c_int) -> c_int;
    fn backtrace_symbols_fd(buffer: *const *mut libc::c_void, size: c_int, descriptor: c_int);
}

/// Writes a native backtrace to standard error when the process crashes, and lets it crash as it would have. The handler runs on
/// a stack of its own only on threads that have called [`use_own_stack`]; elsewhere a stack overflow ends without a word.
pub fn report() -> io::Result<()> {
    let mut frames = [ptr::null_mut(); 4];
    // The first call loads the unwinder, which a handler must not do.
    // SAFETY: the buffer holds as many entries as the call is told.
    unsafe { backtrace(frames.as_mut_ptr(), 4) };
    // SAFETY: all zero is a valid sigaction.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_crash as *const () as usize;
    action.sa_flags = libc::SA_ONSTACK | libc::SA_RESETHAND | libc::SA_NODEFER;
    for signal in FATAL {
        // SAFETY: the handler keeps to what a handler may do; `action` lives through the call.
        if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Gives the calling thread a stack for the handler, so that even an overflow of its own stack is reported.
pub fn use_own_stack() {
    const SIZE: usize = 64 << 10;
    // Leaked: it must live as long as the thread, and threads are few.
    let stack = Box::leak(vec![0_u8; SIZE].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: SIZE };
    // SAFETY: the memory is never freed nor used otherwise.
    unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
}

extern "C" fn on_crash(signal: c_int) {
    const HEAD: &[u8] = b"rr: the engine crashed; native backtrace, innermost first:\n";
    // SAFETY: write is async-signal-safe and reads a static.
    unsafe { libc::write(2, HEAD.as_ptr().cast(), HEAD.len()) };
    let mut frames = [ptr::null_mut(); DEPTH];
    // SAFETY: the buffer holds DEPTH entries; the unwinder was loaded by `report`.
    let count = unsafe { backtrace(frames.as_mut_ptr(), DEPTH as c_int) };
    // SAFETY: the entries are those just written; this form allocates nothing.
    unsafe { backtrace_symbols_fd(frames.as_ptr(), count, 2) };
    // SA_RESETHAND has put the default back: this time the signal ends the process, with a core if cores are wanted.
    // SAFETY: has no preconditions.
    unsafe { libc::raise(signal) };
}
