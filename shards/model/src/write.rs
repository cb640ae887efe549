//! What a decoded write request looks like to the shard that stores it.
//!
//! `wire` fills it, `tsdb` reads it, and neither knows the other: this is the seam between them. Only what a known series needs
//! is decoded up front (identity, times, value bits); labels stay bytes until somebody asks, which happens once in a series' life.

use std::ops::Range;

use crate::identity::{IdentityKey, SeriesId};

/// One series of a request: who it is and where its parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesEntry {
    pub id: SeriesId,
    /// First and one past the last sample, as positions in [`WriteBatch::times`] and [`WriteBatch::values`].
    pub samples_start: u32,
    pub samples_end: u32,
    /// Where the labels are, in terms that only the batch itself understands.
    pub labels_start: u32,
    pub labels_end: u32,
}

impl SeriesEntry {
    #[inline]
    pub fn samples(&self) -> Range<usize> {
        self.samples_start as usize..self.samples_end as usize
    }
}

/// A decoded request, immutable, shared by the shards that have a part in it.
pub trait WriteBatch: Send + Sync {
    fn series(&self) -> &[SeriesEntry];

    /// Milliseconds since the epoch, by sample.
    fn times(&self) -> &[i64];

    /// The bits of the values, by sample.
    fn values(&self) -> &[u64];

    /// Visits the labels of one series as they came: in any order, not checked for UTF-8, for empty or for repeated names.
    /// The bytes are bounded by the request's own limit.
    fn visit_labels<'a>(&'a self, entry: &SeriesEntry, visit: &mut dyn FnMut(&'a [u8], &'a [u8]));
}

type OwnedLabel = (Box<[u8]>, Box<[u8]>);

/// A batch made from label sets inside the process: results of rules, synthetic series, workloads of tests.
#[derive(Clone, Debug, Default)]
pub struct OwnedBatch {
    series: Vec<SeriesEntry>,
    times: Vec<i64>,
    values: Vec<u64>,
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
            labels_start,
            labels_end: self.labels.len() as u32,
        });
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

    fn visit_labels<'a>(&'a self, entry: &SeriesEntry, visit: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        for (name, value) in &self.labels[entry.labels_start as usize..entry.labels_end as usize] {
            visit(name, value);
        }
    }
}
