//! What an application says of a figure before it keeps it.

use std::io;

use bytes::{Buf, BufMut};
use prometheus::proto::MetricType;
use serde::{Deserialize, Serialize};

use crate::state::form::{put_text, take_text};

/// A figure that is declared.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Declaration {
    /// What calls know it by.
    pub name: String,
    /// What stands before it, in Prometheus.
    pub namespace: String,
    /// What stands between the two.
    pub subsystem: String,
    /// What it is.
    pub kind: Kind,
    /// What it is for.
    pub help: String,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// The upper bounds of a histogram's buckets, in order; Go's usual ones if there are none.
    pub buckets: Vec<f64>,
    /// The quantiles of a summary, and how far off each may be. They are exact here, of the last observations.
    pub objectives: Vec<(f64, f64)>,
}

/// What a figure is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Counter,
    #[default]
    Gauge,
    Histogram,
    Summary,
}

/// What Go's library takes for requests.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// As many as anybody could look at.
const MOST_LABELS: usize = 32;
const MOST_BUCKETS: usize = 500;
const MOST_OBJECTIVES: usize = 32;
/// Bytes of a name or a help.
const LONGEST_TEXT: usize = 4096;

const KINDS: [Kind; 4] = [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Summary];

// === impl Kind ===

impl Kind {
    /// The one that RoadRunner calls `name`.
    pub fn named(name: &str) -> Option<Self> {
        KINDS.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

impl From<Kind> for MetricType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::COUNTER,
            Kind::Gauge => Self::GAUGE,
            Kind::Histogram => Self::HISTOGRAM,
            Kind::Summary => Self::SUMMARY,
        }
    }
}

// === impl Declaration ===

impl Declaration {
    /// The name that Prometheus sees.
    pub fn full_name(&self) -> String {
        let parts = [&self.namespace, &self.subsystem, &self.name];
        parts.into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("_")
    }

    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), String> {
        let full_name = self.full_name();
        if self.name.is_empty() || !is_name(&full_name, true) {
            return Err(format!("{full_name:?} is no name that Prometheus takes: letters, digits, _ and :"));
        }
        let own = match self.kind {
            Kind::Histogram => "le",
            Kind::Summary => "quantile",
            Kind::Counter | Kind::Gauge => "",
        };
        let is_wrong = |label: &&String| !is_name(label, false) || label.starts_with("__") || *label == own;
        if let Some(label) = self.labels.iter().find(is_wrong) {
            return Err(format!("{label:?} is no name for a label of a {}", self.kind.name()));
        }
        if let Some(twice) = self.labels.iter().enumerate().find(|(at, label)| self.labels[..*at].contains(label)) {
            return Err(format!("it has two labels called {:?}", twice.1));
        }
        if !self.buckets().is_sorted_by(|a, b| a < b) {
            return Err("its buckets are not in increasing order".into());
        }
        if let Some((quantile, _)) = self.objectives.iter().find(|(quantile, _)| !(0.0..=1.0).contains(quantile)) {
            return Err(format!("{quantile} is no quantile, which are from 0 to 1"));
        }
        for (what, has, most) in [
            ("labels", self.labels.len(), MOST_LABELS),
            ("buckets", self.buckets.len(), MOST_BUCKETS),
            ("objectives", self.objectives.len(), MOST_OBJECTIVES),
        ] {
            if has > most {
                return Err(format!("it has {has} {what}, more than {most}"));
            }
        }
        let texts = [&self.name, &self.namespace, &self.subsystem, &self.help];
        if texts.into_iter().chain(&self.labels).any(|text| text.len() > LONGEST_TEXT) {
            return Err(format!("one of its texts is longer than {LONGEST_TEXT} bytes"));
        }
        Ok(())
    }

    /// Whether the values of one can be those of the other.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.labels == other.labels && self.buckets() == other.buckets()
    }

    /// As bytes.
    pub(super) fn put(&self, into: &mut Vec<u8>) {
        into.put_u8(KINDS.iter().position(|kind| *kind == self.kind).unwrap_or_default() as u8);
        [&self.name, &self.namespace, &self.subsystem, &self.help].into_iter().for_each(|text| put_text(into, text));
        into.put_u32_le(self.labels.len() as u32);
        self.labels.iter().for_each(|label| put_text(into, label));
        into.put_u32_le(self.buckets.len() as u32);
        self.buckets.iter().for_each(|bound| into.put_f64_le(*bound));
        into.put_u32_le(self.objectives.len() as u32);
        for (quantile, error) in &self.objectives {
            into.put_f64_le(*quantile);
            into.put_f64_le(*error);
        }
    }

    /// What was put.
    pub(super) fn take(from: &mut &[u8]) -> io::Result<Self> {
        let kind = *KINDS.get(usize::from(from.try_get_u8()?)).ok_or(io::ErrorKind::InvalidData)?;
        let mut text = || take_text(from).map(str::to_owned);
        let (name, namespace, subsystem, help) = (text()?, text()?, text()?, text()?);
        let labels = (0..from.try_get_u32_le()?).map(|_| take_text(from).map(str::to_owned)).collect::<io::Result<_>>()?;
        let buckets = (0..from.try_get_u32_le()?).map(|_| Ok(from.try_get_f64_le()?)).collect::<io::Result<_>>()?;
        let objectives = (0..from.try_get_u32_le()?)
            .map(|_| Ok((from.try_get_f64_le()?, from.try_get_f64_le()?)))
            .collect::<io::Result<_>>()?;
        Ok(Self { name, namespace, subsystem, kind, help, labels, buckets, objectives })
    }

    /// The bounds of its buckets, but for the last, which has none.
    pub(super) fn buckets(&self) -> &[f64] {
        match &self.buckets[..] {
            [] => &BUCKETS,
            [bounds @ .., last] if last.is_infinite() => bounds,
            bounds => bounds,
        }
    }
}

fn is_name(text: &str, with_colon: bool) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (with_colon && byte == b':');
    text.bytes().enumerate().all(|(at, byte)| is_letter(byte) || (at > 0 && byte.is_ascii_digit())) && !text.is_empty()
}
