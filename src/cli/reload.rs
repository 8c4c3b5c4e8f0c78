//! `rr reload` and `rr rollback`: another engine takes over, and this waits until it has.

use std::{
    io::{self, Write},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use super::{remote, say};
use crate::{
    config::Address,
    error::{Error, Refusal},
    supervisor::{CALL_AGAIN, FOLLOWS},
};

/// An engine may boot for two minutes, and the one before it may still be draining.
const PATIENCE: Duration = Duration::from_secs(300);
/// Whoever waits for longer is told what for.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// That is answered at once.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// An engine that has been succeeded accepts for so long at most.
const CALL_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Asks for what `word` says, as `server.Ask` knows it, and prints the answer.
pub(super) fn run(address: Option<&Address>, word: &str, silent: bool) -> Result<(), Error> {
    let outcome = thread::scope(|scope| {
        let (done, over) = mpsc::channel();
        if !silent {
            scope.spawn(move || tell_what_it_waits_for(address, &over));
        }
        let outcome = ask(address, word);
        drop::<mpsc::Sender<()>>(done);
        outcome
    })?;
    if silent { Ok(()) } else { say(&format!("{outcome}\n")) }
}

/// Asks the engine that serves, also if that is another before there is an answer.
fn ask(address: Option<&Address>, mut word: &str) -> Result<String, Error> {
    let begun = Instant::now();
    loop {
        let answer = remote::connect(address, PATIENCE)?.call::<Result<String, Refusal>>("server.Ask", &word);
        match answer.map_err(remote::failed("server.Ask"))? {
            Ok(text) if text == FOLLOWS => word = "Follow",
            Err(refusal) if refusal.text == CALL_AGAIN && begun.elapsed() < PATIENCE => thread::sleep(CALL_AGAIN_AFTER),
            outcome => return outcome.map_err(Error::Refused),
        }
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
