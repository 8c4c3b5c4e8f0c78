//! `rr reload` and `rr rollback`: another engine takes over, and this waits until it has, and the one before has ended.

use std::{
    io::{self, Write},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use super::{remote, say};
use crate::{
    config::Address,
    error::{Error, Refusal, Remedy},
    rpc::CallError,
};

/// An engine may boot for two minutes, and the one before it may still be draining.
const PATIENCE: Duration = Duration::from_secs(300);
/// That is answered at once.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// An engine that has been succeeded accepts for so long at most.
const CALL_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What is asked for, and how much of it is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// As `server.Ask` knows it.
    pub(super) word: &'static str,
    /// Also until the engines before have ended: until then they serve what they began with.
    pub(super) ends: bool,
    /// Print nothing but complaints.
    pub(super) silent: bool,
}

/// Asks for it and prints the answer.
pub(super) fn run(address: Option<&Address>, wanted: Wanted) -> Result<(), Error> {
    let Wanted { word, ends, silent } = wanted;
    let outcome = patiently(address, word, silent)?;
    if !silent {
        say(&format!("{outcome}\n"))?;
    }
    if ends {
        let said = patiently(address, "Ended", silent).map_err(|error| match error {
            Error::Unreachable(why) => {
                Error::Unreachable(format!("the new engine serves, but whether the one before has ended cannot be asked: {why}"))
            }
            error => error,
        })?;
        if !said.is_empty() {
            complain(&said);
        }
    }
    Ok(())
}

/// Asks, and says meanwhile what it waits for.
fn patiently(address: Option<&Address>, word: &str, silent: bool) -> Result<String, Error> {
    thread::scope(|scope| {
        let (done, over) = mpsc::channel();
        if !silent {
            scope.spawn(move || tell_what_it_waits_for(address, &over));
        }
        let outcome = ask(address, word);
        drop::<mpsc::Sender<()>>(done);
        outcome
    })
}

/// Asks the engine that serves, also if that is another before there is an answer. None is asked twice for what it may have done,
/// and what an engine may take for its end is its own affair.
fn ask(address: Option<&Address>, mut word: &str) -> Result<String, Error> {
    let mut until = Instant::now() + PATIENCE;
    loop {
        let answer = remote::connect(address, PATIENCE)?.call::<Result<String, Refusal>>("server.Ask", &word);
        match answer {
            Ok(Err(Refusal { remedy: Some(Remedy::Follow), .. })) => word = "Follow",
            Ok(Err(Refusal { remedy: Some(Remedy::CallAgain), .. })) if Instant::now() < until => thread::sleep(CALL_AGAIN_AFTER),
            Ok(outcome) => return outcome.map_err(Error::Refused),
            // What it waits for is bounded by the server.
            Err(CallError::Broken(error)) if error.kind() == io::ErrorKind::TimedOut && word != "Rollback" => {
                until = Instant::now() + PATIENCE;
                word = if word == "Ended" { word } else { "Follow" };
            }
            Err(CallError::Broken(_)) if word == "Ended" && Instant::now() < until => thread::sleep(CALL_AGAIN_AFTER),
            Err(error) => return Err(failed(error)),
        }
    }
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

/// Nowhere to tell it if standard error is gone.
fn complain(text: &str) {
    drop(writeln!(io::stderr(), "rr: {text}"));
}

/// Says once, if it takes long, what it waits for.
fn tell_what_it_waits_for(address: Option<&Address>, over: &Receiver<()>) {
    while over.recv_timeout(remote::SILENT_FOR) == Err(RecvTimeoutError::Timeout) {
        let client = remote::open(address, TOLD_WITHIN);
        let told = client.ok().and_then(|mut client| client.call::<String>("server.Waits", &true).ok());
        if let Some(told) = told.filter(|told| !told.is_empty()) {
            return complain(&told);
        }
    }
}
