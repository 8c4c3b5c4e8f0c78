//! The parts of root's power that a process keeps, capabilities(7).
#![allow(unsafe_code, reason = "the C library has no function for it, and its kernel call takes pointers")]

use std::{io, ptr};

use nix::unistd;

/// `_LINUX_CAPABILITY_VERSION_3`: two words of each set.
const VERSION: u32 = 0x2008_0522;

/// What a supervisor does, by the kernel's numbers: give sockets and logs to whom scripts run as (chown 0, dac_override 1,
/// fowner 3), end engines of another user (kill 5), start them (setgid 6, setuid 7), listen on ports below 1024
/// (net_bind_service 10), and say how important they are (sys_nice 23).
const SUPERVISION: [u32; 8] = [0, 1, 3, 5, 6, 7, 10, 23];

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up what supervision does not need, if this process is root's. What it starts is root's again until it becomes another
/// user's, for programs get root's power from root; and who is not root has what was given on purpose.
pub fn keep_for_supervision() -> io::Result<()> {
    if !unistd::geteuid().is_root() {
        return Ok(());
    }
    let (mut header, mut sets) = own()?;
    for (word, set) in (0..).zip(&mut sets) {
        let kept = SUPERVISION.iter().filter(|number| *number / 32 == word).fold(0, |bits, number| bits | 1 << (number % 32));
        set.permitted &= kept;
        set.effective = set.permitted;
        set.inheritable &= kept;
    }
    // SAFETY: both are what the kernel reads for this version.
    check(unsafe { libc::syscall(libc::SYS_capset, ptr::from_mut(&mut header), sets.as_ptr()) })
}

/// Whether this thread may do what needs the capability `number`.
pub fn has(number: u32) -> bool {
    let effective = own().ok().and_then(|(_, sets)| Some(sets.get(usize::try_from(number / 32).ok()?)?.effective));
    effective.is_some_and(|effective| effective & 1 << (number % 32) != 0)
}

fn own() -> io::Result<(Header, [Sets; 2])> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: both are what the kernel writes for this version.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) })?;
    Ok((header, sets))
}

fn check(result: i64) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
