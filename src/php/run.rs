//! One execution of a script: in classic mode for one request, in a worker for as many as it asks for.

use std::{
    ffi::{CStr, c_void},
    ptr,
};

use super::{
    active::{Active, Strings},
    ffi, leaks,
    slot::Slot,
    stdio::Stdio,
    thread::Settings,
};
use crate::worker::{Failure, Jobs, Next, Script, Seat, Variables, Work, roadrunner::Exchange};

/// What C is given to call back with.
pub(crate) struct Run<'a> {
    pub(crate) active: Active,
    pub(super) feed: Option<Feed<'a>>,
    /// What a script that speaks through STDIN and STDOUT has heard and said.
    pub(super) stdio: Option<Stdio>,
    pub(super) leaks: leaks::Tracker,
    pub(super) slot: &'a Slot,
    pub(super) settings: &'a Settings,
}

/// Where a worker script's requests come from.
pub(crate) struct Feed<'a> {
    pub(super) seat: &'a Seat,
    /// Requests after which the script is told to leave.
    jobs: Jobs,
    on_ready: &'a dyn Fn(),
    /// The only request of a script that boots for it.
    only: Option<Box<Active>>,
    /// The same for a script that reads frames.
    pub(super) first: Option<Box<Exchange>>,
    asked: bool,
    pub(super) left: Option<Left>,
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
    /// The same for a script that reads frames.
    pub(crate) unheard: Option<Box<Exchange>>,
    /// It asks by reading from STDIN.
    pub(crate) reads_frames: bool,
}

// === impl Feed ===

impl<'a> Feed<'a> {
    /// Requests from the pool, for as many as `jobs` says; `on_ready` is called when the script asks for the first.
    pub(crate) fn new(seat: &'a Seat, jobs: Jobs, on_ready: &'a dyn Fn()) -> Self {
        Self { seat, jobs, on_ready, only: None, first: None, asked: false, left: None, view: None }
    }

    /// This request and no other.
    pub(crate) fn only(self, request: Active) -> Self {
        Self { only: Some(Box::new(request)), jobs: Jobs::new(1), ..self }
    }

    /// The same for a script that reads frames.
    pub(crate) fn first(self, request: Exchange) -> Self {
        Self { first: Some(Box::new(request)), jobs: Jobs::new(1), ..self }
    }

    /// The script has booted: it asks for a request.
    pub(super) fn note_ready(&mut self, slot: &Slot) {
        if self.asked {
            return;
        }
        self.asked = true;
        slot.settle();
        if self.only.is_none() && self.first.is_none() {
            // The boot may have been late for its limit, but has come to its end.
            // SAFETY: takes nothing.
            unsafe { ffi::rr_php_spare() };
        }
        // SAFETY: this thread has a context.
        slot.standing.note_memory(unsafe { ffi::rr_php_heap() });
        (self.on_ready)();
        // A request that its script has booted for goes on.
        if self.only.is_none() && self.first.is_none() {
            slot.end();
        }
    }

    /// The script is to leave its loop.
    pub(super) fn leave(&mut self, why: Left, slot: &Slot) {
        self.left = Some(why);
        // A script that polls may be given works still.
        self.seat.step_back();
        slot.leaving();
    }

    /// What `next` takes from the seat, or why the script is to leave; none if there is neither yet.
    pub(super) fn take(&mut self, slot: &Slot, next: impl FnOnce(&Seat) -> Option<Next>) -> Option<Result<Work, Left>> {
        if let Some(left) = self.left {
            return Some(Err(left));
        }
        let must_leave = slot.is_written_off() || slot.standing.must_start_afresh(self.jobs);
        let left = match if must_leave { Next::Recalled } else { next(self.seat)? } {
            Next::Work(work) => return Some(Ok(work)),
            Next::Recalled => Left::Renew,
            Next::Closed => Left::Closed,
        };
        self.leave(left, slot);
        Some(Err(left))
    }
}

// === impl Run ===

impl<'a> Run<'a> {
    /// Answers one request with the script it names. Gives back what the next request can use again.
    pub(crate) fn classic(work: Work, slot: &'a Slot, settings: &'a Settings, variables: Variables) -> (ffi::End, Variables) {
        let active = Active::new(work, settings, variables);
        *slot.lifeline.lock() = active.lifeline();
        let mut run = Self { active, feed: None, stdio: None, leaks: leaks::Tracker::default(), slot, settings };
        let end = run.execute();
        if end == ffi::End::Done {
            return (end, run.active.conclude());
        }
        run.finish(end);
        (end, run.active.take_variables())
    }

    /// Runs a worker script until it ends.
    pub(crate) fn worker(script: Script, feed: Feed<'a>, slot: &'a Slot, settings: &'a Settings) -> Ended {
        let seat = feed.seat;
        let mut run = Self {
            active: Active::boot(script, settings),
            feed: Some(feed),
            stdio: Stdio::of(settings),
            leaks: leaks::Tracker::default(),
            slot,
            settings,
        };
        let end = run.execute();
        slot.settle();
        run.finish(end);
        seat.step_back();
        run.finish_stdio();
        run.slot.end();
        let unanswered = run.feed.as_mut().and_then(|feed| feed.only.take());
        let unheard = run.feed.as_mut().and_then(|feed| feed.first.take());
        // SAFETY: takes nothing.
        let error = unsafe { ffi::rr_php_last_error() };
        // SAFETY: a C string of this thread's, which lives until its next script ends.
        let error = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
        let (booted, left) = run.feed.as_ref().map_or((false, None), |feed| (feed.asked, feed.left));
        Ended { end, booted, left, error, unanswered, unheard, reads_frames: run.stdio.is_some() }
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
    /// A `pulled` one is answered past the output layer.
    pub(crate) fn next(&mut self, pulled: bool) -> *mut ffi::Request {
        let Some(feed) = &mut self.feed else { return ptr::null_mut() };
        self.active.finish();
        feed.note_ready(self.slot);
        if feed.left.is_some() {
            return ptr::null_mut();
        }
        match feed.only.take() {
            Some(active) => self.active = *active,
            None => {
                let Some(Ok(work)) = feed.take(self.slot, |seat| Some(seat.next())) else { return ptr::null_mut() };
                self.slot.begin(&work);
                let variables = self.active.take_variables();
                self.active = Active::new(work, self.settings, variables);
                *self.slot.lifeline.lock() = self.active.lifeline();
            }
        }
        if pulled {
            self.active.pull();
        }
        let mut strings = Strings::new(self.active.request(), &[]);
        let request = strings.view(self.active.request(), self.active.body_length(), self.settings);
        let view = feed.view.insert(Box::new((strings, request)));
        &raw mut view.1
    }

    /// What the script keeps after a request.
    pub(crate) fn measured(&mut self, measures: &[ffi::Measure]) {
        let current = self.slot.current();
        for line in self.leaks.judge(measures, &current) {
            tracing::warn!(target: "php", "{line}");
        }
    }

    /// True once after each request, when a script that reads frames has answered it and reads on.
    pub(crate) fn rests(&mut self) -> bool {
        let is_between = self.stdio.as_ref().is_some_and(Stdio::is_between);
        is_between && self.leaks.is_new(self.slot.requests())
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
