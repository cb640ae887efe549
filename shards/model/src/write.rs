//! What a decoded write request looks like to the shard that stores it.
//!
//! `wire` fills it, `tsdb` reads it, and neither knows the other: this is the seam between them. Only what a known series needs
//! is decoded up front (identity, times, value bits); labels stay bytes until somebody asks, which happens once in a series' life.

use std::ops::Range;

use crate::{
    histogram::Histogram,
    identity::{IdentityKey, SeriesId},
};

/// One series of a request: who it is and where its parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesEntry {
    /// Nobody's (0) where the sender knows a place instead: see [`WriteBatch::places`].
    pub id: SeriesId,
    /// First and one past the last sample, as positions in [`WriteBatch::times`] and [`WriteBatch::values`].
    pub samples_start: u32,
    pub samples_end: u32,
    pub labels: LabelSpan,
}

/// Where a series is, for whoever sends samples of it again and again: a quarter of an identity, and nothing to search for.
///
/// Numbers mean something within one generation of the shard's numbers only. Who keeps them keeps the generation too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesPlace {
    pub shard: u16,
    pub number: u32,
}

/// Where one shard has series of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    pub shard: u16,
    pub generation: u32,
    /// Positions in [`WriteBatch::series`] with the numbers of their series, ascending: all that the request asked for and does not know,
    /// which is all if it has another generation.
    pub numbers: Vec<(u32, u32)>,
}

/// Where labels are, in terms that only the batch itself understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelSpan {
    pub start: u32,
    pub end: u32,
}

impl SeriesEntry {
    #[inline]
    pub fn samples(&self) -> Range<usize> {
        self.samples_start as usize..self.samples_end as usize
    }
}

/// A histogram of a request. They are few beside float samples, and large: they come decoded, and apart from the columns.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// Position in [`WriteBatch::series`].
    pub entry: u32,
    /// Milliseconds since the epoch.
    pub time: i64,
    /// When it began to count, as far as the sender knows and anybody wants to; else 0.
    pub start_time: i64,
    pub histogram: Histogram,
}

/// An exemplar of a request: a measurement that stands for others, with labels of its own that lead to it, a trace id mostly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExemplarSample {
    /// Position in [`WriteBatch::series`].
    pub entry: u32,
    /// Milliseconds since the epoch.
    pub time: i64,
    /// The bits of the value.
    pub value: u64,
    pub labels: LabelSpan,
}

/// A decoded request, immutable, shared by the shards that have a part in it.
pub trait WriteBatch: Send + Sync {
    fn series(&self) -> &[SeriesEntry];

    /// Milliseconds since the epoch, by sample.
    fn times(&self) -> &[i64];

    /// The bits of the values, by sample.
    fn values(&self) -> &[u64];

    /// When counters began to count: milliseconds since the epoch by sample, 0 where nothing is known. May end early; then nothing is
    /// known of the rest.
    fn start_times(&self) -> &[i64] {
        &[]
    }

    /// Histograms in order of their entries. An entry may have some beside samples, or instead of them.
    fn histograms(&self) -> &[HistogramSample] {
        &[]
    }

    /// Exemplars in order of their entries, and an entry's in the order in which they came. An entry may have nothing else.
    fn exemplars(&self) -> &[ExemplarSample] {
        &[]
    }

    /// The places of series, by entry, as far as the sender knows them; empty if of none. An entry with a place has no identity.
    fn places(&self) -> &[Option<SeriesPlace>] {
        &[]
    }

    /// The generation of a shard's numbers that the places are of.
    fn generation(&self, _shard: u16) -> u32 {
        0
    }

    /// How many entries, from the first on, the sender wants to be told the places of.
    fn asks_places(&self) -> usize {
        0
    }

    /// Series that end: each gets a stale marker of this time, unless it is one of those asked for under an identity, or has a sample at that
    /// time or after.
    fn ended(&self) -> (i64, &[SeriesPlace]) {
        (0, &[])
    }

    /// Whether samples that are not in order are refused even where an operator wants such.
    fn discards_out_of_order(&self) -> bool {
        false
    }

    /// Visits the labels of a series or of an exemplar as they came: in any order, not checked for UTF-8, for empty or for repeated names.
    /// The bytes are bounded by the request's own limit.
    fn visit_labels<'a>(&'a self, labels: LabelSpan, visit: &mut dyn FnMut(&'a [u8], &'a [u8]));
}

type OwnedLabel = (Box<[u8]>, Box<[u8]>);

/// A batch made from label sets inside the process: results of rules, synthetic series, workloads of tests.
#[derive(Clone, Debug, Default)]
pub struct OwnedBatch {
    series: Vec<SeriesEntry>,
    times: Vec<i64>,
    values: Vec<u64>,
    histograms: Vec<HistogramSample>,
    exemplars: Vec<ExemplarSample>,
    labels: Vec<OwnedLabel>,
}

impl OwnedBatch {
    /// Adds a series with its samples as (milliseconds, value bits). Labels may be in any order and are checked where they are
    /// stored.
    pub fn push<'a>(
        &mut self,
        key: &IdentityKey,
        labels: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        samples: impl IntoIterator<Item = (i64, u64)>,
    ) {
        let (labels_start, samples_start) = (self.labels.len() as u32, self.times.len() as u32);
        self.labels.extend(labels.into_iter().map(|(name, value)| (name.into(), value.into())));
        for (time, value) in samples {
            self.times.push(time);
            self.values.push(value);
        }
        let id = key.series(self.labels[labels_start as usize..].iter().map(|(name, value)| (&**name, &**value)));
        self.series.push(SeriesEntry {
            id,
            samples_start,
            samples_end: self.times.len() as u32,
            labels: LabelSpan { start: labels_start, end: self.labels.len() as u32 },
        });
    }

    /// Adds a series with histograms, by their times in milliseconds.
    pub fn push_histograms<'a>(
        &mut self,
        key: &IdentityKey,
        labels: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        histograms: impl IntoIterator<Item = (i64, Histogram)>,
    ) {
        let entry = self.series.len() as u32;
        self.push(key, labels, []);
        let histograms = histograms.into_iter();
        self.histograms.extend(histograms.map(|(time, histogram)| HistogramSample {
            entry,
            time,
            start_time: 0,
            histogram,
        }));
    }

    /// Adds an exemplar to the series that was added last.
    pub fn push_exemplar<'a>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        (time, value): (i64, u64),
    ) {
        let start = self.labels.len() as u32;
        self.labels.extend(labels.into_iter().map(|(name, value)| (name.into(), value.into())));
        let labels = LabelSpan { start, end: self.labels.len() as u32 };
        let entry = self.series.len().checked_sub(1).expect("an exemplar has a series") as u32;
        self.exemplars.push(ExemplarSample { entry, time, value, labels });
    }
}

impl WriteBatch for OwnedBatch {
    fn series(&self) -> &[SeriesEntry] {
        &self.series
    }

    fn times(&self) -> &[i64] {
        &self.times
    }

    fn values(&self) -> &[u64] {
        &self.values
    }

    fn histograms(&self) -> &[HistogramSample] {
        &self.histograms
    }

    fn exemplars(&self) -> &[ExemplarSample] {
        &self.exemplars
    }

    fn visit_labels<'a>(&'a self, labels: LabelSpan, visit: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        for (name, value) in &self.labels[labels.start as usize..labels.end as usize] {
            visit(name, value);
        }
    }
}
