//! Deterministic simulator of the data plane.
//!
//! The shards' own code runs here, unchanged, on a [`process::SimRuntime`]: virtual time, a disk that may lose, tear, reorder or
//! refuse whatever was not synced, clocks that jump, threads that stall. A workload writes and queries, an oracle knows what
//! must be there. One seed is one story; whoever has the seed can tell it again.
//!
//! Nobody imports this crate.

pub mod data_plane;
pub mod disk;
pub mod histograms;
pub mod oracle;
pub mod process;
mod random;
pub mod scenario;
pub mod system;
pub mod toy;
pub mod workload;
pub mod world;
