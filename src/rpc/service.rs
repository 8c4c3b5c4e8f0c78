//! Who answers which calls.

use std::{collections::BTreeMap, fmt, pin::Pin, sync::Arc};

use super::{Error, Payload};

/// A plugin's methods.
pub trait Service: Send + Sync {
    /// What stands before the dot.
    fn name(&self) -> &str;

    /// Calls `method`; [`Error::UnknownMethod`] if there is none of that name. Must not block its thread.
    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a>;
}

/// The result of a call, some time.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Payload, Error>> + Send + 'a>>;

/// All services by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Services(Arc<BTreeMap<String, Arc<dyn Service>>>);

// === impl Services ===

impl Services {
    /// These services; of two with one name, the later one.
    pub fn new(services: Vec<Arc<dyn Service>>) -> Self {
        Self(Arc::new(services.into_iter().map(|service| (service.name().to_owned(), service)).collect()))
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Calls `service.Method`. Errors about the name are those of Go's `net/rpc`.
    pub(super) async fn call(&self, name: &str, argument: Payload) -> Result<Payload, Error> {
        let Some((service, method)) = name.rsplit_once('.') else {
            return Err(Error::Failed(format!("rpc: service/method request ill-formed: {name}")));
        };
        let Some(service) = self.0.get(service) else {
            return Err(Error::Failed(format!("rpc: can't find service {name}")));
        };
        match service.call(method, argument).await {
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
