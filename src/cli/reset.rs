//! `rr reset`: workers boot again.

use std::{io::Write, time::Duration};

use super::{remote, say};
use crate::{config::Address, error::Error};

/// Workers finish what they do first; their pool bounds that, and this comes after.
const PATIENCE: Duration = Duration::from_secs(300);

/// Resets the plugins named, or all. One that fails does not keep the others from it.
pub(super) fn run(address: Option<&Address>, named: &[String], silent: bool) -> Result<(), Error> {
    let mut client = remote::connect(address, PATIENCE)?;
    let mut failed = None;
    for plugin in remote::plugins(&mut client, "resetter.List", named)? {
        if !silent {
            say(&format!("resetting plugin: [{plugin}]\n"))?;
        }
        match client.call::<bool>("resetter.Reset", &plugin) {
            Ok(_) if silent => {}
            Ok(_) => say(&format!("plugin reset: [{plugin}]\n"))?,
            Err(error) => {
                let error = remote::failed("resetter.Reset")(error);
                if let Some(earlier) = failed.replace(error) {
                    drop(writeln!(std::io::stderr(), "rr: {earlier}"));
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}
