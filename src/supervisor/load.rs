//! Reading the configuration anew: in a process of its own, by the program that is to serve it. So neither can harm this one.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::{
    askers::Asker,
    deference::Deference,
    ending, engine,
    release::{Installed, Release, VERSION},
    report,
};
use crate::{
    error::{ExitCode, Refusal},
    sys::{memory, priority, spawn::Program},
};

/// A configuration that is being read.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) pid: i32,
    pub(super) purpose: Purpose,
    program: Program,
    /// Where its file is, or was.
    path: PathBuf,
    told: OwnedFd,
    complaint: OwnedFd,
    pub(super) kill_at: Instant,
    pub(super) deference: Deference,
    is_late: bool,
}

/// What a configuration is read for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// To say whether a reload would take it.
    Check(Asker),
    /// To serve it, for those who asked for that.
    Reload(Vec<Asker>),
    /// To serve it, what was served before being gone.
    Restart,
}

/// Where programs and configurations come from.
#[derive(Debug)]
pub(super) struct Origin {
    /// Where this process was started, by the name that it had.
    pub(super) start: PathBuf,
    /// Where the program's file is.
    pub(super) path: PathBuf,
}

/// A program that has not told by then is killed.
const LOADS_WITHIN: Duration = Duration::from_secs(60);
/// It leaves every CPU to others for so long: it needs one for some hundredths of a second.
const YIELDS: Duration = Duration::from_millis(300);
const IS_IT_RR: &str = "put an rr there, and reload again";
/// A longer complaint is cut.
const MAX_COMPLAINT: usize = 8192;

// === impl Origin ===

impl Origin {
    /// Of this process, started in `start`.
    pub(super) fn of(start: PathBuf, own: &Program) -> Self {
        let named = env::args_os().next().and_then(|name| found_as(&name, &start));
        // Found by name, so that a symbolic link to another program is seen.
        let named = named.filter(|path| Program::at(path).is_ok_and(|program| program.is(own)));
        let path = named.or_else(|| env::current_exe().ok()).unwrap_or_default();
        Self { start, path }
    }

    /// The program that is there now, or `own` if none is.
    pub(super) fn program(&self, own: &Program) -> io::Result<Program> {
        match Program::at(&self.path) {
            Ok(program) if program.is(own) => Ok(own.clone()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!("there is no program {} any more: the one that runs is used", self.path.display());
                Ok(own.clone())
            }
            other => other,
        }
    }
}

/// What the shell found under `name`.
fn found_as(name: &OsString, start: &Path) -> Option<PathBuf> {
    if name.to_string_lossy().contains('/') {
        return Some(start.join(name));
    }
    env::split_paths(&env::var_os("PATH")?).map(|folder| start.join(folder).join(name)).find(|path| path.is_file())
}

// === impl Load ===

impl Load {
    pub(super) fn start(program: Program, origin: &Origin, purpose: Purpose) -> io::Result<Self> {
        let (told, complaint) = (memory::file_of(c"rr release", b"")?, memory::file_of(c"rr complaint", b"")?);
        let mut command = engine::command(&program);
        command.args(["--prepare", VERSION]).args(env::args_os().skip(1));
        command.current_dir(&origin.start).env("PWD", &origin.start).process_group(0);
        command.stdin(Stdio::null()).stdout(told.try_clone()?).stderr(complaint.try_clone()?);
        // Those who are served come first. Where that cannot be, it runs as others do.
        let yields = priority::lower(&mut command, false).unwrap_or(false);
        let failed = |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        // Said of the folder that is gone, not of the program.
        fs::metadata(&origin.start).map_err(|error| failed(&origin.start, error))?;
        if !program.is_binary() {
            let why = "no program, for it does not begin as one (ELF) does: put one there, as a whole, and reload again";
            return Err(failed(&origin.path, io::Error::other(why)));
        }
        let child = command.spawn().map_err(|error| failed(&origin.path, error))?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let now = Instant::now();
        let (kill_at, deference) = (now + LOADS_WITHIN, Deference::begin(now, yields.then_some(YIELDS)));
        let path = origin.path.clone();
        Ok(Self { pid, purpose, program, path, told, complaint, kill_at, deference, is_late: false })
    }

    /// Ends it if it takes too long.
    pub(super) fn look(&mut self, now: Instant) {
        self.deference.look(self.pid, now);
        if now >= self.kill_at {
            self.is_late = true;
            // Its process has not been waited for, so the number is its own.
            _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }

    /// Ends it; those who wait for it are returned.
    pub(super) fn give_up(self) -> Vec<Asker> {
        _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
        match self.purpose {
            Purpose::Check(asker) => vec![asker],
            Purpose::Reload(askers) => askers,
            Purpose::Restart => Vec::new(),
        }
    }

    /// What it has told, now that its process has ended; or its complaint.
    pub(super) fn outcome(self, status: ExitStatus) -> (Purpose, Result<Installed, Refusal>) {
        let told = memory::content_of(self.told).unwrap_or_default();
        let outcome = if status.success() {
            Release::hear(&told).map_err(|error| {
                software(match error.kind() {
                    // What another version of this program said.
                    io::ErrorKind::Other => format!("{}: {error}", self.path.display()),
                    _ => format!("the program {} told nothing that can be served: {error}; {IS_IT_RR}", self.path.display()),
                })
            })
        } else if self.is_late {
            let (path, seconds) = (self.path.display(), LOADS_WITHIN.as_secs());
            Err(software(format!(
                "the program {path} has not read the configuration within {seconds} s, and was ended; run {path} config to see what \
                 keeps it, and reload again"
            )))
        } else {
            Err(Refusal::new(ending::kind_of(status), complaint(self.complaint, &self.path, status)))
        };
        (self.purpose, outcome.map(|release| Installed { release, program: self.program }))
    }
}

fn software(text: String) -> Refusal {
    Refusal::new(ExitCode::Software, text)
}

fn complaint(file: OwnedFd, program: &Path, status: ExitStatus) -> String {
    let said = memory::content_of(file).unwrap_or_default();
    in_words(String::from_utf8_lossy(&said[..said.len().min(MAX_COMPLAINT)]).trim(), program, status)
}

/// Why `program`, having `said` this, has not told a release. Of ours it is the configuration's fault as a rule, and it says which.
fn in_words(said: &str, program: &Path, status: ExitStatus) -> String {
    if said.lines().any(|line| line.starts_with("rr: ")) {
        return said.strip_prefix("rr: ").unwrap_or(said).to_owned();
    }
    let (how, before) = (report::describe(status), if said.is_empty() { "" } else { ": " });
    format!("the program {} cannot be used: {how}{before}{said}; {IS_IT_RR}", program.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_complaint_of_ours_stands_alone_and_any_other_names_the_program() {
        let in_words = |said, status| in_words(said, Path::new("/opt/rr"), ExitStatus::from_raw(status));
        assert_eq!(in_words("rr: http: unknown key", 78 << 8), "http: unknown key");
        assert_eq!(in_words("a warning\nrr: no", 78 << 8), "a warning\nrr: no");
        let rest = "put an rr there, and reload again";
        assert_eq!(in_words("", 11), format!("the program /opt/rr cannot be used: killed by SIGSEGV; {rest}"));
        let said = in_words("ls: unrecognized option '--prepare'", 2 << 8);
        let expected = "the program /opt/rr cannot be used: exit code 2: ls: unrecognized option '--prepare'";
        assert_eq!(said, format!("{expected}; {rest}"));
    }
}
