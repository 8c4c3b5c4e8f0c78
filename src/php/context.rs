//! A thread's engine context, and its registration with the watchdog.

use super::{ffi, thread::Slot, watchdog};

/// The context; it ends with this value, on the same thread.
pub(super) struct Context<'slot> {
    slot: &'slot Slot,
}

// === impl Context ===

impl<'slot> Context<'slot> {
    pub(super) fn attach(slot: &'slot Slot) -> Self {
        let mut thread = ffi::Thread {
            timed_out: std::ptr::null_mut(),
            vm_interrupt: std::ptr::null_mut(),
            time_limit: std::ptr::null(),
            limit_epoch: std::ptr::null(),
            trace_wanted: std::ptr::null_mut(),
            frame: std::ptr::null(),
        };
        // SAFETY: the engine has started, and this thread has no context yet.
        unsafe { ffi::rr_php_thread_start(&raw mut thread) };
        *slot.target.lock() = Some(watchdog::Target::of_this_thread(&thread));
        Self { slot }
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // Cleared before the context is freed: the watchdog, which writes through it under this lock, must see an empty slot.
        *self.slot.target.lock() = None;
        // SAFETY: this thread made its context in `attach` and uses it no more.
        unsafe { ffi::rr_php_thread_end() };
    }
}
