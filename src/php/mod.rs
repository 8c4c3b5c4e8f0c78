//! The fence: every PHP name and nearly all `unsafe` of the crate live here.
//!
//! Rust owns the loops and the threads; C owns every `setjmp`. A Rust function calls a verb of `shim.h`, which is guarded and
//! returns a status. The engine calls back into [`sapi`], which moves bytes and returns a verdict; only then does C raise, so
//! that no longjmp ever crosses a Rust frame.
#![allow(unsafe_code, reason = "this folder is the fence around the engine")]

mod module;

#[cfg(php_embed)]
mod active;
#[cfg(php_embed)]
mod context;
#[cfg(php_embed)]
mod deadline;
#[cfg(php_embed)]
mod debug;
#[cfg(php_embed)]
mod engine;
#[cfg(php_embed)]
mod ffi;
#[cfg(php_embed)]
mod ini;
#[cfg(php_embed)]
mod leaks;
#[cfg(php_embed)]
mod lost;
#[cfg(php_embed)]
mod opcache;
#[cfg(php_embed)]
mod roster;
#[cfg(php_embed)]
mod run;
#[cfg(php_embed)]
mod sapi;
#[cfg(php_embed)]
mod slot;
#[cfg(php_embed)]
mod stdio;
#[cfg(php_embed)]
mod supervise;
#[cfg(php_embed)]
mod thread;
#[cfg(php_embed)]
mod trace;
#[cfg(php_embed)]
mod watchdog;
#[cfg(php_embed)]
mod worker;

#[cfg(php_embed)]
pub(crate) use engine::php_binary;
#[cfg(php_embed)]
pub use engine::{Config, Engine, Error, IniFile, PoolConfig, Reset, ScriptKind, VERSION};
#[cfg(php_embed)]
pub use ini::Unreadable;
#[cfg(php_embed)]
pub use opcache::{Compile, Gate, Opcache, Report, Silent, Wish};
#[cfg(php_embed)]
pub use roster::Life;
#[cfg(php_embed)]
pub use slot::{Slot, SlotState};
#[cfg(php_embed)]
pub use thread::Threads;
#[cfg(php_embed)]
pub use trace::Snapshot;
