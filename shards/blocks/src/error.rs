//! What can go wrong with blocks. Every text names the file.

use std::path::PathBuf;

use shard::{Refusal, frames::FileError};
use tsdb::block::{BlockError, index::IndexLimit};
use wire::openmetrics::ParseError;

#[derive(Debug, thiserror::Error)]
pub enum BlocksError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Damage(#[from] Damage),
    #[error("the shards can't give what a block needs: {0}")]
    Shards(#[from] Refusal),
    #[error("{}: {limit}", path.display())]
    Limit { path: PathBuf, limit: IndexLimit },
    #[error("{}: {error}", path.display())]
    Text { path: PathBuf, error: ParseError },
    #[error("{deletions} deletions have come since the block under way was begun: try again when it is done")]
    Busy { deletions: usize },
    #[error("the server is starting: its shards are still replaying their logs")]
    Starting,
    #[error("the server is stopping")]
    Stopping,
}

/// Something in a file that should not be so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged: {what}", path.display())]
pub struct Damage {
    pub path: PathBuf,
    pub what: DamageKind,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error("{0}")]
    Meta(String),
    #[error("the samples of a series lie outside of the times that its index gives for them")]
    Times,
    #[error("the series {0} does not come behind the one before it")]
    SeriesOrder(String),
    #[error("the series listed under {0} are not those that have this label")]
    Listed(String),
    #[error("segment {0} of its chunks is missing")]
    SegmentMissing(u32),
    #[error("the chunk at byte {offset}: {what}")]
    Chunk { offset: u64, what: String },
}

impl BlocksError {
    /// Whether the disk, or what the file system grants us of it, is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::File(error) if error.is_disk_full())
    }
}
