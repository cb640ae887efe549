//! The instance's blocks, in Prometheus' format: cut from the shards' heads, read, compacted, retained, deleted, snapshotted.
//!
//! One block holds a window of all shards. Everything that changes the set of blocks happens on one thread of low priority, one
//! job at a time, over [`runtime`]'s disk, so that the simulator can cut each step short. Readers take a snapshot of the set and
//! need nothing else: a block is written once, and its maps outlive its name. What decides whether a block counts is its name:
//! a folder gets it by a rename, when everything in it is durable, and loses it by one, before anything in it is removed.

mod block;
mod compact;
mod cut;
mod deletion;
mod desk;
mod error;
mod folder;
mod import;
mod meta;
mod out_of_order;
mod plan;
mod samples;
pub mod service;
mod set;
mod snapshot;
mod stream_file;
mod ulid;
mod verify;
mod worker;
mod writer;

pub use block::{Block, Columns};
pub use deletion::Deletion;
pub use error::{BlocksError, Damage};
pub use import::{Imported, ImportedLogs, MadeBlocks, import, import_logs, import_openmetrics};
pub use meta::{Compaction, Meta, Parent, Stats};
pub use plan::Retention;
pub use samples::{DecodeError, Sample, Value, decode};
pub use service::Service;
pub use set::{BlockSet, Blocks, Found, look};
pub use ulid::Ulid;
pub use verify::Verified;
