//! How the process ends when it cannot do what was asked.

use std::io;

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
    /// A running server was not found, or did not do what it was told.
    #[error("{0}")]
    Remote(String),
    /// The operating system refused something.
    #[error("{what}: {error}")]
    System {
        /// What was tried, and on what.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
}

/// Exit codes of `rr`; those from 64 on are the ones of `sysexits.h`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done, or stopped gracefully.
    Ok = 0,
    /// Failed while running.
    Failure = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A socket, a file or a thread could not be had.
    System = 71,
    /// The configuration was refused.
    Config = 78,
}

// === impl Error ===

impl Error {
    /// The exit code that tells what kind of failure it was.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::Config,
            Self::Engine(_) | Self::Remote(_) => ExitCode::Failure,
            Self::Listen(_) | Self::InUse(_) | Self::System { .. } => ExitCode::System,
        }
    }

    /// Names `what` was tried when `error` came.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
