//! # rr: the architecture page

pub mod cli;
pub mod config;
pub mod http;
pub mod worker;
pub mod php;
