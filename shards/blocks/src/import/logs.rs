//! The write-ahead logs of a Prometheus, made into blocks: what it has not put into blocks itself.
//!
//! The log (`wal`) is its newest checkpoint and the segments behind that; it has every sample of the head, so the head's chunk files
//! (`chunks_head`) are not asked. The out-of-order log (`wbl`) has no checkpoint. What is in both a log and a block is left to the block, as
//! Prometheus' replay does.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use runtime::{Disk, Runtime};
use shard::frames::FileError;
use tsdb::prometheus_wal::{Records, SegmentFault, decode};

use super::{
    gather::{Gathered, Rule},
    write::{self, MadeBlocks},
};
use crate::{
    block::{Block, map},
    error::BlocksError,
    set::look,
};

/// What became of the logs of the other folder.
#[derive(Debug, Default)]
pub struct ImportedLogs {
    pub made: MadeBlocks,
    /// How many things were left out, by what they are.
    pub left_out: BTreeMap<&'static str, u64>,
    /// Files with what is wrong in them. What is behind it in the same file is lost; other files are not.
    pub damage: Vec<(PathBuf, String)>,
    /// The last segment ends inside a record, as a crash leaves it.
    pub torn: Option<PathBuf>,
}

/// Makes blocks of the logs in a Prometheus' data directory, durably. Neither it nor a server on `data` may run.
///
/// # Errors
/// If a folder can't be read, or a block can't be written; blocks that were made before stay.
pub async fn import_logs<R: Runtime>(runtime: &R, from: &Path, data: &Path) -> Result<ImportedLogs, BlocksError> {
    let mut imported = ImportedLogs::default();
    let mut gathered = Gathered::default();
    let min_time = end_of_blocks(runtime, from).await?;
    let log = log_files(runtime, &from.join("wal")).await?;
    let unordered = segments(runtime, &from.join("wbl")).await?.into_iter().map(|(_, path)| path).collect();
    for (files, rule) in [(log, Rule::InOrder { min_time }), (unordered, Rule::Any)] {
        let files: Vec<PathBuf> = files;
        for (at, path) in files.iter().enumerate() {
            read(runtime, path, at + 1 == files.len(), rule, &mut gathered, &mut imported).await?;
        }
    }
    gathered.finish();
    imported.made = write::write(runtime, data, &gathered).await?;
    imported.left_out = gathered.left_out;
    Ok(imported)
}

/// Samples in order before this time are in blocks; those of blocks made of out-of-order samples say nothing of others.
async fn end_of_blocks<R: Runtime>(runtime: &R, from: &Path) -> Result<i64, BlocksError> {
    let found = look(runtime, from).await?;
    let in_order = |block: &&Arc<Block>| block.meta.compaction.hints.iter().all(|hint| hint != "from-out-of-order");
    Ok(found.set.blocks.iter().filter(in_order).map(|block| block.meta.max_time).max().unwrap_or(i64::MIN))
}

/// What in a folder is named by a number behind this prefix, by number; nothing if the folder is not there.
async fn numbered<R: Runtime>(runtime: &R, folder: &Path, prefix: &str) -> Result<Vec<(u64, PathBuf)>, BlocksError> {
    let names = match runtime.disk().list(folder).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.map_err(FileError::new("list", folder))?,
    };
    let of_name = |name: &String| Some((name.strip_prefix(prefix)?.parse().ok()?, folder.join(name)));
    let mut found: Vec<(u64, PathBuf)> = names.iter().filter_map(of_name).collect();
    found.sort_unstable();
    Ok(found)
}

async fn segments<R: Runtime>(runtime: &R, folder: &Path) -> Result<Vec<(u64, PathBuf)>, BlocksError> {
    numbered(runtime, folder, "").await
}

/// The files of the log in the order in which they are read.
async fn log_files<R: Runtime>(runtime: &R, folder: &Path) -> Result<Vec<PathBuf>, BlocksError> {
    let checkpoints = numbered(runtime, folder, "checkpoint.").await?;
    let mut files = Vec::new();
    let mut first = 0;
    if let Some((number, checkpoint)) = checkpoints.last() {
        files.extend(segments(runtime, checkpoint).await?.into_iter().map(|(_, path)| path));
        first = number + 1;
    }
    let rest = segments(runtime, folder).await?;
    files.extend(rest.into_iter().filter(|(number, _)| *number >= first).map(|(_, path)| path));
    Ok(files)
}

async fn read<R: Runtime>(
    runtime: &R,
    path: &Path,
    is_last: bool,
    rule: Rule,
    gathered: &mut Gathered,
    imported: &mut ImportedLogs,
) -> Result<(), BlocksError> {
    let bytes = map(runtime, path).await?;
    let mut records = Records::new(&bytes);
    while let Some(record) = records.next() {
        match record {
            Ok((offset, record)) => {
                if let Err(error) = decode(record, |entry| gathered.add(entry, rule)) {
                    imported.damage.push((path.to_owned(), format!("{error}, in the record at byte {offset}")));
                }
            }
            Err(error) if is_last && error.what == SegmentFault::Torn => imported.torn = Some(path.to_owned()),
            Err(error) => imported.damage.push((path.to_owned(), error.to_string())),
        }
    }
    bytes.release_pages();
    Ok(())
}
