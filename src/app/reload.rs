//! The service `server`: what its supervisor can be asked by a call.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::line::Wished;
use crate::{
    rpc::{Answer, Error, Payload, Service},
    supervisor::Wish,
};

/// Answers `server.Check`, `server.Reload` and `server.Rollback` with a line of text, once that is done.
#[derive(Clone, Debug)]
struct Reload(mpsc::Sender<Wished>);

/// What may be asked of the supervisor, through `wishes`.
pub(super) fn service(wishes: mpsc::Sender<Wished>) -> Arc<dyn Service> {
    Arc::new(Reload(wishes))
}

// === impl Reload ===

impl Reload {
    async fn ask(&self, wish: Wish) -> Result<String, Error> {
        let (tell, told) = oneshot::channel();
        let ended = |_| Error::Failed("the server is stopping".into());
        self.0.try_send((wish, tell)).map_err(|_| Error::Failed("too many ask at once: try again later".into()))?;
        told.await.map_err(ended)?.map_err(Error::Failed)
    }
}

impl Service for Reload {
    fn name(&self) -> &str {
        "server"
    }

    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
        Box::pin(async move {
            let wish = match method {
                "Check" => Wish::Check,
                "Reload" => Wish::Reload,
                "Rollback" => Wish::Rollback,
                _ => return Err(Error::UnknownMethod),
            };
            argument.reply(&self.ask(wish).await?)
        })
    }
}
