//! The service `metrics`: figures that applications keep, shown with the server's own.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Concerns, Error, Payload, Service, agreed};
use crate::metrics::{Act, Change, Declaration, Figures, Kind};

/// Answers `metrics.Declare`, `Unregister`, `Add`, `Sub`, `Observe` and `Set`.
#[derive(Clone, Debug)]
pub struct Metrics(Figures);

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

const DECLARES_WITHIN: Duration = Duration::from_secs(5);

// === impl Metrics ===

impl Metrics {
    /// Has `figures` kept.
    pub fn new(figures: Figures) -> Self {
        Self(figures)
    }

    async fn change(&self, change: Change, argument: &Payload) -> Result<(), Error> {
        let Metric { name, value, labels } = argument.read()?;
        self.0.act(&Act::Change { change, name, value, labels: labels.unwrap_or_default() }).await.map_err(Error::Failed)
    }

    async fn declare(&self, argument: &Payload) -> Result<(), Error> {
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
        let told = |error| Error::Failed(format!("metrics_rpc_declare: {error}"));
        self.0.act(&Act::Declare(declared)).await.map_err(told)
    }
}

impl Service for Metrics {
    fn name(&self) -> &str {
        "metrics"
    }

    /// All know what was declared, so that another can go on when the one that keeps the values ends.
    fn concerns(&self, method: &str) -> Concerns {
        match method {
            "Declare" | "Unregister" => Concerns::All { within: DECLARES_WITHIN, join: agreed },
            "Add" | "Sub" | "Observe" | "Set" => Concerns::Keeper,
            _ => Concerns::Any,
        }
    }

    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
        Box::pin(async move {
            match method {
                "Add" => self.change(Change::Add, &argument).await?,
                "Sub" => self.change(Change::Sub, &argument).await?,
                "Observe" => self.change(Change::Observe, &argument).await?,
                "Set" => self.change(Change::Set, &argument).await?,
                "Declare" => self.declare(&argument).await?,
                "Unregister" => self.0.act(&Act::Unregister(argument.read()?)).await.map_err(Error::Failed)?,
                _ => return Err(Error::UnknownMethod),
            }
            argument.reply(&true)
        })
    }
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
