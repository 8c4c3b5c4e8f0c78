//! Why a configuration cannot be used.

use std::{io, path::PathBuf};

/// Why a configuration cannot be used. Shown, it is one line per fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file asked for is not there or cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file cannot be made sense of.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        message: String,
    },
    /// An override on the command line is no `key=value`.
    #[error("-o {given}: expected key=value, such as http.address=127.0.0.1:8080")]
    Override {
        /// The override.
        given: String,
    },
    /// Keys or values that mean nothing.
    #[error("{}", problems.join("\n"))]
    Invalid {
        /// One line per fault, each beginning with its key.
        problems: Vec<String>,
    },
}
