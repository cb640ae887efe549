//! Shards and blocks without a server around them: for commands that read a directory, or need a storage of their own for a while.

use std::{fs, io, path::Path, path::PathBuf};

use blocks::{
    BlocksError, Retention,
    service::{self, Running},
};
use runtime::placement::Placement;
use shard::{Backend, Config, DataPlane, Handle, ShardConfig, StartError, ingest::Excess, names::LogDirectories};
use wire::remote_write::DecodeLimits;

use crate::query::{source::StorageSource, storage::Storage};

/// A folder that goes when nobody needs it any more.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A name in the folder for temporary files that nobody else uses; the folder is made by whoever writes there.
    pub(crate) fn new(what: &str) -> Self {
        Self(std::env::temp_dir().join(format!("millrace-{what}-{}", std::process::id())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                eprintln!("millrace: {} is left behind: {error}", self.0.display());
            }
            _ => {}
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalStorageError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Blocks(#[from] BlocksError),
    #[error("start a thread: {0}")]
    Thread(io::Error),
}

/// An open storage. Dropping it leaves its threads; [`Self::stop`] ends them.
pub(crate) struct LocalStorage {
    data_plane: DataPlane,
    blocks: Running,
    executor: tokio::runtime::Runtime,
}

/// For queries as large as a machine allows.
const BYTES_MAX: usize = usize::MAX;

impl LocalStorage {
    /// Opens a directory as a start does; one that is not there is made. Samples of any age are taken, late ones too.
    pub(crate) fn open(path: &Path, shards: usize) -> Result<Self, LocalStorageError> {
        let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let executor = executor.map_err(LocalStorageError::Thread)?;
        let config = Config {
            directory: path.to_owned(),
            placement: Placement { shards: vec![0; shards], control: vec![0] },
            logs: LogDirectories::default(),
            backend: Backend::Portable,
            ingest_listen: None,
            series_max: u64::MAX,
            new_series_per_minute_max: 0,
            exemplars_max: 0,
            out_of_order_window_ms: i64::MAX / 2,
            excess: Excess::Refuse,
            decode_limits: DecodeLimits::default(),
            shard: ShardConfig::default(),
        };
        let mut data_plane = DataPlane::start(config)?;
        let service = service::Config {
            data: path.to_owned(),
            key: data_plane.directory().key,
            retention: Retention::default(),
            look: service::LOOK,
            series_per_piece: service::SERIES_PER_PIECE,
        };
        let mut blocks = service::start(service, data_plane.handle()).map_err(LocalStorageError::Thread)?;
        executor.block_on(async {
            blocks.opened().await?;
            Ok::<_, LocalStorageError>(data_plane.opened().await?)
        })?;
        Ok(Self { data_plane, blocks, executor })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.data_plane.handle()
    }

    pub(crate) fn key(&self) -> model::IdentityKey {
        self.data_plane.directory().key
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.executor.block_on(future)
    }

    /// What the PromQL engine reads from.
    pub(crate) fn source(&self) -> StorageSource {
        let storage = Storage::new(&self.data_plane, self.blocks.service().clone(), BYTES_MAX);
        storage.source(self.executor.handle().clone())
    }

    pub(crate) fn service(&self) -> &blocks::Service {
        self.blocks.service()
    }

    pub(crate) fn stop(self) {
        self.blocks.stop();
        if let Err(error) = self.executor.block_on(self.data_plane.shutdown()) {
            eprintln!("millrace: the shards did not stop cleanly: {error}");
        }
    }
}
