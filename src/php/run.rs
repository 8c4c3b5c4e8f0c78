//! One execution of a script: in classic mode for one request, in a worker for as many as it asks for.

use std::{
    ffi::{CStr, c_void},
    ptr,
};

use super::{
    active::{Active, Strings},
    ffi, opcache,
    thread::{Settings, Slot},
};
use crate::worker::{Failure, Jobs, Next, Script, Seat, Variables, Work};

/// What C is given to call back with.
pub(crate) struct Run<'a> {
    pub(crate) active: Active,
    feed: Option<Feed<'a>>,
    slot: &'a Slot,
    settings: &'a Settings,
}

/// Where a worker script's requests come from.
pub(crate) struct Feed<'a> {
    seat: &'a Seat,
    /// Requests after which the script is told to leave.
    jobs: Jobs,
    on_ready: &'a dyn Fn(),
    /// The only request of a script that boots for it.
    only: Option<Box<Active>>,
    asked: bool,
    left: Option<Left>,
    /// What C sees of the present request; refilled by `next`.
    view: Option<Box<(Strings, ffi::Request)>>,
}

/// Why a worker script was told to leave its loop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Left {
    /// The pool is closed.
    Closed,
    /// Another boot is wanted: after a reset, after `max_jobs` requests, or for OPcache's sake.
    Renew,
}

/// How a worker script ended.
pub(crate) struct Ended {
    pub(crate) end: ffi::End,
    /// It had booted: it asked for a request.
    pub(crate) booted: bool,
    pub(crate) left: Option<Left>,
    /// PHP's message, if a fatal error was the end.
    pub(crate) error: String,
    /// The request for which it was to boot, if it has not asked for it.
    pub(crate) unanswered: Option<Box<Active>>,
}

// === impl Feed ===

impl<'a> Feed<'a> {
    /// Requests from the pool, for as many as `jobs` says; `on_ready` is called when the script asks for the first.
    pub(crate) fn new(seat: &'a Seat, jobs: Jobs, on_ready: &'a dyn Fn()) -> Self {
        Self { seat, jobs, on_ready, only: None, asked: false, left: None, view: None }
    }

    /// This request and no other.
    pub(crate) fn only(self, request: Active) -> Self {
        Self { only: Some(Box::new(request)), jobs: Jobs::new(1), ..self }
    }

    fn wait(&self, slot: &Slot) -> Result<Work, Left> {
        if slot.is_written_off() || opcache::wants_to_restart() || slot.standing.must_start_afresh(self.jobs) {
            return Err(Left::Renew);
        }
        match self.seat.next() {
            Next::Work(work) => Ok(work),
            Next::Recalled => Err(Left::Renew),
            Next::Closed => Err(Left::Closed),
        }
    }
}

// === impl Run ===

impl<'a> Run<'a> {
    /// Answers one request with the script it names. Gives back what the next request can use again.
    pub(crate) fn classic(work: Work, slot: &'a Slot, settings: &'a Settings, variables: Variables) -> (ffi::End, Variables) {
        let active = Active::new(work, settings, variables);
        *slot.lifeline.lock() = active.lifeline();
        let mut run = Self { active, feed: None, slot, settings };
        let end = run.execute();
        if end == ffi::End::Done {
            return (end, run.active.conclude());
        }
        run.finish(end);
        (end, run.active.take_variables())
    }

    /// Runs a worker script until it ends.
    pub(crate) fn worker(script: Script, feed: Feed<'a>, slot: &'a Slot, settings: &'a Settings) -> Ended {
        let mut run = Self { active: Active::boot(script, settings), feed: Some(feed), slot, settings };
        let end = run.execute();
        run.finish(end);
        run.slot.end();
        let unanswered = run.feed.as_mut().and_then(|feed| feed.only.take());
        // SAFETY: takes nothing.
        let error = unsafe { ffi::rr_php_last_error() };
        // SAFETY: a C string of this thread's, which lives until its next script ends.
        let error = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
        let (booted, left) = run.feed.as_ref().map_or((false, None), |feed| (feed.asked, feed.left));
        Ended { end, booted, left, error, unanswered }
    }

    fn execute(&mut self) -> ffi::End {
        let body_length = self.active.body_length();
        let mut strings = Strings::new(self.active.request(), &self.settings.ini);
        let mut request = strings.view(self.active.request(), body_length, self.settings);
        // Through the pointer alone until the shim returns: the callbacks make their references from it.
        let context: *mut Self = self;
        // SAFETY: this thread has a context; `request` and all it points to (`strings`, the work's ini values) and `context` outlive the call.
        unsafe { ffi::rr_php_run(&raw mut request, context.cast::<c_void>()) }
    }

    fn finish(&mut self, end: ffi::End) {
        match end {
            ffi::End::Done => drop(self.active.finish()),
            ffi::End::FatalError => self.active.finish_cut_off(),
            ffi::End::StartupFailed | ffi::End::BailedOut => self.active.fail(Failure::WorkerLost),
        }
    }

    /// The next request of a worker script, waiting for it; null if the script is to leave its loop.
    pub(crate) fn next(&mut self) -> *mut ffi::Request {
        let Some(feed) = &mut self.feed else { return ptr::null_mut() };
        self.active.finish();
        if !feed.asked {
            feed.asked = true;
            // SAFETY: this thread has a context.
            self.slot.standing.note_memory(unsafe { ffi::rr_php_heap() });
            (feed.on_ready)();
            // A request that its script has booted for goes on.
            if feed.only.is_none() {
                self.slot.end();
            }
        }
        if feed.left.is_some() {
            return ptr::null_mut();
        }
        match feed.only.take() {
            Some(active) => self.active = *active,
            None => {
                let work = match feed.wait(self.slot) {
                    Ok(work) => work,
                    Err(left) => {
                        feed.left = Some(left);
                        return ptr::null_mut();
                    }
                };
                self.slot.begin(&work);
                let variables = self.active.take_variables();
                self.active = Active::new(work, self.settings, variables);
                *self.slot.lifeline.lock() = self.active.lifeline();
            }
        }
        let mut strings = Strings::new(self.active.request(), &[]);
        let request = strings.view(self.active.request(), self.active.body_length(), self.settings);
        let view = feed.view.insert(Box::new((strings, request)));
        &raw mut view.1
    }

    /// The present request has been handled, and its answer is complete.
    pub(crate) fn done(&mut self) {
        self.active.finish();
        self.active.retire();
        // SAFETY: this thread has a context.
        self.slot.note_memory(unsafe { ffi::rr_php_memory_peak() });
        // SAFETY: as above.
        self.slot.standing.note_memory(unsafe { ffi::rr_php_heap() });
        self.slot.end();
    }
}
