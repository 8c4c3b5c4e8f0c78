//! Figures that applications declare and keep: counters, gauges, histograms and summaries, as RoadRunner's plugin `metrics` has them.
//!
//! They are kept in memory, by the engine: a new one begins at zero, which Prometheus takes for a restart of the counters. So that
//! labels cannot fill the memory, there is a bound for all of them together.

mod declaration;
mod series;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use parking_lot::{Mutex, RwLock};
use prometheus::proto::MetricFamily;

pub use declaration::{Declaration, Kind};
use series::Series;

/// The figures. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub struct Collectors(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max_series: usize,
    taken: AtomicUsize,
    by_name: RwLock<BTreeMap<String, Arc<Collector>>>,
}

#[derive(Debug)]
struct Collector {
    declared: Declaration,
    /// None once it is forgotten, for whoever has found it before.
    series: Mutex<Option<BTreeMap<Vec<String>, Series>>>,
}

/// What is done to a figure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Change {
    Add,
    Sub,
    Observe,
    Set,
}

/// Why nothing was done. The texts are RoadRunner's where it has some: PHP's library looks for parts of them.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum Error {
    #[error("undefined collector: {0}")]
    Undefined(String),
    #[error("required labels for collector: {0}")]
    LabelsRequired(String),
    #[error("inconsistent label cardinality: expected {expected} label values but got {got} for {name}")]
    Labels { name: String, expected: usize, got: usize },
    #[error("collector does not support the requested operation: {name} does not support {change:?}")]
    Unsupported { name: String, change: Change },
    #[error("counter cannot decrease in value: {0}")]
    Negative(String),
    #[error("duplicate metrics collector registration attempted: {0} has another name already")]
    Duplicate(String),
    #[error("{name}: {reason}")]
    Declaration { name: String, reason: String },
    #[error("metrics.max_series ({most}) is reached: {name} has no room for a label value more")]
    Full { name: String, most: usize },
    #[error("a label value of {name} is longer than {most} bytes")]
    Long { name: String, most: usize },
}

/// Bytes of a label's value.
const LONGEST_VALUE: usize = 1024;

// === impl Collectors ===

impl Collectors {
    /// None yet, and never more than `max_series`; one without labels counts as one, one with labels as one and one for each set of
    /// their values.
    pub fn new(max_series: usize) -> Self {
        Self(Arc::new(Shared { max_series, taken: AtomicUsize::new(0), by_name: RwLock::default() }))
    }

    /// Declares one; if its name is known already, that one stays as it is.
    pub fn declare(&self, declared: Declaration) -> Result<(), Error> {
        declared.check().map_err(|reason| Error::Declaration { name: declared.name.clone(), reason })?;
        let full_name = declared.full_name();
        let mut by_name = self.0.by_name.write();
        if by_name.contains_key(&declared.name) {
            return Ok(());
        }
        if by_name.values().any(|known| known.declared.full_name() == full_name) {
            return Err(Error::Duplicate(full_name));
        }
        self.take(&declared.name)?;
        let mut series = BTreeMap::new();
        if declared.labels.is_empty() {
            series.insert(Vec::new(), Series::new(&declared));
        }
        by_name.insert(declared.name.clone(), Arc::new(Collector { declared, series: Mutex::new(Some(series)) }));
        Ok(())
    }

    /// Forgets one, with all its values.
    pub fn unregister(&self, name: &str) -> Result<(), Error> {
        let removed = self.0.by_name.write().remove(name).ok_or_else(|| Error::Undefined(name.to_owned()))?;
        let series = removed.series.lock().take().unwrap_or_default();
        let with_labels = if removed.declared.labels.is_empty() { 0 } else { series.len() };
        self.0.taken.fetch_sub(1 + with_labels, Relaxed);
        Ok(())
    }

    /// Does `change` with `value` to the figure called `name`, of these label values.
    pub fn change(&self, name: &str, change: Change, value: f64, labels: &[String]) -> Result<(), Error> {
        let collector = self.find(name)?;
        let declared = &collector.declared;
        let name = || declared.name.clone();
        match (declared.kind, change) {
            (Kind::Counter, Change::Add) if value < 0.0 => return Err(Error::Negative(name())),
            (Kind::Counter, Change::Add)
            | (Kind::Gauge, Change::Add | Change::Sub | Change::Set)
            | (Kind::Histogram | Kind::Summary, Change::Observe) => {}
            _ => return Err(Error::Unsupported { name: name(), change }),
        }
        // As with RoadRunner, labels are left aside where none were declared.
        let labels = if declared.labels.is_empty() { &[] } else { labels };
        if labels.is_empty() && !declared.labels.is_empty() {
            return Err(Error::LabelsRequired(name()));
        }
        if labels.len() != declared.labels.len() {
            return Err(Error::Labels { name: name(), expected: declared.labels.len(), got: labels.len() });
        }
        if labels.iter().any(|label| label.len() > LONGEST_VALUE) {
            return Err(Error::Long { name: name(), most: LONGEST_VALUE });
        }
        let mut all = collector.series.lock();
        let all = all.as_mut().ok_or_else(|| Error::Undefined(name()))?;
        if let Some(series) = all.get_mut(labels) {
            series.change(declared, change, value, Instant::now());
            return Ok(());
        }
        self.take(&declared.name)?;
        let mut series = Series::new(declared);
        series.change(declared, change, value, Instant::now());
        all.insert(labels.to_vec(), series);
        Ok(())
    }

    /// All that have a value, by their full names.
    pub fn gather(&self) -> Vec<MetricFamily> {
        let all: Vec<_> = self.0.by_name.read().values().cloned().collect();
        let mut families: Vec<_> = all.iter().filter_map(|collector| collector.family(Instant::now())).collect();
        families.sort_by(|a, b| a.name().cmp(b.name()));
        families
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.0.taken.load(Relaxed)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn find(&self, name: &str) -> Result<Arc<Collector>, Error> {
        let by_name = self.0.by_name.read();
        // Names in a configuration are in lower case, however they are written there.
        let found = by_name.get(name).or_else(|| by_name.get(&name.to_lowercase()));
        found.cloned().ok_or_else(|| Error::Undefined(name.to_owned()))
    }

    /// Takes room for one.
    fn take(&self, name: &str) -> Result<(), Error> {
        let most = self.0.max_series;
        let taken = self.0.taken.fetch_update(Relaxed, Relaxed, |taken| (taken < most).then_some(taken + 1));
        taken.map(drop).map_err(|_| Error::Full { name: name.to_owned(), most })
    }
}

// === impl Collector ===

impl Collector {
    fn family(&self, now: Instant) -> Option<MetricFamily> {
        let mut all = self.series.lock();
        let metrics: Vec<_> =
            all.iter_mut().flatten().map(|(labels, series)| series.metric(&self.declared, labels, now)).collect();
        drop(all);
        let mut family = MetricFamily::default();
        family.set_name(self.declared.full_name());
        family.set_help(self.declared.help.clone());
        family.set_field_type(self.declared.kind.into());
        family.set_metric(metrics);
        (!family.get_metric().is_empty()).then_some(family)
    }
}

#[cfg(test)]
mod tests;
