//! # rr: the architecture page

pub mod app;
pub mod cli;
pub mod config;
pub mod error;
pub mod http;
pub mod php;
pub mod sys;
pub mod telemetry;
pub mod worker;
