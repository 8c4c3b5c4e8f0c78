//! The commands' connection to a running server, found by its configuration alone.

use std::{
    env,
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

use crate::{
    config::{self, Address},
    error::Error,
    rpc::{CallError, Client},
    sys::pid,
};

/// What RoadRunner's clients expect before the reason, and people do not.
const OPERATION: &str = "resetter_rpc_reset: ";
/// Whoever waits for longer is told what for.
pub(super) const SILENT_FOR: Duration = Duration::from_secs(1);
/// The kernel takes connections also while no engine serves, as in the pauses between engines that keep dying.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// From an engine that has died to the next attempt.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Connects to the server that listens at `address`, once an engine answers there: what is asked for then is not done later, when
/// whoever asked has gone. An answer may take as long as `patience`.
pub(super) fn connect(address: Option<&Address>, patience: Duration) -> Result<Client, Error> {
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        let left = ANSWERS_WITHIN.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(Error::Unreachable(nobody_answers(address)));
        }
        let client = open(address, if is_told { left } else { SILENT_FOR })?;
        if let Some(client) = answering(client, patience) {
            return Ok(client);
        }
        if begun.elapsed() < SILENT_FOR || is_told {
            thread::sleep(AGAIN_AFTER);
        } else {
            is_told = true;
            let limit = ANSWERS_WITHIN.as_secs();
            // Nowhere to tell it if standard error is gone.
            drop(writeln!(io::stderr(), "rr: no engine answers (the server may be starting one): waiting up to {limit} s"));
        }
    }
}

/// The connection, if an engine answers on it, whatever it says.
fn answering(mut client: Client, patience: Duration) -> Option<Client> {
    match client.call::<String>("rpc.Version", &true) {
        Err(CallError::Broken(_)) => None,
        _ => client.set_patience(patience).is_ok().then_some(client),
    }
}

fn nobody_answers(address: Option<&Address>) -> String {
    let server = env::current_dir().ok().and_then(|directory| pid::running(&directory).ok());
    let server = server.map_or_else(|| "the server's first process".into(), |pid| format!("process {pid}"));
    let place = address.map_or_else(String::new, dsn);
    let limit = ANSWERS_WITHIN.as_secs();
    format!(
        "no engine has answered at {place} (rpc.listen) within {limit} s, and nothing was asked of it: the server's log says why; \
         SIGHUP to {server} reloads also without an engine"
    )
}

/// Connects to the server that listens at `address`, whether an engine answers or not.
pub(super) fn open(address: Option<&Address>, patience: Duration) -> Result<Client, Error> {
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
