//! What the operating system and its container say.

pub mod exit;
pub mod limits;
pub mod pid;
