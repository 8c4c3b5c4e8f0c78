//! End-to-end tests: they start the real `rr` and speak to it as a client would.
//!
//! `RR_BIN` names the binary, by default the one cargo built. `RR_REFERENCE=PREFIX` runs the same tests against nginx and
//! the php-fpm under PREFIX instead, which is how expected values are checked; tests of what only `rr` has return early there.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on panics, and says why")]

mod harness;

mod apps;
mod attack;
mod chaos;
mod cli;
mod clock;
mod config;
mod dev;
mod edge;
mod ends;
mod exhausted;
mod fcgi;
mod files;
mod golden;
mod http;
mod isolation;
mod lifecycle;
mod listen;
mod opcache;
mod phpt;
mod pools;
mod presets;
mod roadrunner;
mod routing;
mod rpc;
mod sapi;
mod settings;
mod state;
mod stubs;
mod stuck;
mod supervisor;
mod tcp;
mod worker;
