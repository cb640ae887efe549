//! Snapshots: all blocks as hard links, and what the shards hold as blocks of its own, in a folder that a Prometheus can be started on.
//!
//! The folder is made under another name, so that one cut short by a crash is never taken for whole.

use std::path::Path;

use runtime::{Disk, Runtime};
use shard::frames::FileError;
use tsdb::out_of_order::Part;

use crate::{
    cut::{self, Cutter, Purpose},
    desk::Desk,
    error::BlocksError,
    folder,
    import::put_files,
    out_of_order::Found,
    ulid::UlidMaker,
};

const FOLDER: &str = "snapshots";
const IN_CREATION: &str = ".tmp-for-creation";

pub(crate) struct Snapshot<'a, R: Runtime> {
    pub(crate) desk: &'a Desk<R>,
    pub(crate) ulids: &'a mut UlidMaker,
    pub(crate) name: String,
    pub(crate) skip_head: bool,
}

impl<R: Runtime> Snapshot<'_, R> {
    /// Makes the snapshot; returns its name.
    pub(crate) async fn run(mut self) -> Result<String, BlocksError> {
        let all = self.desk.data.join(FOLDER);
        let draft = all.join(format!("{}{IN_CREATION}", self.name));
        let disk = self.desk.runtime.disk();
        for path in [&all, &draft] {
            disk.create_directory(path).await.map_err(FileError::new("create", path))?;
        }
        let filled = self.fill(&draft).await;
        if filled.is_err()
            && let Err(error) = remove(&self.desk.runtime, &draft).await
        {
            tracing::warn!(path = %draft.display(), %error, "an unfinished snapshot stays until the next start");
        }
        filled?;
        disk.sync_directory(&draft).await.map_err(FileError::new("sync", &draft))?;
        let path = all.join(&self.name);
        disk.rename(&draft, &path).await.map_err(FileError::new("rename", &draft))?;
        for path in [&all, &self.desk.data] {
            disk.sync_directory(path).await.map_err(FileError::new("sync", path))?;
        }
        Ok(self.name)
    }

    async fn fill(&mut self, into: &Path) -> Result<(), BlocksError> {
        let set = self.desk.service.blocks.current();
        for block in &set.blocks {
            put_files(&self.desk.runtime, block, &folder::block(into, block.ulid)).await?;
        }
        if self.skip_head {
            return Ok(());
        }
        let shared = self.desk.handle.shared().clone();
        // What was cut already and not forgotten yet is in the blocks.
        for window in cut::held(shared.head_min_time(), shared.head_max_time(), set.cut_before) {
            let ulid = self.ulids.make(self.desk.runtime.wall_clock_ms(), self.desk.runtime.monotonic().as_nanos());
            let lost = |damage: &crate::error::Damage| tracing::error!(%damage, "the snapshot goes without a chunk");
            Cutter { desk: self.desk, into, window, ulid, purpose: Purpose::Copy, lost: &lost }.run().await?;
        }
        for window in Found::windows(self.desk, Part::All).await? {
            let found = Found::in_shards(self.desk, Part::All, window).await?;
            let ulid = self.ulids.make(self.desk.runtime.wall_clock_ms(), self.desk.runtime.monotonic().as_nanos());
            found.write(self.desk, into, window, ulid, Vec::new).await?;
        }
        Ok(())
    }
}

/// Removes snapshots that a crash has left unfinished.
pub(crate) async fn remove_leftovers<R: Runtime>(runtime: &R, data: &Path) {
    let all = data.join(FOLDER);
    let names = runtime.disk().list(&all).await.unwrap_or_default();
    for name in names.iter().filter(|name| name.ends_with(IN_CREATION)) {
        let path = all.join(name);
        match remove(runtime, &path).await {
            Ok(()) => tracing::info!(path = %path.display(), "removed an unfinished snapshot"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "an unfinished snapshot stays"),
        }
    }
}

async fn remove<R: Runtime>(runtime: &R, path: &Path) -> Result<(), FileError> {
    let disk = runtime.disk();
    for name in disk.list(path).await.map_err(FileError::new("list", path))? {
        folder::remove_folder(runtime, &path.join(name)).await?;
    }
    disk.remove_directory(path).await.map_err(FileError::new("remove", path))
}
