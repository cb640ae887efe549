//! Reading the write-ahead logs of a Prometheus, to take over what it has not put into blocks.
//!
//! Bytes in, samples out, as for blocks: hostile bytes are an error that says where and what. Of record types those are known that
//! Prometheus has written up to 3.14 (`tsdb/docs/format/wal.md` and `tsdb/record` in its repository); the out-of-order log (`wbl`) has the
//! same form.

mod record;
mod segment;
#[cfg(test)]
mod tests;

pub use record::{Entry, RecordError, decode};
pub use segment::{Records, SegmentError, SegmentFault};
