//! Carries sealed chunks from the head to chunk files.
//!
//! Chunk files are synced when a checkpoint needs them, not before: until then the log has their samples.

use std::{cell::Cell, path::PathBuf, rc::Rc, sync::Arc};

use runtime::{AlignedBuffer, Disk, File, OpenMode, Runtime};
use tsdb::chunk_file::{Extent, file_header};

use crate::{frames::FileError, names::ShardFolders};

pub(crate) struct ChunkWriter<R: Runtime> {
    runtime: R,
    folders: ShardFolders,
    shard: u16,
    /// Files with writes that are not synced; the last one is being written.
    unsynced: Vec<(u32, Rc<ChunkFile<R>>)>,
    pub(crate) device_bytes: Cell<u64>,
    /// A sync failed. The kernel forgets then that pages were dirty, so a later success proves nothing: no checkpoint is made
    /// from these files any more, and the log keeps their samples until a restart writes the chunks anew.
    sync_failed: bool,
}

struct ChunkFile<R: Runtime> {
    file: <R::Disk as Disk>::File,
    path: PathBuf,
}

impl<R: Runtime> ChunkWriter<R> {
    pub(crate) fn new(runtime: R, folders: ShardFolders, shard: usize) -> Self {
        Self {
            runtime,
            folders,
            shard: shard as u16,
            unsynced: Vec::new(),
            device_bytes: Cell::new(0),
            sync_failed: false,
        }
    }

    pub(crate) async fn write(&mut self, extent: &Arc<Extent>) -> Result<(), FileError> {
        let file = self.file(extent.file).await?;
        let (written, _) = file.file.write_at(AlignedBuffer::from(&extent.bytes[..]), extent.offset).await;
        written.map_err(FileError::new("write", &file.path))?;
        self.device_bytes.set(self.device_bytes.get() + extent.bytes.len() as u64);
        Ok(())
    }

    /// Makes everything written so far durable.
    pub(crate) async fn sync(&mut self) -> Result<(), FileError> {
        for (_, file) in &self.unsynced {
            if self.sync_failed {
                let again =
                    std::io::Error::other("an earlier sync failed, so a later one proves nothing; restart the server");
                return Err(FileError::new("sync", &file.path)(again));
            }
            let synced = file.file.sync().await.map_err(FileError::new("sync", &file.path));
            self.sync_failed = synced.is_err();
            synced?;
        }
        let keep = self.unsynced.len().saturating_sub(1);
        self.unsynced.drain(..keep);
        Ok(())
    }

    async fn file(&mut self, number: u32) -> Result<Rc<ChunkFile<R>>, FileError> {
        if let Some((_, file)) = self.unsynced.iter().find(|(have, _)| *have == number) {
            return Ok(file.clone());
        }
        let path = self.folders.chunk_file(number);
        let disk = self.runtime.disk();
        let file = disk.open(&path, OpenMode::Create).await.map_err(FileError::new("create", &path))?;
        let prepared = async {
            let (written, _) = file.write_at(AlignedBuffer::from(&file_header(self.shard, number)[..]), 0).await;
            written.map_err(FileError::new("write", &path))?;
            disk.sync_directory(&self.folders.chunks).await.map_err(FileError::new("sync", &self.folders.chunks))
        };
        if let Err(error) = prepared.await {
            // So that the next attempt can create it again.
            if let Err(removing) = disk.remove(&path).await {
                tracing::warn!(path = %path.display(), error = %removing, "an unusable chunk file stays behind");
            }
            return Err(error);
        }
        let file = Rc::new(ChunkFile { file, path });
        self.unsynced.push((number, file.clone()));
        Ok(file)
    }
}
