//! One core's slice of the data: the shard that drives `tsdb` over `runtime`, and the handle by which the rest of the process
//! reaches all shards.
//!
//! Promises: nothing is acknowledged that is not durable; a bad sample does not stop its neighbours; every wait has a bound.

mod checkpoint;
mod chunk_writer;
mod commit;
mod delete;
pub mod directory;
pub mod frames;
pub mod growth;
pub mod handle;
pub mod ingest;
pub mod limits;
mod local;
mod log;
pub mod metadata;
pub mod names;
mod out_of_order;
mod pins;
pub mod read;
mod recovery;
pub mod router;
mod shard;
pub mod shared;
mod signal;
mod spare;
pub mod start;
pub mod stats;
pub mod survey;
mod truncate;
mod turns;

pub use handle::{Handle, Mailbox, Refusal};
pub use recovery::OpenError;
pub use shard::{Shard, ShardConfig};
pub use start::{Backend, BackendInUse, Config, DataPlane, StartError};
