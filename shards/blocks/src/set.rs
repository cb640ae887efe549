//! The set of blocks as readers see it, and how it is found at start.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use runtime::{Disk, Runtime};
use shard::frames::FileError;

use crate::{
    block::Block,
    error::BlocksError,
    folder::{self, Named},
    ulid::Ulid,
};

/// Blocks at one moment.
#[derive(Clone, Debug, Default)]
pub struct BlockSet {
    /// By first time, then by name.
    pub blocks: Vec<Arc<Block>>,
    /// What the shards hold before this time is in the blocks: a reader that has taken from the shards first and then looked here
    /// leaves it out.
    pub cut_before: Option<i64>,
}

/// The current set, shared with readers.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    current: Arc<Mutex<Arc<BlockSet>>>,
}

impl Blocks {
    pub fn current(&self) -> Arc<BlockSet> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn publish(&self, set: BlockSet) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
    }

    /// Puts blocks in the place of others, in one step for every reader.
    pub(crate) fn replace(&self, gone: &[Arc<Block>], new: impl IntoIterator<Item = Block>) {
        let current = self.current();
        let kept = current.blocks.iter().filter(|block| gone.iter().all(|other| other.ulid != block.ulid));
        let blocks = kept.cloned().chain(new.into_iter().map(Arc::new)).collect();
        self.publish(BlockSet::new(blocks, current.cut_before));
    }
}

impl BlockSet {
    /// `cut_before` never goes back, even when the block that it comes from is gone.
    pub(crate) fn new(mut blocks: Vec<Arc<Block>>, cut_before: Option<i64>) -> Self {
        blocks.sort_by_key(|block| (block.meta.min_time, block.ulid));
        let cuts = blocks.iter().filter_map(|block| block.meta.cut_before());
        let cut_before = cuts.max().max(cut_before);
        Self { blocks, cut_before }
    }

    pub fn bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.bytes).sum()
    }
}

/// What was found in a data directory.
pub struct Found {
    pub set: BlockSet,
    /// Blocks that can't be opened. They stay where they are.
    pub damaged: Vec<(PathBuf, BlocksError)>,
    /// Blocks that do not count any more and are still there.
    pub doomed: Vec<Ulid>,
}

/// Opens all blocks of a data directory, and removes what a crash has left of others.
pub(crate) async fn open<R: Runtime>(runtime: &R, data: &Path) -> Result<Found, BlocksError> {
    // The shards will forget what is in a block, so its name must not be in memory alone, as it is after a crash that came
    // between a rename and what makes it durable.
    runtime.disk().sync_directory(data).await.map_err(FileError::new("sync", data))?;
    let names = runtime.disk().list(data).await.map_err(FileError::new("list", data))?;
    for name in names.iter().filter(|name| matches!(folder::named(name), Named::Leftover)) {
        remove_leftover(runtime, &data.join(name)).await;
    }
    let found = open_named(runtime, data, &names).await;
    for (path, error) in &found.damaged {
        tracing::error!(
            block = %path.display(), %error,
            "a block can't be read: its samples are missing from answers; restore the file, or move the block's folder out of the \
             data directory"
        );
    }
    Ok(found)
}

/// Opens all blocks of a folder and changes nothing there.
///
/// # Errors
/// If the folder can't be listed.
pub async fn look<R: Runtime>(runtime: &R, data: &Path) -> Result<Found, BlocksError> {
    let names = runtime.disk().list(data).await.map_err(FileError::new("list", data))?;
    Ok(open_named(runtime, data, &names).await)
}

async fn open_named<R: Runtime>(runtime: &R, data: &Path, names: &[String]) -> Found {
    let (mut blocks, mut damaged) = (Vec::new(), Vec::new());
    for name in names {
        let Named::Block(ulid) = folder::named(name) else { continue };
        match Block::open(runtime, data, ulid).await {
            Ok(block) => blocks.push(Arc::new(block)),
            Err(error) => damaged.push((folder::block(data, ulid), error)),
        }
    }
    let doomed = take_replaced(&mut blocks);
    Found { set: BlockSet::new(blocks, None), damaged, doomed }
}

async fn remove_leftover<R: Runtime>(runtime: &R, path: &Path) {
    match folder::remove_folder(runtime, path).await {
        Ok(()) => tracing::info!(path = %path.display(), "removed what an interrupted job has left"),
        Err(error) => tracing::warn!(path = %path.display(), %error, "what an interrupted job has left stays"),
    }
}

/// A crash may come after a compacted block got its name and before those that it replaces lost theirs.
fn take_replaced(blocks: &mut Vec<Arc<Block>>) -> Vec<Ulid> {
    let parents: Vec<String> = blocks
        .iter()
        .flat_map(|block| block.meta.compaction.parents.iter().map(|parent| parent.ulid.clone()))
        .collect();
    let replaced = |block: &Block| parents.contains(&block.ulid.to_string()) || block.meta.compaction.deletable;
    blocks.extract_if(.., |block| replaced(block)).map(|block| block.ulid).collect()
}
