//! The commands' connection to a running server, found by its configuration alone.

use std::{io, time::Duration};

use crate::{
    config::{self, Address},
    error::Error,
    rpc::{CallError, Client},
};

/// What RoadRunner's clients expect before the reason, and people do not.
const OPERATION: &str = "resetter_rpc_reset: ";

/// Connects to the server that listens at `address`; an answer may take as long as `patience`.
pub(super) fn connect(address: Option<&Address>, patience: Duration) -> Result<Client, Error> {
    let address = address.ok_or_else(|| {
        Error::Config(
            "rpc.listen is not set: give the server and this command the same configuration, or -o rpc.listen=tcp://127.0.0.1:6001"
                .into(),
        )
    })?;
    let client = match address {
        Address::Tcp(text) => Client::tcp(text, patience),
        Address::Unix(path) => Client::unix(path, patience),
    };
    client.map_err(|error| {
        let is_absent = matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound);
        let hint = if is_absent { "; is the server running, with this rpc.listen?" } else { "" };
        Error::Unreachable(format!("no server at {} (rpc.listen): {error}{hint}", dsn(address)))
    })
}

/// The plugins named, or all that the server lists under `method`.
pub(super) fn plugins(client: &mut Client, method: &str, named: &[String]) -> Result<Vec<String>, Error> {
    if named.is_empty() { client.call(method, &true).map_err(failed(method)) } else { Ok(named.to_vec()) }
}

/// Says which call failed.
pub(super) fn failed(method: &str) -> impl Fn(CallError) -> Error {
    move |error| match error {
        // It is the server's own text, and says what it is about.
        CallError::Server(text) => Error::Remote(text.strip_prefix(OPERATION).map_or(text.clone(), str::to_owned)),
        CallError::Broken(error) => Error::Unreachable(format!("{method}: {error}")),
        other => Error::Remote(format!("{method}: {other}")),
    }
}

/// The address as a configuration spells it.
fn dsn(address: &Address) -> String {
    match address {
        config::Address::Tcp(text) => format!("tcp://{text}"),
        config::Address::Unix(_) => address.to_string(),
    }
}
