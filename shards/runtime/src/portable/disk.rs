//! Files through helper threads: one for what an acknowledgement waits for, one for everything else, so that syncing a large
//! file holds up no commit.

use std::{io, path::Path, rc::Rc, sync::Arc};

use crate::{
    AlignedBuffer, Disk, DurableWay, File, FileMap, OpenMode, ThreadConfig,
    files::{self, BlockingFile},
    worker::Worker,
};

/// See [`super::run`].
#[derive(Clone)]
pub struct PortableDisk {
    workers: Rc<Workers>,
    durable: DurableWay,
}

/// The helper threads of one runtime.
pub(super) struct Workers {
    log: Worker,
    files: Worker,
}

impl Workers {
    pub(super) fn start(config: &ThreadConfig) -> io::Result<Self> {
        let start = |what| {
            let config = config.clone();
            Worker::start(&format!("{}-{what}", config.name), move || config.give_way())
        };
        Ok(Self { log: start("log")?, files: start("io")? })
    }
}

impl PortableDisk {
    pub(super) fn new(workers: Workers, durable: DurableWay) -> Self {
        Self { workers: Rc::new(workers), durable }
    }

    async fn run<T: Send + 'static>(
        &self,
        path: &Path,
        call: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let path = path.to_owned();
        self.workers.files.run(move || call(&path)).await
    }
}

impl Disk for PortableDisk {
    type File = PortableFile;

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<PortableFile> {
        let way = self.durable;
        let file = self.run(path, move |path| BlockingFile::open(path, mode, way)).await?;
        Ok(PortableFile { file: Arc::new(file), workers: Rc::clone(&self.workers), durable: mode.is_durable() })
    }

    async fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.run(path, files::create_directory).await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.run(path, files::list).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let to = to.to_owned();
        self.run(from, move |from| files::rename(from, &to)).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.run(path, files::remove).await
    }

    async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.run(path, files::sync_directory).await
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let to = to.to_owned();
        self.run(from, move |from| files::link(from, &to)).await
    }

    async fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.run(path, files::remove_directory).await
    }

    async fn map(&self, path: &Path) -> io::Result<FileMap> {
        self.run(path, files::map).await
    }
}

/// See [`PortableDisk`].
pub struct PortableFile {
    file: Arc<BlockingFile>,
    workers: Rc<Workers>,
    durable: bool,
}

impl PortableFile {
    fn worker(&self) -> &Worker {
        if self.durable { &self.workers.log } else { &self.workers.files }
    }
}

impl File for PortableFile {
    async fn write_at(&self, buffer: AlignedBuffer, offset: u64) -> (io::Result<()>, AlignedBuffer) {
        let file = Arc::clone(&self.file);
        self.worker().run(move || (file.write_at(&buffer, offset), buffer)).await
    }

    async fn read_at(&self, mut buffer: AlignedBuffer, offset: u64) -> (io::Result<usize>, AlignedBuffer) {
        let file = Arc::clone(&self.file);
        self.worker().run(move || (file.read_at(&mut buffer, offset), buffer)).await
    }

    async fn sync(&self) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        self.worker().run(move || file.sync()).await
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        // Not on the log's thread: filling the next segment must not hold up the commits to this one.
        self.workers.files.run(move || file.allocate(bytes)).await
    }

    async fn set_length(&self, bytes: u64) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        self.worker().run(move || file.set_length(bytes)).await
    }

    async fn length(&self) -> io::Result<u64> {
        let file = Arc::clone(&self.file);
        self.workers.files.run(move || file.length()).await
    }
}
