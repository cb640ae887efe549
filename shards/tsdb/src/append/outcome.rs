//! What became of a batch, and why some of it was not stored.

use model::Places;

use crate::exemplars::ExemplarRejection;

/// Why a sample or a series was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rejection {
    /// Further behind the head's newest sample than the window reaches.
    OutOfBounds,
    /// More than ten minutes ahead of the clock.
    TooFarInFuture,
    /// Behind the series' newest sample.
    OutOfOrder,
    /// Before the window for samples out of order.
    TooOld,
    /// The series has another value at this time.
    Duplicate,
    /// A histogram that says nothing sensible, or too much.
    Histogram,
    /// A label set without a metric name.
    NoMetricName,
    /// A label name that is empty or not UTF-8.
    LabelName,
    /// A label value that is not UTF-8.
    LabelValue,
    DuplicateLabel,
    TooManyLabels,
    LabelTooLong,
    TooManyLabelNames,
    /// The series limit of the process is reached.
    SeriesLimit,
    /// The metric has as many series as one may have.
    MetricLimit,
    /// One of its label pairs has.
    LabelLimit,
    /// Too many series were created of late.
    CreationRate,
    /// The shard's arena of label texts or its chunk files are full.
    ShardFull,
}

impl Rejection {
    pub const ALL: [Self; 18] = [
        Self::OutOfBounds,
        Self::TooFarInFuture,
        Self::OutOfOrder,
        Self::TooOld,
        Self::Duplicate,
        Self::Histogram,
        Self::NoMetricName,
        Self::LabelName,
        Self::LabelValue,
        Self::DuplicateLabel,
        Self::TooManyLabels,
        Self::LabelTooLong,
        Self::TooManyLabelNames,
        Self::SeriesLimit,
        Self::MetricLimit,
        Self::LabelLimit,
        Self::CreationRate,
        Self::ShardFull,
    ];

    /// Name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::OutOfBounds => "out_of_bounds",
            Self::TooFarInFuture => "too_far_in_future",
            Self::OutOfOrder => "out_of_order",
            Self::TooOld => "too_old",
            Self::Duplicate => "duplicate_timestamp",
            Self::Histogram => "invalid_histogram",
            Self::NoMetricName => "no_metric_name",
            Self::LabelName => "invalid_label_name",
            Self::LabelValue => "invalid_label_value",
            Self::DuplicateLabel => "duplicate_label",
            Self::TooManyLabels => "too_many_labels",
            Self::LabelTooLong => "label_too_long",
            Self::TooManyLabelNames => "too_many_label_names",
            Self::SeriesLimit => "series_limit",
            Self::MetricLimit => "metric_series_limit",
            Self::LabelLimit => "label_series_limit",
            Self::CreationRate => "series_creation_rate",
            Self::ShardFull => "shard_full",
        }
    }

    /// What a sender is told, in Prometheus' words where it has them.
    pub fn message(self) -> &'static str {
        match self {
            Self::OutOfBounds => "out of bounds",
            Self::TooFarInFuture => "out of bounds: more than 10m ahead of the server's clock",
            Self::OutOfOrder => "out of order sample",
            Self::TooOld => "too old sample",
            Self::Duplicate => "duplicate sample for timestamp",
            Self::Histogram => "invalid native histogram",
            Self::NoMetricName => "the series has no metric name",
            Self::LabelName => "a label name is empty or not valid UTF-8",
            Self::LabelValue => "a label value is not valid UTF-8",
            Self::DuplicateLabel => "a label name occurs twice",
            Self::TooManyLabels => "the series has more labels than the limit allows",
            Self::LabelTooLong => "a label name or value is longer than 65535 bytes",
            Self::TooManyLabelNames => "the limit of 65535 distinct label names is reached",
            Self::SeriesLimit => "the series limit is reached",
            Self::MetricLimit => "its metric has as many series as one may have (--limits.max-series-per-metric)",
            Self::LabelLimit => {
                "one of its label pairs has as many series as it may have (--limits.max-series-per-label)"
            }
            Self::CreationRate => "more new series within a minute than may be (--limits.max-new-series-per-minute)",
            Self::ShardFull => "the shard has no room for more label texts or chunks",
        }
    }

    /// Whether a bound on series was reached that an operator has set so that nobody takes the room of others.
    pub fn is_cardinality(self) -> bool {
        matches!(self, Self::SeriesLimit | Self::MetricLimit | Self::LabelLimit | Self::CreationRate)
    }

    /// Whether the whole series, not one of its samples, was refused.
    pub fn is_of_series(self) -> bool {
        !matches!(
            self,
            Self::OutOfBounds
                | Self::TooFarInFuture
                | Self::OutOfOrder
                | Self::TooOld
                | Self::Duplicate
                | Self::Histogram
        )
    }
}

/// The first thing refused in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offender {
    /// Position in [`WriteBatch::series`].
    pub entry: u32,
    /// Position in [`WriteBatch::times`], or in [`WriteBatch::histograms`].
    pub sample: u32,
    pub is_histogram: bool,
    pub reason: Rejection,
}

/// What became of a batch, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppendOutcome {
    /// Float samples stored now.
    pub stored: u64,
    /// Float samples that were there already, bit for bit: a retry, and a success.
    pub repeated: u64,
    /// Those of the stored that came out of order.
    pub out_of_order: u64,
    /// The same of histograms.
    pub histograms_stored: u64,
    pub histograms_repeated: u64,
    pub histograms_out_of_order: u64,
    /// The same of exemplars.
    pub exemplars_stored: u64,
    pub exemplars_repeated: u64,
    pub(super) exemplars_rejected: [u64; ExemplarRejection::ALL.len()],
    pub series_created: u64,
    rejected: [u64; Rejection::ALL.len()],
    pub first_offender: Option<Offender>,
    /// What each shard has to say of places, if it was asked for them.
    pub places: Vec<Places>,
}

impl AppendOutcome {
    pub fn rejected(&self, reason: Rejection) -> u64 {
        self.rejected[reason as usize]
    }

    /// Samples and histograms refused, for any reason.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }

    pub fn exemplars_rejected(&self, reason: ExemplarRejection) -> u64 {
        self.exemplars_rejected[reason as usize]
    }

    pub fn merge(&mut self, other: &Self) {
        self.stored += other.stored;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.histograms_stored += other.histograms_stored;
        self.histograms_repeated += other.histograms_repeated;
        self.histograms_out_of_order += other.histograms_out_of_order;
        self.exemplars_stored += other.exemplars_stored;
        self.exemplars_repeated += other.exemplars_repeated;
        self.exemplars_rejected.iter_mut().zip(other.exemplars_rejected).for_each(|(sum, count)| *sum += count);
        self.series_created += other.series_created;
        self.rejected.iter_mut().zip(other.rejected).for_each(|(sum, count)| *sum += count);
        self.first_offender = match (self.first_offender, other.first_offender) {
            (Some(a), Some(b)) => Some(if (a.is_histogram, a.sample) <= (b.is_histogram, b.sample) { a } else { b }),
            (a, b) => a.or(b),
        };
        self.places.extend_from_slice(&other.places);
    }

    pub(super) fn reject(&mut self, offender: Offender, count: u64) {
        self.rejected[offender.reason as usize] += count;
        self.first_offender.get_or_insert(offender);
    }
}
