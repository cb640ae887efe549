//! Every bound of a shard's driver, in one place, with its arithmetic.

use std::time::Duration;

/// Messages in a mailbox. A message is a request of some thousand samples; at 5 M samples/s this is half a second of work.
pub const MAILBOX_MESSAGES: usize = 1024;

/// Size of a log segment: at 5 bytes a sample some six million samples.
pub const LOG_SEGMENT_BYTES: u64 = 32 << 20;

/// Payload that waits for a commit, roughly. Reached only if the disk takes far longer than a millisecond; then writes are
/// refused. The largest batch on top of it still fits a frame.
pub const UNCOMMITTED_BYTES_MAX: usize = 4 << 20;

/// Sealed chunks that wait for the disk. Reached only if chunk files can't be written for long; then writes are refused, as the
/// log could not be dropped either.
pub const UNWRITTEN_CHUNK_BYTES_MAX: usize = 64 << 20;

/// Log written since the last checkpoint after which the next one begins, at least. A replay reads about 200 MB/s.
pub const CHECKPOINT_LOG_BYTES_MIN: u64 = 64 << 20;

/// The same as a share of what a checkpoint writes: 3/2 keeps a checkpoint's bytes below two thirds of the log's.
pub const CHECKPOINT_LOG_SHARE: (u64, u64) = (3, 2);

/// Wait before a write that failed is tried again.
pub const DISK_RETRY: Duration = Duration::from_secs(1);

/// A commit that follows another this closely waits for the rest of the time, or until there is [`COMMIT_BYTES_MIN`] to write:
/// a commit costs as much CPU as hundreds of samples, and under load there is always more to put into it.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(1);

/// Payload that does not wait for more.
pub const COMMIT_BYTES_MIN: usize = 32 << 10;

/// Connections of the ingest listener of one shard.
pub const INGEST_CONNECTIONS_MAX: usize = 1024;

/// Bytes of one compressed body. Agents send some hundred kilobytes.
pub const INGEST_BODY_BYTES_MAX: usize = 32 << 20;

/// Bytes of all bodies that a shard's listener holds at a time.
pub const INGEST_BODIES_BYTES_MAX: usize = 256 << 20;

/// Time for a request's head, between two pieces of its body, and for answers under way at a stop.
pub const INGEST_PATIENCE: Duration = Duration::from_secs(10);

/// Time for which a connection may be silent between requests: senders keep theirs for the next batch.
pub const INGEST_IDLE: Duration = Duration::from_secs(300);

/// Samples out of order, of all shards, that are put into blocks before the next window is: 64 MB of memory, and as much log.
pub const OUT_OF_ORDER_SAMPLES_MANY: u64 = 4 << 20;

/// Samples out of order that a shard holds. Reached only if blocks can't be written for long; then writes are refused.
pub const OUT_OF_ORDER_SAMPLES_MAX: u64 = 16 << 20;

/// Part of the series that must have ended before a truncation takes them out. It costs about half a microsecond for each that
/// stays, and a checkpoint with all definitions.
pub const DEAD_SHARE: (usize, usize) = (1, 32);

/// Between two looks whether readers have let go of chunk files that are to be removed.
pub const PIN_LOOK: Duration = Duration::from_millis(200);
