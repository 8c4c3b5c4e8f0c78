//! The page of several engines: each shows its own figures, with a label that tells them apart, and whichever is asked puts them
//! together. A sum would go backwards whenever an engine ends or does not answer in time, which Prometheus takes for a restart.
//!
//! What applications keep is shown once and without the label, by the one engine that keeps it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prometheus::{
    IntGaugeVec, Opts, Registry,
    proto::{LabelPair, MetricFamily},
};
use tokio::task::JoinSet;

use super::{Page, encode};
use crate::{
    app::fellows::Fellows,
    rpc::{Answer, Codec, Error, Fellows as _, Keeper, Payload, Service},
    telemetry::Seldom,
};

/// What is declared, for an engine that comes later: a call that only engines can make.
pub(in crate::app) const DECLARED: &str = "figures.Declared";
const PAGE: &str = "figures.Page";

/// The label, whose value is the place of the engine, from 0: that which follows an engine has the same.
const LABEL: &str = "engine";

/// Prometheus gives up after 10 s, as a rule.
const TELLS_WITHIN: Duration = Duration::from_secs(2);

// === impl Page ===

impl Page {
    /// The page of all engines that answer.
    pub(super) async fn of_all(&self, fellows: &Arc<Fellows>) -> prometheus::Result<String> {
        let own = fellows.seat.place;
        let met = fellows.meet().await.inspect_err(|why| say(why)).ok();
        let keeps = met.as_ref().is_some_and(|met| met.keeper == Keeper::Here);
        // One that is leaving tells of the one that serves in its place, not of itself.
        let has_successor = met.iter().flat_map(|met| &met.others).any(|fellow| fellow.place == own);
        let mut asked = JoinSet::new();
        let keeper = met.as_ref().map(|met| met.keeper);
        for (index, mut fellow) in met.into_iter().flat_map(|met| met.others).enumerate() {
            let keeps = keeper == Some(Keeper::There(index));
            let argument = Payload { codec: Codec::Json, body: Bytes::from(keeps.to_string()) };
            asked.spawn(async move {
                let told = fellow.ask(PAGE, &argument, TELLS_WITHIN).await;
                let told = told.and_then(|told| told.read::<String>().map_err(|error| error.to_string()));
                (fellow.place, told.inspect_err(|why| say(&format!("{}: {why}", fellow.name))).ok())
            });
        }
        let mut pages = Vec::new();
        if !has_successor {
            pages.push((own, self.of_this(own, keeps).await?));
        }
        while let Some(Ok((place, page))) = asked.join_next().await {
            pages.extend(page.map(|page| (place, page)));
        }
        pages.sort_by_key(|(place, _)| *place);
        let places: Vec<_> = pages.iter().map(|(place, _)| *place).collect();
        let mut texts: Vec<_> = pages.into_iter().map(|(_, page)| page).collect();
        texts.push(encode(&up(fellows.seat.engines, &places)?)?);
        Ok(together(&texts))
    }

    /// The page of this engine, which is in `place`.
    async fn of_this(&self, place: usize, keeps: bool) -> prometheus::Result<String> {
        let mut families = self.own()?;
        for metric in families.iter_mut().flat_map(|family| family.mut_metric()) {
            let mut labels = metric.take_label();
            let mut label = LabelPair::default();
            label.set_name(LABEL.into());
            label.set_value(place.to_string());
            labels.push(label);
            metric.set_label(labels);
        }
        encode(&if keeps { self.with_kept(families).await? } else { families })
    }
}

impl Service for Page {
    fn name(&self) -> &str {
        "figures"
    }

    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
        Box::pin(async move {
            let sources = &self.0.sources;
            match (method, &sources.fellows) {
                ("Page", Some(fellows)) => {
                    let page = self.of_this(fellows.seat.place, argument.read()?).await;
                    argument.reply(&page.map_err(|error| Error::Failed(error.to_string()))?)
                }
                ("Declared", _) => argument.reply(&sources.kept.as_ref().map(|kept| kept.here().declared()).unwrap_or_default()),
                _ => Err(Error::UnknownMethod),
            }
        })
    }
}

/// Readers come often.
fn say(why: &str) {
    static SELDOM: Seldom = Seldom::new();
    if let Some(unsaid) = SELDOM.say() {
        tracing::warn!(unsaid, "metrics: an engine is not shown: {why}");
    }
}

/// Which of the engines there are figures of.
fn up(engines: usize, answered: &[usize]) -> prometheus::Result<Vec<MetricFamily>> {
    let registry = Registry::new();
    let help = "Whether the engine is ready and its figures are shown here.";
    let gauge = IntGaugeVec::new(Opts::new("rr_engine_up", help), &[LABEL])?;
    for place in 0..engines {
        gauge.with_label_values(&[&place.to_string()]).set(answered.contains(&place).into());
    }
    registry.register(Box::new(gauge))?;
    Ok(registry.gather())
}

/// One page of several, in which every family is in one piece.
fn together(pages: &[String]) -> String {
    // By name; the page that has told of it; what stands before the samples; the samples.
    let mut families: Vec<(&str, usize, String, String)> = Vec::new();
    for (page, text) in pages.iter().enumerate() {
        let mut current = None;
        for line in text.split_terminator('\n') {
            let told = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
            if let Some(name) = told.and_then(|told| told.split(' ').next()) {
                let known = families.iter().position(|(known, ..)| *known == name);
                let at = known.unwrap_or_else(|| {
                    families.push((name, page, String::new(), String::new()));
                    families.len() - 1
                });
                current = Some(at);
                if families[at].1 == page {
                    families[at].2.extend([line, "\n"]);
                }
            } else if let Some(at) = current {
                families[at].3.extend([line, "\n"]);
            }
        }
    }
    families.into_iter().map(|(_, _, head, samples)| head + &samples).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_in_one_piece() {
        let first = "# HELP a Of a.\n# TYPE a counter\na{engine=\"0\"} 1\n# TYPE b gauge\nb{engine=\"0\"} 2\n";
        let second =
            "# TYPE b gauge\nb{engine=\"1\"} 3\n# HELP a Of a.\n# TYPE a counter\na{engine=\"1\"} 4\n# TYPE c gauge\nc 5\n";
        let expected = "# HELP a Of a.\n# TYPE a counter\na{engine=\"0\"} 1\na{engine=\"1\"} 4\n\
            # TYPE b gauge\nb{engine=\"0\"} 2\nb{engine=\"1\"} 3\n# TYPE c gauge\nc 5\n";
        assert_eq!(together(&[first.into(), second.into()]), expected);
    }

    #[test]
    fn engines_that_do_not_answer_are_told() {
        let text = encode(&up(3, &[0, 2]).unwrap()).unwrap();
        for sample in ["rr_engine_up{engine=\"0\"} 1", "rr_engine_up{engine=\"1\"} 0", "rr_engine_up{engine=\"2\"} 1"] {
            assert!(text.contains(sample), "{text}");
        }
    }
}
