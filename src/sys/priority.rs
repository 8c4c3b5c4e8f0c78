//! How large a part of a busy machine a process gets, setpriority(2) and sched(7).
#![allow(unsafe_code, reason = "the calls have no safe form")]

use std::{
    fs, io,
    os::unix::process::CommandExt,
    process::{self, Command},
};

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd,
};

use super::capabilities;

/// So many steps down: of two who are at odds about a CPU, this one gets a tenth.
const STEPS: i32 = 10;
/// The capability to have any priority.
const SYS_NICE: u32 = 23;
/// New threads may be as old ones were; that ends at once, as a rule.
const ROUNDS: usize = 10;

/// A process that its parent has lowered for as long as it boots.
#[derive(Debug)]
pub struct Lowered {
    before: i32,
}

/// Lets this process, and those that it starts, come back to the priority that it has now, whoever they run as. Takes root with all
/// its power.
pub fn allow_return() -> io::Result<()> {
    if !unistd::geteuid().is_root() {
        return Ok(());
    }
    let limit = limit_for(of(0)?);
    let (now, most) = getrlimit(Resource::RLIMIT_NICE)?;
    Ok(setrlimit(Resource::RLIMIT_NICE, now.max(limit), most.max(limit))?)
}

/// Lets the process of `command`, which will be another user's if `is_other`, begin less important than this one. Until [`insist`] is
/// said it runs only when nobody else wants to, if that can be said: one that is merely less important may keep others from a CPU for
/// milliseconds at a time. False if it would have no way back, so that nothing has changed.
pub fn lower(command: &mut Command, is_other: bool) -> io::Result<bool> {
    let before = of(0)?;
    let has_power = capabilities::has(SYS_NICE);
    // Programs of root's have root's power.
    let may_return = may_return(before)? || has_power && unistd::geteuid().is_root() && !is_other;
    // What somebody has chosen is left alone.
    if !may_return || !is(0, libc::SCHED_OTHER) {
        return Ok(false);
    }
    let yields = has_power || !is_other;
    let step = move || {
        // A sandbox may forbid it; that is no reason not to start.
        let lowered = change(0, before + STEPS);
        if lowered.is_ok() && yields {
            _ = schedule(0, libc::SCHED_IDLE);
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes only system calls and allocates nothing.
    unsafe { command.pre_exec(step) };
    Ok(true)
}

/// Lets the process of `command` be less important than this one. It need have no way back.
pub fn lower_for_good(command: &mut Command) -> io::Result<()> {
    let lower = of(0)? + STEPS;
    let step = move || {
        // A sandbox may forbid it; that is no reason not to start.
        _ = change(0, lower);
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes only a system call and allocates nothing.
    unsafe { command.pre_exec(step) };
    Ok(())
}

/// No longer does `process`, which yields, run only when nobody else wants to.
pub fn insist(process: i32) -> io::Result<()> {
    for_all_threads(process, |thread| {
        let yields = is(thread, libc::SCHED_IDLE);
        if yields { schedule(thread, libc::SCHED_OTHER).map(|()| true) } else { Ok(false) }
    })
}

/// `process`, which was lowered, is as important as this one.
pub fn equal(process: i32) -> io::Result<()> {
    raise(process, of(0)?)
}

/// The priority of the process that has started this one, from -20 to 19, the least important.
pub fn of_parent() -> io::Result<i32> {
    of(unistd::getppid().as_raw())
}

/// As the kernel counts it: from 1, the least important, to 40.
fn limit_for(priority: i32) -> u64 {
    u64::try_from(20 - priority).unwrap_or(0)
}

fn may_return(before: i32) -> io::Result<bool> {
    Ok(getrlimit(Resource::RLIMIT_NICE)?.0 >= limit_for(before))
}

// === impl Lowered ===

impl Lowered {
    /// This process, whose priority is to be `before`; none if it is that already.
    pub fn begin(before: i32) -> io::Result<Option<Self>> {
        Ok((of(0)? > before).then_some(Self { before }))
    }

    /// All threads of this process are as important as they are to be.
    pub fn end(self) -> io::Result<()> {
        raise(i32::try_from(process::id()).map_err(io::Error::other)?, self.before)
    }
}

/// All threads of `process` are scheduled as usual, none less important than `before`.
fn raise(process: i32, before: i32) -> io::Result<()> {
    insist(process)?;
    for_all_threads(process, |thread| {
        let is_lower = of(thread).is_ok_and(|priority| priority > before);
        if is_lower { change(thread, before).map(|()| true) } else { Ok(false) }
    })
}

/// Does `what` to each thread of `process`, again as long as one says that it made a difference.
fn for_all_threads(process: i32, what: impl Fn(i32) -> io::Result<bool>) -> io::Result<()> {
    for _ in 0..ROUNDS {
        let mut changed = false;
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let Some(thread) = thread?.file_name().to_str().and_then(|number| number.parse().ok()) else { continue };
            match what(thread) {
                Ok(did) => changed |= did,
                // One that ends meanwhile is no trouble.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                Err(error) => return Err(error),
            }
        }
        if !changed {
            break;
        }
    }
    Ok(())
}

/// Whether a thread is scheduled by `policy`; this one, if it is 0.
fn is(thread: i32, policy: i32) -> bool {
    // SAFETY: a system call without memory.
    (unsafe { libc::sched_getscheduler(thread) }) == policy
}

fn schedule(thread: i32, policy: i32) -> io::Result<()> {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: a system call that reads `none`.
    if unsafe { libc::sched_setscheduler(thread, policy, &raw const none) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A thread's priority, from -20 to 19, the least important; of this one, if it is 0.
fn of(thread: i32) -> io::Result<i32> {
    Errno::clear();
    // SAFETY: a system call without memory.
    let priority = unsafe { libc::getpriority(libc::PRIO_PROCESS, thread.cast_unsigned()) };
    // A priority may be -1.
    if priority == -1 && Errno::last_raw() != 0 { Err(io::Error::last_os_error()) } else { Ok(priority) }
}

fn change(thread: i32, priority: i32) -> io::Result<()> {
    // SAFETY: a system call without memory.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, thread.cast_unsigned(), priority) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, thread};

    use super::*;

    #[test]
    fn threads_are_as_important_again_as_they_were() {
        // On a thread of its own: the others of this process stay as they are.
        let lowered = thread::spawn(|| {
            // In a container root may not.
            drop(allow_return());
            let before = of(0).unwrap();
            assert!(Lowered::begin(before).unwrap().is_none());
            if !may_return(before).unwrap() && !capabilities::has(SYS_NICE) {
                return;
            }
            change(0, before + STEPS).unwrap();
            let lowered = Lowered::begin(before).unwrap().unwrap();
            let ((tell, told), (end, ended)) = (channel(), channel::<()>());
            let other = thread::spawn(move || {
                tell.send(of(0).unwrap()).unwrap();
                _ = ended.recv();
                of(0).unwrap()
            });
            assert_eq!(told.recv().unwrap(), (before + STEPS).min(19));
            schedule(0, libc::SCHED_IDLE).unwrap();
            lowered.end().unwrap();
            drop(end);
            assert_eq!((other.join().unwrap(), of(0).unwrap()), (before, before));
            assert!(is(0, libc::SCHED_OTHER));
        });
        lowered.join().unwrap();
    }

    #[test]
    fn a_process_that_yields_can_be_told_to_insist_and_to_be_equal() {
        drop(allow_return());
        let mut command = Command::new("sleep");
        let lowered = lower(command.arg("60"), false).unwrap();
        let mut child = command.spawn().unwrap();
        let process = i32::try_from(child.id()).unwrap();
        let before = of(0).unwrap();
        assert_eq!((is(process, libc::SCHED_IDLE), of(process).unwrap() > before), (lowered, lowered));
        insist(process).unwrap();
        assert_eq!((is(process, libc::SCHED_OTHER), of(process).unwrap() > before), (true, lowered));
        equal(process).unwrap();
        assert_eq!((is(process, libc::SCHED_OTHER), of(process).unwrap()), (true, before));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(insist(process).is_err());
    }
}
