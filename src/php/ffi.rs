//! `shim.h`, in Rust. Keep the two side by side when changing either.

use std::{
    ffi::{c_char, c_int, c_void},
    ptr, slice,
};

/// Borrowed bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Bytes {
    pub(crate) ptr: *const c_char,
    pub(crate) len: usize,
}

/// A borrowed name and value.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) name: Bytes,
    pub(crate) value: Bytes,
}

/// An ini value of one request.
#[repr(C)]
pub(crate) struct Ini {
    pub(crate) name: Bytes,
    pub(crate) value: Bytes,
    pub(crate) locked: bool,
}

/// What C does after a callback has returned.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    GoOn = 0,
    Aborted = 1,
    Fatal = 2,
}

/// How a request ended. C makes the values.
#[allow(dead_code, reason = "constructed by C")]
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Done = 0,
    StartupFailed = 1,
    BailedOut = 2,
    FatalError = 3,
}

#[repr(C)]
pub(crate) struct Engine {
    pub(crate) sapi_name: *const c_char,
    pub(crate) ini_entries: *const c_char,
    pub(crate) php_binary: *const c_char,
    pub(crate) ini_path: *const c_char,
    pub(crate) no_ini: bool,
    pub(crate) environment: *mut *mut c_char,
    pub(crate) threads: c_int,
    pub(crate) leaks: bool,
}

/// Addresses inside a thread's engine context.
#[repr(C)]
pub(crate) struct Thread {
    pub(crate) timed_out: *mut c_void,
    pub(crate) overdue: *mut c_void,
    pub(crate) vm_interrupt: *mut c_void,
    pub(crate) time_limit: *const i64,
    pub(crate) limit_epoch: *const u32,
    pub(crate) trace_wanted: *mut c_void,
    pub(crate) frame: *const *mut c_void,
}

/// Bytes that the text of a trace takes at most.
pub(crate) const TRACE_ROOM: usize = 8192;

/// What a script is to the server.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Classic = 0,
    Worker = 1,
    RoadRunner = 2,
}

/// What became of a read from a script's STDIN.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stdin {
    Read = 0,
    Nothing = 1,
    End = 2,
    Leave = 3,
}

/// How OPcache is. C makes the values.
#[allow(dead_code, reason = "constructed by C")]
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OpcacheState {
    Off = 0,
    Done = 1,
    Pending = 2,
    Failed = 3,
}

/// What is wanted of OPcache.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OpcacheWish {
    Status = 0,
    Reset = 1,
    Scripts = 2,
    Compile = 3,
}

/// How much is undone between two requests of a worker.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reset {
    Basic = 0,
    Strict = 1,
}

/// Which variables C asks for. C makes the values.
#[allow(dead_code, reason = "constructed by C")]
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Variables {
    Server = 0,
    Headers = 1,
    HeaderLines = 2,
}

#[repr(C)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) reset: Reset,
    pub(crate) tasks: bool,
    pub(crate) method: *const c_char,
    pub(crate) query: *mut c_char,
    pub(crate) uri: *mut c_char,
    pub(crate) path_info: *const c_char,
    pub(crate) script: *mut c_char,
    pub(crate) document_root: *const c_char,
    pub(crate) server_name: *const c_char,
    pub(crate) content_type: *const c_char,
    pub(crate) authorization: *const c_char,
    pub(crate) cookies: *mut c_char,
    pub(crate) content_length: i64,
    pub(crate) received: f64,
    pub(crate) ini: *const Ini,
    pub(crate) ini_count: usize,
    pub(crate) argv: *mut *mut c_char,
    pub(crate) argc: c_int,
}

/// What is measured of a worker script. C makes the values.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) what: c_int,
    pub(crate) id: u64,
    pub(crate) value: u64,
    pub(crate) scope: Bytes,
    pub(crate) function: Bytes,
    pub(crate) name: Bytes,
}

unsafe extern "C" {
    pub(crate) fn rr_php_startup(engine: *const Engine) -> c_int;
    pub(crate) fn rr_php_shutdown();
    pub(crate) fn rr_php_thread_start(out: *mut Thread);
    pub(crate) fn rr_php_thread_end();
    pub(crate) fn rr_children_reap();
    pub(crate) fn rr_children_unknown() -> c_int;
    pub(crate) fn rr_php_run(request: *mut Request, context: *mut c_void) -> End;
    pub(crate) fn rr_php_trim();
    pub(crate) fn rr_php_spare();
    pub(crate) fn rr_php_memory_peak() -> usize;
    pub(crate) fn rr_php_memory_peak_so_far() -> usize;
    pub(crate) fn rr_php_heap() -> usize;
    pub(crate) fn rr_php_trace(frame: *const *mut c_void, buffer: *mut c_char, room: usize) -> usize;
    pub(crate) fn rr_php_last_error() -> *const c_char;
    pub(crate) fn rr_php_version() -> *const c_char;
    pub(crate) fn rr_php_opcache_enabled() -> bool;
    pub(crate) fn rr_php_opcache_patience() -> i64;
    pub(crate) fn rr_php_opcache(wish: OpcacheWish, context: *mut c_void) -> OpcacheState;
    pub(crate) fn rr_libc_spare_locks(descriptor: c_int);
    pub(crate) fn rr_libc_break(signal: c_int);
    pub(crate) fn rr_php_ini_path() -> *const c_char;
}

// === impl Bytes ===

impl Bytes {
    /// A view of `bytes` for C.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr().cast(), len: bytes.len() }
    }

    /// The bytes.
    ///
    /// # Safety
    /// `ptr` points to `len` bytes that outlive `'a`, or `len` is 0.
    pub(crate) unsafe fn view<'a>(self) -> &'a [u8] {
        // SAFETY: the caller vouches for pointer, length and lifetime.
        unsafe { view(self.ptr, self.len) }
    }
}

/// `len` bytes at `ptr`.
///
/// # Safety
/// `ptr` points to `len` bytes that outlive `'a`, or `len` is 0.
pub(crate) unsafe fn view<'a>(ptr: *const c_char, len: usize) -> &'a [u8] {
    let ptr: *const u8 = if len == 0 { ptr::NonNull::dangling().as_ptr() } else { ptr.cast() };
    // SAFETY: the caller vouches for pointer, length and lifetime; an empty view gets an aligned, non-null pointer.
    unsafe { slice::from_raw_parts(ptr, len) }
}
