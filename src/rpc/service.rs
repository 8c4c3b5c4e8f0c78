//! Who answers which calls.

use std::{collections::BTreeMap, fmt, pin::Pin, sync::Arc, time::Duration};

use super::{
    Error, Payload,
    together::{Fellows, Together},
};

/// A plugin's methods.
pub trait Service: Send + Sync {
    /// What stands before the dot.
    fn name(&self) -> &str;

    /// Calls `method`; [`Error::UnknownMethod`] if there is none of that name. Must not block its thread.
    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a>;

    /// Whom a call of `method` concerns, where several engines serve together.
    fn concerns(&self, method: &str) -> Concerns {
        _ = method;
        Concerns::Any
    }
}

/// The engines that a call concerns.
#[derive(Clone, Copy, Debug)]
pub enum Concerns {
    /// Whichever is called.
    Any,
    /// All of them.
    All {
        /// How long another engine may take.
        within: Duration,
        /// Makes one result of theirs.
        join: Join,
    },
    /// The one that keeps what can be kept only once.
    Keeper,
}

/// Makes one result of several, in one codec, of which there is at least one.
pub type Join = fn(Vec<Payload>) -> Result<Payload, Error>;

/// The result of a call, some time.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Payload, Error>> + Send + 'a>>;

/// All services by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Services {
    by_name: Arc<BTreeMap<String, Arc<dyn Service>>>,
    together: Option<Arc<Together>>,
}

/// A call, and who answers it here.
pub(super) struct Call<'a> {
    pub(super) service: &'a dyn Service,
    /// With the service.
    pub(super) name: &'a str,
    pub(super) method: &'a str,
    pub(super) argument: Payload,
}

// === impl Services ===

impl Services {
    /// These services; of two with one name, the later one.
    pub fn new(services: Vec<Arc<dyn Service>>) -> Self {
        let by_name = services.into_iter().map(|service| (service.name().to_owned(), service)).collect();
        Self { by_name: Arc::new(by_name), together: None }
    }

    /// The same, with the calls that concern other engines made there too.
    pub fn with(self, fellows: Arc<dyn Fellows>) -> Self {
        Self { together: Some(Arc::new(Together::new(fellows))), ..self }
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Calls `service.Method`. Errors about the name are those of Go's `net/rpc`.
    pub(super) async fn call(&self, name: &str, argument: Payload) -> Result<Payload, Error> {
        let Some((service, method)) = name.rsplit_once('.') else {
            return Err(Error::Failed(format!("rpc: service/method request ill-formed: {name}")));
        };
        let Some(service) = self.by_name.get(service) else {
            return Err(Error::Failed(format!("rpc: can't find service {name}")));
        };
        let result = match (&self.together, service.concerns(method)) {
            (None, _) | (_, Concerns::Any) => service.call(method, argument).await,
            (Some(together), Concerns::All { within, join }) => {
                let call = Call { service: &**service, name, method, argument };
                together.all(call, within).await.and_then(join)
            }
            (Some(together), Concerns::Keeper) => together.keeper(Call { service: &**service, name, method, argument }).await,
        };
        match result {
            Err(Error::UnknownMethod) => Err(Error::Failed(format!("rpc: can't find method {name}"))),
            result => result,
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.names()).finish()
    }
}
