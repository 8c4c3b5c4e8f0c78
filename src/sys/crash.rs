//! A process that crashes says where.
#![allow(unsafe_code, reason = "signal handlers have no safe form")]

use std::{
    cell::UnsafeCell,
    ffi::{c_int, c_uint, c_void},
    io, mem,
    os::fd::{IntoRawFd, OwnedFd, RawFd},
    process, ptr,
    sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed},
};

const FATAL: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];
const DEPTH: usize = 64;
/// A process that has crashed tells of it for no more seconds than this.
const TELLS_WITHIN: c_uint = 5;
/// So many bytes of a line are told, and so many lines about files that are mapped.
const LINE: usize = 512;
const MAPS: usize = 256;

/// Where this process tells.
static TOLD: AtomicI32 = AtomicI32::new(-1);
static PROCESS: AtomicU32 = AtomicU32::new(0);
/// The thread that tells.
static TELLER: AtomicI32 = AtomicI32::new(0);
/// Its memory: a thread's stack for signals may have no room for it.
static DESK: Shared = Shared(UnsafeCell::new(Desk { frames: [ptr::null_mut(); DEPTH], line: Line::EMPTY, read: [0; 1024] }));

struct Desk {
    frames: [*mut c_void; DEPTH],
    line: Line,
    read: [u8; 1024],
}

struct Shared(UnsafeCell<Desk>);

// SAFETY: only `on_crash` takes what is in it, in the one thread that is the teller.
unsafe impl Sync for Shared {}

unsafe extern "C" {
    fn backtrace(buffer: *mut *mut c_void, size: c_int) -> c_int;
    fn backtrace_symbols_fd(buffer: *const *mut c_void, size: c_int, descriptor: c_int);
}

/// Has the process tell of a crash, and then crash as it would have. The handler runs on a stack of its own only on threads that have
/// called [`use_own_stack`]; elsewhere a stack overflow ends without a word.
///
/// Told are lines: `crash`, then in hexadecimal the signal, its code, the address at fault, who sent it, the thread's number, and last
/// the thread's name; `frame` and an address for each of at most 64 calls, innermost first; `map` and what `/proc/self/maps` says of
/// each file that is mapped to be executed, or from its start. A process that this one has forked tells standard error instead, as libc
/// writes it.
pub fn report(to: OwnedFd) -> io::Result<()> {
    PROCESS.store(process::id(), Relaxed);
    TOLD.store(to.into_raw_fd(), Relaxed);
    let mut frames = [ptr::null_mut(); 4];
    // The first call loads the unwinder, which a handler must not do.
    // SAFETY: the buffer holds as many entries as the call is told.
    unsafe { backtrace(frames.as_mut_ptr(), 4) };
    // SAFETY: all zero is a valid sigaction.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_crash as *const () as usize;
    action.sa_flags = libc::SA_ONSTACK | libc::SA_NODEFER | libc::SA_SIGINFO;
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

extern "C" fn on_crash(signal: c_int, info: *const libc::siginfo_t, context: *const libc::ucontext_t) {
    // SAFETY: takes nothing.
    let thread = unsafe { libc::gettid() };
    match TELLER.compare_exchange(0, thread, Relaxed, Relaxed) {
        Ok(_) => {
            // SAFETY: the kernel lends it to a handler that was installed with SA_SIGINFO, until that returns.
            let info = unsafe { &*info };
            // SAFETY: and so it does this.
            let context = unsafe { &*context };
            // SAFETY: there is one teller, and it comes here once.
            let desk = unsafe { &mut *DESK.0.get() };
            end_soon();
            tell(signal, info, context, thread, desk);
        }
        // It has crashed while it told: what is told is told.
        Err(teller) if teller == thread => {}
        Err(_) => loop {
            // SAFETY: takes nothing. The thread that tells ends the process.
            unsafe { libc::pause() };
        },
    }
    // This time the signal ends the process, with a core if cores are wanted.
    // SAFETY: the default runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: has no preconditions.
    unsafe { libc::raise(signal) };
}

/// Ends the process if telling takes long: whoever else has the unwinder's lock may never let it go. It is then said to have been ended
/// by SIGALRM, beside what was told of the crash until then.
fn end_soon() {
    // SAFETY: the default runs no code of ours.
    unsafe { libc::signal(libc::SIGALRM, libc::SIG_DFL) };
    // SAFETY: all zero is a valid set.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is ours to write.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGALRM) };
    // SAFETY: it lives through the call, which may be made in a handler.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) };
    // SAFETY: has no preconditions.
    unsafe { libc::alarm(TELLS_WITHIN) };
}

// Apart from the handler, which runs again if there is no stack for this.
#[inline(never)]
fn tell(signal: c_int, info: &libc::siginfo_t, context: &libc::ucontext_t, thread: c_int, desk: &mut Desk) {
    let Desk { frames, line, read } = desk;
    let to = TOLD.load(Relaxed);
    if process::id() != PROCESS.load(Relaxed) {
        write(2, b"rr: a process of the engine's crashed; native backtrace, innermost first:\n");
        let calls = calls(context, frames);
        // SAFETY: there are as many entries; this form allocates nothing.
        unsafe { backtrace_symbols_fd(calls.as_ptr(), calls.len() as c_int, 2) };
        return;
    }
    let mut name = [0_u8; 16];
    // SAFETY: the name of a thread has at most 16 bytes with its end.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    // SAFETY: a signal that has no such address has other numbers in its place.
    let address = unsafe { info.si_addr() };
    // SAFETY: and so it is with the sender.
    let sender = unsafe { info.si_pid() };
    line.begin(b"crash");
    line.number(signal as usize);
    line.number(info.si_code.cast_unsigned() as usize);
    line.number(address.addr());
    line.number(sender.cast_unsigned() as usize);
    line.number(thread as usize);
    line.add(b" ");
    line.add(name.split(|byte| *byte == 0).next().unwrap_or_default());
    // At once: the stack may be such that it cannot be walked.
    line.end(to);
    for frame in calls(context, frames) {
        line.begin(b"frame");
        line.number(frame.addr());
        line.end(to);
    }
    tell_maps(to, line, read);
}

/// The place of the crash, and what has called it.
fn calls<'a>(context: &libc::ucontext_t, frames: &'a mut [*mut c_void; DEPTH]) -> &'a [*mut c_void] {
    // SAFETY: the buffer holds DEPTH entries; the unwinder was loaded by `report`.
    let count = unsafe { backtrace(frames.as_mut_ptr(), DEPTH as c_int) };
    let count = usize::try_from(count).unwrap_or_default().min(DEPTH);
    let Some(place) = place(context) else { return &frames[..count] };
    // Before it are the handler and what the kernel has put between.
    if let Some(first) = frames[..count].iter().position(|frame| *frame == place) {
        return &frames[first..count];
    }
    // A jump to where there is no code, out of which nothing can unwind. But the caller is where a call puts it.
    frames[..2].copy_from_slice(&[place, caller(context)]);
    &frames[..2]
}

#[cfg(target_arch = "x86_64")]
fn place(context: &libc::ucontext_t) -> Option<*mut c_void> {
    Some(ptr::without_provenance_mut(context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize))
}

#[cfg(target_arch = "x86_64")]
fn caller(context: &libc::ucontext_t) -> *mut c_void {
    let stack: *const *mut c_void = ptr::with_exposed_provenance(context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize);
    // SAFETY: if that is no stack, the thread crashes again, which `on_crash` provides for.
    unsafe { ptr::read_volatile(stack) }
}

#[cfg(target_arch = "aarch64")]
fn place(context: &libc::ucontext_t) -> Option<*mut c_void> {
    Some(ptr::without_provenance_mut(context.uc_mcontext.pc as usize))
}

#[cfg(target_arch = "aarch64")]
fn caller(context: &libc::ucontext_t) -> *mut c_void {
    ptr::without_provenance_mut(context.uc_mcontext.regs[30] as usize)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn place(_: &libc::ucontext_t) -> Option<*mut c_void> {
    None
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn caller(_: &libc::ucontext_t) -> *mut c_void {
    ptr::null_mut()
}

/// Copies the lines that tell where a file's code lies, and where the file begins.
fn tell_maps(to: RawFd, line: &mut Line, buffer: &mut [u8]) {
    // SAFETY: the path is a C string.
    let maps = unsafe { libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    let mut left = MAPS;
    line.begin(b"map ");
    loop {
        // SAFETY: the buffer has as many bytes.
        let count = unsafe { libc::read(maps, buffer.as_mut_ptr().cast(), buffer.len()) };
        let Some(read) = usize::try_from(count).ok().filter(|count| *count > 0) else { return };
        for &byte in &buffer[..read] {
            if byte != b'\n' {
                line.add(&[byte]);
                continue;
            }
            if line.has(b"/") && (line.has(b"-xp ") || line.has(b"p 00000000 ")) {
                if left == 0 {
                    return;
                }
                left -= 1;
                line.end(to);
            }
            line.begin(b"map ");
        }
    }
}

fn write(to: RawFd, bytes: &[u8]) {
    // SAFETY: write is async-signal-safe and reads these bytes. What cannot be told is lost.
    unsafe { libc::write(to, bytes.as_ptr().cast(), bytes.len()) };
}

/// A line that needs no memory but its own; what is too long for it is left out.
struct Line {
    bytes: [u8; LINE],
    length: usize,
}

// === impl Line ===

impl Line {
    const EMPTY: Self = Self { bytes: [0; LINE], length: 0 };

    fn begin(&mut self, word: &[u8]) {
        self.length = 0;
        self.add(word);
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            // The last place is for its end.
            if self.length + 1 < LINE {
                self.bytes[self.length] = byte;
                self.length += 1;
            }
        }
    }

    fn number(&mut self, number: usize) {
        self.add(b" ");
        let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            self.add(&[b"0123456789abcdef"[number >> (4 * digit) & 0xf]]);
        }
    }

    fn has(&self, part: &[u8]) -> bool {
        self.bytes[..self.length].windows(part.len()).any(|window| window == part)
    }

    fn end(&mut self, to: RawFd) {
        self.bytes[self.length] = b'\n';
        write(to, &self.bytes[..=self.length]);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        io::Write,
        os::unix::process::ExitStatusExt,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    #[ignore = "ends the process: the next one runs it in another"]
    fn crashes_where_nothing_can_be_told() {
        let (_reader, mut writer) = io::pipe().unwrap();
        let size = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_GETPIPE_SZ).unwrap();
        writer.write_all(&vec![0; size.try_into().unwrap()]).unwrap();
        report(writer.into()).unwrap();
        process::abort();
    }

    #[test]
    fn a_process_that_cannot_tell_of_its_crash_ends_nevertheless() {
        let mut other = Command::new(env::current_exe().unwrap());
        let name = "sys::crash::tests::crashes_where_nothing_can_be_told";
        let status = other.args(["--exact", name, "--ignored"]).stdout(Stdio::null()).status().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGALRM), "{status:?}");
    }
}
