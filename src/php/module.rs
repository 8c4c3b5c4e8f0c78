//! The entry points of the extension `rr`, in the server and in `rr.so` alike.

use std::ffi::{c_char, c_void};

unsafe extern "C" {
    fn rr_php_module() -> *mut c_void;
}

/// What a stock `php` looks up in `rr.so`: the module entry.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn get_module() -> *mut c_void {
    // SAFETY: the function takes nothing and returns the address of a static.
    unsafe { rr_php_module() }
}

/// The value of `RR\VERSION`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn rr_on_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
