//! A file written from front to back, of any length.

use std::path::PathBuf;

use runtime::{AlignedBuffer, Disk, File, OpenMode, Runtime, SECTOR_BYTES};
use shard::frames::FileError;

/// Bytes that are written at once.
const PIECE_BYTES: usize = 1 << 20;
/// Bytes after which what was written is made durable. Left to the end, gigabytes of it would stand before the shards' chunks in the
/// kernel's way to the disk, until writes are refused.
const SYNC_BYTES: u64 = 16 << 20;

pub(crate) struct StreamFile<R: Runtime> {
    file: <R::Disk as Disk>::File,
    path: PathBuf,
    buffer: AlignedBuffer,
    written: u64,
}

impl<R: Runtime> StreamFile<R> {
    pub(crate) async fn create(runtime: &R, path: PathBuf) -> Result<Self, FileError> {
        let file = runtime.disk().open(&path, OpenMode::Create).await.map_err(FileError::new("create", &path))?;
        Ok(Self { file, path, buffer: AlignedBuffer::new(), written: 0 })
    }

    pub(crate) async fn push(&mut self, mut bytes: &[u8]) -> Result<(), FileError> {
        while self.buffer.len() + bytes.len() >= PIECE_BYTES {
            let (now, later) = bytes.split_at(PIECE_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(now);
            self.write().await?;
            bytes = later;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes the rest and makes the content durable; returns the length. The name is for the caller to make durable.
    pub(crate) async fn finish(mut self) -> Result<u64, FileError> {
        let length = self.written + self.buffer.len() as u64;
        if !self.buffer.is_empty() {
            self.buffer.pad_to_sector();
            self.write().await?;
        }
        if !length.is_multiple_of(SECTOR_BYTES as u64) {
            self.file.set_length(length).await.map_err(FileError::new("set the length of", &self.path))?;
        }
        self.sync().await?;
        Ok(length)
    }

    async fn write(&mut self) -> Result<(), FileError> {
        let length = self.buffer.len() as u64;
        let (written, buffer) = self.file.write_at(std::mem::take(&mut self.buffer), self.written).await;
        self.buffer = buffer;
        written.map_err(FileError::new("write", &self.path))?;
        self.buffer.clear();
        self.written += length;
        if self.written.is_multiple_of(SYNC_BYTES) {
            self.sync().await?;
        }
        Ok(())
    }

    async fn sync(&self) -> Result<(), FileError> {
        self.file.sync().await.map_err(FileError::new("sync", &self.path))
    }
}

/// Writes a whole file durably, but for its name.
pub(crate) async fn write_file<R: Runtime>(runtime: &R, path: PathBuf, bytes: &[u8]) -> Result<u64, FileError> {
    let mut file = StreamFile::create(runtime, path).await?;
    file.push(bytes).await?;
    file.finish().await
}
