//! The resolved `metrics` section.

use serde_json::{Map, Value};

use super::{
    compound::{List, collect, entries},
    form::{Form, Text, Wrong, text},
    http::Address,
    suggest::closest,
};
use crate::metrics::{Declaration, Kind};

/// Figures for Prometheus (`metrics`).
///
/// # Defaults
/// - `metrics.address`: `null`
/// - `metrics.max_connections`: `64`
/// - `metrics.collect`: `{}`
/// - `metrics.max_series`: `10000`
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Where to listen, if anywhere.
    pub address: Option<Address>,
    /// Connections at once.
    pub max_connections: usize,
    /// Figures that scripts keep.
    pub collect: Vec<Declaration>,
    /// How many of those there may be, each set of label values counting for itself.
    pub max_series: usize,
}

/// Names, and for each `type`, `help`, `labels`, `namespace`, `subsystem`, `buckets` and `objectives`.
pub(super) struct Declarations;

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self { address: None, max_connections: 64, collect: Vec::new(), max_series: 10_000 }
    }
}

impl Metrics {
    /// Where RoadRunner listens if it is not told where.
    pub(super) fn usual_address() -> Address {
        Address::Tcp("127.0.0.1:2112".into())
    }
}

// === impl Form ===

impl Form<Vec<Declaration>> for Declarations {
    fn read(&self, raw: &Value) -> Result<Vec<Declaration>, Wrong> {
        collect(entries(raw)?.into_iter().map(|(name, raw)| {
            // As all keys of RoadRunner's files.
            let declared = declaration(name.to_lowercase(), raw);
            (format!(".{name}"), declared)
        }))
    }

    fn show(&self, value: &Vec<Declaration>) -> Value {
        Value::Object(value.iter().map(|declared| (declared.name.clone(), show(declared))).collect())
    }
}

fn declaration(name: String, raw: &Value) -> Result<Declaration, Wrong> {
    let mut declared = Declaration { name, ..Declaration::default() };
    let (mut wrong, mut has_kind) = (Vec::new(), false);
    for (key, raw) in entries(raw)?.into_iter().filter(|(_, raw)| !raw.is_null()) {
        let read = match key.to_lowercase().as_str() {
            "type" => kind(raw).map(|kind| {
                has_kind = true;
                declared.kind = kind;
            }),
            "help" => ANY.read(raw).map(|text| declared.help = text),
            "namespace" => ANY.read(raw).map(|text| declared.namespace = text),
            "subsystem" => ANY.read(raw).map(|text| declared.subsystem = text),
            "labels" => List(ANY).read(raw).map(|labels| declared.labels = labels),
            "buckets" => List(Number).read(raw).map(|buckets| declared.buckets = buckets),
            "objectives" => objectives(raw).map(|objectives| declared.objectives = objectives),
            other => {
                let hint = closest(other, KEYS).map_or(String::new(), |name| format!(", did you mean {name}?"));
                Err(Wrong(vec![(String::new(), format!("unknown key{hint}"))]))
            }
        };
        wrong.extend(read.err().into_iter().flat_map(|inner| inner.inside(&format!(".{key}"))));
    }
    if !has_kind && wrong.is_empty() {
        wrong.push((".type".into(), "missing".into()));
    }
    if wrong.is_empty()
        && let Err(reason) = declared.check()
    {
        wrong.push((String::new(), reason));
    }
    if wrong.is_empty() { Ok(declared) } else { Err(Wrong(wrong)) }
}

fn kind(raw: &Value) -> Result<Kind, Wrong> {
    let given = text(raw).unwrap_or_default();
    Kind::named(&given).ok_or_else(|| Wrong::expected("one of counter, gauge, histogram, summary", raw))
}

/// Quantiles, and how far off each may be.
fn objectives(raw: &Value) -> Result<Vec<(f64, f64)>, Wrong> {
    collect(entries(raw)?.into_iter().map(|(quantile, raw)| {
        let pair = Number.read(&Value::from(quantile.as_str())).and_then(|quantile| Ok((quantile, Number.read(raw)?)));
        (format!(".{quantile}"), pair)
    }))
}

fn show(declared: &Declaration) -> Value {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| {
        let is_empty = value.as_str().is_some_and(str::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(Map::is_empty);
        if !is_empty {
            map.insert(key.to_owned(), value);
        }
    };
    put("type", declared.kind.name().into());
    put("help", declared.help.as_str().into());
    put("namespace", declared.namespace.as_str().into());
    put("subsystem", declared.subsystem.as_str().into());
    put("labels", List(ANY).show(&declared.labels));
    put("buckets", List(Number).show(&declared.buckets));
    let objectives = declared.objectives.iter().map(|(quantile, error)| (quantile.to_string(), (*error).into()));
    put("objectives", Value::Object(objectives.collect()));
    Value::Object(map)
}

/// A number, whole or not.
struct Number;

impl Form<f64> for Number {
    fn read(&self, raw: &Value) -> Result<f64, Wrong> {
        let number = text(raw).and_then(|text| text.trim().parse::<f64>().ok()).filter(|number| !number.is_nan());
        number.ok_or_else(|| Wrong::expected("a number", raw))
    }

    fn show(&self, value: &f64) -> Value {
        // JSON has no word for what is beyond all numbers.
        if value.is_finite() { (*value).into() } else { value.to_string().into() }
    }
}

const ANY: Text = Text("a text", |_| true);
const KEYS: [&str; 7] = ["type", "help", "namespace", "subsystem", "labels", "buckets", "objectives"];
