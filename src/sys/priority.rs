//! How large a part of a busy machine a process gets, setpriority(2).
#![allow(unsafe_code, reason = "the calls have no safe form")]

use std::{fs, io, process};

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

/// A process that is less important than it was when it began.
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

/// As the kernel counts it: from 1, the least important, to 40.
fn limit_for(priority: i32) -> u64 {
    u64::try_from(20 - priority).unwrap_or(0)
}

// === impl Lowered ===

impl Lowered {
    /// Makes this thread, and those that it starts, less important; none if there would be no way back, so that nothing has changed.
    pub fn begin() -> io::Result<Option<Self>> {
        let before = of(0)?;
        if getrlimit(Resource::RLIMIT_NICE)?.0 < limit_for(before) && !capabilities::has(SYS_NICE) {
            return Ok(None);
        }
        change(0, before + STEPS)?;
        Ok(Some(Self { before }))
    }

    /// All threads of this process are again as important as it was.
    pub fn end(self) -> io::Result<()> {
        for _ in 0..ROUNDS {
            let mut changed = false;
            for thread in fs::read_dir(format!("/proc/{}/task", process::id()))? {
                let Some(thread) = thread?.file_name().to_str().and_then(|number| number.parse().ok()) else { continue };
                if of(thread).is_ok_and(|priority| priority > self.before) {
                    // One that ends meanwhile is no trouble.
                    match change(thread, self.before) {
                        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
                        _ => changed = true,
                    }
                }
            }
            if !changed {
                break;
            }
        }
        Ok(())
    }
}

/// A thread's priority, from -20 to 19, the least important; of this one, if it is 0.
fn of(thread: u32) -> io::Result<i32> {
    Errno::clear();
    // SAFETY: a system call without memory.
    let priority = unsafe { libc::getpriority(libc::PRIO_PROCESS, thread) };
    // A priority may be -1.
    if priority == -1 && Errno::last_raw() != 0 { Err(io::Error::last_os_error()) } else { Ok(priority) }
}

fn change(thread: u32, priority: i32) -> io::Result<()> {
    // SAFETY: a system call without memory.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, thread, priority) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
            let Some(lowered) = Lowered::begin().unwrap() else {
                assert_eq!(of(0).unwrap(), before);
                return;
            };
            assert_eq!(of(0).unwrap(), (before + STEPS).min(19));
            let ((tell, told), (end, ended)) = (channel(), channel::<()>());
            let other = thread::spawn(move || {
                tell.send(of(0).unwrap()).unwrap();
                _ = ended.recv();
                of(0).unwrap()
            });
            assert_eq!(told.recv().unwrap(), (before + STEPS).min(19));
            lowered.end().unwrap();
            drop(end);
            assert_eq!((other.join().unwrap(), of(0).unwrap()), (before, before));
        });
        lowered.join().unwrap();
    }
}
