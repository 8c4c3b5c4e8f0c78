//! How the process ends when it cannot do what was asked.

use std::io;

use serde::{Deserialize, Serialize};

/// Why a command failed. The message is one readable line, or one line a finding.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration was refused.
    #[error("{0}")]
    Config(String),
    /// The engine did not start.
    #[error("{0}")]
    Engine(String),
    /// A socket could not be had.
    #[error("{0}")]
    Listen(String),
    /// The same, for there is another server.
    #[error("{0}")]
    InUse(String),
    /// A running server did not do what it was told.
    #[error("{0}")]
    Remote(String),
    /// The same, and it says what kind of reason it had.
    #[error("{0}")]
    Refused(Refusal),
    /// A running server was not found, or is gone.
    #[error("{0}")]
    Unreachable(String),
    /// The operating system refused something.
    #[error("{what}: {error}")]
    System {
        /// What was tried, and on what.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
}

/// Why a running server did not do what it was told.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// The kind of reason, as a command tells it.
    pub code: ExitCode,
    /// One line for the person who asked.
    pub text: String,
    /// What the command may do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

/// What a command that was refused may do without asking a person.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Remedy {
    /// Ask again: by then another engine answers.
    CallAgain,
    /// Ask the engine that serves to tell the outcome of the reload that follows.
    Follow,
}

/// Exit codes of `rr`; those from 64 on are the ones of `sysexits.h`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[repr(u8)]
pub enum ExitCode {
    /// Done, or stopped gracefully.
    Ok = 0,
    /// Failed while running.
    Failure = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// There is no server, or none that can do this (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// What was to serve did not start, or not in time (`EX_SOFTWARE`).
    Software = 70,
    /// A socket, a file or a thread could not be had.
    System = 71,
    /// Not possible now: the same may succeed later (`EX_TEMPFAIL`).
    Later = 75,
    /// The configuration was refused.
    Config = 78,
}

// === impl Error ===

impl Error {
    /// The exit code that tells what kind of failure it was.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::Config,
            Self::Engine(_) => ExitCode::Software,
            Self::Remote(_) => ExitCode::Failure,
            Self::Refused(refusal) => refusal.code,
            Self::Unreachable(_) => ExitCode::Unavailable,
            Self::Listen(_) | Self::InUse(_) | Self::System { .. } => ExitCode::System,
        }
    }

    /// Names `what` was tried when `error` came.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }

    /// The same of a path that the configuration names, which is at fault if there is nothing, or nothing for us.
    pub fn named(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
        let what = what.into();
        move |error| match error.kind() {
            NotFound | NotADirectory | IsADirectory | PermissionDenied => Self::Config(format!("{what}: {error}")),
            _ => Self::System { what, error },
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// For a reason of this kind.
    pub fn new(code: ExitCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), remedy: None }
    }

    /// Which this would help against.
    pub fn with(self, remedy: Remedy) -> Self {
        Self { remedy: Some(remedy), ..self }
    }

    /// Not now.
    pub fn later(text: impl Into<String>) -> Self {
        Self::new(ExitCode::Later, text)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::new(error.exit_code(), error.to_string())
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
