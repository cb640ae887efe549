//! `millrace tsdb import`

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use clap::Args;
use runtime::{DurableWay, ThreadConfig, portable};
use shard::directory::ReadOnlyDirectory;

use super::TsdbError;

#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// The folder with blocks: a Prometheus' data directory, or a snapshot
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// The data directory, of which no server runs; it is made if it is not there
    #[arg(value_name = "PATH", default_value = "data/")]
    path: PathBuf,
}

pub(super) fn run(args: &ImportArgs, out: &mut dyn Write) -> Result<(), TsdbError> {
    // As long as this is held no server can start.
    let _directory = match args.path.join("FORMAT").exists() {
        true => Some(ReadOnlyDirectory::open(&args.path, false)?),
        false => None,
    };
    let config = ThreadConfig { name: "tsdb".to_owned(), cpu: None, durable: DurableWay::WriteThenFlush, nice: 0 };
    let (from, path) = (args.from.clone(), args.path.clone());
    let thread = portable::run(config, |runtime| async move { ::blocks::import(&runtime, &from, &path).await });
    let imported =
        thread.map_err(TsdbError::Thread)?.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let mut lines: Vec<String> = imported.taken.iter().map(|block| format!("{}: imported", block.ulid)).collect();
    lines.extend(imported.known.iter().map(|ulid| format!("{ulid}: there already")));
    lines.extend(imported.refused.iter().map(|(path, error)| format!("{}: not imported: {error}", path.display())));
    lines.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(TsdbError::Output)?;
    if has_log(&args.from) {
        eprintln!(
            "millrace: {} has a write-ahead log too, whose samples are not in blocks and are not imported: have the Prometheus make a \
             snapshot (POST /api/v1/admin/tsdb/snapshot, with --web.enable-admin-api) and import that, which holds them",
            args.from.display()
        );
    }
    match imported.refused.len() {
        0 => Ok(()),
        count => Err(TsdbError::NotImported { path: args.from.clone(), count }),
    }
}

fn has_log(folder: &Path) -> bool {
    fs::read_dir(folder.join("wal")).is_ok_and(|mut names| names.next().is_some())
}
