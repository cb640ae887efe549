//! Prometheus' block format: index, chunk segments, tombstones. Format: `docs/format/block.md`.
//!
//! Bytes in, bytes out: writers fill buffers that a driver drains into files, readers look at the bytes of a whole file. Readers
//! take hostile bytes: a damaged file is an error that says where and what, never a panic, and never more memory than its length
//! justifies. What belongs to a block and is not here: `meta.json` and the folder, which are the driver's.

pub(crate) mod bytes;
pub mod error;
pub mod index;
pub mod intervals;
pub mod segment;
pub mod tombstones;

pub use error::{BlockError, Damage};
pub use intervals::Intervals;
pub use tombstones::Tombstones;

/// Where a chunk stands in its block: number of the segment, counted from 0, in the upper half, byte offset in the lower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ChunkReference(pub u64);

impl ChunkReference {
    pub fn new(segment: u32, offset: u32) -> Self {
        Self(u64::from(segment) << 32 | u64::from(offset))
    }

    pub fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub fn offset(self) -> u32 {
        self.0 as u32
    }

    /// The same chunk where so many other segments come before its own.
    pub fn in_segment_after(self, segments: u32) -> Self {
        Self::new(self.segment() + segments, self.offset())
    }
}

/// What the index says of a chunk. Times in milliseconds, of the first and the last sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkMeta {
    pub min_time: i64,
    pub max_time: i64,
    pub reference: ChunkReference,
}
