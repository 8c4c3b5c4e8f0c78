//! The service `server`: what its supervisor can be asked by a call.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::line::Wished;
use crate::{
    error::{Refusal, Remedy},
    rpc::{Answer, Error, Payload, Service},
    supervisor::Wish,
};

/// Answers `server.Check`, `server.Reload` and `server.Rollback` with a line of text, once that is done: once the new engine serves.
/// `server.Ended` is answered when the engines before have ended too, so that what they served from may be deleted, with a line on
/// those that were killed or died; `server.Waits` says at once which are waited for. Both lines are empty if there are none such.
/// `server.Follow` tells what comes of the reload that follows, to those who have been told so. `server.Ask` takes one of these
/// words, and its answer tells a refusal with its kind, and what to do about it where a command could: `{"Ok": text}` or
/// `{"Err": {"code": kind, "text": text, "remedy": "CallAgain" | "Follow"}}`.
#[derive(Clone, Debug)]
struct Reload(mpsc::Sender<Wished>);

/// What may be asked of the supervisor, through `wishes`.
pub(super) fn service(wishes: mpsc::Sender<Wished>) -> Arc<dyn Service> {
    Arc::new(Reload(wishes))
}

// === impl Reload ===

impl Reload {
    async fn ask(&self, wish: Wish) -> Result<String, Refusal> {
        let (tell, told) = oneshot::channel();
        self.0.try_send((wish, tell)).map_err(|_| Refusal::later("too many ask at once: try again later"))?;
        told.await.map_err(|_| Refusal::later("the server is stopping"))?
    }
}

impl Service for Reload {
    fn name(&self) -> &str {
        "server"
    }

    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
        Box::pin(async move {
            if method == "Ask" {
                let word: String = argument.read()?;
                let wish = wish(&word).ok_or_else(|| Error::Failed(format!("server.Ask: {word:?} is none of its words")))?;
                return argument.reply(&self.ask(wish).await);
            }
            let told = self.ask(wish(method).ok_or(Error::UnknownMethod)?).await;
            match told {
                Ok(text) => argument.reply(&text),
                // What was asked for is about to be done.
                Err(Refusal { text, remedy: Some(Remedy::Follow), .. }) => argument.reply(&text),
                Err(refusal) => Err(Error::Failed(refusal.text)),
            }
        })
    }
}

fn wish(word: &str) -> Option<Wish> {
    match word {
        "Check" => Some(Wish::Check),
        "Reload" => Some(Wish::Reload),
        "Follow" => Some(Wish::Follow),
        "Rollback" => Some(Wish::Rollback),
        "Waits" => Some(Wish::Waits),
        "Ended" => Some(Wish::Ended),
        _ => None,
    }
}
