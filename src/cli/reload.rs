//! `rr reload` and `rr rollback`: another engine takes over, and this waits until it has.

use std::time::Duration;

use super::{remote, say};
use crate::{
    config::Address,
    error::{Error, Refusal},
};

/// An engine may boot for two minutes, and the one before it may still be draining.
const PATIENCE: Duration = Duration::from_secs(300);

/// Asks for what `word` says, as `server.Ask` knows it, and prints the answer.
pub(super) fn run(address: Option<&Address>, word: &str, silent: bool) -> Result<(), Error> {
    let mut client = remote::connect(address, PATIENCE)?;
    let answer = client.call::<Result<String, Refusal>>("server.Ask", &word);
    let outcome = answer.map_err(remote::failed("server.Ask"))?.map_err(Error::Refused)?;
    if silent { Ok(()) } else { say(&format!("{outcome}\n")) }
}
