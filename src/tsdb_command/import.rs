//! `millrace tsdb import` and `create-blocks-from`

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use blocks::{BlocksError, Imported, ImportedLogs, MadeBlocks};
use clap::{Args, Subcommand};
use shard::directory::ReadOnlyDirectory;

use super::{TsdbError, on_a_thread};

#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// A Prometheus' data directory, with its write-ahead log, or a folder with blocks, as a snapshot is
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// The data directory, of which no server runs; it is made if it is not there
    #[arg(value_name = "PATH", default_value = "data/")]
    path: PathBuf,
}

#[derive(Args, Debug)]
pub(super) struct CreateBlocksArgs {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Source {
    /// Text whose samples have timestamps, in any order
    Openmetrics {
        /// A label that each series gets; may be given again
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The data directory, of which no server runs, or a folder for blocks alone; it is made if it is not there
        #[arg(value_name = "PATH", default_value = "data/")]
        path: PathBuf,
    },
}

fn label(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = parts.ok_or("write it as NAME=VALUE, such as replica=a")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn create_blocks(args: &CreateBlocksArgs, out: &mut dyn Write) -> Result<(), TsdbError> {
    let Source::Openmetrics { labels, file, path } = &args.source;
    let _directory = lock(path)?;
    let (labels, from, to) = (labels.clone(), file.clone(), path.clone());
    let made =
        on_a_thread(move |runtime| async move { blocks::import_openmetrics(&runtime, &from, &labels, &to).await })??;
    print_made(&made, &file.display().to_string(), out).map_err(TsdbError::Output)
}

/// As long as this is held no server can start.
fn lock(path: &Path) -> Result<Option<ReadOnlyDirectory>, TsdbError> {
    let is_one = path.join("FORMAT").exists();
    Ok(is_one.then(|| ReadOnlyDirectory::open(path, false)).transpose()?)
}

pub(super) fn run(args: &ImportArgs, out: &mut dyn Write) -> Result<(), TsdbError> {
    let _directory = lock(&args.path)?;
    // A Prometheus that starts later finds its log as it was; one that runs would change it under our eyes.
    let lock = File::open(args.from.join("lock")).ok();
    let is_running = lock.as_ref().is_some_and(|lock| lock.try_lock_shared().is_err());
    let has_logs = ["wal", "wbl"].iter().any(|name| args.from.join(name).exists());
    let (from, path) = (args.from.clone(), args.path.clone());
    let takes_logs = has_logs && !is_running;
    let (imported, logs) = on_a_thread(move |runtime| async move {
        let imported = blocks::import(&runtime, &from, &path).await?;
        let logs = match takes_logs {
            true => blocks::import_logs(&runtime, &from, &path).await?,
            false => ImportedLogs::default(),
        };
        Ok::<_, BlocksError>((imported, logs))
    })??;
    print(&imported, &logs, out).map_err(TsdbError::Output)?;
    drop(lock);
    match () {
        () if has_logs && is_running => Err(TsdbError::LogInUse { path: args.from.clone() }),
        () if !imported.refused.is_empty() => {
            Err(TsdbError::NotImported { path: args.from.clone(), count: imported.refused.len() })
        }
        () if !logs.damage.is_empty() => Err(TsdbError::Damaged { path: args.from.clone(), count: logs.damage.len() }),
        () => Ok(()),
    }
}

/// Names blocks that were made of something.
fn print_made(made: &MadeBlocks, of: &str, out: &mut dyn Write) -> std::io::Result<()> {
    for block in &made.new {
        let stats = &block.meta.stats;
        let (samples, series) = (stats.num_samples, stats.num_series);
        writeln!(out, "{}: made of {of}: {samples} samples of {series} series", block.ulid)?;
    }
    made.known.iter().try_for_each(|ulid| writeln!(out, "{ulid}: there already"))
}

fn print(imported: &Imported, logs: &ImportedLogs, out: &mut dyn Write) -> std::io::Result<()> {
    for block in &imported.taken {
        writeln!(out, "{}: imported", block.ulid)?;
    }
    print_made(&logs.made, "the write-ahead log", out)?;
    for ulid in &imported.known {
        writeln!(out, "{ulid}: there already")?;
    }
    let named = |path: &Path| path.display().to_string();
    for (path, error) in &imported.refused {
        writeln!(out, "{}: not imported: {error}", named(path))?;
    }
    for (path, damage) in &logs.damage {
        writeln!(out, "{}: damaged: {damage}; what follows it there is not imported", named(path))?;
    }
    if let Some(path) = &logs.torn {
        writeln!(out, "{}: ends inside a record, as a crash leaves it; all before it is imported", named(path))?;
    }
    for (what, count) in &logs.left_out {
        writeln!(out, "left out: {count} {what}")?;
    }
    Ok(())
}
