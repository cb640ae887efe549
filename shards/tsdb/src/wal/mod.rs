//! Write-ahead log of one shard: what a frame and its records look like, and how to read them back.
//!
//! Promise: a frame decodes alone, or is known to be damaged. A frame's samples do not depend on frames before it; only
//! definitions of label pairs and series do, and what lacks a definition is counted and named, never given another meaning.
//! This module only frames and checks bytes. Opening, writing and deleting segments is `shard`'s work. Format:
//! `docs/format/wal.md`.

mod contents;
mod frame;
mod record;
mod replay;

pub use contents::Contents;
pub use frame::{
    FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX, FileHeader, FileKind, FrameHeader, SECTOR, Scan, ScanError, Scanner,
    frame_header,
};
pub use record::{LogBatch, Record, RecordError, Records, generation_of};
pub(crate) use record::{
    put_bytes, put_checkpoint_end, put_definitions_of, put_deletions, put_exemplars, put_generation, put_images,
    put_open_histograms, put_out_of_order, take_text, take_u32,
};
pub use replay::Replayed;
pub(crate) use replay::SampleColumns;
