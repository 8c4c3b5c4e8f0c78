//! Leaving at once.
#![allow(unsafe_code, reason = "_exit has no safe wrapper among our dependencies")]

use std::{
    io::{self, Write},
    process, thread,
};

/// Held by a thread without which the process serves nobody: if it panics, the process ends, and the panic is not all that is told.
#[derive(Debug)]
pub struct Vital;

/// Ends the process without running exit handlers: libraries of a thread that still runs would be torn down under it, which may
/// crash or wait for ever.
pub fn now(code: i32) -> ! {
    // Lost output is all that can go wrong here, and nobody is left to be told.
    drop(io::stdout().flush());
    drop(io::stderr().flush());
    // SAFETY: has no preconditions.
    unsafe { libc::_exit(code) }
}

// === impl Vital ===

impl Drop for Vital {
    fn drop(&mut self) {
        if thread::panicking() {
            let thread = thread::current();
            let name = thread.name().unwrap_or("a thread");
            drop(writeln!(io::stderr(), "rr: {name} has panicked, and nothing goes on without it: the process is aborted"));
            process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{env, os::unix::process::ExitStatusExt, process::Command};

    use super::*;

    #[test]
    #[ignore = "ends the process: the next one runs it in another"]
    fn panics() {
        let thread = thread::Builder::new().name("io-7".into()).spawn(|| {
            let _vital = Vital;
            panic!("on purpose");
        });
        drop(thread.unwrap().join());
    }

    #[test]
    fn a_process_ends_with_a_vital_thread() {
        let mut other = Command::new(env::current_exe().unwrap());
        let output = other.args(["--exact", "sys::exit::tests::panics", "--ignored", "--nocapture"]).output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("on purpose") && said.contains("rr: io-7 has panicked"), "{said}");
    }
}
