//! The service `metrics`: figures that applications keep, shown with the server's own.

use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Error, Payload, Service};
use crate::telemetry::collectors::{Change, Collectors, Declaration, Kind};

/// Answers `metrics.Declare`, `Unregister`, `Add`, `Sub`, `Observe` and `Set`.
#[derive(Clone, Debug)]
pub struct Metrics(Collectors);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metric {
    name: String,
    value: f64,
    labels: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedCollector {
    name: String,
    collector: Collector,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Collector {
    namespace: String,
    subsystem: String,
    #[serde(rename = "type")]
    kind: String,
    help: String,
    labels: Option<Vec<String>>,
    buckets: Option<Vec<f64>>,
    /// A map whose keys are texts; PHP's empty one is a list.
    objectives: Value,
}

// === impl Metrics ===

impl Metrics {
    /// Keeps `collectors`.
    pub fn new(collectors: Collectors) -> Self {
        Self(collectors)
    }

    fn change(&self, change: Change, argument: &Payload) -> Result<(), Error> {
        let Metric { name, value, labels } = argument.read()?;
        self.0.change(&name, change, value, &labels.unwrap_or_default()).map_err(failed)
    }

    fn declare(&self, argument: &Payload) -> Result<(), Error> {
        let NamedCollector { name, collector } = argument.read()?;
        let kind = Kind::named(&collector.kind);
        let kind =
            kind.ok_or_else(|| Error::Failed(format!("metrics_rpc_declare: unknown collector type: {}", collector.kind)))?;
        let declared = Declaration {
            name,
            namespace: collector.namespace,
            subsystem: collector.subsystem,
            kind,
            help: collector.help,
            labels: collector.labels.unwrap_or_default(),
            buckets: collector.buckets.unwrap_or_default(),
            objectives: objectives(&collector.objectives)?,
        };
        self.0.declare(declared).map_err(|error| Error::Failed(format!("metrics_rpc_declare: {error}")))
    }
}

impl Service for Metrics {
    fn name(&self) -> &str {
        "metrics"
    }

    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
        Box::pin(async move {
            match method {
                "Add" => self.change(Change::Add, &argument)?,
                "Sub" => self.change(Change::Sub, &argument)?,
                "Observe" => self.change(Change::Observe, &argument)?,
                "Set" => self.change(Change::Set, &argument)?,
                "Declare" => self.declare(&argument)?,
                "Unregister" => self.0.unregister(&argument.read::<String>()?).map_err(failed)?,
                _ => return Err(Error::UnknownMethod),
            }
            argument.reply(&true)
        })
    }
}

fn failed(error: crate::telemetry::collectors::Error) -> Error {
    Error::Failed(error.to_string())
}

fn objectives(raw: &Value) -> Result<Vec<(f64, f64)>, Error> {
    let wrong = || Error::Failed("metrics_rpc_declare: objectives: expected quantiles, each with how far off it may be".into());
    match raw {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) if list.is_empty() => Ok(Vec::new()),
        Value::Object(map) => {
            let pair = |(quantile, error): (&String, &Value)| Some((quantile.parse().ok()?, error.as_f64()?));
            map.iter().map(|entry| pair(entry).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}
