//! Files of the io_uring backend: blocking calls on the executor's helper threads.
//!
//! Not through the ring: glommio polls its ring for direct I/O, so a shard that waits for the disk burns its core for as long as
//! the disk takes. Measured in `docs/decisions/2026-11-22-log-commits.md`.

use std::{io, path::Path, sync::Arc};

use crate::{
    AlignedBuffer, Disk, DurableWay, File, FileMap, OpenMode,
    files::{self, BlockingFile},
};

/// See [`super::run`].
#[derive(Clone, Debug)]
pub struct GlommioDisk {
    durable: DurableWay,
}

impl GlommioDisk {
    pub(super) const fn new(durable: DurableWay) -> Self {
        Self { durable }
    }
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    glommio::executor().spawn_blocking(call).await
}

async fn on_path<T: Send + 'static>(
    path: &Path,
    call: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let path = path.to_owned();
    blocking(move || call(&path)).await
}

impl Disk for GlommioDisk {
    type File = GlommioFile;

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<GlommioFile> {
        let way = self.durable;
        on_path(path, move |path| BlockingFile::open(path, mode, way)).await.map(|file| GlommioFile(Arc::new(file)))
    }

    async fn create_directory(&self, path: &Path) -> io::Result<()> {
        on_path(path, files::create_directory).await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        on_path(path, files::list).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let to = to.to_owned();
        on_path(from, move |from| files::rename(from, &to)).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        on_path(path, files::remove).await
    }

    async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        on_path(path, files::sync_directory).await
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let to = to.to_owned();
        on_path(from, move |from| files::link(from, &to)).await
    }

    async fn remove_directory(&self, path: &Path) -> io::Result<()> {
        on_path(path, files::remove_directory).await
    }

    async fn map(&self, path: &Path) -> io::Result<FileMap> {
        on_path(path, files::map).await
    }
}

/// See [`GlommioDisk`].
pub struct GlommioFile(Arc<BlockingFile>);

impl File for GlommioFile {
    async fn write_at(&self, buffer: AlignedBuffer, offset: u64) -> (io::Result<()>, AlignedBuffer) {
        let file = Arc::clone(&self.0);
        blocking(move || (file.write_at(&buffer, offset), buffer)).await
    }

    async fn read_at(&self, mut buffer: AlignedBuffer, offset: u64) -> (io::Result<usize>, AlignedBuffer) {
        let file = Arc::clone(&self.0);
        blocking(move || (file.read_at(&mut buffer, offset), buffer)).await
    }

    async fn sync(&self) -> io::Result<()> {
        let file = Arc::clone(&self.0);
        blocking(move || file.sync()).await
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        let file = Arc::clone(&self.0);
        blocking(move || file.allocate(bytes)).await
    }

    async fn set_length(&self, bytes: u64) -> io::Result<()> {
        let file = Arc::clone(&self.0);
        blocking(move || file.set_length(bytes)).await
    }

    async fn length(&self) -> io::Result<u64> {
        let file = Arc::clone(&self.0);
        blocking(move || file.length()).await
    }
}
