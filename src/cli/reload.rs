//! `rr reload` and `rr rollback`: another engine takes over, and this waits until it has.

use std::{
    io::{self, Write},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use super::{remote, say};
use crate::{
    config::Address,
    error::{Error, Refusal},
    rpc::CallError,
};

/// An engine may boot for two minutes, and the one before it may still be draining.
const PATIENCE: Duration = Duration::from_secs(300);
/// Whoever waits for longer is told what for.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// That is answered at once.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Asks for what `word` says, as `server.Ask` knows it, and prints the answer.
pub(super) fn run(address: Option<&Address>, word: &str, silent: bool) -> Result<(), Error> {
    let mut client = remote::connect(address, PATIENCE)?;
    let answer = thread::scope(|scope| {
        let (done, over) = mpsc::channel();
        if !silent {
            scope.spawn(move || tell_what_it_waits_for(address, &over));
        }
        let answer = client.call::<Result<String, Refusal>>("server.Ask", &word);
        drop::<mpsc::Sender<()>>(done);
        answer
    });
    let outcome = answer.map_err(failed)?.map_err(Error::Refused)?;
    if silent { Ok(()) } else { say(&format!("{outcome}\n")) }
}

fn failed(error: CallError) -> Error {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match error {
        // The supervisor keeps what was asked, but the way back to this command is gone.
        CallError::Broken(error) if matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) => Error::Unreachable(
            "the engine that was asked has died before it could tell the outcome: the server's log says why, and what became of this"
                .into(),
        ),
        error => remote::failed("server.Ask")(error),
    }
}

/// Says once, if it takes long, what the reload waits for.
fn tell_what_it_waits_for(address: Option<&Address>, over: &Receiver<()>) {
    while over.recv_timeout(SILENT_FOR) == Err(RecvTimeoutError::Timeout) {
        let client = remote::connect(address, TOLD_WITHIN);
        let told = client.ok().and_then(|mut client| client.call::<String>("server.Waits", &true).ok());
        if let Some(told) = told.filter(|told| !told.is_empty()) {
            // Nowhere to tell it if standard error is gone.
            drop(writeln!(io::stderr(), "rr: {told}"));
            return;
        }
    }
}
