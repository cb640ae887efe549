//! What every scrape tells of itself, whatever came of it: `up` and its like.

use model::{IdentityKey, Labels, LabelsBuilder, METRIC_NAME, SeriesId};
use wire::exposition::SeriesKey;

use super::batch::ScrapeBatch;

/// What there is to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Report {
    pub(crate) is_up: bool,
    pub(crate) duration_seconds: f64,
    pub(crate) scraped: u64,
    pub(crate) kept: u64,
    pub(crate) new_series: u64,
    pub(crate) timeout_seconds: f64,
    pub(crate) sample_limit: u64,
    /// Of the unpacked page; -1: it was larger than the limit.
    pub(crate) body_bytes: i64,
}

type Value = fn(&Report) -> f64;

/// Names and values; those behind [`ALWAYS`] come with `extra_scrape_metrics` alone.
const SERIES: [(&str, Value); 8] = [
    ("up", |report| f64::from(u8::from(report.is_up))),
    ("scrape_duration_seconds", |report| report.duration_seconds),
    ("scrape_samples_scraped", |report| report.scraped as f64),
    ("scrape_samples_post_metric_relabeling", |report| report.kept as f64),
    ("scrape_series_added", |report| report.new_series as f64),
    ("scrape_timeout_seconds", |report| report.timeout_seconds),
    ("scrape_sample_limit", |report| report.sample_limit as f64),
    ("scrape_body_size_bytes", |report| report.body_bytes as f64),
];
const ALWAYS: usize = 5;

/// A target's own series, in the order of [`SERIES`].
pub(crate) struct ReportSeries {
    target: Labels,
    known: Vec<(SeriesId, Labels)>,
}

impl ReportSeries {
    pub(crate) fn new(target: &Labels) -> Self {
        Self { target: target.clone(), known: Vec::new() }
    }

    pub(crate) fn push(
        &mut self,
        key: &IdentityKey,
        batch: &mut ScrapeBatch,
        time: i64,
        report: &Report,
        with_extra: bool,
    ) {
        let count = if with_extra { SERIES.len() } else { ALWAYS };
        for (place, (name, value)) in SERIES[..count].iter().enumerate() {
            let sample = (time, value(report).to_bits());
            match self.known.get(place) {
                Some((id, labels)) => batch.push_known(*id, labels.clone(), sample),
                None => {
                    let mut labels = LabelsBuilder::from_labels(&self.target);
                    labels.set(METRIC_NAME, name);
                    let labels = labels.build();
                    let id = key.labels(&labels);
                    batch.push_known(id, labels.clone(), sample);
                    self.known.push((id, labels));
                }
            }
        }
    }

    /// The target is gone.
    pub(crate) fn push_markers(&self, batch: &mut ScrapeBatch, time: i64) {
        self.known.iter().for_each(|(id, _)| batch.end_series(SeriesKey::Id(*id), time));
    }
}
