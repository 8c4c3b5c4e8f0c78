//! A thread's engine context, and its registration with the watchdog.

use std::marker::PhantomData;

use super::{ffi, slot::Slot, watchdog};

/// The context; it ends with this value, on the same thread.
pub(super) struct Context<'slot> {
    slot: Option<&'slot Slot>,
    on_this_thread: PhantomData<*const ()>,
}

// === impl Context ===

impl<'slot> Context<'slot> {
    pub(super) fn attach(slot: &'slot Slot) -> Self {
        Self::new(Some(slot))
    }

    /// For what has no limits of its own.
    pub(super) fn unwatched() -> Self {
        Self::new(None)
    }

    fn new(slot: Option<&'slot Slot>) -> Self {
        let mut thread = ffi::Thread {
            timed_out: std::ptr::null_mut(),
            overdue: std::ptr::null_mut(),
            vm_interrupt: std::ptr::null_mut(),
            time_limit: std::ptr::null(),
            limit_epoch: std::ptr::null(),
            trace_wanted: std::ptr::null_mut(),
            frame: std::ptr::null(),
        };
        // SAFETY: the engine has started, and this thread has no context yet.
        unsafe { ffi::rr_php_thread_start(&raw mut thread) };
        if let Some(slot) = slot {
            *slot.target.lock() = Some(watchdog::Target::of_this_thread(&thread));
        }
        Self { slot, on_this_thread: PhantomData }
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // Cleared before the context is freed: the watchdog, which writes through it under this lock, must see an empty slot.
        if let Some(slot) = self.slot {
            *slot.target.lock() = None;
        }
        // SAFETY: this thread made its context in `new`, and uses it no more.
        unsafe { ffi::rr_php_thread_end() };
    }
}
