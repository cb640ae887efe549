//! `millrace check`: what promtool's command of this name does, with what this server makes of the files. `config` checks `prometheus.yml`.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use crate::config::prometheus::{self, FileConfig};

/// Check files before a server gets them
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(subcommand)]
    command: CheckCommand,
}

#[derive(Debug, Subcommand)]
enum CheckCommand {
    /// Check configuration files, and that the files that they name are there; ends with 1 if something is wrong
    Config(ConfigArgs),
}

#[derive(Args, Debug)]
struct ConfigArgs {
    /// Do not look for the files that a configuration names
    #[arg(long)]
    syntax_only: bool,
    /// Configuration files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error("write the report: {0}")]
    Output(#[from] io::Error),
    #[error("{0} of {1} files are not valid")]
    Failed(usize, usize),
}

pub(crate) fn run(args: CheckArgs) -> Result<(), CheckError> {
    let CheckCommand::Config(args) = args.command;
    check(&args, &mut io::stdout().lock())
}

fn check(args: &ConfigArgs, out: &mut dyn Write) -> Result<(), CheckError> {
    let mut failed = 0;
    for path in &args.files {
        writeln!(out, "Checking {}", path.display())?;
        let problems = problems(path, args.syntax_only);
        for problem in &problems {
            writeln!(out, "  FAILED: {problem}")?;
        }
        if problems.is_empty() {
            writeln!(out, " SUCCESS: {} is valid prometheus config file syntax", path.display())?;
        }
        writeln!(out)?;
        failed += usize::from(!problems.is_empty());
    }
    if failed == 0 { Ok(()) } else { Err(CheckError::Failed(failed, args.files.len())) }
}

fn problems(path: &Path, syntax_only: bool) -> Vec<String> {
    let config = match prometheus::read(path, true) {
        Ok(config) => config.unwrap_or_default(),
        Err(error) => return vec![error.to_string()],
    };
    if syntax_only { Vec::new() } else { missing_files(&config, path.parent().unwrap_or(Path::new(""))) }
}

fn missing_files(config: &FileConfig, folder: &Path) -> Vec<String> {
    let missing = config.references(folder).into_iter().filter(|reference| !reference.path.is_file());
    missing
        .map(|reference| format!("{}: {} is not a file that is there", reference.named_by, reference.path.display()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn checked(text: &str, syntax_only: bool) -> (String, bool) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("prometheus.yml");
        fs::write(&path, text).expect("a file");
        fs::write(folder.path().join("there"), "x").expect("a file");
        let mut out = Vec::new();
        let result = check(&ConfigArgs { syntax_only, files: vec![path] }, &mut out);
        let text = String::from_utf8(out).expect("text").replace(&format!("{}/", folder.path().display()), "");
        (text, result.is_ok())
    }

    #[test]
    fn a_good_file_and_what_it_names() {
        let text = "rule_files: [gone/*.yml, gone.yml]\nscrape_configs:\n  - job_name: x\n    basic_auth: {username: u, password_file: there}\n    \
                    tls_config: {ca_file: gone}\n";
        let expected = "Checking prometheus.yml\n  FAILED: job x, tls_config.ca_file: gone is not a file that is there\n  \
                        FAILED: rule_files: gone.yml is not a file that is there\n\n";
        assert_eq!(checked(text, false), (expected.to_owned(), false));
        let expected = "Checking prometheus.yml\n SUCCESS: prometheus.yml is valid prometheus config file syntax\n\n";
        assert_eq!(checked(text, true), (expected.to_owned(), true));
    }

    #[test]
    fn a_mistake_is_said_with_its_place() {
        let (text, is_good) = checked("global:\n  scrape_intervall: 1m\n", false);
        assert!(!is_good && text.contains("FAILED: prometheus.yml:2:3: unknown key scrape_intervall"), "{text}");
    }
}
