//! Figures that applications declare and keep: counters, gauges, histograms and summaries, as RoadRunner's plugin `metrics` has them.
//!
//! They are in memory, and go with a reload to the next engine ([`crate::state`]); a crash loses them, which Prometheus takes for a
//! restart of the counters. What the configuration of the next engine declares in another way, or not any more, does not go on. Of
//! several engines that serve side by side one keeps them ([`crate::rpc::Concerns::Keeper`]), and any end of it is like a crash. So
//! that labels cannot fill the memory, there is a bound for all of them together.

mod act;
mod declaration;
mod figures;
mod moving;
mod series;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use prometheus::proto::MetricFamily;

pub use act::Act;
pub use declaration::{Declaration, Kind};
pub use figures::{Figures, Shown};

use self::series::Series;
use crate::sys::clock;

/// What this is called by.
pub const NAME: &str = "metrics";

/// The figures. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub struct Collectors(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max_series: usize,
    taken: AtomicUsize,
    /// Those that are declared from the start on.
    fixed: Vec<Declaration>,
    names: RwLock<Names>,
    /// Goes up when a copy begins, so that what has changed since then can be told.
    epoch: AtomicU64,
}

#[derive(Debug, Default)]
struct Names {
    known: BTreeMap<String, Arc<Collector>>,
    /// Those that were forgotten since a copy began; none if nobody asks, or they are too many.
    forgotten: Option<BTreeSet<String>>,
}

#[derive(Debug)]
struct Collector {
    declared: Declaration,
    /// It was declared from the start on.
    is_fixed: bool,
    /// When it was declared.
    epoch: u64,
    /// None once it is forgotten, for whoever has found it before.
    series: Mutex<Option<BTreeMap<Vec<String>, Line>>>,
}

#[derive(Debug)]
struct Line {
    series: Series,
    /// When it was changed last.
    epoch: u64,
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
/// More than these are not kept in mind of what was forgotten.
const MOST_FORGOTTEN: usize = 1024;

// === impl Collectors ===

impl Collectors {
    /// None yet, and never more than `max_series`; one without labels counts as one, one with labels as one and one for each set of
    /// their values.
    pub fn new(max_series: usize) -> Self {
        Self::of(max_series, Vec::new())
    }

    /// The same with some that are declared.
    pub fn with(max_series: usize, fixed: Vec<Declaration>) -> Result<Self, Error> {
        let all = Self::of(max_series, fixed);
        all.declare_fixed(&mut all.0.names.write())?;
        Ok(all)
    }

    fn of(max_series: usize, fixed: Vec<Declaration>) -> Self {
        let (taken, names, epoch) = (AtomicUsize::new(0), RwLock::default(), AtomicU64::new(0));
        Self(Arc::new(Shared { max_series, taken, fixed, names, epoch }))
    }

    fn declare_fixed(&self, names: &mut Names) -> Result<(), Error> {
        self.0.fixed.iter().try_for_each(|declared| self.insert(names, declared.clone(), true).map(drop))
    }

    /// Declares one; if its name is known already, that one stays as it is.
    pub fn declare(&self, declared: Declaration) -> Result<(), Error> {
        let mut names = self.0.names.write();
        self.insert(&mut names, declared, false).map(drop)
    }

    fn insert(&self, names: &mut Names, declared: Declaration, is_fixed: bool) -> Result<Arc<Collector>, Error> {
        declared.check().map_err(|reason| Error::Declaration { name: declared.name.clone(), reason })?;
        let full_name = declared.full_name();
        if let Some(known) = names.known.get(&declared.name) {
            return Ok(known.clone());
        }
        if names.known.values().any(|known| known.declared.full_name() == full_name) {
            return Err(Error::Duplicate(full_name));
        }
        self.take(&declared.name)?;
        let epoch = self.0.epoch.load(Relaxed);
        let mut series = BTreeMap::new();
        if declared.labels.is_empty() {
            series.insert(Vec::new(), Line { series: Series::new(&declared), epoch });
        }
        let name = declared.name.clone();
        let collector = Arc::new(Collector { declared, is_fixed, epoch, series: Mutex::new(Some(series)) });
        names.known.insert(name, collector.clone());
        Ok(collector)
    }

    /// Forgets one, with all its values.
    pub fn unregister(&self, name: &str) -> Result<(), Error> {
        let mut names = self.0.names.write();
        if !self.remove(&mut names, name) {
            return Err(Error::Undefined(name.to_owned()));
        }
        names.forgotten = names.forgotten.take().filter(|forgotten| forgotten.len() < MOST_FORGOTTEN);
        if let Some(forgotten) = &mut names.forgotten {
            forgotten.insert(name.to_owned());
        }
        Ok(())
    }

    fn remove(&self, names: &mut Names, name: &str) -> bool {
        let Some(removed) = names.known.remove(name) else { return false };
        let series = removed.series.lock().take().unwrap_or_default();
        let with_labels = if removed.declared.labels.is_empty() { 0 } else { series.len() };
        self.0.taken.fetch_sub(1 + with_labels, Relaxed);
        true
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
        // Looked at in here: a copy that has begun by then comes to this one later, or takes this for a change.
        let (epoch, now) = (self.0.epoch.load(Relaxed), clock::monotonic());
        if let Some(line) = all.get_mut(labels) {
            line.series.change(declared, change, value, now);
            line.epoch = epoch;
            return Ok(());
        }
        self.take(&declared.name)?;
        let mut series = Series::new(declared);
        series.change(declared, change, value, now);
        all.insert(labels.to_vec(), Line { series, epoch });
        Ok(())
    }

    /// All that are declared.
    pub fn declared(&self) -> Vec<Declaration> {
        self.0.names.read().known.values().map(|collector| collector.declared.clone()).collect()
    }

    /// All that have a value, by their full names.
    pub fn gather(&self) -> Vec<MetricFamily> {
        let all: Vec<_> = self.0.names.read().known.values().cloned().collect();
        let now = clock::monotonic();
        let mut families: Vec<_> = all.iter().filter_map(|collector| collector.family(now)).collect();
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
        let known = &self.0.names.read().known;
        // Names in a configuration are in lower case, however they are written there.
        let found = known.get(name).or_else(|| known.get(&name.to_lowercase()));
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
    fn family(&self, now: Duration) -> Option<MetricFamily> {
        let mut all = self.series.lock();
        let metrics: Vec<_> =
            all.iter_mut().flatten().map(|(labels, line)| line.series.metric(&self.declared, labels, now)).collect();
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
