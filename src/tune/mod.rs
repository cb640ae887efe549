//! `millrace tune`: measures this machine and writes a tuning file for it, with the reason beside each value; or holds one that is
//! there against the machine.

mod measure;
mod profile;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use runtime::placement::Placement;

use crate::config::tuning::{self, Finding, Host, TuningError};

/// Measure this machine and write a tuning file for it
#[derive(Args, Clone, Debug)]
pub(crate) struct TuneArgs {
    /// Data directory, whose disk is measured; made for the time of it if it is not there
    #[arg(long = "storage.tsdb.path", value_name = "DIRECTORY", default_value = "data")]
    directory: PathBuf,
    /// Where to write the file; standard output without it. What is there already is not overwritten
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Hold this tuning file against the machine, instead of making one
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    check: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TuneError {
    #[error(transparent)]
    Tuning(#[from] TuningError),
    #[error("measure the disk below {} (--storage.tsdb.path): {source}", directory.display())]
    Disk { directory: PathBuf, source: io::Error },
    #[error("write {} (--output): {source}; name a file that is not there yet", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{0} of the tuning file do not suit this machine")]
    Findings(usize),
}

pub(crate) fn run(args: &TuneArgs) -> Result<(), TuneError> {
    match &args.check {
        Some(path) => check(path),
        None => tune(args),
    }
}

fn check(path: &Path) -> Result<(), TuneError> {
    let findings = tuning::check_file(path)?;
    for Finding { what, remedy } in &findings {
        println!("{what}\n    {remedy}");
    }
    match findings.len() {
        0 => {
            println!("{} suits this machine", path.display());
            Ok(())
        }
        count => Err(TuneError::Findings(count)),
    }
}

fn tune(args: &TuneArgs) -> Result<(), TuneError> {
    let host = Host::read().map_err(TuningError::Topology)?;
    let disk = measured_disk(&args.directory)
        .map_err(|source| TuneError::Disk { directory: args.directory.clone(), source })?;
    let placement = Placement::auto(&host.topology);
    let facts = profile::Facts {
        disk,
        memory: measure::memory(),
        wake_up: measure::wake_up(),
        host,
        directory: args.directory.clone(),
    };
    let text = profile::render(&facts, &placement, crate::calendar::now_ms());
    match &args.output {
        None => print!("{text}"),
        Some(path) => write_new(path, &text).map_err(|source| TuneError::Write { path: path.clone(), source })?,
    }
    Ok(())
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    io::Write::write_all(&mut fs::File::create_new(path)?, text.as_bytes())
}

fn measured_disk(directory: &Path) -> io::Result<measure::Disk> {
    let is_ours = !directory.exists();
    if is_ours {
        fs::create_dir_all(directory)?;
    }
    let measured = measure::disk(directory);
    if is_ours {
        fs::remove_dir(directory)?;
    }
    measured
}
