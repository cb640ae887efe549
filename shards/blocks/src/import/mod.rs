//! Taking over blocks of another folder: a Prometheus' data directory, a snapshot. What a Prometheus has in logs
//! alone: [`logs`]; text: [`openmetrics`].
//!
//! Files are linked where both folders are on one file system, and copied otherwise. Both ways the other folder stays as it is.

mod gather;
mod logs;
mod openmetrics;
mod write;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use runtime::{Disk, Runtime};
use shard::frames::FileError;

pub use logs::{ImportedLogs, import_logs};
pub use openmetrics::import_openmetrics;
pub use write::MadeBlocks;

use crate::{
    block::{Block, map},
    error::{BlocksError, Damage},
    folder,
    set::look,
    stream_file::write_file,
    ulid::Ulid,
};

/// What became of the blocks of the other folder.
#[derive(Debug, Default)]
pub struct Imported {
    pub taken: Vec<Arc<Block>>,
    /// There already, by their names.
    pub known: Vec<Ulid>,
    /// Not taken, with what is wrong with them.
    pub refused: Vec<(PathBuf, BlocksError)>,
}

/// Takes over all blocks of a folder that are whole, durably. No server may run on `data`.
///
/// # Errors
/// If a folder can't be read, or a block can't be written; blocks that were taken before stay.
pub async fn import<R: Runtime>(runtime: &R, from: &Path, data: &Path) -> Result<Imported, BlocksError> {
    let found = look(runtime, from).await?;
    let disk = runtime.disk();
    disk.create_directory(data).await.map_err(FileError::new("create", data))?;
    let names = disk.list(data).await.map_err(FileError::new("list", data))?;
    let mut imported = Imported { refused: found.damaged, ..Imported::default() };
    for block in found.set.blocks {
        if names.contains(&block.ulid.to_string()) {
            imported.known.push(block.ulid);
            continue;
        }
        match check(&block) {
            Some(damage) => imported.refused.push((block.folder().to_owned(), damage.into())),
            None => {
                take(runtime, &block, data).await?;
                imported.taken.push(block);
            }
        }
    }
    disk.sync_directory(data).await.map_err(FileError::new("sync", data))?;
    Ok(imported)
}

fn check(block: &Block) -> Option<Damage> {
    block.verify().damage.into_iter().next()
}

async fn take<R: Runtime>(runtime: &R, block: &Block, data: &Path) -> Result<(), BlocksError> {
    let draft = folder::in_creation(data, block.ulid);
    folder::remove_folder(runtime, &draft).await?;
    put_files(runtime, block, &draft).await?;
    let path = folder::block(data, block.ulid);
    runtime.disk().rename(&draft, &path).await.map_err(FileError::new("rename", &draft))?;
    Ok(())
}

/// Puts a block's files into a new folder, as hard links where that is possible.
pub(crate) async fn put_files<R: Runtime>(runtime: &R, block: &Block, to: &Path) -> Result<(), BlocksError> {
    let disk = runtime.disk();
    for inner in [PathBuf::new(), PathBuf::from("chunks")] {
        let (from, to) = (block.folder().join(&inner), to.join(&inner));
        let names = match disk.list(&from).await {
            // A block of a Prometheus all of whose samples were deleted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            names => names.map_err(FileError::new("list", &from))?,
        };
        disk.create_directory(&to).await.map_err(FileError::new("create", &to))?;
        for name in names.iter().filter(|name| *name != "chunks" && !name.ends_with(".tmp")) {
            put_file(runtime, &from.join(name), &to.join(name)).await?;
        }
        disk.sync_directory(&to).await.map_err(FileError::new("sync", &to))?;
    }
    Ok(())
}

async fn put_file<R: Runtime>(runtime: &R, from: &Path, to: &Path) -> Result<(), BlocksError> {
    match runtime.disk().link(from, to).await {
        Ok(()) => Ok(()),
        Err(error) if folder::knows_no_link(&error) => {
            let bytes = map(runtime, from).await?;
            write_file(runtime, to.to_owned(), &bytes).await?;
            bytes.release_pages();
            Ok(())
        }
        Err(error) => Err(FileError::new("link", from)(error).into()),
    }
}
