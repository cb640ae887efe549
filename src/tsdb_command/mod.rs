//! `millrace tsdb`: looks at a data directory.
//!
//! `inspect` and `verify` read the shards' files once by `shard::survey`; `inspect` shows what there is, `verify` what is wrong with it and with
//! the blocks. The directory's lock is taken for reading, so a running server is refused and none can start meanwhile; `--force` goes without.
//!
//! `list`, `dump` and `analyze` look at blocks, of whatever folder has some: a data directory, also of a server that runs, a snapshot,
//! a Prometheus' data. They print what promtool's commands of these names do. `dump` looks at what shards hold too, if their server is stopped. `import` alone writes: it adds another folder's blocks, and makes
//! blocks of a Prometheus' logs.

mod analyze;
mod dump;
mod folder;
mod head;
mod import;
mod list;
mod report;
#[cfg(test)]
mod tests;
mod text;

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use runtime::{
    DurableWay, ThreadConfig,
    portable::{self, PortableRuntime},
};
use shard::{
    directory::{DirectoryError, ReadOnlyDirectory},
    frames::FileError,
    survey::{ShardSurvey, survey},
};

use self::report::Report;
use crate::local_storage::LocalStorageError;

/// Look at a data directory
#[derive(Args, Debug)]
pub(crate) struct TsdbArgs {
    #[command(subcommand)]
    command: TsdbCommand,
}

#[derive(Debug, Subcommand)]
enum TsdbCommand {
    /// Show what is in each shard's log, series logs, checkpoints and chunk files
    Inspect {
        #[command(flatten)]
        target: Target,
        /// One JSON object instead of tables
        #[arg(long)]
        json: bool,
    },
    /// Check everything that is under a checksum, blocks included; ends with 1 if something is damaged
    Verify {
        #[command(flatten)]
        target: Target,
    },
    /// List the blocks of a folder
    List(list::ListArgs),
    /// Print the samples of a folder's blocks, and of what a server that is stopped has not put into blocks
    Dump(dump::DumpArgs),
    /// Take over the data directory of a Prometheus, or the blocks of another folder, as a snapshot is
    Import(import::ImportArgs),
    /// Make blocks of text
    CreateBlocksFrom(import::CreateBlocksArgs),
    /// Print the floats of a folder's blocks as OpenMetrics text; it has no form for native histograms and stale markers
    DumpOpenmetrics(dump::DumpArgs),
    /// Say where the cardinality of a block comes from, and its churn
    Analyze(analyze::AnalyzeArgs),
}

#[derive(Args, Debug)]
struct Target {
    /// The data directory
    #[arg(value_name = "PATH", default_value = "data/")]
    path: PathBuf,
    /// Also while a server runs there: what it is just writing then looks unfinished
    #[arg(long)]
    force: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TsdbError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("start a thread that reads: {0}")]
    Thread(io::Error),
    #[error("copy what shards have to {}: {source}; TMPDIR names another folder with room", path.display())]
    Scratch { path: PathBuf, source: io::Error },
    #[error("open a copy of what shards have: {0}")]
    Storage(#[from] LocalStorageError),
    #[error("write the report: {0}")]
    Output(io::Error),
    #[error(transparent)]
    Blocks(#[from] blocks::BlocksError),
    #[error("no block {name} in {}; the blocks there are listed by 'millrace tsdb list'", path.display())]
    NoBlock { path: PathBuf, name: String },
    #[error("there are no blocks in {}", path.display())]
    NoBlocks { path: PathBuf },
    #[error("--match: {0}")]
    Selector(#[from] promql::parser::ParseError),
    #[error("{count} blocks of {} were not imported; the others were", path.display())]
    NotImported { path: PathBuf, count: usize },
    #[error(
        "a Prometheus runs on {}, so its write-ahead log was not imported: stop it and run this again, or have it make a snapshot and import that",
        path.display()
    )]
    LogInUse { path: PathBuf },
    #[error("{count} damaged places in {} were left out, named above; 'millrace tsdb verify' looks at everything", path.display())]
    LeftOut { path: PathBuf, count: usize },
    #[error("{count} damaged places in {}", path.display())]
    Damaged { path: PathBuf, count: usize },
}

pub(crate) fn run(args: TsdbArgs) -> Result<(), TsdbError> {
    execute(args, &mut io::stdout().lock())
}

fn execute(args: TsdbArgs, out: &mut dyn Write) -> Result<(), TsdbError> {
    match args.command {
        TsdbCommand::Inspect { target, json } => {
            let report = Report::of(&read(&target)?);
            let written = if json { report.write_json(out) } else { report.write_tables(out) };
            written.map_err(TsdbError::Output)
        }
        TsdbCommand::Verify { target } => verify(&target, out),
        TsdbCommand::List(args) => list::run(&args, out),
        TsdbCommand::Dump(args) => dump::run(&args, dump::write_plain, "", out),
        TsdbCommand::DumpOpenmetrics(args) => dump::run(&args, dump::write_openmetrics, "# EOF\n", out),
        TsdbCommand::CreateBlocksFrom(args) => import::create_blocks(&args, out),
        TsdbCommand::Import(args) => import::run(&args, out),
        TsdbCommand::Analyze(args) => analyze::run(&args, out),
    }
}

fn verify(target: &Target, out: &mut dyn Write) -> Result<(), TsdbError> {
    let mut count = 0;
    // A snapshot, or what a Prometheus has written, is blocks alone.
    let is_blocks_alone = !target.path.join("FORMAT").exists() && !folder::look(&target.path)?.is_empty();
    let locked = if is_blocks_alone { None } else { Some(read(target)?) };
    if let Some(read) = &locked {
        let report = Report::of(read);
        report.write_findings(out).map_err(TsdbError::Output)?;
        count += report.damage_count();
    }
    count += folder::verify(&target.path, out)?;
    if count == 0 { Ok(()) } else { Err(TsdbError::Damaged { path: target.path.clone(), count }) }
}

/// Runs something that needs a runtime to its end.
fn on_a_thread<T: Send + 'static, F: Future<Output = T> + 'static>(
    run: impl FnOnce(PortableRuntime) -> F + Send + 'static,
) -> Result<T, TsdbError> {
    // Each file is synced as a whole, so how writes become durable does not matter.
    let config = ThreadConfig { name: "tsdb".to_owned(), cpu: None, durable: DurableWay::WriteThenFlush, nice: 0 };
    let thread = portable::run(config, run).map_err(TsdbError::Thread)?;
    Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// A data directory that was read, still locked.
struct Surveyed {
    directory: ReadOnlyDirectory,
    key: Result<(), DirectoryError>,
    shards: Vec<ShardSurvey>,
}

fn read(target: &Target) -> Result<Surveyed, TsdbError> {
    let directory = ReadOnlyDirectory::open(&target.path, target.force)?;
    let key = directory.check_key();
    let folders: Vec<_> = (0..directory.shards).map(|shard| directory.folders(shard)).collect();
    let shards = on_a_thread(|runtime| async move {
        let mut shards = Vec::new();
        for folders in &folders {
            shards.push(survey(&runtime, folders).await?);
        }
        Ok::<_, FileError>(shards)
    })??;
    Ok(Surveyed { directory, key, shards })
}
