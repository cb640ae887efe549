//! `millrace check service-discovery`: the targets of a job, before and after relabelling, as promtool prints them.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use model::Labels;
use serde_json::{Map, Value, json};

use crate::{
    config::{
        flags::{LogFormat, LogLevel},
        prometheus::{self, ConfigFileError, FileConfig, discovery::Discovery, files_of, scrape::ScrapeConfig},
        units::PromDuration,
    },
    discovery,
    targets::{
        TargetGroup, file,
        labels::{JobTarget, Outcome, addresses_of, targets_of},
    },
    telemetry::logging,
};

#[derive(Args, Debug)]
pub(super) struct DiscoveryArgs {
    /// The configuration file
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// The job's name
    #[arg(value_name = "JOB")]
    job: String,
    /// How long discovery may take
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    timeout: PromDuration,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DiscoveryError {
    #[error(transparent)]
    Config(#[from] ConfigFileError),
    #[error("job {job} is not in the file, which has {known}")]
    Job { job: String, known: String },
    #[error("job {job}: {mechanism} has no effect in this release: its targets are not known")]
    Mechanism { job: String, mechanism: &'static str },
    #[error("job {job}: discovery has not said anything within {timeout}; the log has the reason")]
    Silent { job: String, timeout: PromDuration },
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
    let groups = groups_of(job, args.config.parent().unwrap_or(Path::new("")), args.timeout)?;
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

/// What is wrong with a job's targets: those of its own file, and of others if they are to be read, seen from this folder.
pub(super) fn problems(job: &ScrapeConfig, with_files: Option<&Path>) -> Vec<String> {
    let mut problems = Vec::new();
    let is_wanted = |mechanism: &&Discovery| with_files.is_some() || !matches!(mechanism, Discovery::File(_));
    for mechanism in job.discovery.iter().filter(is_wanted) {
        let groups = match groups_of_mechanism(job, mechanism, with_files.unwrap_or(Path::new(""))) {
            Ok(groups) => groups,
            Err(DiscoveryError::Mechanism { .. }) => continue,
            Err(error) => {
                problems.push(format!("job {}: {error}", job.job_name));
                continue;
            }
        };
        for target in groups.iter().flat_map(|group| targets_of(job, group)) {
            if let Outcome::Unusable(reason) = target.outcome {
                problems.push(format!("job {}: {}: {reason}", job.job_name, target.discovered));
            }
        }
    }
    problems
}

/// The same of Alertmanagers that stand in the file.
pub(super) fn problems_of_alertmanagers(config: &FileConfig) -> Vec<String> {
    let mut problems = Vec::new();
    let all = config.alerting.iter().flat_map(|alerting| &alerting.alertmanagers).enumerate();
    for (at, managers) in all {
        let groups = managers.discovery.iter().filter_map(|mechanism| match mechanism {
            Discovery::Static(group) => Some(file::group_of(&group.targets, &group.labels)),
            _ => None,
        });
        let addresses = groups.flat_map(|group| addresses_of(managers, &group, config.global.name_scheme));
        let bad = addresses.filter(|address| address.contains('/'));
        problems.extend(bad.map(|bad| format!("alerting.alertmanagers[{at}]: {bad:?} is not a valid hostname")));
    }
    problems
}

/// What discovery finds for a job, once. What stands in files is read here; the others are asked as a server asks them.
fn groups_of(job: &ScrapeConfig, folder: &Path, timeout: PromDuration) -> Result<Vec<TargetGroup>, DiscoveryError> {
    let is_in_files = |mechanism: &Discovery| matches!(mechanism, Discovery::Static(_) | Discovery::File(_));
    let (in_files, asked): (Vec<_>, Vec<_>) = job.discovery.iter().cloned().partition(is_in_files);
    let mut groups = Vec::new();
    for mechanism in &in_files {
        groups.extend(groups_of_mechanism(job, mechanism, folder)?);
    }
    if let Some(unknown) = asked.iter().find(|mechanism| !mechanism.has_effect()) {
        return Err(DiscoveryError::Mechanism { job: job.job_name.clone(), mechanism: unknown.key() });
    }
    if !asked.is_empty() {
        logging::start(LogLevel::Error, LogFormat::Logfmt);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let found = runtime.block_on(discovery::find_once(&job.job_name, &asked, folder, timeout.get()));
        let found = found.ok_or_else(|| DiscoveryError::Silent { job: job.job_name.clone(), timeout })?;
        groups.extend(found.iter().map(|group| TargetGroup::clone(group)));
    }
    Ok(groups)
}

fn groups_of_mechanism(
    job: &ScrapeConfig,
    mechanism: &Discovery,
    folder: &Path,
) -> Result<Vec<TargetGroup>, DiscoveryError> {
    match mechanism {
        Discovery::Static(group) => Ok(vec![file::group_of(&group.targets, &group.labels)]),
        Discovery::File(files) => {
            let paths = files.files.iter().flat_map(|pattern| files_of(&folder.join(pattern)));
            // What is not there yet may come.
            let read = paths.filter(|path| path.is_file()).map(|path| file::read(&path));
            Ok(read.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        }
        other => Err(DiscoveryError::Mechanism { job: job.job_name.clone(), mechanism: other.key() }),
    }
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
