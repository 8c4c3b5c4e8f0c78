//! What stands between clients and scripts.

mod acme;
mod answers;
mod bare;
mod bypass;
mod fileserver;
mod guards;
pub(crate) mod http3;
mod limits;
pub(crate) mod metrics;
mod middleware;
mod outputs;
mod proxy;
mod refused;
mod sendfile;
mod targets;
mod tickets;
mod tls;

use crate::harness::{Setup, not_run};

/// True if curl is there, which these tests are made with.
pub(crate) fn has_curl() -> bool {
    let found = std::process::Command::new("curl").arg("--version").output();
    found.inspect_err(|error| not_run("curl", &error.to_string())).is_ok()
}

fn with(setup: Setup, options: &[String]) -> Setup {
    options.iter().fold(setup, |setup, option| setup.option(option))
}
