//! The labels of a target: what a job adds to what was found, what relabelling makes of it, and what is left of that.

use model::{Labels, LabelsBuilder};

use super::{ADDRESS, META_PREFIX, TargetGroup, relabel};
use crate::config::{
    prometheus::{
        alerting::Alertmanagers,
        scrape::{NameScheme, ScrapeConfig},
    },
    units::PromDuration,
};

const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const SCHEME: &str = "__scheme__";
const JOB: &str = "job";
const INSTANCE: &str = "instance";

/// A target as a job sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JobTarget {
    /// Before relabelling.
    pub(crate) discovered: Labels,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// With the labels that relabelling has left; those that begin with `__` say how to ask and are not stored.
    Kept(Labels),
    Dropped,
    /// It can't be asked, for this reason.
    Unusable(String),
}

/// What a job makes of a group.
pub(crate) fn targets_of<'j>(job: &'j ScrapeConfig, group: &'j TargetGroup) -> impl Iterator<Item = JobTarget> + 'j {
    discovered_of(job, group).map(|discovered| {
        let outcome = outcome(job, &discovered);
        JobTarget { discovered, outcome }
    })
}

/// The labels of a group's targets before relabelling.
pub(crate) fn discovered_of<'j>(job: &'j ScrapeConfig, group: &'j TargetGroup) -> impl Iterator<Item = Labels> + 'j {
    group.targets.iter().map(|target| discovered(job, target, &group.labels))
}

/// Where the Alertmanagers of a group are, of those that relabelling keeps.
pub(crate) fn addresses_of(managers: &Alertmanagers, group: &TargetGroup, names: NameScheme) -> Vec<String> {
    let path = format!("{}/api/v2/alerts", managers.path_prefix.trim_end_matches('/'));
    let address = |target: &Labels| {
        let mut labels = LabelsBuilder::from_labels(&group.labels);
        labels.set(SCHEME, &managers.scheme).set("__alerts_path__", &path);
        for label in target.iter() {
            labels.set(label.name, label.value);
        }
        relabel::apply(&managers.relabel_configs, names, &mut labels)
            .then(|| labels.get(ADDRESS).unwrap_or_default().to_owned())
    };
    group.targets.iter().filter_map(address).collect()
}

/// With what the job says, where discovery says nothing.
fn discovered(job: &ScrapeConfig, target: &Labels, common: &Labels) -> Labels {
    let mut labels = LabelsBuilder::from_labels(common);
    for label in target.iter() {
        labels.set(label.name, label.value);
    }
    let interval = job.scrape_interval.to_string();
    let timeout = job.scrape_timeout.to_string();
    let of_job: [(&str, &str); 5] = [
        (JOB, &job.job_name),
        (INTERVAL, &interval),
        (TIMEOUT, &timeout),
        ("__metrics_path__", &job.metrics_path),
        (SCHEME, &job.scheme),
    ];
    for (name, value) in of_job {
        set_if_absent(&mut labels, name, value);
    }
    for (name, values) in &job.params {
        if let Some(first) = values.first() {
            set_if_absent(&mut labels, &format!("__param_{name}"), first);
        }
    }
    labels.build()
}

fn set_if_absent(labels: &mut LabelsBuilder, name: &str, value: &str) {
    if labels.get(name).unwrap_or_default().is_empty() {
        labels.set(name, value);
    }
}

/// What relabelling makes of them.
pub(crate) fn outcome(job: &ScrapeConfig, discovered: &Labels) -> Outcome {
    let mut labels = LabelsBuilder::from_labels(discovered);
    if !relabel::apply(&job.relabel_configs, job.name_scheme, &mut labels) {
        return Outcome::Dropped;
    }
    match finish(&mut labels) {
        Ok(()) => Outcome::Kept(labels.build()),
        Err(reason) => Outcome::Unusable(reason),
    }
}

fn finish(labels: &mut LabelsBuilder) -> Result<(), String> {
    let address = labels.get(ADDRESS).unwrap_or_default().to_owned();
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    if address.contains('/') {
        return Err(format!("{address:?} is not a valid hostname"));
    }
    let (interval, timeout) = (duration(labels, INTERVAL, "interval")?, duration(labels, TIMEOUT, "timeout")?);
    if timeout.ms() > interval.ms() {
        let text = "scrape timeout cannot be greater than scrape interval";
        return Err(format!("{text} (\"{timeout}\" > \"{interval}\")"));
    }
    for label in labels.build().iter().filter(|label| label.name.starts_with(META_PREFIX)) {
        labels.remove(label.name);
    }
    set_if_absent(labels, INSTANCE, &address);
    Ok(())
}

fn duration(labels: &LabelsBuilder, name: &str, what: &str) -> Result<PromDuration, String> {
    let text = labels.get(name).unwrap_or_default();
    let duration: PromDuration = text.parse().map_err(|error| format!("error parsing scrape {what}: {error}"))?;
    if duration.ms() == 0 { Err(format!("scrape {what} cannot be 0")) } else { Ok(duration) }
}
