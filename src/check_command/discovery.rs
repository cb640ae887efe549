//! `millrace check service-discovery`: the targets of a job, before and after relabelling, as promtool prints them.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use model::Labels;
use serde_json::{Map, Value, json};

use crate::{
    config::prometheus::{self, ConfigFileError, discovery::Discovery, files_of, scrape::ScrapeConfig},
    targets::{
        TargetGroup, file,
        labels::{JobTarget, Outcome, targets_of},
    },
};

#[derive(Args, Debug)]
pub(super) struct DiscoveryArgs {
    /// The configuration file
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// The job's name
    #[arg(value_name = "JOB")]
    job: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DiscoveryError {
    #[error(transparent)]
    Config(#[from] ConfigFileError),
    #[error("job {job} is not in the file, which has {known}")]
    Job { job: String, known: String },
    #[error("job {job}: {mechanism} has no effect in this release: its targets are not known")]
    Mechanism { job: String, mechanism: &'static str },
    #[error("write the targets: {0}")]
    Output(#[from] io::Error),
}

pub(super) fn run(args: &DiscoveryArgs, out: &mut dyn Write) -> Result<(), DiscoveryError> {
    let config = prometheus::read(&args.config, true)?.unwrap_or_default();
    let job = config.scrape_configs.iter().find(|job| job.job_name == args.job);
    let job = job.ok_or_else(|| DiscoveryError::Job {
        job: args.job.clone(),
        known: config.scrape_configs.iter().map(|job| job.job_name.as_str()).collect::<Vec<_>>().join(", "),
    })?;
    let groups = groups_of(job, args.config.parent().unwrap_or(Path::new("")))?;
    let mut targets: Vec<JobTarget> = Vec::new();
    for target in groups.iter().flat_map(|group| targets_of(job, group)) {
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    let targets: Vec<Value> = targets.iter().map(shown).collect();
    writeln!(out, "{:#}", Value::Array(targets))?;
    Ok(())
}

/// What discovery finds for a job, once.
fn groups_of(job: &ScrapeConfig, folder: &Path) -> Result<Vec<TargetGroup>, DiscoveryError> {
    let mut groups = Vec::new();
    for mechanism in &job.discovery {
        match mechanism {
            Discovery::Static(group) => groups.push(file::group_of(&group.targets, &group.labels)),
            Discovery::File(files) => {
                for path in files.files.iter().flat_map(|pattern| files_of(&folder.join(pattern))) {
                    groups.extend(file::read(&path)?);
                }
            }
            other => return Err(DiscoveryError::Mechanism { job: job.job_name.clone(), mechanism: other.key() }),
        }
    }
    Ok(groups)
}

fn shown(target: &JobTarget) -> Value {
    let map = |labels: &Labels| -> Value {
        Value::Object(labels.iter().map(|label| (label.name.to_owned(), label.value.into())).collect::<Map<_, _>>())
    };
    let discovered = map(&target.discovered);
    match &target.outcome {
        Outcome::Kept(labels) => json!({"discoveredLabels": discovered, "labels": map(labels)}),
        Outcome::Dropped => json!({"discoveredLabels": discovered, "labels": {}}),
        Outcome::Unusable(reason) => json!({"discoveredLabels": discovered, "labels": {}, "error": reason}),
    }
}
