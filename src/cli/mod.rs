//! The command line.

pub mod args;

pub use args::{Args, Command, Php, version_line};
