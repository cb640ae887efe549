//! Every bound of a head, in one place, with its reason.

/// Samples in a chunk. Prometheus' number: every chunk then costs a query about the same to decode, and at a sample every 10 s it
/// spans 20 minutes.
pub const SAMPLES_PER_CHUNK: u16 = 120;

/// Fewest samples that the first chunk of a series in a window is sealed with. Series that begin together would otherwise be full
/// together, all of them, and one pass in 120 over the series would take several times as long as the others.
pub const FIRST_CHUNK_SAMPLES_MIN: u16 = 64;

/// Bits a sample, over a whole chunk, from which on a chunk is sealed with fewer samples: at 120 samples that is 510 bytes. Values
/// without any pattern take 8 to 9 bytes a sample; without this bound a million such series would hold half a gigabyte more of
/// open chunks.
pub const CHUNK_BITS_PER_SAMPLE: u16 = 34;

/// Bits from which on any chunk is full.
pub const CHUNK_BITS_MAX: u16 = SAMPLES_PER_CHUNK * CHUNK_BITS_PER_SAMPLE;

/// Length of a head window in milliseconds; no chunk crosses its border, so that a block can be cut by copying chunks.
pub const WINDOW_MS: i64 = 2 * 60 * 60 * 1000;

/// How far ahead of the wall clock a sample may be (Prometheus': 10 minutes).
pub const FUTURE_MS_MAX: i64 = 10 * 60 * 1000;

/// How far a sample may lie behind the newest of the head: half a window (Prometheus' rule).
pub const BEHIND_MS_MAX: i64 = WINDOW_MS / 2;

/// Longest label name or value in bytes: a text's length is kept in 16 bits and a text never crosses an arena segment.
pub const LABEL_TEXT_BYTES_MAX: usize = u16::MAX as usize;

/// Distinct label names in a shard, as a name's number is kept in 16 bits.
pub const LABEL_NAMES_MAX: usize = u16::MAX as usize;

/// Labels that a series can have at all, whatever the operator allows: its pairs stand side by side in one segment of 16,384.
pub const LABELS_PER_SERIES_MAX: usize = 1024;

/// Bounds that an operator sets, and one that a test may want smaller.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Labels of one series, the metric's name included.
    pub labels_per_series_max: usize,
    /// Places of series, and as many of pairs, that a replay keeps for definitions that damage took. 16 million are 1.2 GB; a
    /// record that asks for more was not written by a head of this machine's size.
    pub lost_places_max: usize,
    /// Bounds on how many series share a label pair; few, as each is looked at whenever a series is created.
    pub shares: Vec<ShareLimit>,
}

/// How many series of a head may have the same value of a label. Of [`model::METRIC_NAME`]: the series of one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareLimit {
    pub label: String,
    pub series_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { labels_per_series_max: 128, lost_places_max: 16 << 20, shares: Vec::new() }
    }
}
