//! What the shards of a stopped server hold and no block has yet: their files are copied, opened as a start would open them, and put into blocks of a
//! snapshot. The directory itself is only read.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use blocks::{
    Block, Retention,
    service::{self, Running},
};
use runtime::placement::Placement;
use shard::{
    Backend, Config, DataPlane, ShardConfig,
    directory::{DirectoryError, ReadOnlyDirectory},
    ingest::Excess,
    names::LogDirectories,
};
use wire::remote_write::DecodeLimits;

use super::{TsdbError, folder};

/// A folder that goes when nobody needs it any more.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("millrace: {} is left behind: {error}", self.0.display());
        }
    }
}

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
    let scratch = Scratch(std::env::temp_dir().join(format!("millrace-tsdb-{}", std::process::id())));
    let copied = copy(&directory, &scratch.0);
    copied.map_err(|source| TsdbError::Scratch { path: scratch.0.clone(), source })?;
    let shards = directory.shards;
    // The copy is all that is needed; a server may start.
    drop(directory);
    let name = snapshot(&scratch.0, shards)?;
    let blocks = folder::open(&scratch.0.join("snapshots").join(name))?.blocks;
    Ok(Some(HeadBlocks { blocks, _scratch: scratch }))
}

fn copy(directory: &ReadOnlyDirectory, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for name in ["FORMAT", "identity.key"] {
        fs::copy(directory.path.join(name), to.join(name))?;
    }
    for shard in 0..directory.shards {
        let (from, copy) = (directory.folders(shard), shard::names::ShardFolders::new(to, shard));
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

/// Opens a directory as a start does, and makes a snapshot; returns its name.
fn snapshot(path: &Path, shards: usize) -> Result<String, TsdbError> {
    let config = Config {
        directory: path.to_owned(),
        placement: Placement { shards: vec![0; shards], control: vec![0] },
        logs: LogDirectories::default(),
        backend: Backend::Portable,
        ingest_listen: None,
        series_max: u64::MAX,
        new_series_per_minute_max: 0,
        exemplars_max: 0,
        out_of_order_window_ms: 0,
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
    let mut running = service::start(service, data_plane.handle()).map_err(TsdbError::Thread)?;
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(TsdbError::Thread)?;
    let name = executor.block_on(opened_snapshot(&mut data_plane, &mut running));
    running.stop();
    executor.block_on(data_plane.shutdown()).map_err(|error| TsdbError::Thread(io::Error::other(error)))?;
    name
}

async fn opened_snapshot(data_plane: &mut DataPlane, running: &mut Running) -> Result<String, TsdbError> {
    running.opened().await?;
    data_plane.opened().await?;
    Ok(running.service().snapshot("head".to_owned(), false).await?)
}
