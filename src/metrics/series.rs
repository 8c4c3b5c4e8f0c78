//! The values of one figure under one set of labels. Times are those of the [monotonic clock](crate::sys::clock::monotonic).

use std::{collections::VecDeque, io, time::Duration};

use bytes::{Buf, BufMut};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, Quantile, Summary};

use super::{Change, Declaration, Kind};

/// A value, or many.
#[derive(Debug)]
pub(super) enum Series {
    Value(f64),
    Histogram {
        /// Each without those before it; the last is of what no bound holds.
        counts: Vec<u64>,
        count: u64,
        sum: f64,
    },
    Summary {
        /// What the quantiles are of.
        recent: VecDeque<(Duration, f64)>,
        count: u64,
        sum: f64,
    },
}

/// The observations that a summary's quantiles are of: no more than so many, none older. Go's are estimates over the same time.
const MOST_RECENT: usize = 512;
const RECENT: Duration = Duration::from_secs(600);

// === impl Series ===

impl Series {
    pub(super) fn new(declared: &Declaration) -> Self {
        match declared.kind {
            Kind::Counter | Kind::Gauge => Self::Value(0.0),
            Kind::Histogram => Self::Histogram { counts: vec![0; declared.buckets().len() + 1], count: 0, sum: 0.0 },
            Kind::Summary => Self::Summary { recent: VecDeque::new(), count: 0, sum: 0.0 },
        }
    }

    pub(super) fn change(&mut self, declared: &Declaration, change: Change, value: f64, now: Duration) {
        match self {
            Self::Value(held) => match change {
                Change::Add => *held += value,
                Change::Sub => *held -= value,
                Change::Set | Change::Observe => *held = value,
            },
            Self::Histogram { counts, count, sum } => {
                counts[declared.buckets().partition_point(|bound| *bound < value)] += 1;
                *count += 1;
                *sum += value;
            }
            Self::Summary { recent, count, sum } => {
                *count += 1;
                *sum += value;
                if !declared.objectives.is_empty() {
                    if recent.len() == MOST_RECENT {
                        recent.pop_front();
                    }
                    recent.push_back((now, value));
                }
            }
        }
    }

    /// As bytes, which mean the same to whoever has the declaration.
    pub(super) fn put(&self, into: &mut Vec<u8>) {
        match self {
            Self::Value(value) => into.put_f64_le(*value),
            Self::Histogram { counts, count, sum } => {
                counts.iter().for_each(|count| into.put_u64_le(*count));
                into.put_u64_le(*count);
                into.put_f64_le(*sum);
            }
            Self::Summary { recent, count, sum } => {
                into.put_u32_le(recent.len() as u32);
                for (then, value) in recent {
                    into.put_u64_le(u64::try_from(then.as_nanos()).unwrap_or(u64::MAX));
                    into.put_f64_le(*value);
                }
                into.put_u64_le(*count);
                into.put_f64_le(*sum);
            }
        }
    }

    /// What was put.
    pub(super) fn take(declared: &Declaration, from: &mut &[u8]) -> io::Result<Self> {
        let mut series = Self::new(declared);
        match &mut series {
            Self::Value(value) => *value = from.try_get_f64_le()?,
            Self::Histogram { counts, count, sum } => {
                for count in counts {
                    *count = from.try_get_u64_le()?;
                }
                (*count, *sum) = (from.try_get_u64_le()?, from.try_get_f64_le()?);
            }
            Self::Summary { recent, count, sum } => {
                let length = from.try_get_u32_le()? as usize;
                if length > MOST_RECENT {
                    return Err(io::Error::other("a summary is of too much"));
                }
                for _ in 0..length {
                    recent.push_back((Duration::from_nanos(from.try_get_u64_le()?), from.try_get_f64_le()?));
                }
                (*count, *sum) = (from.try_get_u64_le()?, from.try_get_f64_le()?);
            }
        }
        Ok(series)
    }

    /// What Prometheus is shown.
    pub(super) fn metric(&mut self, declared: &Declaration, labels: &[String], now: Duration) -> Metric {
        let pair = |(name, value): (&String, &String)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.clone());
            pair.set_value(value.clone());
            pair
        };
        let mut metric = Metric::from_label(declared.labels.iter().zip(labels).map(pair).collect());
        match self {
            Self::Value(value) if declared.kind == Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(*value);
                metric.set_counter(counter);
            }
            Self::Value(value) => {
                let mut gauge = Gauge::default();
                gauge.set_value(*value);
                metric.set_gauge(gauge);
            }
            Self::Histogram { counts, count, sum } => metric.set_histogram(histogram(declared, counts, *count, *sum)),
            Self::Summary { recent, count, sum } => {
                while recent.front().is_some_and(|(then, _)| now.saturating_sub(*then) > RECENT) {
                    recent.pop_front();
                }
                metric.set_summary(summary(declared, recent, *count, *sum));
            }
        }
        metric
    }
}

fn histogram(declared: &Declaration, counts: &[u64], count: u64, sum: f64) -> Histogram {
    let mut so_far = 0;
    let buckets = declared.buckets().iter().zip(counts).map(|(bound, count)| {
        so_far += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(so_far);
        bucket
    });
    let mut shown = Histogram::default();
    shown.set_bucket(buckets.collect());
    shown.set_sample_count(count);
    shown.set_sample_sum(sum);
    shown
}

fn summary(declared: &Declaration, recent: &VecDeque<(Duration, f64)>, count: u64, sum: f64) -> Summary {
    let mut values: Vec<f64> = recent.iter().map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    let quantiles = declared.objectives.iter().map(|(quantile, _)| {
        let rank = (quantile * values.len() as f64).ceil() as usize;
        let mut shown = Quantile::default();
        shown.set_quantile(*quantile);
        // Of nothing there is none, which is what Go says too.
        shown.set_value(values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN));
        shown
    });
    let mut shown = Summary::default();
    shown.set_quantile(quantiles.collect());
    shown.set_sample_count(count);
    shown.set_sample_sum(sum);
    shown
}
