//! The seam to a storage: what the engine asks for and the columns it gets back.
//!
//! A storage implements [`Source`]. The engine never sees chunks, files or shards: it asks for the series that match, learns
//! how many there are, and then takes their samples tile by tile into memory that it owns and accounts for.

use std::{ops::Range, sync::Arc};

use model::{Labels, Matcher, histogram::ResetHint};

use crate::{
    budget::{BudgetError, QueryBudget},
    histogram::FloatHistogram,
};

/// Something that holds series.
pub trait Source: Sync {
    /// Finds the series that satisfy all matchers. Samples are not touched before [`SeriesStream::next_batch`].
    ///
    /// Work that can grow with the store (postings, regular expressions) has to look at `budget` from time to time.
    fn select<'s>(
        &'s self,
        request: &SelectRequest<'_>,
        budget: &QueryBudget,
    ) -> Result<Box<dyn SeriesStream + 's>, SourceError>;
}

/// What a selector wants.
#[derive(Clone, Copy, Debug)]
pub struct SelectRequest<'r> {
    pub matchers: &'r [Matcher],
    /// First wanted time in milliseconds, inclusive.
    pub min_time: i64,
    /// Last wanted time in milliseconds, inclusive.
    pub max_time: i64,
    pub hints: Hints<'r>,
}

/// What the engine is going to do with the samples. A source may ignore all of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'r> {
    /// Only the newest sample of each series within the range is looked at.
    pub last_only: bool,
    /// The grouping of an aggregation that reads this selector: [`SeriesStream::group_ids`] is going to be asked for it.
    pub grouping: Option<Grouping<'r>>,
    /// Distance of the evaluation steps; 0 for an instant query.
    pub step_ms: i64,
    /// Width of the range selector; 0 for an instant selector.
    pub range_ms: i64,
    /// Name of the function or the aggregation right above.
    pub func: Option<&'r str>,
}

/// `by (labels)` or `without (labels)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouping<'r> {
    /// Sorted, no name twice.
    pub labels: &'r [String],
    /// `without` also leaves out the metric's name.
    pub without: bool,
}

/// A dense code per series and the labels that each code stands for.
#[derive(Clone, Debug, Default)]
pub struct GroupIds {
    /// By series index; below `labels.len()`.
    pub ids: Vec<u32>,
    /// By code; no set twice.
    pub labels: Vec<Labels>,
}

/// The series of one selection.
pub trait SeriesStream {
    /// How many series matched; they are numbered from 0.
    fn series_count(&self) -> usize;

    /// The labels of a series, built when asked for.
    fn labels(&self, series: usize) -> Labels;

    /// Group codes without building label sets, if the storage can do that cheaply.
    fn group_ids(&mut self, grouping: Grouping<'_>) -> Option<GroupIds> {
        let _ = grouping;
        None
    }

    /// Newest samples of the next series, at most so many, if [`Hints::last_only`] was said and the source has them as columns; the
    /// stream goes on behind them. Series whose newest sample is not a float are left to [`SeriesStream::next_batch`].
    fn newest_run(&mut self, max: usize) -> Option<NewestRun<'_>> {
        let _ = max;
        None
    }

    /// Appends samples to a cleared tile until [`Tile::is_full`] or the end; false when nothing was left to append.
    ///
    /// A series comes whole, once, in ascending order of series index, its samples in ascending order of time and within the
    /// requested range; a series without samples may be left out. Stale markers are delivered as they are.
    fn next_batch(&mut self, tile: &mut Tile) -> Result<bool, SourceError>;

    /// Another way to the same series, for any thread; `None` if only this stream can read them. Of one selection the engine takes
    /// samples either from the stream or from readers.
    fn reader(&self) -> Option<Box<dyn SeriesReader>> {
        None
    }
}

/// Reads the series of a selection in any order.
pub trait SeriesReader: Send {
    /// Appends the samples of these series to a cleared tile, as [`SeriesStream::next_batch`] does, until [`Tile::is_full`] or
    /// their end, and takes the series off that it has read; false if there were none.
    fn read_next(&mut self, series: &mut Range<usize>, tile: &mut Tile) -> Result<bool, SourceError>;

    /// One for another thread.
    fn twin(&self) -> Box<dyn SeriesReader>;
}

/// The newest samples of series whose numbers follow each other; never empty.
#[derive(Clone, Copy, Debug)]
pub struct NewestRun<'s> {
    /// The number of the first series.
    pub first: u32,
    /// In milliseconds, and by series like the values; each at or before the end of the range, some perhaps before its beginning.
    pub times: &'s [i64],
    pub values: &'s [f64],
}

/// Why a source could not deliver.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The storage failed; the text names what and where.
    #[error("{0}")]
    Storage(String),
}

/// Samples after which a source should hand over a tile: 512 KiB of columns, which stay in a core's second-level cache.
const TILE_SAMPLES: usize = 32 << 10;

/// Decoded samples of some series, as columns. The engine owns it and uses it again for the next batch.
///
/// Rows of a series lie together; a span says which. Floats and native histograms are columns of their own, each in order of
/// time, and a series has at most one sample at a time.
#[derive(Debug, Default)]
pub struct Tile {
    spans: Vec<TileSpan>,
    times: Vec<i64>,
    values: Vec<f64>,
    /// Beside the floats, as far as the last series that has any.
    start_times: Vec<i64>,
    histograms: Vec<HistogramPoint>,
    /// Bytes of the histograms.
    histogram_bytes: usize,
}

/// Where the samples of a series lie in a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileSpan {
    series: u32,
    start: usize,
    end: usize,
    histograms_start: usize,
    histograms_end: usize,
}

/// A histogram at a time, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramPoint {
    pub time: i64,
    /// When it began to count; 0 where that is not known.
    pub start_time: i64,
    pub histogram: Arc<FloatHistogram>,
}

/// The samples of one series: two columns of equal length for floats, and one of histograms.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'t> {
    pub times: &'t [i64],
    pub values: &'t [f64],
    /// When the floats began to count, 0 where that is not known; empty if nothing is known.
    pub start_times: &'t [i64],
    pub histograms: &'t [HistogramPoint],
}

impl Samples<'_> {
    pub fn is_empty(&self) -> bool {
        self.times.is_empty() && self.histograms.is_empty()
    }

    /// Some of the floats.
    pub(crate) fn part(&self, window: Range<usize>) -> Self {
        Self { times: &self.times[window.clone()], values: &self.values[window], start_times: &[], histograms: &[] }
    }
}

impl Tile {
    pub fn clear(&mut self) {
        self.spans.clear();
        self.times.clear();
        self.values.clear();
        self.start_times.clear();
        self.histograms.clear();
        self.histogram_bytes = 0;
    }

    /// Whether a source should stop here and hand the tile over.
    pub fn is_full(&self) -> bool {
        self.times.len() + self.histogram_bytes / 16 >= TILE_SAMPLES
    }

    /// The columns to append a series' floats to, both by the same count; [`Tile::finish_series`] closes the series.
    pub fn columns(&mut self) -> (&mut Vec<i64>, &mut Vec<f64>) {
        (&mut self.times, &mut self.values)
    }

    /// Appends one float to the series that is being written.
    pub fn push(&mut self, time: i64, value: f64) {
        self.times.push(time);
        self.values.push(value);
    }

    /// Says when the float that was appended last began to count, in milliseconds.
    pub fn set_start_time(&mut self, start_time: i64) {
        self.start_times.resize(self.times.len(), 0);
        self.start_times[self.times.len() - 1] = start_time;
    }

    /// Appends one histogram to the series that is being written.
    pub fn push_histogram(&mut self, time: i64, histogram: Arc<FloatHistogram>) {
        self.push_point(HistogramPoint { time, start_time: 0, histogram });
    }

    pub fn push_point(&mut self, point: HistogramPoint) {
        self.histogram_bytes += point.histogram.bytes();
        self.histograms.push(point);
    }

    /// The histograms of the series that is being written, for a source that has to put them in order.
    pub fn open_histograms(&mut self) -> (usize, &mut Vec<HistogramPoint>) {
        (self.spans.last().map_or(0, |span| span.histograms_end), &mut self.histograms)
    }

    /// Closes the series: everything appended since the last call belongs to it.
    ///
    /// # Panics
    /// When the columns differ in length, which is a mistake of the source.
    pub fn finish_series(&mut self, series: u32) {
        assert_eq!(self.times.len(), self.values.len(), "columns grow together");
        let (start, histograms_start) = self.spans.last().map_or((0, 0), |span| (span.end, span.histograms_end));
        let (end, histograms_end) = (self.times.len(), self.histograms.len());
        if self.start_times.len() > start {
            self.start_times.resize(end, 0);
        }
        self.spans.push(TileSpan { series, start, end, histograms_start, histograms_end });
    }

    pub fn series_len(&self) -> usize {
        self.spans.len()
    }

    /// Samples held; a histogram counts as many as fit in its memory.
    pub fn samples_len(&self) -> usize {
        self.times.len() + self.histogram_bytes / 16
    }

    /// Bytes held, also those not used at the moment.
    pub fn bytes(&self) -> usize {
        self.spans.capacity() * size_of::<TileSpan>()
            + (self.times.capacity() + self.values.capacity() + self.start_times.capacity()) * 8
            + self.histograms.capacity() * size_of::<HistogramPoint>()
            + self.histogram_bytes
    }

    /// The series index and the samples of a span, by position in the tile.
    pub fn series(&self, position: usize) -> (u32, Samples<'_>) {
        let TileSpan { series, start, end, histograms_start, histograms_end } = self.spans[position];
        let (times, values) = (&self.times[start..end], &self.values[start..end]);
        let start_times = self.start_times.get(start..end).unwrap_or_default();
        (series, Samples { times, values, start_times, histograms: &self.histograms[histograms_start..histograms_end] })
    }

    /// Appends a series of another tile.
    pub(crate) fn push_series(&mut self, other: &Self, position: usize) {
        let (series, samples) = other.series(position);
        if !samples.start_times.is_empty() {
            self.start_times.resize(self.times.len(), 0);
            self.start_times.extend_from_slice(samples.start_times);
        }
        self.times.extend_from_slice(samples.times);
        self.values.extend_from_slice(samples.values);
        samples.histograms.iter().for_each(|point| self.push_point(point.clone()));
        self.finish_series(series);
    }

    /// One past the number of the last series.
    pub(crate) fn end_series(&self) -> usize {
        self.spans.last().map_or(0, |span| span.series as usize + 1)
    }

    /// The position of the first series from a number on.
    pub(crate) fn position_of(&self, series: usize) -> usize {
        self.spans.partition_point(|span| (span.series as usize) < series)
    }

    /// Takes stale markers out, as range selectors do.
    pub(crate) fn drop_stale(&mut self) {
        if self.values.iter().any(|value| model::sample::is_stale(*value)) {
            self.drop_stale_floats();
        }
        if self.histograms.iter().any(|point| point.histogram.is_stale()) {
            self.drop_stale_histograms();
        }
    }

    /// Leaves of each histogram the count and the sum, and what only its buckets could say: whether a reset lies before it. Histograms
    /// that don't fit to each other by their buckets do so afterwards, as in the reference implementation.
    pub(crate) fn reduce_to_totals(&mut self) {
        for span in &self.spans {
            let mut before: Option<Arc<FloatHistogram>> = None;
            for point in &mut self.histograms[span.histograms_start..span.histograms_end] {
                let whole = std::mem::take(&mut point.histogram);
                let reset_hint = match (&before, whole.reset_hint) {
                    (Some(before), ResetHint::Unknown) if !whole.is_stale() => {
                        if whole.is_reset_after(before) {
                            ResetHint::Reset
                        } else {
                            ResetHint::NotReset
                        }
                    }
                    (_, hint) => hint,
                };
                let totals =
                    FloatHistogram { reset_hint, count: whole.count, sum: whole.sum, ..FloatHistogram::default() };
                point.histogram = Arc::new(totals);
                before = if whole.is_stale() { before } else { Some(whole) };
            }
        }
        self.histogram_bytes = self.histograms.iter().map(|point| point.histogram.bytes()).sum();
    }

    fn drop_stale_floats(&mut self) {
        let mut kept = 0;
        let known = self.start_times.len();
        for span in &mut self.spans {
            let start = kept;
            for row in span.start..span.end {
                if !model::sample::is_stale(self.values[row]) {
                    self.times[kept] = self.times[row];
                    self.values[kept] = self.values[row];
                    if kept < known {
                        self.start_times[kept] = if row < known { self.start_times[row] } else { 0 };
                    }
                    kept += 1;
                }
            }
            (span.start, span.end) = (start, kept);
        }
        self.times.truncate(kept);
        self.values.truncate(kept);
        self.start_times.truncate(kept);
    }

    fn drop_stale_histograms(&mut self) {
        let mut kept = 0;
        for span in &mut self.spans {
            let start = kept;
            for row in span.histograms_start..span.histograms_end {
                if !self.histograms[row].histogram.is_stale() {
                    self.histograms.swap(kept, row);
                    kept += 1;
                }
            }
            (span.histograms_start, span.histograms_end) = (start, kept);
        }
        self.histograms.truncate(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_markers_leave_and_spans_follow() {
        let mut tile = Tile::default();
        for (series, values) in
            [(3, vec![1.0, model::sample::STALE_NAN]), (5, vec![model::sample::STALE_NAN, 2.0, 3.0])]
        {
            for (time, value) in values.into_iter().enumerate() {
                tile.push(time as i64, value);
            }
            tile.finish_series(series);
        }
        tile.drop_stale();
        let (series, samples) = tile.series(0);
        assert_eq!((series, samples.times, samples.values), (3, &[0][..], &[1.0][..]));
        let (series, samples) = tile.series(1);
        assert_eq!((series, samples.times, samples.values), (5, &[1, 2][..], &[2.0, 3.0][..]));
    }
}
