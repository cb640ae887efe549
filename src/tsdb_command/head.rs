//! What the shards of a stopped server hold and no block has yet: their files are copied, opened as a start would open them, and put into blocks of a
//! snapshot. The directory itself is only read.

use std::{fs, io, path::Path, sync::Arc};

use blocks::Block;
use shard::{
    directory::{DirectoryError, ReadOnlyDirectory},
    names::ShardFolders,
};

use super::{TsdbError, folder};
use crate::local_storage::{LocalStorage, Scratch};

/// Blocks of what was in no block, which are there as long as this is.
pub(super) struct HeadBlocks {
    pub(super) blocks: Vec<Arc<Block>>,
    _scratch: Scratch,
}

/// `None` if a server runs there.
pub(super) fn read(path: &Path) -> Result<Option<HeadBlocks>, TsdbError> {
    let directory = match ReadOnlyDirectory::open(path, false) {
        Err(DirectoryError::InUse(_)) => return Ok(None),
        opened => opened?,
    };
    let scratch = Scratch::new("tsdb");
    let copied = copy(&directory, scratch.path());
    copied.map_err(|source| TsdbError::Scratch { path: scratch.path().to_owned(), source })?;
    let shards = directory.shards;
    // The copy is all that is needed; a server may start.
    drop(directory);
    let storage = LocalStorage::open(scratch.path(), shards)?;
    let name = storage.block_on(storage.service().snapshot("head".to_owned(), false));
    storage.stop();
    let blocks = folder::open(&scratch.path().join("snapshots").join(name?))?.blocks;
    Ok(Some(HeadBlocks { blocks, _scratch: scratch }))
}

fn copy(directory: &ReadOnlyDirectory, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for name in ["FORMAT", "identity.key"] {
        fs::copy(directory.path.join(name), to.join(name))?;
    }
    for shard in 0..directory.shards {
        let (from, copy) = (directory.folders(shard), ShardFolders::new(to, shard));
        copy_folder(&from.root, &copy.root)?;
        // Segments have numbers of their own, wherever they are.
        for log in from.logs() {
            copy_folder(log, &copy.logs()[0])?;
        }
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
