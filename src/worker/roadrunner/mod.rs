//! HTTP as the workers of RoadRunner's PHP library are given it: a context with the request's head, and a body.
//!
//! [`encode`] makes the two of a [`Request`], [`decode`] reads the context of an answer. Frames are made of them by
//! [`super::goridge::message`].
//!
//! # What a script sees
//! What RoadRunner 2025.1 with `spiral/roadrunner-http` 3.5 and later shows it, whichever [`Encoding`] is used:
//! - Forms become a tree, by RoadRunner's rules and not PHP's: a key given twice has its last value, `k[]` lists all of them,
//!   `a[][b]` has an empty key in the middle, keys come in alphabetical order, spaces in keys go, more than 127 levels are
//!   dropped, and a key that is both a value and a branch is an error (500). The raw body of a parsed form is not to be had.
//! - Form bodies of `POST`, `PUT` and `PATCH` alone are parsed; with any other method a urlencoded one is lost. Bodies of `HEAD`
//!   and `OPTIONS` are ignored.
//! - Uploads are temporary files that go with the request; a file field left empty is a form value.
//! - Header names are spelled `Like-This`, `Host` stands in the URI alone, cookies are decoded and the last of a name counts.
//!
//! # What differs, and why
//! - RoadRunner decides between two conflicting fields by the order of a hash table; here the order of the form does.
//! - Text that is not UTF-8 has U+FFFD in its place in JSON, as there. RoadRunner fails the request if the URI has some and the
//!   context is protobuf; here it is replaced in that case too.
//! - A `;` or a lone `%` in a urlencoded form is taken as it is, as PHP does, rather than failing the request (Go's rule).
//! - An empty form is `{}` in a JSON context: of nothing, the library would make a JSON error. In protobuf it says `{}` itself.
//! - An attribute is a text in a JSON context, as the library makes it one of a protobuf context's list.
//! - Header names with an underscore and `Proxy` are not shown: they would pose as others in `$_SERVER`.
//! - An answer's headers may be in JSON, in protobuf or, with neither flag set, in what they look like: 2025.1 refuses JSON, 2023
//!   knew nothing else. `Http2-Push` is dropped, as browsers take no pushes any more.

mod answer;
mod context;
mod exchange;
mod form;
mod multipart;
mod request;
mod sniff;
mod uploads;

pub use answer::{Answer, decode};
pub use exchange::{Exchange, MAX_FRAME, Step, Terms, decoder};
pub use request::{Encoded, encode};
pub use uploads::TemporaryFiles;

use std::{io, path::PathBuf};

use http::StatusCode;

/// How requests are given to workers.
///
/// # Defaults
/// JSON, forms parsed, uploads of every kind into the system's temporary directory, 42 MiB of form values in memory, as in Go.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the context is written.
    pub encoding: Encoding,
    /// Forms are sent as they came (`http.raw_body`).
    pub raw_body: bool,
    /// Where uploaded files go (`http.uploads.dir`).
    pub uploads: PathBuf,
    /// Extensions with their dot, in lower case, that no uploaded file may have (`http.uploads.forbid`).
    pub forbid: Vec<String>,
    /// Extensions that uploaded files must have one of, unless empty (`http.uploads.allow`).
    pub allow: Vec<String>,
    /// Bytes of form names and values.
    pub form_memory: usize,
    /// Parts of a multipart form.
    pub max_parts: usize,
}

/// How a context is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Encoding {
    /// JSON: what RoadRunner sent until 2023. PHP reads it in C.
    #[default]
    Json,
    /// `http.v1.Request`: what RoadRunner sends since 2024. PHP reads it in PHP, unless it has the protobuf extension.
    Proto,
}

/// Why a request cannot be given to a worker, or an answer not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two fields of a form contradict each other.
    #[error("form: invalid multiple values to key {0:?} in tree")]
    Conflict(String),
    /// A multipart body has no form.
    #[error("multipart form: {0}")]
    Multipart(&'static str),
    /// A form is larger than its bounds.
    #[error("form: more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The body cannot be read.
    #[error("request body: {0}")]
    Body(#[from] io::Error),
    /// The context of an answer is neither JSON nor protobuf.
    #[error("worker's answer: {0}")]
    Answer(String),
    /// An answer has a status that HTTP does not know.
    #[error("unknown status code from worker: {0}")]
    Status(i64),
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            encoding: Encoding::Json,
            raw_body: false,
            uploads: std::env::temp_dir(),
            forbid: Vec::new(),
            allow: Vec::new(),
            form_memory: 42 << 20,
            max_parts: 10_000,
        }
    }
}

// === impl Error ===

impl Error {
    /// The status that RoadRunner gives the client.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

#[cfg(test)]
mod tests;
