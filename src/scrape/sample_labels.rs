//! The labels of a sample: those of its line, those of its target, and what relabelling makes of both.

use std::sync::Arc;

use model::{
    Labels, LabelsBuilder,
    labels::{is_plain_label_name, is_plain_metric_name},
};
use wire::exposition::reader::LabelText;

use crate::{
    config::prometheus::scrape::{NameValidation, ScrapeConfig},
    targets::relabel,
};

/// Put before a label of a page that the target has too.
const EXPORTED: &str = "exported_";

/// Characters of a name that an error shows.
const SHOWN: usize = 50;

/// What makes the labels of a target's samples.
pub(crate) struct SampleLabels {
    /// Of the target, without those that begin with `__`.
    pub(crate) target: Labels,
    pub(crate) job: Arc<ScrapeConfig>,
}

/// Why a page can't be taken for its labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LabelError {
    #[error("missing metric name (__name__ label)")]
    NoName,
    #[error("invalid metric name or label names: {0}")]
    Invalid(String),
    #[error("label name {0:?} is not unique: invalid sample")]
    Repeated(String),
    #[error("label_limit exceeded (metric: {metric}, number of labels: {count}, limit: {limit})")]
    Count { metric: String, count: usize, limit: u64 },
    #[error(
        "label_name_length_limit exceeded (metric: {metric}, label name: {name}, length: {length}, limit: {limit})"
    )]
    NameLength { metric: String, name: String, length: usize, limit: u64 },
    #[error(
        "label_value_length_limit exceeded (metric: {metric}, label name: {name}, value: {value:?}, length: {length}, limit: {limit})"
    )]
    ValueLength { metric: String, name: String, value: String, length: usize, limit: u64 },
}

impl LabelError {
    pub(crate) fn is_limit(&self) -> bool {
        matches!(self, Self::Count { .. } | Self::NameLength { .. } | Self::ValueLength { .. })
    }
}

impl SampleLabels {
    /// The labels that a sample is stored with; `None`: relabelling drops it.
    pub(crate) fn of(&self, line: &[LabelText<'_>]) -> Result<Option<Labels>, LabelError> {
        let mut labels = LabelsBuilder::default();
        for (name, value) in line {
            labels.set(name, value);
        }
        if self.job.honor_labels {
            self.add_absent(line, &mut labels);
        } else {
            self.add_before_line(line, &mut labels);
        }
        if !relabel::apply(&self.job.metric_relabel_configs, self.job.name_scheme, &mut labels) {
            return Ok(None);
        }
        let labels = labels.build();
        self.check(line, &labels).map(|()| Some(labels))
    }

    /// The page's labels win; one without a value stands for "none".
    fn add_absent(&self, line: &[LabelText<'_>], labels: &mut LabelsBuilder) {
        let is_there = |name: &str| line.iter().any(|(of_line, _)| of_line == name);
        for label in self.target.iter().filter(|label| !is_there(label.name)) {
            labels.set(label.name, label.value);
        }
    }

    /// The target's labels win; the page's get another name, the shortest first.
    fn add_before_line(&self, line: &[LabelText<'_>], labels: &mut LabelsBuilder) {
        let mut exported: Vec<(String, String)> = Vec::new();
        for label in self.target.iter() {
            if let Some((_, value)) = line.iter().rev().find(|(name, value)| name == label.name && !value.is_empty()) {
                exported.push((label.name.to_owned(), value.clone().into_owned()));
            }
            labels.set(label.name, label.value);
        }
        exported.sort_by_key(|(name, _)| name.len());
        for (name, value) in exported {
            let mut name = format!("{EXPORTED}{name}");
            while labels.get(&name).is_some_and(|value| !value.is_empty()) {
                name.insert_str(0, EXPORTED);
            }
            labels.set(&name, &value);
        }
    }

    fn check(&self, line: &[LabelText<'_>], labels: &Labels) -> Result<(), LabelError> {
        let metric = labels.metric_name().ok_or(LabelError::NoName)?;
        for (at, (name, _)) in line.iter().enumerate() {
            if line[..at].iter().any(|(other, _)| other == name) {
                return Err(LabelError::Repeated(name.clone().into_owned()));
            }
        }
        let is_legacy = self.job.name_scheme.validation == NameValidation::Legacy;
        let is_name = |name: &str| !name.is_empty() && (!is_legacy || is_plain_label_name(name));
        if !labels.iter().all(|label| is_name(label.name)) || is_legacy && !is_plain_metric_name(metric) {
            return Err(LabelError::Invalid(labels.to_string()));
        }
        self.check_limits(metric, labels)
    }

    fn check_limits(&self, metric: &str, labels: &Labels) -> Result<(), LabelError> {
        let limits = &self.job.limits;
        let is_above = |length: usize, limit: u64| limit > 0 && length as u64 > limit;
        let metric = || shortened(metric);
        if is_above(labels.len(), limits.label) {
            return Err(LabelError::Count { metric: metric(), count: labels.len(), limit: limits.label });
        }
        for label in labels.iter() {
            let (name, limit) = (shortened(label.name), limits.label_name_length);
            if is_above(label.name.len(), limit) {
                return Err(LabelError::NameLength { metric: metric(), name, length: label.name.len(), limit });
            }
            let (length, limit) = (label.value.len(), limits.label_value_length);
            if is_above(length, limit) {
                let value = shortened(label.value);
                return Err(LabelError::ValueLength { metric: metric(), name, value, length, limit });
            }
        }
        Ok(())
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::prometheus;

    /// What a job with some keys, written as YAML, makes of samples.
    pub(crate) fn sample_labels(keys: &str, target: &[(&str, &str)]) -> SampleLabels {
        let config = prometheus::parse_for_tests(&format!("scrape_configs: [{{job_name: x, {keys}}}]"));
        let job = Arc::new(config.scrape_configs[0].clone());
        SampleLabels { target: Labels::from_pairs(target.iter().copied()), job }
    }

    fn line<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<LabelText<'a>> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn text(labels: Result<Option<Labels>, LabelError>) -> String {
        match labels {
            Ok(labels) => labels.map_or_else(|| "dropped".to_owned(), |labels| labels.to_string()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn labels_of_pages_and_targets_come_together() {
        let target = [("job", "x"), ("instance", "i")];
        let page = line(&[("__name__", "m"), ("job", "own"), ("instance", ""), ("exported_job", "older"), ("a", "")]);
        assert_eq!(
            text(sample_labels("", &target).of(&page)),
            r#"{__name__="m", exported_exported_job="own", exported_job="older", instance="i", job="x"}"#
        );
        assert_eq!(
            text(sample_labels("honor_labels: true", &target).of(&page)),
            r#"{__name__="m", exported_job="older", job="own"}"#
        );
    }

    #[test]
    fn what_prometheus_refuses_is_refused() {
        let page = line(&[("__name__", "m"), ("a", "b"), ("a", "c")]);
        assert_eq!(text(sample_labels("", &[]).of(&page)), "label name \"a\" is not unique: invalid sample");
        let drop = "metric_relabel_configs: [{source_labels: [__name__], regex: m, action: drop}]";
        assert_eq!(text(sample_labels(drop, &[]).of(&page)), "dropped");
        let no_name = "metric_relabel_configs: [{regex: __name__, action: labeldrop}]";
        assert_eq!(text(sample_labels(no_name, &[]).of(&page[..2])), "missing metric name (__name__ label)");
        let utf8 = line(&[("__name__", "m.n"), ("a", "b")]);
        let legacy = "metric_name_validation_scheme: legacy";
        assert_eq!(text(sample_labels("", &[]).of(&utf8)), r#"{__name__="m.n", a="b"}"#);
        assert!(text(sample_labels(legacy, &[]).of(&utf8)).starts_with("invalid metric name or label names: {"));
    }

    #[test]
    fn limits_say_whom_they_met() {
        let page = line(&[("__name__", "m"), ("name", "value")]);
        for (keys, expected) in [
            ("label_limit: 1", "label_limit exceeded (metric: m, number of labels: 2, limit: 1)"),
            (
                "label_name_length_limit: 7",
                "label_name_length_limit exceeded (metric: m, label name: __name__, length: 8, limit: 7)",
            ),
            (
                "label_value_length_limit: 4",
                "label_value_length_limit exceeded (metric: m, label name: name, value: \"value\", length: 5, limit: 4)",
            ),
            (
                "label_limit: 2, label_name_length_limit: 8, label_value_length_limit: 5",
                r#"{__name__="m", name="value"}"#,
            ),
        ] {
            assert_eq!(text(sample_labels(keys, &[]).of(&page)), expected, "{keys}");
        }
    }
}
