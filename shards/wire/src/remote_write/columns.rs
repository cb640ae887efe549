//! What a walk fills: entries, columns, the counts of what was left out, and the side arena.

use model::{ExemplarSample, Histogram, HistogramSample, LabelSpan, SeriesEntry, SeriesId, identity::SymbolHash};

use super::{DecodeError, DecodeLimits, Limit};
use crate::protobuf::Reader;

/// Series and exemplars that were left out of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    pub series: u64,
    /// Float samples and histograms in them.
    pub samples: u64,
    /// Exemplars of other series whose own labels could not be made out.
    pub exemplars: u64,
    /// Of either.
    pub first: Option<RejectedSeries>,
}

/// A series whose labels, or those of one of its exemplars, could not be made out.
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
    /// By sample, as far as the last that has one.
    pub(super) start_times: Vec<i64>,
    pub(super) histograms: Vec<HistogramSample>,
    pub(super) exemplars: Vec<ExemplarSample>,
    pub(super) metadata: Vec<MetadataEntry>,
    pub(super) symbols: Vec<Symbol>,
    pub(super) rejections: Rejections,
    /// Label bytes of series whose labels do not lie together in the message, gathered. Each byte of the message comes here
    /// at most once. Positions from `side_start` on mean this buffer.
    side: Vec<u8>,
    side_start: usize,
    /// The same of exemplars, which are walked between the labels of their series. Positions from [`EXEMPLAR_SIDE_START`] on.
    exemplar_side: Vec<u8>,
    /// Series walked so far, whatever became of them.
    walked: u64,
}

/// Behind the message and its side, each of which has less than 1 GiB.
const EXEMPLAR_SIDE_START: usize = 1 << 31;

/// A message of metadata.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MetadataEntry {
    /// Where it is. Nothing of it is looked at before somebody asks.
    pub(super) start: u32,
    pub(super) end: u32,
    /// The labels of its series, in protocol 2.0.
    pub(super) labels: LabelSpan,
}

/// Messages of metadata that are kept of a request; further ones are passed over, as it will be sent again.
const METADATA_MAX: usize = 100_000;

/// Samples that a histogram counts as, by the memory that it takes at least.
const SAMPLES_PER_HISTOGRAM: u32 = 16;

/// Entries, columns and symbols kept between requests, each.
const ELEMENTS_KEPT: usize = 1 << 17;

impl Columns {
    pub(super) fn clear(&mut self) {
        empty(&mut self.entries);
        empty(&mut self.times);
        empty(&mut self.values);
        empty(&mut self.start_times);
        self.histograms = Vec::new();
        empty(&mut self.exemplars);
        empty(&mut self.metadata);
        empty(&mut self.symbols);
        empty(&mut self.side);
        empty(&mut self.exemplar_side);
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
        OpenSeries {
            samples_start: self.times.len(),
            histograms_start: self.histograms.len(),
            exemplars_start: self.exemplars.len(),
            ..OpenSeries::default()
        }
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

    /// Gives the sample that was added last its start timestamp.
    #[inline]
    pub(super) fn set_start_time(&mut self, start_time: i64, limits: &DecodeLimits) {
        if limits.keeps_start_times && start_time != 0 {
            self.start_times.resize(self.times.len(), 0);
            self.start_times[self.times.len() - 1] = start_time;
        }
    }

    /// Gives the first sample and the first histogram of a series its start timestamp, if they have none of their own.
    #[inline]
    pub(super) fn set_created(&mut self, series: OpenSeries, limits: &DecodeLimits) {
        if !limits.keeps_start_times || series.created == 0 {
            return;
        }
        let first = series.samples_start;
        if first < self.times.len() {
            self.start_times.resize(self.start_times.len().max(first + 1), 0);
            let start_time = &mut self.start_times[first];
            *start_time = if *start_time == 0 { series.created } else { *start_time };
        }
        if let Some(histogram) = self.histograms.get_mut(series.histograms_start).filter(|first| first.start_time == 0)
        {
            histogram.start_time = series.created;
        }
    }

    /// Adds a histogram to the series that is being walked.
    pub(super) fn push_histogram(
        &mut self,
        (time, start_time, histogram): (i64, i64, Histogram),
        limits: &DecodeLimits,
    ) -> Result<(), DecodeError> {
        let bound = limits.samples_max / SAMPLES_PER_HISTOGRAM;
        if self.histograms.len() >= bound as usize {
            return Err(DecodeError::LimitReached { which: Limit::Histograms, bound: bound.into() });
        }
        // Its place among the entries is known when the series is.
        let start_time = if limits.keeps_start_times { start_time } else { 0 };
        self.histograms.push(HistogramSample { entry: u32::MAX, time, start_time, histogram });
        Ok(())
    }

    /// Adds an exemplar to the series that is being walked.
    pub(super) fn push_exemplar(
        &mut self,
        (time, value): (i64, u64),
        labels: LabelRange,
        limits: &DecodeLimits,
    ) -> Result<(), DecodeError> {
        if self.exemplars.len() >= limits.samples_max as usize {
            return Err(DecodeError::LimitReached { which: Limit::Exemplars, bound: limits.samples_max.into() });
        }
        self.exemplars.push(ExemplarSample { entry: u32::MAX, time, value, labels: labels.span() });
        Ok(())
    }

    /// Leaves out an exemplar of the series that is being walked.
    #[cold]
    pub(super) fn reject_exemplar(&mut self, reason: RejectReason) {
        self.rejections.exemplars += 1;
        self.rejections.first.get_or_insert(RejectedSeries { index: self.walked, reason });
    }

    pub(super) fn push_metadata(&mut self, message: Reader<'_>, labels: LabelRange) {
        if self.metadata.len() < METADATA_MAX {
            let (start, end) = (message.at() as u32, message.end() as u32);
            self.metadata.push(MetadataEntry { start, end, labels: labels.span() });
        }
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
        let entry = SeriesEntry { id, samples_start, samples_end, labels: series.labels.span() };
        let has_histograms = self.histograms.len() > series.histograms_start;
        let has_exemplars = self.exemplars.len() > series.exemplars_start;
        if samples_start == samples_end && !has_histograms && !has_exemplars {
            return Ok(());
        }
        if self.entries.len() >= limits.series_max as usize {
            return Err(DecodeError::LimitReached { which: Limit::Series, bound: limits.series_max.into() });
        }
        if has_histograms {
            let number = self.entries.len() as u32;
            self.histograms[series.histograms_start..].iter_mut().for_each(|histogram| histogram.entry = number);
        }
        if has_exemplars {
            let number = self.entries.len() as u32;
            self.exemplars[series.exemplars_start..].iter_mut().for_each(|exemplar| exemplar.entry = number);
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Leaves a series out, with its samples.
    #[cold]
    pub(super) fn reject_series(&mut self, series: OpenSeries, reason: RejectReason) {
        self.rejections.series += 1;
        let samples = self.times.len() - series.samples_start;
        let histograms = self.histograms.len() - series.histograms_start;
        self.rejections.samples += (samples + histograms) as u64;
        self.histograms.truncate(series.histograms_start);
        self.exemplars.truncate(series.exemplars_start);
        self.rejections.first.get_or_insert(RejectedSeries { index: self.walked, reason });
        self.times.truncate(series.samples_start);
        self.start_times.truncate(series.samples_start);
        self.values.truncate(series.samples_start);
        self.walked += 1;
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

    /// The same of an exemplar.
    pub(super) fn join_exemplar_labels(
        &mut self,
        mut labels: LabelRange,
        buffer: &[u8],
        start: usize,
        end: usize,
    ) -> LabelRange {
        if labels.start == labels.end {
            return LabelRange { start, end };
        }
        if labels.end == start {
            return LabelRange { end, ..labels };
        }
        if labels.start < EXEMPLAR_SIDE_START {
            let at = EXEMPLAR_SIDE_START + self.exemplar_side.len();
            self.exemplar_side.extend_from_slice(&buffer[labels.start..labels.end]);
            labels.start = at;
        }
        self.exemplar_side.extend_from_slice(&buffer[start..end]);
        LabelRange { end: EXEMPLAR_SIDE_START + self.exemplar_side.len(), ..labels }
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
        } else if labels.start >= EXEMPLAR_SIDE_START {
            let (start, end) = (labels.start - EXEMPLAR_SIDE_START, labels.end - EXEMPLAR_SIDE_START);
            Reader::new(&self.exemplar_side, start, end)
        } else {
            Reader::new(&self.side, labels.start - self.side_start, labels.end - self.side_start)
        }
    }

    /// The label bytes of a span of this batch.
    pub(super) fn label_reader<'a>(&'a self, buffer: &'a [u8], labels: LabelSpan) -> Reader<'a> {
        self.label_bytes(buffer, LabelRange { start: labels.start as usize, end: labels.end as usize })
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

impl LabelRange {
    /// For outside: a request is bounded far below 4 GiB.
    #[inline]
    fn span(self) -> LabelSpan {
        LabelSpan { start: self.start as u32, end: self.end as u32 }
    }
}

/// A series while its message is walked.
#[derive(Clone, Copy, Default)]
pub(super) struct OpenSeries {
    pub(super) samples_start: usize,
    pub(super) histograms_start: usize,
    pub(super) exemplars_start: usize,
    pub(super) labels: LabelRange,
    /// Where its metadata is, if it has any.
    pub(super) metadata: (usize, usize),
    /// Its start timestamp, or 0.
    pub(super) created: i64,
}
