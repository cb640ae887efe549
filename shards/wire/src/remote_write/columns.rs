//! What a walk fills: entries, columns, the counts of what was left out, and the side arena.

use model::{SeriesEntry, SeriesId, identity::SymbolHash};

use super::{DecodeError, DecodeLimits, Limit};
use crate::protobuf::Reader;

/// Counts of what a request carried and Millrace does not store. The first offender is an entry without samples, for
/// [`WriteBatch::visit_labels`](model::WriteBatch::visit_labels).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unstored {
    pub histograms: u64,
    pub exemplars: u64,
    /// Metadata messages; leaving them out is no loss of data.
    pub metadata: u64,
    pub first_histogram: Option<SeriesEntry>,
    pub first_exemplar: Option<SeriesEntry>,
}

/// Series that were left out of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    pub series: u64,
    /// Float samples in them.
    pub samples: u64,
    pub first: Option<RejectedSeries>,
}

/// A series whose labels could not be made out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectedSeries {
    /// Its place among the series of the request, from 0.
    pub index: u64,
    pub reason: RejectReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    #[error("an odd number of label references")]
    OddReferences,
    #[error("label reference {reference} outside the {symbols} symbols of the request")]
    ReferenceOutOfRange { reference: u64, symbols: u32 },
    #[error("more than {bound} labels")]
    TooManyLabels { bound: u32 },
}

/// A string of the symbol table of protocol 2.0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    pub(super) hash: SymbolHash,
    pub(super) start: u32,
    pub(super) length: u32,
}

#[derive(Default)]
pub(super) struct Columns {
    pub(super) entries: Vec<SeriesEntry>,
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<u64>,
    pub(super) symbols: Vec<Symbol>,
    pub(super) unstored: Unstored,
    pub(super) rejections: Rejections,
    /// Label bytes of series whose labels do not lie together in the message, gathered. Each byte of the message comes here
    /// at most once. Positions from `side_start` on mean this buffer.
    side: Vec<u8>,
    side_start: usize,
    /// Series walked so far, whatever became of them.
    walked: u64,
}

/// Entries, columns and symbols kept between requests, each.
const ELEMENTS_KEPT: usize = 1 << 17;

impl Columns {
    pub(super) fn clear(&mut self) {
        empty(&mut self.entries);
        empty(&mut self.times);
        empty(&mut self.values);
        empty(&mut self.symbols);
        empty(&mut self.side);
        self.unstored = Unstored::default();
        self.rejections = Rejections::default();
        self.walked = 0;
    }

    /// Starts a walk over a message of so many bytes.
    pub(super) fn begin(&mut self, message_bytes: usize) {
        self.side_start = message_bytes;
    }

    pub(super) fn message_bytes(&self) -> usize {
        self.side_start
    }

    /// What a series starts from.
    #[inline]
    pub(super) fn start_series(&self) -> OpenSeries {
        OpenSeries { samples_start: self.times.len(), ..OpenSeries::default() }
    }

    #[inline]
    pub(super) fn push_sample(&mut self, time: i64, value: u64, limits: &DecodeLimits) -> Result<(), DecodeError> {
        if self.times.len() >= limits.samples_max as usize {
            return Err(DecodeError::LimitReached { which: Limit::Samples, bound: limits.samples_max.into() });
        }
        self.times.push(time);
        self.values.push(value);
        Ok(())
    }

    /// Takes a series whose labels are sound.
    #[inline]
    pub(super) fn finish_series(
        &mut self,
        series: OpenSeries,
        id: SeriesId,
        limits: &DecodeLimits,
    ) -> Result<(), DecodeError> {
        self.walked += 1;
        let (samples_start, samples_end) = (series.samples_start as u32, self.times.len() as u32);
        let (labels_start, labels_end) = (series.labels.start as u32, series.labels.end as u32);
        let entry = SeriesEntry { id, samples_start, samples_end, labels_start, labels_end };
        if series.histograms | series.exemplars != 0 {
            self.count_unstored(series, Some(entry));
        }
        if samples_start == samples_end {
            return Ok(());
        }
        if self.entries.len() >= limits.series_max as usize {
            return Err(DecodeError::LimitReached { which: Limit::Series, bound: limits.series_max.into() });
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Leaves a series out, with its samples.
    #[cold]
    pub(super) fn reject_series(&mut self, series: OpenSeries, reason: RejectReason) {
        self.count_unstored(series, None);
        self.rejections.series += 1;
        self.rejections.samples += (self.times.len() - series.samples_start) as u64;
        self.rejections.first.get_or_insert(RejectedSeries { index: self.walked, reason });
        self.times.truncate(series.samples_start);
        self.values.truncate(series.samples_start);
        self.walked += 1;
    }

    fn count_unstored(&mut self, series: OpenSeries, entry: Option<SeriesEntry>) {
        let without_samples = entry.map(|entry| SeriesEntry { samples_end: entry.samples_start, ..entry });
        let unstored = &mut self.unstored;
        unstored.histograms += series.histograms;
        unstored.exemplars += series.exemplars;
        if series.histograms > 0 {
            unstored.first_histogram = unstored.first_histogram.or(without_samples);
        }
        if series.exemplars > 0 {
            unstored.first_exemplar = unstored.first_exemplar.or(without_samples);
        }
    }

    /// Adds a piece of label bytes to a series' own: joined in place when it follows the last one, else gathered aside.
    ///
    /// Ranges go in and out by value: one whose address is taken lives in memory, and is read back as a whole while the stores of
    /// its halves are still under way, which stalled each series for longer than the rest of its walk took.
    #[inline]
    pub(super) fn join_labels(&mut self, labels: LabelRange, buffer: &[u8], start: usize, end: usize) -> LabelRange {
        if labels.start == labels.end {
            LabelRange { start, end }
        } else if labels.end == start {
            LabelRange { end, ..labels }
        } else {
            self.gather(labels, buffer, start, end)
        }
    }

    #[cold]
    fn gather(&mut self, mut labels: LabelRange, buffer: &[u8], start: usize, end: usize) -> LabelRange {
        if labels.start < self.side_start {
            let at = self.side_start + self.side.len();
            self.side.extend_from_slice(&buffer[labels.start..labels.end]);
            labels.start = at;
        }
        self.side.extend_from_slice(&buffer[start..end]);
        LabelRange { end: self.side_start + self.side.len(), ..labels }
    }

    /// The label bytes of a range, wherever they are.
    #[inline]
    pub(super) fn label_bytes<'a>(&'a self, buffer: &'a [u8], labels: LabelRange) -> Reader<'a> {
        if labels.start < self.side_start || labels.start == labels.end {
            Reader::new(buffer, labels.start, labels.end)
        } else {
            Reader::new(&self.side, labels.start - self.side_start, labels.end - self.side_start)
        }
    }

    /// The label bytes of an entry of this batch.
    pub(super) fn label_reader<'a>(&'a self, buffer: &'a [u8], entry: &SeriesEntry) -> Reader<'a> {
        self.label_bytes(buffer, LabelRange { start: entry.labels_start as usize, end: entry.labels_end as usize })
    }
}

/// Clears a column, and gives its memory back if only a huge request needed it.
fn empty<T>(column: &mut Vec<T>) {
    column.clear();
    column.shrink_to(ELEMENTS_KEPT);
}

/// Where the label bytes of a series are: in the message, or from `Columns::side_start` on in the side arena.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LabelRange {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A series while its message is walked.
#[derive(Clone, Copy, Default)]
pub(super) struct OpenSeries {
    pub(super) samples_start: usize,
    pub(super) labels: LabelRange,
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
}
