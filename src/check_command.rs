//! `millrace check`: what promtool's command of this name does, with what this server makes of the files. `config` checks `prometheus.yml`
//! and the files of rules that it names, `rules` such files alone, `metrics` a page, `service-discovery` shows a job's targets.

mod discovery;
mod metrics;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use promql::parser::ParseOptions;

use discovery::{DiscoveryArgs, DiscoveryError};
use metrics::{MetricsArgs, MetricsError};

use crate::config::{
    flags::parse_options,
    prometheus::{self, FileConfig},
    rules,
};

/// Check files before a server gets them
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(subcommand)]
    command: CheckCommand,
}

#[derive(Debug, Subcommand)]
enum CheckCommand {
    /// Check configuration files, their rules, and that the files that they name are there; ends with 1 if something is wrong
    Config(ConfigArgs),
    /// Check files of rules; ends with 1 if something is wrong. Templates are not looked into
    Rules(RulesArgs),
    /// Check a page of metrics from standard input for what is unusual; ends with 3 if there is something
    Metrics(MetricsArgs),
    /// Show the targets of a job, before and after relabelling
    ServiceDiscovery(DiscoveryArgs),
}

#[derive(Args, Debug)]
struct ConfigArgs {
    /// Do not look for the files that a configuration names
    #[arg(long)]
    syntax_only: bool,
    /// What `serve` is started with, so that expressions of rules may use it
    #[arg(long = "enable-feature", value_name = "FEATURE", value_delimiter = ',')]
    features: Vec<String>,
    /// Configuration files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Args, Debug)]
struct RulesArgs {
    /// What `serve` is started with, so that expressions may use it
    #[arg(long = "enable-feature", value_name = "FEATURE", value_delimiter = ',')]
    features: Vec<String>,
    /// Files of rules
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error("write the report: {0}")]
    Output(#[from] io::Error),
    #[error("{0} of {1} files are not valid")]
    Failed(usize, usize),
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

impl CheckError {
    /// As promtool ends: 3 where it has remarks alone.
    pub(crate) fn exit_code(&self) -> u8 {
        if matches!(self, Self::Metrics(MetricsError::Remarks(_))) { 3 } else { 1 }
    }
}

pub(crate) fn run(args: CheckArgs) -> Result<(), CheckError> {
    let out = &mut io::stdout().lock();
    match args.command {
        CheckCommand::Config(args) => each(&args.files, out, |path, report| check_config(path, &args, report)),
        CheckCommand::Rules(args) => {
            let options = parse_options(&args.features);
            each(&args.files, out, |path, report| check_rules(path, &options, report))
        }
        CheckCommand::Metrics(args) => Ok(metrics::run(&args, out, &mut io::stderr().lock())?),
        CheckCommand::ServiceDiscovery(args) => Ok(discovery::run(&args, out)?),
    }
}

/// What is to be said of a file.
#[derive(Default)]
struct Report {
    problems: Vec<String>,
    /// What is not wrong, and still odd.
    remarks: Vec<String>,
    successes: Vec<String>,
}

fn each(files: &[PathBuf], out: &mut dyn Write, check: impl Fn(&Path, &mut Report)) -> Result<(), CheckError> {
    let mut failed = 0;
    for path in files {
        writeln!(out, "Checking {}", path.display())?;
        let mut report = Report::default();
        check(path, &mut report);
        let Report { problems, remarks, successes } = &report;
        problems.iter().try_for_each(|problem| writeln!(out, "  FAILED: {problem}"))?;
        remarks.iter().try_for_each(|remark| writeln!(out, "  WARNING: {remark}"))?;
        if problems.is_empty() {
            successes.iter().try_for_each(|success| writeln!(out, "  SUCCESS: {success}"))?;
        }
        writeln!(out)?;
        failed += usize::from(!problems.is_empty());
    }
    if failed == 0 { Ok(()) } else { Err(CheckError::Failed(failed, files.len())) }
}

fn check_config(path: &Path, args: &ConfigArgs, report: &mut Report) {
    let config = match prometheus::read(path, true) {
        Ok(config) => config.unwrap_or_default(),
        Err(error) => return report.problems.push(error.to_string()),
    };
    report.successes.push(format!("{} is valid prometheus config file syntax", path.display()));
    let folder = path.parent().unwrap_or(Path::new(""));
    let with_files = (!args.syntax_only).then_some(folder);
    for job in &config.scrape_configs {
        report.problems.extend(discovery::problems(job, with_files));
    }
    report.problems.extend(discovery::problems_of_alertmanagers(&config));
    if args.syntax_only {
        return;
    }
    report.problems.extend(missing_files(&config, folder));
    for rules in
        config.rule_files.iter().flat_map(|pattern| prometheus::files_of(pattern)).filter(|path| path.is_file())
    {
        check_rules(&rules, &parse_options(&args.features), report);
    }
}

fn check_rules(path: &Path, options: &ParseOptions, report: &mut Report) {
    let file = match rules::read(path, options) {
        Ok(file) => file,
        Err(error) => return report.problems.push(error.to_string()),
    };
    report.successes.push(format!("{}: {} rules found", path.display(), file.rules().count()));
    if let Some(line) = file.second_document {
        report.remarks.push(format!("{}:{line}: a second document, which is not read", path.display()));
    }
    for rule in file.repeated() {
        let labels: Vec<_> = rule.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let (path, name, labels) = (path.display(), rule.kind.name(), labels.join(","));
        report
            .remarks
            .push(format!("{path}: {name}{{{labels}}} is there more than once: the results are of the same series"));
    }
}

fn missing_files(config: &FileConfig, folder: &Path) -> Vec<String> {
    let missing = config.references(folder).into_iter().filter(|reference| !reference.path.exists());
    missing.map(|reference| format!("{}: {} is not there", reference.named_by, reference.path.display())).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn checked(text: &str, syntax_only: bool) -> (String, bool) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
        let path = folder.path().join("prometheus.yml");
        file("prometheus.yml", text);
        file("there", "x");
        file("good.yml", "groups: [{name: g, rules: [{record: a, expr: 1}, {record: a, expr: 2}]}]");
        file("bad.yml", "groups: [{name: g, rules: [{record: a, expr: 1 +}]}]");
        let mut out = Vec::new();
        let args = ConfigArgs { syntax_only, features: Vec::new(), files: vec![path] };
        let result = each(&args.files, &mut out, |path, report| check_config(path, &args, report));
        let text = String::from_utf8(out).expect("text").replace(&format!("{}/", folder.path().display()), "");
        (text, result.is_ok())
    }

    #[test]
    fn what_a_file_names_is_looked_for() {
        let text = "rule_files: [gone/*.yml, gone.yml]\nscrape_configs:\n  - job_name: x\n    basic_auth: {username: u, password_file: there}\n    \
                    tls_config: {ca_file: gone}\n";
        let expected = "Checking prometheus.yml\n  FAILED: job x, tls_config.ca_file: gone is not there\n  \
                        FAILED: rule_files: gone.yml is not there\n\n";
        assert_eq!(checked(text, false), (expected.to_owned(), false));
        let expected = "Checking prometheus.yml\n  SUCCESS: prometheus.yml is valid prometheus config file syntax\n\n";
        assert_eq!(checked(text, true), (expected.to_owned(), true));
    }

    #[test]
    fn rules_are_checked_with_the_file_that_names_them() {
        let expected = "Checking prometheus.yml\n  WARNING: good.yml: a{} is there more than once: the results are of the same series\n  \
                        SUCCESS: prometheus.yml is valid prometheus config file syntax\n  SUCCESS: good.yml: 2 rules found\n\n";
        assert_eq!(checked("rule_files: ['g*.yml']", false), (expected.to_owned(), true));
        let (text, is_good) = checked("rule_files: ['*d.yml']", false);
        assert!(!is_good && text.contains("FAILED: bad.yml:1:40: groups[0].rules[0].expr: 1:4: parse error"), "{text}");
    }

    #[test]
    fn a_mistake_is_said_with_its_place() {
        let (text, is_good) = checked("global:\n  scrape_intervall: 1m\n", false);
        assert!(!is_good && text.contains("FAILED: prometheus.yml:2:3: unknown key scrape_intervall"), "{text}");
    }
}
