//! What a shard tells of itself.

use tsdb::{ExemplarRejection, Rejection, exemplars::ExemplarCounts, head::HeapBytes};

/// Counters and gauges of one shard. Counters start with the process.
#[derive(Clone, Debug, Default)]
pub struct ShardStats {
    pub series: u64,
    pub label_pairs: u64,
    pub chunks: u64,
    pub chunks_created: u64,
    pub samples_stored: u64,
    pub samples_repeated: u64,
    pub histograms_stored: u64,
    pub histograms_repeated: u64,
    pub exemplars_stored: u64,
    pub exemplars_repeated: u64,
    /// By [`ExemplarRejection::ALL`].
    pub exemplars_rejected: [u64; ExemplarRejection::ALL.len()],
    pub exemplars: ExemplarCounts,
    /// Those of the samples stored that came out of order; and what the shard holds of them now.
    pub out_of_order_stored: u64,
    pub histograms_out_of_order_stored: u64,
    pub out_of_order_samples: u64,
    pub series_created: u64,
    /// By [`Rejection::ALL`].
    pub samples_rejected: [u64; Rejection::ALL.len()],
    pub batches: u64,
    pub commits: u64,
    pub commit_seconds_sum: f64,
    /// Commits that took at most 0.25, 0.5, 1, 2, 4, 8, 16, 64, 256 ms, and all; cumulative.
    pub commit_seconds_buckets: [u64; 10],
    /// Payload of log frames.
    pub log_payload_bytes: u64,
    /// Bytes written to fill the last sector of frames.
    pub log_padding_bytes: u64,
    /// All bytes written to the log's device: frames, headers, padding.
    pub log_device_bytes: u64,
    pub chunk_device_bytes: u64,
    pub checkpoint_device_bytes: u64,
    pub log_segment: u64,
    pub log_write_failures: u64,
    /// The log is written to the second directory, as the first has refused a write.
    pub log_on_second: bool,
    pub checkpoints: u64,
    pub checkpoint_failures: u64,
    pub heap: HeapBytes,
    pub busy_seconds: f64,
    pub fenced: bool,
    pub stalled: bool,
    /// Of the recovery at start: samples and series lost to damage, frames damaged.
    pub recovery: RecoveryStats,
}

/// Upper bounds of [`ShardStats::commit_seconds_buckets`] in seconds; the last bucket is unbounded.
pub const COMMIT_BUCKETS: [f64; 9] = [0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.064, 0.256];

#[derive(Clone, Copy, Debug, Default)]
pub struct RecoveryStats {
    pub seconds: f64,
    pub samples: u64,
    pub series: u64,
    pub samples_lost: u64,
    pub series_lost: u64,
    pub frames_damaged: u64,
    pub bytes_read: u64,
}
