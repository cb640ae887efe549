//! A start with another number of shards than the directory has: its shards are opened once more as they were, what they hold is put into blocks, and the
//! new ones begin empty. The blocks overlap with what the head gets from then on, and are merged with it like any others.
//!
//! Whatever is interrupted is done again: until the blocks are there nothing has changed, and reads take what is in a block and in a shard once.

use std::io;

use runtime::placement::Placement;
use shard::{Config, DataPlane, directory::DataDirectory};

use crate::{
    api::Shared,
    app::{ServeError, open_all, start_blocks},
};

/// The directory's own number of shards, if the start asks for another one.
pub(crate) fn other_number(config: &Config) -> Option<usize> {
    // What is wrong with the directory is said by whoever opens it.
    let recorded = DataDirectory::recorded_shards(&config.directory).unwrap_or(None);
    recorded.filter(|recorded| *recorded != config.placement.shards.len())
}

/// Brings the directory from one number of shards to the one that `config` asks for.
pub(crate) async fn reshard(shared: &Shared, config: &Config, from: usize) -> Result<(), ServeError> {
    let to = config.placement.shards.len();
    tracing::info!(from, to, "another number of shards: what they hold is put into blocks first");
    let placement = spread(&config.placement, from);
    let old = Config { placement, ingest_listen: None, ..config.clone() };
    let mut data_plane = start(old).await?;
    let mut blocks = start_blocks(shared, &data_plane)?;
    open_all(&mut data_plane, &mut blocks).await?;
    let moved = blocks.service().move_head().await;
    drop(tokio::task::spawn_blocking(move || blocks.stop()).await);
    let directory = data_plane.shutdown().await.map_err(ServeError::Stop)?;
    moved.map_err(ServeError::Blocks)?;
    directory.renumber(to).map_err(|error| ServeError::DataPlane(error.into()))?;
    tracing::info!(from, to, "the shards begin anew; exemplars are not kept");
    Ok(())
}

/// In a thread of its own, as it waits for the disk.
pub(crate) async fn start(config: Config) -> Result<DataPlane, ServeError> {
    let started = tokio::task::spawn_blocking(move || DataPlane::start(config)).await;
    Ok(started.map_err(|error| ServeError::Runtime(io::Error::other(error)))??)
}

/// As many shards as there were, on the processors that there are.
fn spread(placement: &Placement, shards: usize) -> Placement {
    let cpus = placement.shards.iter().copied().cycle().take(shards).collect();
    Placement { shards: cpus, control: placement.control.clone() }
}
