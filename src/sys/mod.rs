//! What the operating system and its container say and do.

pub mod capabilities;
pub mod cgroup;
pub mod children;
pub mod clock;
pub mod crash;
pub mod descriptors;
pub mod exit;
pub mod file;
pub mod identity;
pub mod limits;
pub mod memory;
pub mod output;
pub mod passing;
pub mod pid;
pub mod priority;
pub mod signal;
pub mod socket;
pub mod spawn;
