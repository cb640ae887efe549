//! Range vectors: the samples of one series after the other.

use std::sync::Arc;

use model::{Labels, histogram::ResetHint, sample};

use crate::{
    ast::Extension,
    budget::Reservation,
    exec::{
        BoxOperator, Context, Result,
        batch::Batch,
        grid::{Grid, Windows},
        grouping::Groups,
        rows::{MakeRow, RowMaker, RowMorsels},
        selector::{self, ReadRange},
        tiles::TileCursor,
    },
    histogram::FloatHistogram,
    plan::{GroupBy, RangeSelector},
    source::{HistogramPoint, Samples, SeriesStream},
};

/// A range vector: the samples of one series after the other.
pub(crate) enum RangeInput<'q> {
    Stored(StoredRange<'q>),
    Computed(ComputedRange<'q>),
}

/// From the source. Stale markers are taken out.
pub(crate) struct StoredRange<'q> {
    stream: Box<dyn SeriesStream + 'q>,
    cursor: TileCursor,
    one_name: Option<String>,
}

/// From an expression that is evaluated at the times of a subquery.
pub(crate) struct ComputedRange<'q> {
    operator: BoxOperator<'q>,
    grid_times: Vec<i64>,
    batch: Batch,
    /// Row of the batch after the current one.
    next: usize,
    times: Vec<i64>,
    values: Vec<f64>,
    histograms: Vec<HistogramPoint>,
    held: Reservation,
    _fixed: Reservation,
    context: &'q Context<'q>,
}

impl<'q> RangeInput<'q> {
    pub(crate) fn stored(context: &'q Context<'q>, range: &RangeSelector, windows: &Windows) -> Result<Self> {
        let lookback = context.options.lookback_ms;
        let (before, after) = match range.selector.extension {
            None => (0, 0),
            Some(Extension::Anchored) => (lookback, 0),
            Some(Extension::Smoothed) => (lookback, lookback),
        };
        let read = ReadRange {
            min_time: windows.start(0).saturating_sub(before).saturating_add(1),
            max_time: windows.last_end().saturating_add(after),
        };
        let stream = selector::open(context, &range.selector, windows, read, true)?;
        let one_name = selector::fixed_name(&range.selector.matchers).map(str::to_owned);
        Ok(Self::Stored(StoredRange { stream, cursor: TileCursor::new(context, &range.selector, true), one_name }))
    }

    pub(crate) fn computed(context: &'q Context<'q>, operator: BoxOperator<'q>, grid: &Grid) -> Result<Self> {
        // The times, and the row that holds them and their values when they are handed on.
        let mut fixed = context.budget.reservation();
        fixed.grow(0, grid.count * 24)?;
        Ok(Self::Computed(ComputedRange {
            operator,
            grid_times: grid.times().collect(),
            batch: Batch::new(grid.count),
            next: 0,
            times: Vec::new(),
            values: Vec::new(),
            histograms: Vec::new(),
            held: context.budget.reservation(),
            _fixed: fixed,
            context,
        }))
    }

    pub(crate) fn series_count(&self) -> usize {
        match self {
            Self::Stored(stored) => stored.stream.series_count(),
            Self::Computed(computed) => computed.operator.series_count(),
        }
    }

    pub(crate) fn labels(&self, series: usize) -> Labels {
        match self {
            Self::Stored(stored) => stored.stream.labels(series),
            Self::Computed(computed) => computed.operator.labels(series),
        }
    }

    /// The metric's name, without building labels where all series have the same.
    pub(crate) fn name(&self, series: usize) -> String {
        match self {
            Self::Stored(StoredRange { one_name: Some(name), .. }) => name.clone(),
            _ => self.labels(series).metric_name().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn has_one_name(&self) -> bool {
        matches!(self, Self::Stored(StoredRange { one_name: Some(_), .. }))
    }

    pub(crate) fn drops_name(&self, series: usize) -> bool {
        match self {
            Self::Stored(_) => false,
            Self::Computed(computed) => computed.operator.drops_name(series),
        }
    }

    pub(crate) fn is_unique_without_name(&self) -> bool {
        match self {
            Self::Stored(stored) => stored.one_name.is_some(),
            Self::Computed(computed) => computed.operator.is_unique_without_name(),
        }
    }

    pub(crate) fn groups(&mut self, grouping: &GroupBy) -> Result<Option<Groups>> {
        match self {
            Self::Stored(stored) => Ok(selector::source_groups(stored.stream.as_mut(), grouping)),
            Self::Computed(computed) => computed.operator.groups(grouping),
        }
    }

    /// The rows that a maker makes of the series, by several threads; `None` where only [`Self::advance`] leads to them.
    pub(crate) fn morsels<M: MakeRow>(&self, context: &Context<'_>, rows: &RowMaker<M>) -> Option<RowMorsels<M>> {
        match self {
            Self::Stored(stored) => RowMorsels::new(context, stored.stream.as_ref(), &stored.cursor, rows),
            Self::Computed(_) => None,
        }
    }

    /// Goes to the next series; false at the end.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        match self {
            Self::Stored(stored) => stored.cursor.advance(|tile| stored.stream.next_batch(tile)),
            Self::Computed(computed) => computed.advance(),
        }
    }

    /// The series that the last `advance` went to.
    pub(crate) fn current(&self) -> (u32, Samples<'_>) {
        match self {
            Self::Stored(stored) => stored.cursor.current(),
            Self::Computed(computed) => computed.current(),
        }
    }
}

impl ComputedRange<'_> {
    fn advance(&mut self) -> Result<bool> {
        while self.next >= self.batch.rows() {
            self.context.budget.check()?;
            self.next = 0;
            if !self.operator.next(&mut self.batch)? {
                return Ok(false);
            }
            self.held.set(self.batch.samples_len(), self.batch.bytes())?;
        }
        let row = self.batch.row(self.next);
        self.times.clear();
        self.values.clear();
        if row.is_full() {
            self.times.extend_from_slice(&self.grid_times);
            self.values.extend_from_slice(row.values);
        } else {
            self.times.extend(row.iter().map(|(step, _)| self.grid_times[step]));
            self.values.extend(row.iter().map(|(_, value)| value));
        }
        self.histograms.clear();
        self.histograms.extend(row.histograms().map(|(step, histogram)| HistogramPoint {
            time: self.grid_times[step],
            start_time: 0,
            histogram: unsettled(histogram),
        }));
        debug_assert!(self.values.iter().all(|value| !sample::is_stale(*value)), "no operator makes stale markers");
        self.next += 1;
        Ok(true)
    }

    fn current(&self) -> (u32, Samples<'_>) {
        let samples =
            Samples { times: &self.times, values: &self.values, start_times: &[], histograms: &self.histograms };
        (self.batch.series(self.next - 1), samples)
    }
}

/// Between the times of a subquery there may be samples, so what is known of resets since the sample before no longer holds.
fn unsettled(histogram: &Arc<FloatHistogram>) -> Arc<FloatHistogram> {
    let mut histogram = histogram.clone();
    if matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
        Arc::make_mut(&mut histogram).reset_hint = ResetHint::Unknown;
    }
    histogram
}
