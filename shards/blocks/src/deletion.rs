//! Deleting from blocks: which times of which series, and writing that down beside a block's files.
//!
//! The tombstones' file is replaced as a whole, and a block's other files stay as they are, so a reader, a hard link and a crash each
//! see the one from before or the one from after.

use std::{path::Path, sync::Arc};

use model::Matcher;
use runtime::{Disk, FileMap, Runtime};
use shard::frames::FileError;
use tsdb::{
    block::{
        BlockError, Tombstones,
        index::{IndexReader, SeriesEntry},
    },
    select::TimeRange,
};

use crate::{
    block::Block,
    error::{BlocksError, Damage},
    meta::Meta,
    stream_file::write_file,
};

/// What is to be deleted: the samples in a range of every series that satisfies all matchers of one of the sets.
#[derive(Clone, Debug)]
pub struct Deletion {
    pub match_sets: Vec<Arc<[Matcher]>>,
    pub range: TimeRange,
}

impl Deletion {
    /// Adds what this deletes from a block, of which only the index is needed. `false`: nothing that was not deleted already.
    pub(crate) fn add_to(&self, index: &IndexReader<FileMap>, tombstones: &mut Tombstones) -> Result<bool, BlockError> {
        let mut entry = SeriesEntry::default();
        let mut is_more = false;
        for matchers in &self.match_sets {
            for reference in index.select(matchers)? {
                index.series(reference, &mut entry)?;
                let Some(times) = self.times_in(&entry) else { continue };
                let reference = u64::from(reference);
                if tombstones.get(reference).is_none_or(|deleted| !deleted.covers(times)) {
                    tombstones.add(reference, times);
                    is_more = true;
                }
            }
        }
        Ok(is_more)
    }

    /// The part of the range that a series has chunks for, from its first sample to its last one.
    fn times_in(&self, entry: &SeriesEntry) -> Option<TimeRange> {
        let (first, last) = (entry.chunks.first()?, entry.chunks.last()?);
        let reaches = |min_time: i64, max_time: i64| max_time >= self.range.min_time && min_time <= self.range.max_time;
        entry.chunks.iter().any(|chunk| reaches(chunk.min_time, chunk.max_time)).then(|| TimeRange {
            min_time: self.range.min_time.max(first.min_time),
            max_time: self.range.max_time.min(last.max_time),
        })
    }
}

/// What deletions take from a block that is being made.
pub(crate) fn tombstones_of(
    deletions: &[Deletion],
    index: &IndexReader<FileMap>,
    path: &Path,
) -> Result<Tombstones, BlocksError> {
    let mut tombstones = Tombstones::default();
    for deletion in deletions {
        let added = deletion.add_to(index, &mut tombstones);
        added.map_err(|what| Damage { path: path.to_owned(), what: what.into() })?;
    }
    Ok(tombstones)
}

impl Block {
    /// Deletes from the block, durably; returns it as it is then. `None`: there was nothing to delete.
    pub(crate) async fn delete<R: Runtime>(
        &self,
        runtime: &R,
        deletion: &Deletion,
    ) -> Result<Option<Self>, BlocksError> {
        if !self.overlaps(deletion.range) {
            return Ok(None);
        }
        let mut tombstones = self.tombstones().clone();
        let damage = |what: BlockError| Damage { path: self.folder().join("index"), what: what.into() };
        if !deletion.add_to(self.index(), &mut tombstones).map_err(damage)? {
            return Ok(None);
        }
        replace_file(runtime, &self.folder().join("tombstones"), &tombstones.encode()).await?;
        // Counted from the file itself when a block is opened: what stands in `meta.json` is for others.
        let mut meta: Meta = self.meta.clone();
        meta.stats.num_tombstones = tombstones.count() as u64;
        replace_file(runtime, &self.folder().join("meta.json"), &meta.encode()).await?;
        Ok(Some(self.with_tombstones(meta, tombstones)))
    }
}

/// Writes a file under another name and gives it this one, durably.
async fn replace_file<R: Runtime>(runtime: &R, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let draft = path.with_extension("tmp");
    let disk = runtime.disk();
    // A draft that a failed attempt has left is in the way of a new file.
    match disk.remove(&draft).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(FileError::new("remove", &draft)(error));
        }
        _ => {}
    }
    write_file(runtime, draft.clone(), bytes).await?;
    disk.rename(&draft, path).await.map_err(FileError::new("rename", &draft))?;
    let folder = path.parent().unwrap_or(path);
    disk.sync_directory(folder).await.map_err(FileError::new("sync", folder))
}
