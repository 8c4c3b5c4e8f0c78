//! `rr reload` and `rr rollback`: another engine takes over, and this waits until it has.

use std::time::Duration;

use super::{remote, say};
use crate::{config::Address, error::Error};

/// An engine may boot for two minutes, and the one before it may still be draining.
const PATIENCE: Duration = Duration::from_secs(300);

/// Calls `method` of the service `server` and prints its line.
pub(super) fn run(address: Option<&Address>, method: &str, silent: bool) -> Result<(), Error> {
    let mut client = remote::connect(address, PATIENCE)?;
    let outcome: String = client.call(method, &true).map_err(remote::failed(method))?;
    if silent { Ok(()) } else { say(&format!("{outcome}\n")) }
}
