//! The storage engine as a pure function of state and input: log frames, head, index, selection, blocks.
//!
//! No file, clock, lock, random source or executor is reachable from here. `shard` decides when something happens and does the
//! I/O; the simulator is just a second driver. What is promised: a head rebuilt from its log answers as the one that wrote it.

pub mod append;
pub mod block;
pub mod checkpoint;
pub mod chunk_file;
pub mod exemplars;
pub mod head;
pub mod index;
pub mod limits;
pub mod out_of_order;
pub mod prometheus_wal;
pub mod segmented;
pub mod select;
pub mod wal;

pub use append::{AppendOutcome, Members, Offender, Rejection, SeriesQuota, ShardPart, Window};
pub use exemplars::ExemplarRejection;
pub use head::Head;
pub use limits::Limits;

/// Position of a series in its shard, in order of creation. Dense, never reused within a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SeriesRef(pub u32);

impl SeriesRef {
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// The series that was made after this one, if there is one.
    #[inline]
    pub(crate) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}
